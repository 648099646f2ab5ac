//! The rules file: its samples, its mistakes, and whatever else somebody may put there.

use earnest_core::plan::Plan;
use earnest_serve::attester::rules::{Mistakes, Rules};
use rand::{RngExt, SeedableRng};

use crate::attester::{SECRET, entity, plan_text};

const SAMPLES: [&str; 2] = [
    include_str!("../../../../examples/attester/open.toml"),
    include_str!("../../../../examples/attester/sample.toml"),
];

fn read(text: &str, chain_id: u64, secret: Option<&str>) -> Result<Rules, Mistakes> {
    let (plan, _) = Plan::read("quickstart.toml", &plan_text()).expect("a good plan");
    Rules::read("rules.toml", text, &plan, chain_id, |_| secret.map(str::to_owned))
}

#[test]
fn the_samples_are_good_rules() {
    for text in SAMPLES {
        if let Err(mistakes) = read(text, 31_337, Some(SECRET)) {
            panic!("{mistakes}");
        }
    }
    assert!(read(SAMPLES[1], 1, Some(SECRET)).is_ok(), "the sample is for any chain");
}

#[test]
fn every_mistake_names_its_line_and_its_remedy() {
    let hook = |url: &str| format!("[hook]\nurl = \"{url}\"\nsecret_env = \"X\"\n");
    for (text, line, expected) in [
        ("".to_string(), 1, "nobody can be approved"),
        ("[[entity]]\nnumber = 1\n".into(), 1, "missing field"),
        ("what = 1\n".into(), 1, "unknown field `what`"),
        ("[anyone]\nmax = \"1 cash\"\n".into(), 2, "unknown field `max`"),
        ("not toml".into(), 1, "key with no value"),
        (entity(1, &["a"], "") + &entity(1, &["b"], ""), 7, "number 1 is used twice"),
        (entity(1, &["a"], "") + &entity(2, &["a"], ""), 8, "is named twice"),
        (entity(1, &[], ""), 3, "no wallets"),
        (entity(1, &["a"], "").replace("0x", "0xzz"), 3, "is not an address"),
        (entity(1, &["a"], "regime = \"uk\""), 4, "no regime \"uk\""),
        (entity(1, &["a"], "jurisdiction = \"FR\""), 5, "regime us is for US"),
        (entity(1, &["a"], "regime = \"offshore\"\njurisdiction = \"US\""), 5, "US comes under regime us"),
        (entity(1, &["a"], "jurisdiction = \"us\""), 5, "is not a country"),
        (entity(1, &["a"], "rounds = [\"early\", \"late\"]"), 5, "no round \"late\""),
        (entity(1, &["a"], "max_cash = \"5\""), 5, "is no amount"),
        (entity(1, &["a"], "max_cash = \"0 cash\""), 5, "nothing may be bought"),
        (entity(1, &["a"], "expires = 2026-09-01"), 5, "does not name one instant"),
        (entity(2_000_000, &["a"], "") + "[anyone]\n", 6, "[[entity]] number 2000000"),
        (hook("http://identity.example/"), 2, "cannot be asked"),
        (hook("nowhere"), 2, "cannot be asked"),
        (hook("https://identity.example/") + "timeout_ms = 9\n", 4, "timeout_ms is 9"),
        ("[anyone]\n[limits]\npermit_valid = \"a week\"\n".into(), 3, "is no length"),
        ("[anyone]\n[limits]\nper_wallet_a_minute = 0\n".into(), 3, "nobody could ask"),
    ] {
        let error = read(&text, 31_337, Some(SECRET)).err().unwrap_or_else(|| panic!("{text} is accepted"));
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("rules.toml:{line}: ")), "{text}\n{shown}");
        assert!(shown.contains(expected) && shown.contains("\n  hint: "), "{text}\n{shown}");
    }
    let everybody = read(SAMPLES[0], 1, None).err().expect("not on a real chain").to_string();
    assert!(everybody.contains("is not a development chain"), "{everybody}");
    for secret in [None, Some("too short")] {
        let error = read(&hook("https://identity.example/"), 1, secret).err().expect("no secret").to_string();
        assert!(error.starts_with("rules.toml:3: ") && error.contains("holds no secret"), "{error}");
    }
}

#[test]
fn a_wrong_checksum_is_a_wrong_address() {
    let good = entity(1, &["a"], "");
    let at = good.find("0x").expect("an address") + 2;
    let letter = good[at..].find(|c: char| c.is_ascii_alphabetic()).expect("a letter") + at;
    let mut bad = good.clone().into_bytes();
    bad[letter] ^= 0x20;
    assert!(read(&String::from_utf8(bad).expect("ASCII"), 1, None).is_err());
    assert!(read(&good.to_lowercase(), 1, None).is_ok());
}

#[test]
fn no_file_brings_the_reader_down() {
    let seed = 20_261_123;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    for case in 0..3_000 {
        let mut bytes = SAMPLES[case % 2].as_bytes().to_vec();
        for _ in 0..random.random_range(1..8) {
            if bytes.is_empty() {
                break;
            }
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..5) {
                0 => bytes[at] = random.random(),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"[]\"=.\n#0"[random.random_range(0..8)]),
                3 => {
                    let to = random.random_range(at..bytes.len());
                    let copy = bytes[at..to].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(mistakes) = read(&text, 31_337, Some(SECRET)) {
            assert!(!mistakes.mistakes.is_empty(), "seed {seed}, case {case}: no reason\n{text}");
        }
    }
}
