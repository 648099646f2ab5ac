use std::collections::BTreeSet;

use earnest_core::raise::Call;
use earnest_report::page::STYLE_HASH;
use sha2::{Digest, Sha256};

use crate::stage::{DAY, ISSUER, SMALL_PLAN, Stage, Terms, auction_bids, cleared};

/// Every stage a page can show.
fn stages() -> Vec<Stage> {
    let mut before = Stage::openai();
    before.now -= DAY;
    let mut open = Stage::openai();
    open.open(1);
    auction_bids(&mut open, 100);
    let mut following = Stage::openai();
    following.open(2);
    following.bid(2, 1, 5_000_000, Terms::default());
    let mut failed = Stage::small();
    failed.bid(0, 1, 40_000, Terms::default());
    failed.clear(0);
    failed.now = failed.plan.offering.soft_cap_date.unwrap();
    let mut empty = Stage::small();
    for round in 0..2 {
        empty.clear(round);
    }
    let mut single = Stage::new(&SMALL_PLAN.replace("ticks = 21", "ticks = 1"));
    single.open(1);
    single.bid(1, 1, 500_000, Terms::default());
    let mut drawn = cleared(100);
    drawn.live();
    drawn.now += 90 * DAY;
    drawn.apply(ISSUER, Call::Draw { cash: 500_000_000_000_000, to: ISSUER });
    let mut late = cleared(100);
    late.now = late.plan.service.deadline + DAY;
    vec![before, open, following, failed, empty, single, cleared(100), drawn, late]
}

#[test]
fn ten_thousand_bids_fit_into_150_kilobytes() {
    let html = cleared(10_000).html();
    assert!(html.len() < 150_000, "{} bytes", html.len());
}

#[test]
fn what_a_plan_says_cannot_become_markup() {
    let mut stage = cleared(50);
    let evil = || "<script>alert(\"x\")</script>' onload='&amp;\u{202e}".to_owned();
    let plan = &mut stage.plan;
    for text in [
        &mut plan.offering.name,
        &mut plan.offering.issuer,
        &mut plan.cash.symbol,
        &mut plan.cash.name,
        &mut plan.credits.symbol,
        &mut plan.credits.name,
        &mut plan.terms.title,
        &mut plan.terms.credit,
        &mut plan.terms.position,
    ] {
        *text = evil();
    }
    plan.offering.note = Some(evil());
    plan.rounds.iter_mut().for_each(|round| round.name = evil());
    plan.schedules.iter_mut().for_each(|schedule| schedule.name = evil());
    plan.regimes.iter_mut().for_each(|regime| regime.name = evil());
    for milestone in &mut plan.treasury.milestones {
        (milestone.name, milestone.statement) = (evil(), evil());
    }
    let html = stage.html();
    assert!(!html.contains("<script"));
    assert!(!html.contains("onload='"));
    assert!(!html.contains("\"x\""));
    assert!(!html.contains('\u{202e}'));
    assert!(html.matches("&lt;script&gt;").count() > 20);
    assert_well_formed(&html);
    assert!(!stage.text(80).contains('\u{202e}'));
}

#[test]
fn every_stage_is_a_well_formed_page_without_anything_from_elsewhere() {
    for stage in stages() {
        let html = stage.html();
        assert_well_formed(&html);
        for word in [
            "<script", "http://", "https://", "url(", "@import", " style=", "<img", "<link", " onclick",
            "NaN", "inf",
        ] {
            let found = html.find(word).map(|at| &html[at.saturating_sub(60)..at + 20]);
            assert!(found.is_none(), "{word}: {found:?}");
        }
    }
}

/// Every tag that is opened is closed in order, and every id is one of its kind.
fn assert_well_formed(html: &str) {
    let mut open = Vec::new();
    let mut ids = BTreeSet::new();
    for piece in html.split('<').skip(1) {
        let tag = piece.split_once('>').unwrap_or_else(|| panic!("no end: {piece}")).0;
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        if let Some(id) = tag.split(" id=\"").nth(1) {
            let id = id.split('"').next().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{piece}");
        } else if !tag.ends_with('/') && !["!doctype", "meta", "br"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for named in html.split("aria-labelledby=\"").skip(1) {
        for id in named.split('"').next().unwrap().split(' ') {
            assert!(ids.contains(id), "{id}");
        }
    }
}

#[test]
fn the_page_allows_its_own_style_and_nothing_else() {
    let html = Stage::small().html();
    let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = format!("sha256-{}", base64(&Sha256::digest(style.as_bytes())));
    assert_eq!(STYLE_HASH, hash, "put the right one into page/mod.rs");
    assert!(html.contains(&format!("content=\"default-src 'none'; style-src '{hash}'\"")));
}

#[test]
fn the_board_reads_the_figures_that_the_summary_holds() {
    let stage = cleared(300);
    let html = stage.html();
    for words in [
        "Hypothetical: considered in January 2018, never held; every term here is made up.",
        "$9.95B",
        "9,953,300,000.000001 USDC",
        "99.5% of the hard cap of $10B",
        "cleared at 0.99066",
        "for sale: 5B SVC",
        "as if it went live now",
        "deadline for live 2021-12-31",
        "Unaudited.",
        &stage.summary().terms_hash,
    ] {
        assert!(html.contains(words), "{words}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
