//! Answers a study and prints JSON, or writes the page and the tables: for trying out the simulator without the rest.
//! `answer STUDY [THREADS] [--html FILE] [--csv FILE] [--parquet FILE]`
use earnest_sim::answers::{Depth, answer};
use earnest_sim::report;
use earnest_sim::run::Workers;
use earnest_sim::study::Study;
use std::sync::atomic::AtomicBool;
fn main() {
    let path = std::path::PathBuf::from(std::env::args().nth(1).expect("a study"));
    let threads = std::env::args().nth(2).map_or(2, |n| n.parse().unwrap_or(2));
    let source = std::fs::read_to_string(&path).expect("a file");
    let folder = path.parent().unwrap().to_owned();
    let plans = |plan: &std::path::Path| {
        let text = std::fs::read_to_string(folder.join(plan)).map_err(|e| e.to_string())?;
        earnest_core::plan::Plan::read(&plan.display().to_string(), &text)
            .map(|(plan, _)| plan)
            .map_err(|e| e.to_string())
    };
    let study = match Study::read(&path.display().to_string(), &source, &plans) {
        Ok(study) => study,
        Err(faults) => {
            eprintln!("{faults}");
            std::process::exit(1)
        }
    };
    let stop = AtomicBool::new(false);
    let last = std::sync::Mutex::new((String::new(), std::time::Instant::now()));
    let progress = |name: &str, done: u32, all: u32| {
        let mut last = last.lock().unwrap();
        if last.0 != name {
            *last = (name.to_owned(), std::time::Instant::now());
        }
        if done == all {
            eprintln!("{name}: {all} chunks in {:?}", last.1.elapsed());
        }
    };
    let workers = Workers { threads, progress: &progress, stop: &stop, kept: None };
    let (answers, table) = answer(&study, Depth::default(), &workers).unwrap();
    let file = |option: &str| {
        let at = std::env::args().position(|given| given == option)?;
        Some(std::env::args().nth(at + 1).expect("a file"))
    };
    let create = |path: String| std::fs::File::create(path).expect("a file to write");
    let (html, csv, parquet) = (file("--html"), file("--csv"), file("--parquet"));
    if [&html, &csv, &parquet].iter().all(|file| file.is_none()) {
        println!("{}", serde_json::to_string_pretty(&answers).unwrap());
    }
    if let Some(path) = html {
        std::fs::write(path, report::html(&answers)).expect("a file to write");
    }
    if let Some(path) = csv {
        report::write_csv(&answers, &table, create(path)).expect("a table");
    }
    if let Some(path) = parquet {
        report::write_parquet(&answers, &table, create(path)).expect("a table");
    }
}
