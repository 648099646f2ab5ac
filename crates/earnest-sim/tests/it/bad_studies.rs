//! Bad studies: each is refused at its line, in the words of the snapshot, with the remedy.

use std::fmt::Write;

use rand::{RngExt, SeedableRng};

use crate::fuzzed;
use crate::study::{examples, read};

/// What is changed in examples/studies/openai-2018.toml: the first place of a text, and what stands there instead.
const CHANGES: &[(&str, &str)] = &[
    ("schema = 1", "schema = 2"),
    ("schema = 1", ""),
    ("[study]", "[studdy]"),
    ("months = 120", "months = 0"),
    ("months = 120", "months = 601"),
    ("months = 120", "months = \"120\""),
    ("paths = 10_000", "paths = 1"),
    ("paths = 10_000", "paths = 9_000_000"),
    ("paths = 10_000", "paths = 900_000"),
    ("judged = 96", "judged = 121"),
    ("decide_by = \"mission\"", "decide_by = \"found\""),
    ("decide_by = \"mission\"", "decide_by = \"raised\""),
    ("decide_by = \"mission\"", "decide_by = \"loss\""),
    ("start = 2018-02-01T00:00:00Z", "start = 2018-02-01"),
    ("start = 2018-02-01T00:00:00Z", "start = 2030-02-01T00:00:00Z"),
    ("start = 2018-02-01T00:00:00Z", "start = 2100-02-01T00:00:00Z"),
    ("cash = \"15_000_000 cash\"", "cash = 25_000_000"),
    ("cash = \"15_000_000 cash\"", "cash = \"1_100_000_000_000 cash\""),
    ("nonprofit = \"100%\"", "nonprofit = \"101%\""),
    ("[0, \"600_000 hours\"], ", "[0, \"600_000 days\"], "),
    ("[0, \"600_000 hours\"], ", "[99, \"600_000 hours\"], "),
    ("[0, \"1_700_000 cash\"], ", "[0, \"-1 cash\"], "),
    ("[0, \"1_700_000 cash\"], ", "[0, \"900_000_000_000 cash\"], "),
    ("hour = \"2 cash\"", "hour = \"0 cash\""),
    ("hour = \"2 cash\"", "hour = \"2_000_000 cash\""),
    ("serving = \"40%\"", "serving = \"lots\""),
    ("serving = \"40%\"", ""),
    ("[world.offering_demand]", "[world.ofering_demand]"),
    ("low = 0.125\n", "low = -0.1\n"),
    ("low = 0.125\n", "low = 1.9\n"),
    ("low = 0.125\n", "low = \"0.1\"\n"),
    ("low = 0.125\n", "low = nan\n"),
    ("shape = \"lognormal\"", "shape = \"log-normal\""),
    ("shape = \"lognormal\"", "shape = \"uniform\""),
    ("shape = \"lognormal\"", "shape = \"fixed\""),
    ("grade = \"C\"", "grade = \"E\""),
    ("grade = \"C\"", ""),
    (
        "low = 0.05\nmid = 0.25\nhigh = 0.6\nshape = \"logit\"",
        "low = 0.0\nmid = 0.25\nhigh = 0.6\nshape = \"logit\"",
    ),
    ("high = 0.6\nshape = \"logit\"", "high = 1.6\nshape = \"normal\""),
    ("of = [\"offering_demand\", \"equity_demand\"]", "of = [\"offering_demand\"]"),
    ("of = [\"offering_demand\", \"equity_demand\"]", "of = [\"offering_demand\", \"moon\"]"),
    ("of = [\"offering_demand\", \"equity_demand\"]", "of = [\"equity_demand\", \"revenue\"]"),
    ("rho = 0.5", "rho = 1.5"),
    ("rho = 0.4", "rho = -0.95"),
    ("name = \"equity\"", "name = \"grants\""),
    ("name = \"series B\"", "name = \"series A\""),
    ("kind = \"equity\"", "kind = \"equities\""),
    ("kind = \"equity\"", "kind = \"grant\""),
    ("month = 6\n", "month = 6\nafter_live = 6\n"),
    ("month = 6\n", "month = 120\n"),
    ("month = 6\n", ""),
    ("pre_money = \"1_000_000_000 cash\"", "pre_money = \"0 cash\""),
    ("pre_money = \"1_000_000_000 cash\"", "pre_money = \"1_000_000_000_000 cash\""),
    ("multiple = 100", "multiple = 100\nuntil = 0"),
    ("multiple = 100", "multiple = 100\nuntil = 3"),
    ("multiple = 100", "multiple = 1e9"),
    ("plan = \"../plans/openai-2018.toml\"", "plan = \"../plans/none.toml\""),
    ("plan = \"../plans/openai-2018.toml\"", "plan = \"openai-2018.toml\""),
    ("demand = [\"380_000_000 cash\", \"305_000_000 cash\", \"115_000_000 cash\"]", "demand = [\"1 cash\"]"),
    ("elasticity = 1.5", "elasticity = -1"),
    ("worth = \"1 cash\"", "worth = \"0 cash\""),
    ("worth = \"1 cash\"", "worht = \"1 cash\""),
    ("hold = [[\"injunction\", 5.0]]", "hold = [[\"injunction\", 500.0]]"),
    ("hold = [[\"injunction\", 5.0]]", "hold = [\"injunction\"]"),
    ("x = \"injunction\"\ny = \"offering_demand\"", "x = \"injunction\"\ny = \"injunction\""),
    ("metric = \"raised\"", "metric = \"rising\""),
    ("design = \"grants\"", "design = \"gifts\""),
    ("month = 47\n", "month = 147\n"),
];

#[test]
fn every_bad_study_is_refused_in_the_words_of_its_snapshot() {
    let good = std::fs::read_to_string(examples().join("studies/openai-2018.toml")).unwrap();
    read(&good).unwrap();
    let mut said = String::new();
    for (what, instead) in CHANGES {
        assert!(good.contains(what), "the example has no {what:?} any more");
        let error =
            read(&good.replacen(what, instead, 1)).expect_err(&format!("{what:?} → {instead:?} is accepted"));
        let _ =
            writeln!(said, "=== {} → {}\n{error}\n", what.replace('\n', " ⏎ "), instead.replace('\n', " ⏎ "));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn whatever_bytes_stand_in_a_study_it_is_refused_or_lived_through() {
    let good = std::fs::read(examples().join("studies/openai-2018.toml")).unwrap();
    for seed in 0..3_000 {
        let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = good.clone();
        for _ in 0..dice.random_range(1..6) {
            let at = dice.random_range(0..bytes.len());
            match dice.random_range(0..4) {
                0 => bytes[at] = dice.random(),
                1 => drop(bytes.drain(at..(at + dice.random_range(1..40usize)).min(bytes.len()))),
                2 => bytes.insert(at, b"0123456789.-\"[]=\n"[dice.random_range(0..17)]),
                _ => {
                    let next = (at + 1) % bytes.len();
                    bytes.swap(at, next);
                }
            }
        }
        fuzzed::study(&bytes);
    }
}

/// Written in place of numbers of a study.
const EXTREMES: [&str; 16] = [
    "0",
    "1",
    "2",
    "12",
    "119",
    "600",
    "0.5",
    "0.000001",
    "0.999999",
    "-1",
    "-0.99",
    "100",
    "1000",
    "1_000_000_000",
    "999_999_999_999",
    "1_000_000_000_000_000",
];

#[test]
fn whatever_numbers_stand_in_a_study_it_is_refused_or_lived_through() {
    let mut lived = 0;
    for name in ["openai-2018", "filecoin-2017", "bittensor-2021"] {
        let good = std::fs::read_to_string(examples().join(format!("studies/{name}.toml"))).unwrap();
        // Where numbers stand, comments and sources apart.
        let numbers: Vec<std::ops::Range<usize>> = places_of_numbers(&good);
        for seed in 0..1_500 {
            let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut picked: Vec<usize> =
                (0..dice.random_range(1..4)).map(|_| dice.random_range(0..numbers.len())).collect();
            picked.sort_unstable();
            picked.dedup();
            let mut text = good.clone();
            for &place in picked.iter().rev() {
                text.replace_range(numbers[place].clone(), EXTREMES[dice.random_range(0..EXTREMES.len())]);
            }
            lived += usize::from(fuzzed::study(text.as_bytes()));
        }
    }
    assert!(lived > 500, "only {lived} of them were read");
}

fn places_of_numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let value = line.split('#').next().unwrap_or_default();
        if !["source", "note", "name", "about", "#"].iter().any(|key| value.starts_with(key)) {
            let is_number = |c: char| c.is_ascii_digit() || "._".contains(c);
            let mut from = None;
            for (place, c) in value.char_indices().chain([(value.len(), ' ')]) {
                match (from, is_number(c)) {
                    (None, true) if c.is_ascii_digit() => from = Some(place),
                    (Some(start), false) => {
                        places.push(at + start..at + place);
                        from = None;
                    }
                    _ => {}
                }
            }
        }
        at += line.len();
    }
    places
}
