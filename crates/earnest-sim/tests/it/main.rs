//! The simulator from outside.

mod bad_studies;
mod closed_forms;
mod docs;
mod found;
mod fuzzed;
mod hindcasts;
mod runs;
mod salib;
mod study;
