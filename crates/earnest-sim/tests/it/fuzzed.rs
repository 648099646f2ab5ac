//! What is asked of whatever bytes are given as a study; `fuzz/` asks it of more of them.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use earnest_core::plan::Plan;
use earnest_sim::answers::futures;
use earnest_sim::run::Workers;
use earnest_sim::study::Study;

/// A study is refused with words, or a few of its futures are lived through. Returns whether it was read.
pub fn study(bytes: &[u8]) -> bool {
    let mut examples =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("examples"));
    let examples =
        examples.find(|folder| folder.join("studies").is_dir()).expect("this repository has examples");
    let plans = |path: &Path| {
        let path = examples.join("studies").join(path).canonicalize().map_err(|error| error.to_string())?;
        if !path.starts_with(examples.canonicalize().expect("it is there")) || !path.is_file() {
            return Err("not an example".to_owned());
        }
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Plan::read("plan.toml", &text).map(|(plan, _)| plan).map_err(|faults| faults.to_string())
    };
    match Study::read("study.toml", &String::from_utf8_lossy(bytes), &plans) {
        Ok(mut study) => {
            study.question.paths = 6;
            let stop = AtomicBool::new(false);
            let workers = Workers { threads: 1, progress: &|_, _, _| {}, stop: &stop, kept: None };
            assert_eq!(futures(&study, &workers).map(|table| table.paths()).unwrap_or_default(), 6);
            true
        }
        Err(faults) => {
            assert!(!faults.to_string().is_empty());
            false
        }
    }
}
