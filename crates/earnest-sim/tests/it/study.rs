//! Studies made for tests, and how they are run.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use earnest_core::plan::Plan;
use earnest_sim::answers::{Answers, Depth, Table, answer};
use earnest_sim::run::Workers;
use earnest_sim::study::Study;

/// The folder of the examples.
pub fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Reads a study as if it stood in `examples/studies`.
pub fn read(source: &str) -> Result<Study, String> {
    let plans = |path: &Path| {
        let path = examples().join("studies").join(path);
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        Plan::read("plan.toml", &text).map(|(plan, _)| plan).map_err(|faults| faults.to_string())
    };
    Study::read("study.toml", source, &plans).map_err(|faults| faults.to_string())
}

/// Little beside the paths themselves.
pub const SHALLOW: Depth = Depth { stress: 64, sweep: 8, map: 4, sobol: 16 };

pub fn run(study: &Study, depth: Depth, threads: usize) -> (Answers, Table) {
    let stop = AtomicBool::new(false);
    let workers = Workers { threads, progress: &|_, _, _| {}, stop: &stop, kept: None };
    answer(study, depth, &workers).expect("nobody stops it")
}

/// A lab that only spends: 10 of cash a month on people, and on research what `hours` says, at 1 an hour.
pub fn plain(months: u32, extra: &str, designs: &str) -> Study {
    let source = format!(
        r#"
schema = 1
study = {{ name = "plain", start = 2020-01-01T00:00:00Z, months = {months}, paths = 2000, seed = 7 }}
lab = {{ cash = "100 cash" }}
service = {{ live = 0, serving = "0%", needs = "0%", revenue = [[0, "0 cash"]], capacity = [[0, "0 hours"]] }}
{extra}
{designs}
"#
    );
    read(&source).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Nothing for research.
pub const NO_RESEARCH: &str =
    r#"mission = { hour = "1 cash", hours = [[0, "0 hours"]], people = [[0, "10 cash"]], reserve = 0 }"#;

/// A design that brings nothing.
pub const NOTHING: &str = r#"
[[designs]]
name = "nothing"
[[designs.instruments]]
name = "none"
kind = "grant"
amount = [[0, "0 cash"]]
"#;
