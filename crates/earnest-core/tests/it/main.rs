//! Tests of the whole crate from outside.

use std::fs;
use std::path::PathBuf;

use earnest_core::plan::Plan;

mod bad_plans;
mod endings;
mod history;
mod mutations;
mod plans;
mod terms;
mod warnings;

fn tests_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn examples_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/plans")
}

/// An example plan by its name.
fn example(name: &str) -> Plan {
    let file = format!("{name}.toml");
    let source = fs::read_to_string(examples_folder().join(&file)).unwrap();
    match Plan::read(&file, &source) {
        Ok((plan, _)) => plan,
        Err(faults) => panic!("{faults}"),
    }
}
