//! Months of a design that the simulator lives through in a second: on a real study, and on the simplest there is, beside
//! radCAD and cadCAD. The simple one is the same model in all three, which is checked first; then they take turns, so that
//! a busy machine is busy for all.
//!
//! ```text
//! simulate_bench PYTHON [--json]
//! ```
//!
//! A step is a month of one design in one future, whoever makes it: designs × paths × months. Each peer uses all
//! processors in the fastest way that was found (see e2e/peers/simulate/treasury.py) and keeps every state; Earnest keeps
//! its row of numbers and 25 points of each course.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use earnest_core::plan::Plan;
use earnest_sim::answers::{Table, futures};
use earnest_sim::factor::Factor;
use earnest_sim::outcome::{COURSE, Metric, whole};
use earnest_sim::prior::Prior;
use earnest_sim::run::Workers;
use earnest_sim::statistics::mean_and_error;
use earnest_sim::study::{Design, Kind, Study};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
/// Paths of a peer's run: some seconds.
const PEER_PATHS: u32 = 2_000;
const PEERS: [&str; 2] = ["radcad", "cadcad"];
/// Least design-months a second of the real study, on two processors.
const STEPS_PER_SEC: f64 = 5e6;
/// Least of the simple study for each of a peer's.
const TIMES_A_PEER: f64 = 100.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let python = arguments.first().expect("a Python with radCAD and cadCAD");
    let real = study("examples/studies/openai-2018.toml");
    let simple = study("e2e/peers/simulate/treasury.toml");
    agree(python, &simple);

    let mut rates = [const { Vec::new() }; 4];
    for round in 1..=ROUNDS {
        rates[0].push(ours(&real).1);
        rates[1].push(ours(&simple).1);
        for (peer, rates) in PEERS.iter().zip(&mut rates[2..]) {
            let run = theirs(python, peer, &simple, PEER_PATHS);
            rates.push(steps(&simple, PEER_PATHS) / run["seconds"].as_f64().expect("seconds"));
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    let [real, simple, radcad, cadcad] = rates.map(|mut rates| {
        rates.sort_unstable_by(f64::total_cmp);
        rates[ROUNDS / 2].round()
    });
    let names = ["earnest, real model", "earnest, simple model", "radcad", "cadcad"];
    let found = names.into_iter().zip([real, simple, radcad, cadcad]);
    if arguments.iter().any(|argument| argument == "--json") {
        let found = found.map(|(name, rate)| json!({ "name": name, "steps_per_sec": rate }));
        println!("{:#}", found.collect::<Value>());
    } else {
        for (name, rate) in found {
            println!("{name:24} {rate:>12} design-months a second, median of {ROUNDS}");
        }
    }
    let times = simple / radcad.max(cadcad);
    if real < STEPS_PER_SEC || times < TIMES_A_PEER {
        eprintln!(
            "the bars are {STEPS_PER_SEC} on the real model and {TIMES_A_PEER} times a peer: {times:.0}"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn study(path: &str) -> Study {
    let path = root().join(path);
    let plans = |plan: &Path| {
        let text = std::fs::read_to_string(path.with_file_name(plan)).map_err(|error| error.to_string())?;
        Plan::read(&plan.display().to_string(), &text)
            .map(|(plan, _)| plan)
            .map_err(|faults| faults.to_string())
    };
    let text = std::fs::read_to_string(&path).expect("a study");
    Study::read(&path.display().to_string(), &text, &plans).unwrap_or_else(|faults| panic!("{faults}"))
}

fn steps(study: &Study, paths: u32) -> f64 {
    let designs = u32::try_from(study.designs.len()).expect("few");
    f64::from(designs) * f64::from(paths) * f64::from(study.question.months)
}

/// Every future under every design: the table, and steps a second.
fn ours(study: &Study) -> (Table, f64) {
    let threads = std::thread::available_parallelism().expect("a number of processors").get();
    let workers = Workers { threads, progress: &|_, _, _| {}, stop: &AtomicBool::new(false), kept: None };
    let begin = Instant::now();
    let table = futures(study, &workers).expect("nobody stops it");
    (table, steps(study, study.question.paths) / begin.elapsed().as_secs_f64())
}

/// The same by a peer: how long it took, and the course of each design.
fn theirs(python: &str, peer: &str, study: &Study, paths: u32) -> Value {
    let always = |factor: Factor| study.prior(factor).mid;
    let grant = |design: &Design| match &design.instruments[0].kind {
        Kind::Grant(grant) => whole(grant.amount.at(0)),
        other => panic!("{other:?} is no grant"),
    };
    let terms = json!({
        "paths": paths,
        "months": study.question.months,
        "cash": whole(study.lab.cash.units()),
        "hour": whole(study.mission.hour.units()),
        "people": whole(study.mission.people.at(0)),
        "hours": study.mission.hours.at(0),
        // Of the price's logarithm, by the month, as world.rs has them.
        "drift": libm::log(1.0 + always(Factor::ComputePrice)) / 12.0,
        "spread": always(Factor::ComputeVolatility) / libm::sqrt(12.0),
        "grants": study.designs.iter().map(grant).collect::<Vec<f64>>(),
    });
    let mut command = Command::new(python);
    command.arg(root().join("e2e/peers/simulate/treasury.py")).arg(peer);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = streams.spawn().expect("the script starts");
    child.stdin.take().expect("a pipe").write_all(terms.to_string().as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "{peer} failed");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Where the price follows its drift alone, cash is the same to a cent at every point of the course, and so are hours at
/// the end; where it does not, their means differ by no more than chance.
fn agree(python: &str, study: &Study) {
    let mut sure = study.clone();
    sure.priors[Factor::ComputeVolatility.index()] = Some(Prior::fixed(0.0));
    sure.question.paths = 2;
    let months = study.question.months as usize;
    for (study, is_sure) in [(&sure, true), (study, false)] {
        let (table, _) = ours(study);
        for peer in PEERS {
            let run = theirs(python, peer, study, if is_sure { 2 } else { PEER_PATHS });
            for design in 0..study.designs.len() {
                let same = |what: &str, ours: Vec<f64>, month: usize, cent: f64| {
                    let (mean, error) = mean_and_error(&ours);
                    let theirs = &run["designs"][design][what][month];
                    let (other, others) =
                        (theirs[0].as_f64().expect("mean"), theirs[1].as_f64().expect("error"));
                    let within = if is_sure { cent } else { 5.0 * libm::hypot(error, others) + cent };
                    let name = &study.designs[design].name;
                    assert!(
                        (mean - other).abs() <= within,
                        "{name}: {what} in month {month} are {mean}, and {peer} has {other}"
                    );
                };
                for point in 0..COURSE {
                    // The last month that falls into the point.
                    let month = ((point + 1) * (months - 1)).div_ceil(COURSE - 1).min(months) - 1;
                    same("cash", table.course(design, point).collect(), month, 0.01);
                }
                same("hours", table.metric(design, Metric::Hours).collect(), months - 1, 0.01);
            }
        }
    }
}
