//! The splitting of variance, held against SALib on the same values: on a function whose indices are known in closed
//! form, and on a study.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use earnest_sim::answers::sobol::{Samples, sample, with_intervals};
use earnest_sim::outcome::Metric;
use earnest_sim::run::Workers;
use serde_json::{Value, json};

use crate::study;

/// The interpreter with SALib, where there is one.
fn python() -> Option<String> {
    let python = std::env::var("EARNEST_PYTHON").ok();
    if python.is_none() {
        println!("skipped: EARNEST_PYTHON does not name a Python with SALib; cargo xtask test does");
    }
    python
}

/// What e2e/salib/sobol.py says.
fn salib(python: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/salib/sobol.py")).args(arguments);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().expect("the script starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Samples with our indices, as SALib is asked about them: in its order the values of a base point stand together.
fn question(samples: &Samples, indices: &[[f64; 6]]) -> Value {
    let mut values = Vec::new();
    for (base, (a, b)) in samples.a.iter().zip(&samples.b).enumerate() {
        values.extend([*a].into_iter().chain(samples.ab.iter().map(|ab| ab[base])).chain([*b]));
    }
    let column = |at: usize| indices.iter().map(|index| index[at]).collect::<Vec<f64>>();
    json!({ "factors": samples.ab.len(), "values": values, "first": column(0), "total": column(3) })
}

/// Has SALib say whether these are its indices.
fn agree(python: &str, questions: &[Value]) {
    print!("{}", salib(python, &["agree"], &json!(questions).to_string()));
}

#[test]
fn indices_of_ishigami_are_those_of_salib_and_of_the_closed_form() {
    let Some(python) = python() else { return };
    let sampled: Value = serde_json::from_str(&salib(&python, &["ishigami", "4096"], "")).expect("JSON");
    let values: Vec<f64> =
        sampled["values"].as_array().expect("a list").iter().map(|y| y.as_f64().expect("a number")).collect();
    let column = |at: usize| values.iter().skip(at).step_by(5).copied().collect::<Vec<f64>>();
    let samples = Samples { a: column(0), b: column(4), ab: (1..4).map(column).collect() };
    let (indices, _) = with_intervals(&samples, 1);
    agree(&python, &[question(&samples, &indices)]);

    // Of x₁ + 7·x₂² + 0.1·x₃⁴·x₁ in sines: see the unit test beside the estimator.
    let pi4 = std::f64::consts::PI.powi(4);
    let (v1, v2) = (0.5 * (1.0 + 0.1 * pi4 / 5.0).powi(2), 49.0 / 8.0);
    let v13 = 0.01 * pi4 * pi4 * 8.0 / 225.0;
    let v = v1 + v2 + v13;
    let known = [(v1 / v, (v1 + v13) / v), (v2 / v, v2 / v), (0.0, v13 / v)];
    for ([_, first_low, first_high, _, total_low, total_high], (first, total)) in indices.iter().zip(known) {
        assert!((first_low..=first_high).contains(&&first), "{first_low} {first} {first_high}");
        assert!((total_low..=total_high).contains(&&total), "{total_low} {total} {total_high}");
    }
}

#[test]
fn indices_of_a_study_are_those_of_salib() {
    let Some(python) = python() else { return };
    let text =
        std::fs::read_to_string(study::examples().join("studies/openai-2018.toml")).expect("an example");
    let mut study = study::read(&text).expect("a valid study");
    study.question.decide_by = Metric::Mission;
    let workers = Workers { threads: 2, progress: &|_, _, _| {}, stop: &AtomicBool::new(false), kept: None };
    let designs = sample(&study, 128, &workers).expect("nobody stops it");
    assert_eq!(designs.len(), study.designs.len());
    let asked = |samples: &Samples| {
        assert_eq!(samples.ab.len(), study.varied().len() + 1, "a column for each factor, and luck");
        let (indices, variance) = with_intervals(samples, study.question.seed);
        assert!(variance > 0.0, "SALib has 0 where we have no index");
        question(samples, &indices)
    };
    agree(&python, &designs.iter().map(asked).collect::<Vec<Value>>());
}
