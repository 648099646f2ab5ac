//! `earnest simulate` as a user runs it.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{folder, root};

fn simulate(at: &std::path::Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_earnest"));
    command.current_dir(at).arg("simulate").arg(root().join("examples/studies/openai-2018.toml")).args(more);
    command
}

fn entries(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn a_study_is_answered_on_every_way_out() {
    let at = folder("simulate");
    let before = entries(&at);
    let ways = ["--json", "--paths", "100", "--html", "r.html", "--csv", "r.csv", "--parquet", "r.parquet"];
    let output = simulate(&at, &ways).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let answers: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let designs = answers["designs"].as_array().expect("designs").len();
    assert!(designs >= 5 && answers["paths"] == 100);
    let page = std::fs::read_to_string(at.join("r.html")).expect("the report");
    assert!(page.contains("capped profit") && !page.contains("NaN"));
    let rows = std::fs::read_to_string(at.join("r.csv")).expect("the rows").lines().count();
    assert_eq!(rows, 1 + 100 * designs);
    assert!(std::fs::read(at.join("r.parquet")).expect("the rows").starts_with(b"PAR1"));
    assert_eq!(entries(&at), before + 3, "nothing else is left there");
}

#[test]
fn a_run_that_is_interrupted_goes_on_and_comes_to_the_same() {
    let at = folder("simulate-stopped");
    let whole = simulate(&at, &["--json", "--paths", "2000"]).output().expect("it runs").stdout;
    let run = ["--json", "--paths", "2000", "--keep", "work"];
    let mut stopped = 0;
    loop {
        let child =
            simulate(&at, &run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(700));
        // It may be over before the signal comes.
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).output();
        let output = child.wait_with_output().expect("it ends");
        if output.status.success() {
            assert_eq!(output.stdout, whole);
            break;
        }
        // Where the machine is so busy that it did not listen yet, the signal ended it, and what it kept is good.
        if output.status.code().is_some() {
            assert!(String::from_utf8_lossy(&output.stderr).contains("the same command goes on from there"));
        }
        stopped += 1;
        assert!(stopped < 200, "it never ends");
    }
    assert!(stopped > 0, "it was never stopped");
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_reckoned() {
    let at = folder("simulate-nowhere");
    let output = simulate(&at, &["--html", "no/such/folder/r.html"]).output().expect("it runs");
    assert!(!output.status.success() && output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("cannot write no/such/folder/r.html"), "{errors}");
    std::fs::create_dir(at.join("folder")).expect("a folder");
    let before = entries(&at);
    let refused = |more: &[&str], with: &str| {
        let output = simulate(&at, more).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && errors.contains(with), "{errors}");
        assert_eq!(entries(&at), before, "nothing is left behind");
    };
    refused(&["--html", "folder"], "it is a folder");
    refused(&["--html", "r", "--csv", "./r"], "r and ./r are one file");
    refused(&["--csv", "folder/../r", "--keep", "r"], "are one file");
    let study = root().join("examples/studies/openai-2018.toml");
    refused(&["--html", &study.display().to_string()], "are one file");
    let output = simulate(&at, &["--paths", "1"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--paths is between 2 and"));
}

#[test]
fn who_stops_reading_has_read_enough_and_a_full_disk_is_an_error() {
    let at = folder("simulate-closed");
    let mut child =
        simulate(&at, &["--json", "--paths", "20"]).stdout(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let output = simulate(&at, &["--json", "--paths", "20"]).stdout(full).stderr(Stdio::piped()).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to stdout"));
}

#[test]
fn two_runs_do_not_keep_their_work_in_one_file() {
    let at = folder("simulate-kept");
    let keep = ["--json", "--keep", "work", "--paths", "20000"];
    let mut first =
        simulate(&at, &keep).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    while !at.join("work").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    let second = simulate(&at, &keep).output().expect("it runs");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another run keeps its work in it"));
    first.kill().expect("it was running");
    first.wait().expect("it ends");
}
