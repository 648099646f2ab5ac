//! A run is its study and its seed: not its threads, not its stops, not the names of designs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use earnest_sim::answers::{Depth, answer};
use earnest_sim::outcome::Metric;
use earnest_sim::run::{Interrupted, Kept, Workers};
use earnest_sim::statistics::{Z95, mean_and_error};
use earnest_sim::study::Study;

use crate::study::{SHALLOW, examples, read, run};

fn openai(paths: u32) -> Study {
    let source = std::fs::read_to_string(examples().join("studies/openai-2018.toml")).unwrap();
    let mut study = read(&source).unwrap();
    study.question.paths = paths;
    study
}

fn json(study: &Study, depth: Depth, threads: usize) -> String {
    serde_json::to_string(&run(study, depth, threads).0).unwrap()
}

#[test]
fn one_two_and_sixteen_threads_give_the_same_bits() {
    let study = openai(300);
    let one = json(&study, SHALLOW, 1);
    assert_eq!(json(&study, SHALLOW, 2), one);
    assert_eq!(json(&study, SHALLOW, 16), one);
    let mut other = study.clone();
    other.question.seed += 1;
    assert_ne!(json(&other, SHALLOW, 2), one);
}

#[test]
fn a_run_that_is_stopped_again_and_again_ends_with_the_same_bits() {
    let study = openai(300);
    let whole = json(&study, SHALLOW, 2);
    let path = std::env::temp_dir().join(format!("earnest-stopped-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut stops = 0;
    loop {
        let (stop, left) = (AtomicBool::new(false), AtomicU32::new(40));
        let progress = |_: &str, _: u32, _: u32| {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let kept = Some(Kept::open(&path, b"this study").unwrap());
        match answer(&study, SHALLOW, &Workers { threads: 2, progress: &progress, stop: &stop, kept }) {
            Ok((answers, _)) => {
                assert_eq!(serde_json::to_string(&answers).unwrap(), whole);
                break;
            }
            Err(error) => assert!(matches!(error, Interrupted::Stopped)),
        }
        stops += 1;
        assert!(stops < 100, "it goes on from where it stopped");
    }
    assert!(stops > 3, "it was stopped {stops} times");
    std::fs::remove_file(path).unwrap();
}

/// One design of the example, twice.
fn placebo() -> Study {
    let mut study = openai(400);
    study.stresses.clear();
    study.maps.clear();
    study.outcomes.clear();
    let design = study.designs.iter().find(|design| design.instruments.len() > 1).unwrap().clone();
    study.designs = vec![design.clone(), design];
    study.designs[1].name = "the same by another name".into();
    study
}

#[test]
fn a_placebo_makes_no_difference() {
    let none = Depth { stress: 2, sweep: 2, map: 2, sobol: 2 };
    let mut study = placebo();
    let mut beyond = 0;
    for seed in 0..100 {
        study.question.seed = seed;
        let (answers, table) = run(&study, none, 2);
        // In the same futures: none at all.
        assert!(answers.pairs.iter().all(|pair| pair.count == 0 || (pair.mean == 0.0 && pair.equal == 1.0)));
        // In futures of its own, as if by another seed: beyond the 95% interval about one time in twenty.
        let mission: Vec<f64> = table.metric(0, Metric::Mission).collect();
        let (here, there) = mission.split_at(200);
        let ((a, error_a), (b, error_b)) = (mean_and_error(here), mean_and_error(there));
        beyond += usize::from((a - b).abs() > Z95 * error_a.hypot(error_b));
    }
    // Of 100 at 5%, more than 12 happen once in 700.
    assert!(beyond <= 12, "{beyond} of 100");
}
