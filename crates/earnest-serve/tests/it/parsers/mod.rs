//! Every parser of bytes from outside, on what is in fuzz/seeds and on thousands of changes of it. What the fuzz targets
//! once found is among the seeds, so that it stays found.

mod checks;

use std::path::Path;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Pieces that parsers stumble over.
const PIECES: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "18446744073709551616",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\n\n",
    "\r\n\r\n",
    "data:",
    "\"model\":\"b\",",
    "\"max_tokens\":9,",
    "\"n\":2,",
    "\"Model\":1,",
    "0x",
    "\u{17f}",
];

fn change(bytes: &mut Vec<u8>, dice: &mut ChaCha8Rng) {
    let at = dice.random_range(0..=bytes.len());
    let end = (at + dice.random_range(0..32)).min(bytes.len());
    match dice.random_range(0..6) {
        0 if at < bytes.len() => bytes[at] = dice.random(),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            let to = dice.random_range(0..=bytes.len());
            bytes.splice(to..to, piece);
        }
        4 => {
            let mut piece = vec![0; dice.random_range(1..8)];
            dice.fill_bytes(&mut piece);
            bytes.splice(at..at, piece);
        }
        _ => {
            let piece = PIECES[dice.random_range(0..PIECES.len())];
            bytes.splice(at..at, piece.bytes());
        }
    }
}

#[test]
fn no_bytes_break_a_parser() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let turns: u64 =
        std::env::var("EARNEST_TURNS").ok().and_then(|turns| turns.parse().ok()).unwrap_or(3_000);
    for (name, check) in checks::ALL {
        let mut files: Vec<_> = std::fs::read_dir(seeds.join(name))
            .expect("seeds")
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        let all: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a seed")).collect();
        all.iter().for_each(|seed| check(seed));
        check(b"");
        // A plan is read in milliseconds, everything else in microseconds; earnest-core changes plans by the thousand.
        let turns = if name == "plan" { turns / 30 } else { turns };
        for turn in 0..turns {
            let mut dice = ChaCha8Rng::seed_from_u64(turn);
            let mut bytes = all[dice.random_range(0..all.len())].clone();
            for _ in 0..dice.random_range(1..6) {
                change(&mut bytes, &mut dice);
            }
            let outcome = std::panic::catch_unwind(|| check(&bytes));
            assert!(outcome.is_ok(), "{name}, turn {turn}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
