#![no_main]

#[allow(dead_code)] // each target runs one of them
#[path = "../../crates/earnest-serve/tests/it/parsers/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::order(bytes));
