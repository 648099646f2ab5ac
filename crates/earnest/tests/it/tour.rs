use std::process::Command;

use crate::{folder, root};

/// The lines of README's fenced blocks of shell under a heading.
fn commands_under(heading: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading");
    let mut script = String::from("set -eu\n");
    let mut inside = false;
    for line in section.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    script
}

#[test]
fn the_tour_in_readme_works_as_written() {
    let script = commands_under("Five-minute tour");
    assert!(script.lines().count() > 15, "the tour is gone from README.md");
    let folder = folder("tour");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_earnest")).parent().expect("a folder");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let output =
        Command::new("sh").args(["-c", &script]).env("PATH", path).current_dir(&folder).output().expect("sh");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let said = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "Mission funded",
        "0.6 USDC a credit",
        "Vesting: half-year",
        "pot early",
        "echo: Are you worth it?",
        "charged 0.0000165 credits",
    ] {
        assert!(said.contains(expected), "no {expected:?} in\n{said}\n{errors}");
    }
    let page = std::fs::read_to_string(folder.join("status.html")).expect("the page");
    assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"));
}
