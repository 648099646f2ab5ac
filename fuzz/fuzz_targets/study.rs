#![no_main]

#[path = "../../crates/earnest-sim/tests/it/fuzzed.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzed::study(bytes);
});
