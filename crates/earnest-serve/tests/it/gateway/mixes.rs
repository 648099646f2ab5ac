//! Answers that no fixture has: events of all of them recombined, cut and put in another order. Whatever comes, nobody pays
//! more than was reserved, stated or written.

use std::path::Path;

use earnest_core::charge::{Rates, pay};
use earnest_serve::openai::Endpoint;
use earnest_serve::openai::answer::Seen;
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::openai::events::{Events, begins_as_events, data_of};
use earnest_serve::openai::request::Asked;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// All data of all fixtures: whole answers, and events.
fn pieces() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams");
    let mut all = Vec::new();
    for server in
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for case in std::fs::read_dir(server).unwrap() {
            let answer = std::fs::read(case.unwrap().path().join("answer.http")).unwrap();
            let split = answer.windows(2).position(|pair| pair == b"\n\n").unwrap();
            let body = &answer[split + 2..];
            if !begins_as_events(body) {
                all.push(body.to_vec());
                continue;
            }
            let mut events = Events::default();
            events.push(body);
            while let Ok(Some(event)) = events.take() {
                all.extend(data_of(&event).map(|data| data.into_owned()));
            }
        }
    }
    all.sort();
    all
}

/// So many mixes, from a seed.
pub(super) fn mix(seed: u64, count: usize) {
    let pieces = pieces();
    assert!(pieces.len() > 500, "{}", pieces.len());
    let rates = Rates {
        input: Some(1_000_000),
        cached: Some(100_000),
        output: Some(4_000_000),
        embedding: Some(100_000),
    };
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut estimated = 0;
    for turn in 0..count {
        let (n, bound) = (dice.random_range(1..4u64), dice.random_range(1..500u64));
        let prompts = dice.random_range(1..4usize);
        let prompt = vec!["some words to read, and a few more"; prompts];
        let completions = dice.random_ratio(1, 4);
        let body = if completions {
            serde_json::json!({"model": "chat", "prompt": prompt, "n": n, "max_tokens": bound, "stream": true})
        } else {
            serde_json::json!({"model": "chat", "messages": [{"role": "user", "content": "some words"}], "n": n, "max_tokens": bound})
        };
        let endpoint = if completions { Endpoint::Completions } else { Endpoint::Chat };
        let asked =
            Asked::read(endpoint, body.to_string().into_bytes().into(), &Dialect::default(), 4_096).unwrap();
        let most = asked.most;
        let reserve = rates.charge(most.service, most.usage).unwrap();
        let (mut seen, mut snapshots) = (Seen::default(), Vec::new());
        let mut bytes = 0;
        for _ in 0..dice.random_range(0..12) {
            let mut piece = pieces[dice.random_range(0..pieces.len())].clone();
            if dice.random_ratio(1, 10) {
                piece.truncate(dice.random_range(0..=piece.len()));
            }
            if dice.random_ratio(1, 10) && !piece.is_empty() {
                let at = dice.random_range(0..piece.len());
                piece[at] = dice.random();
            }
            bytes += piece.len() as u64;
            let _ = seen.read(&piece);
            snapshots.push(seen.written());
        }
        let hidden = dice.random_ratio(1, 2);
        let stated = seen.stated(&most);
        let counted = seen.count(&most, None, hidden);
        let charge = rates.charge(most.service, counted.usage).unwrap();
        let place = format!("seed {seed}, turn {turn}: {counted:?} for {stated:?}");
        assert!(charge <= reserve && charge >= 1, "{place}");
        assert!(counted.usage.cached <= counted.usage.input, "{place}");
        if counted.estimated {
            estimated += 1;
            let text = seen.written().bytes.max(stated.output.unwrap_or(0)).max(most.each * most.choices);
            assert!(
                counted.usage.output <= text && counted.usage.output <= bytes.max(stated.output.unwrap_or(0)),
                "{place}"
            );
        } else {
            assert!(counted.usage.output <= stated.output.unwrap_or(0), "{place}");
            assert!(counted.usage.input <= stated.input.unwrap_or(0), "{place}");
        }
        assert!(hidden || counted.usage.output <= seen.written().most() + 16 * (most.choices + 8), "{place}");
        assert!(pay(charge, 8_000) * 10 <= charge * 8, "{place}");
        // Signed for less: less.
        let half = earnest_serve::openai::usage::Resolved {
            output: stated.output.map(|output| output.div_ceil(2)),
            ..stated
        };
        let signed = seen.count(&most, Some(half), hidden);
        let cheaper = rates.charge(most.service, signed.usage).unwrap();
        assert!(signed.estimated || cheaper <= charge, "{place}: {signed:?}");
        // Who leaves never pays more than who stays.
        for written in snapshots {
            let part = seen.count_part(&most, written, hidden);
            let cost = rates.charge(most.service, part.usage).unwrap();
            assert!(cost <= charge, "{place}: {part:?}");
        }
    }
    assert!(estimated * 20 > count, "{estimated}");
}

#[test]
fn whatever_comes_nobody_pays_more_than_was_reserved_stated_or_written() {
    mix(1, 2_000);
}
