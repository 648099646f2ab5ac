//! A raise as one page for a board: one file without script, font or image from elsewhere, light and dark, on paper
//! too. What it shows is added up before it is drawn, so its size does not grow with the number of bids.

mod endings;
pub mod markup;
pub mod part;
mod plot;
mod position;
mod rounds;
mod tap;
mod vesting;

use earnest_core::money::{Cash, Credits, Price};
use earnest_core::plan::date::utc;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;

use crate::Summary;
use crate::figure::{Coins, count, percent};
use crate::words::soft_cap_words;
use markup::{escape, paragraph};

/// The style of the page and of its parts.
pub const STYLE: &str = include_str!("style.css");
/// SHA-256 of the style, in base64: the page forbids itself everything else, so that even a text that slipped
/// through unescaped could load or run nothing. A test keeps it true.
pub const STYLE_HASH: &str = "sha256-qKQGPCBpVxoaILwjo/Ml+j2TXHgoLCEzhWfeGDtEjn4=";

/// The page. The raise must be one of this plan, and the summary one of this raise at this time.
pub fn html(summary: &Summary, plan: &Plan, raise: &Raise, now: Time) -> String {
    let coins = Coins::of(plan);
    let body = [
        opening(summary, &coins),
        rounds::section(summary, raise, &coins),
        tap::section(summary, plan, raise, now, &coins),
        vesting::section(summary, raise, now, &coins),
        endings::section(summary, plan, &coins),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{STYLE_HASH}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}: {}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n{}</main>\n{}</body>\n</html>\n",
        escape(&summary.offering),
        escape(&utc(summary.as_of)),
        body.concat(),
        footer(summary)
    )
}

fn opening(summary: &Summary, coins: &Coins) -> String {
    let note = summary.note.as_ref().map_or_else(String::new, |note| {
        format!("<p class=\"note\" role=\"note\">{}</p>\n", escape(&sentence(note)))
    });
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"byline\">{}. As of {}.</p>\n{note}</header>\n<main>\n{}",
        escape(&summary.offering),
        escape(summary.issuer.trim_end_matches('.')),
        utc(summary.as_of),
        headline(summary, coins)
    )
}

/// The six figures a reader takes away.
fn headline(summary: &Summary, coins: &Coins) -> String {
    let (totals, treasury) = (&summary.totals, &summary.treasury);
    let of_cap = percent(totals.raised.units().into(), summary.hard_cap.units().into());
    let average = match totals.sold {
        Credits::ZERO => "nothing sold yet".to_owned(),
        sold => format!("{} on average", coins.average(Price::average(totals.raised, sold))),
    };
    let withheld = match totals.refunds_owed {
        Cash::ZERO => "no refund is owed".to_owned(),
        owed => format!("of it owed as refunds: {}", coins.cash(owed)),
    };
    let figures = [
        (
            "Raised",
            coins.short_cash(totals.raised),
            coins.cash(totals.raised),
            format!("{of_cap} of the hard cap of {}", coins.short_cash(summary.hard_cap)),
        ),
        (
            "Bid",
            coins.short_cash(totals.cash_bid),
            coins.cash(totals.cash_bid),
            format!("{} of {}", count(totals.bids, "bid"), count(totals.backers, "backer")),
        ),
        ("Credits sold", coins.short_credits(totals.sold), coins.whole_credits(totals.sold), average),
        ("With the rounds", coins.short_cash(totals.escrow), coins.cash(totals.escrow), withheld),
        (
            "In the treasury",
            coins.short_cash(treasury.held),
            coins.cash(treasury.held),
            treasury
                .pots_last_months
                .as_ref()
                .filter(|_| treasury.held > Cash::ZERO)
                .map_or_else(String::new, |months| format!("{months} months at the tap's full speed")),
        ),
        (
            "Drawn by the issuer",
            coins.short_cash(treasury.tap_paid),
            coins.cash(treasury.tap_paid),
            format!("{} can be drawn now", coins.short_cash(treasury.available)),
        ),
    ];
    let mut text = String::from("<dl class=\"headline\">\n");
    for (i, (name, short, exact, words)) in figures.iter().enumerate() {
        text += &format!(
            "<div><dt>{}</dt><dd><span class=\"big{}\" title=\"{1}\">{2}</span><span class=\"small\">{3}<br>{4}</span></dd></div>\n",
            escape(name),
            if i == 0 { " first" } else { "" },
            escape(short),
            escape(exact),
            escape(words),
        );
    }
    text += "</dl>\n";
    text + &format!("<p class=\"under-headline\">Soft cap {}.</p>\n", escape(&soft_cap_words(summary, coins)))
}

fn footer(summary: &Summary) -> String {
    let mut text = String::from("<footer><div>\n");
    text += &paragraph(
        "Unaudited. Not legal, tax or investment advice, and no offer to sell or to buy anything. Figures follow from \
         the state of the offering's contracts, or of a model of them, at the time above. Short figures are rounded \
         down, but for a millionth; exact ones show on pointing at them.",
    );
    text += &format!("<p>Terms hash: <code>{}</code></p>\n", escape(&summary.terms_hash));
    text + "</div></footer>\n"
}

/// With one full stop at the end and a capital at the start.
fn sentence(text: &str) -> String {
    format!("{}.", crate::words::capital(text.trim_end_matches('.')))
}
