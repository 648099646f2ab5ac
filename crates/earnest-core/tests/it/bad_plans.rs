//! Plans that are wrong in one way each, and what is said about them. A file of `tests/bad-plans` that has `#-`
//! lines is `base.toml` with those lines replaced by the ones that follow them, up to `# and`; any other file
//! stands by itself.

use std::fs;
use std::path::{Path, PathBuf};

use earnest_core::plan::Plan;

use crate::tests_folder;

#[test]
fn every_bad_plan_is_refused_in_the_words_of_its_snapshot() {
    let base = fs::read_to_string(tests_folder().join("base.toml")).unwrap();
    let files = bad_plans();
    assert!(files.len() >= 45, "{} bad plans", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let written = fs::read_to_string(&file).unwrap();
        let plan = edited(&base, &written, name);
        let faults = Plan::read("plan.toml", &plan).err().unwrap_or_else(|| panic!("{name} was accepted"));
        let title = written.lines().next().unwrap_or_default().trim_start_matches("# ");
        insta::with_settings!({ description => title, omit_expression => true }, {
            insta::assert_snapshot!(name, faults.to_string());
        });
    }
}

#[test]
fn every_fault_of_a_plan_is_told_at_once_in_the_order_of_the_file() {
    let base = fs::read_to_string(tests_folder().join("base.toml")).unwrap();
    let mut plan = base;
    for (old, new) in [
        ("hard_cap = \"10_000_000 cash\"", "hard_cap = 10_000_000"),
        ("notice = \"7 days\"", "notice = \"1 hour\""),
        ("supply = \"1_000_000 credits\"", "suply = \"1_000_000 credits\""),
        ("schedules = [\"linear\", \"steps\"]", "schedules = [\"linear\", \"stairs\"]"),
        ("majority = \"66.67%\"", "majority = \"166.67%\""),
        ("exit = \"14 days\"\n", ""),
    ] {
        assert!(plan.contains(old), "{old}");
        plan = plan.replacen(old, new, 1);
    }
    let faults = Plan::read("plan.toml", &plan).unwrap_err();
    let paths: Vec<&str> = faults.iter().map(|fault| fault.place.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "offering.hard_cap",
            "service.notice",
            "rounds[1].schedules[1]",
            "rounds[1].suply",
            "votes.exit",
            "votes.majority"
        ]
    );
}

fn bad_plans() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(tests_folder().join("bad-plans")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file: &PathBuf| file.extension() == Some(Path::new("x.toml").extension().unwrap()));
    files.sort();
    files
}

/// The base with the edits of a file.
fn edited(base: &str, written: &str, name: &str) -> String {
    if !written.lines().any(|line| line.starts_with("#-")) {
        return written.to_owned();
    }
    let mut plan = base.to_owned();
    // The first line says what is wrong.
    let lines: Vec<&str> = written.lines().skip(1).collect();
    for edit in lines.split(|line| *line == "# and") {
        let (old, new): (Vec<&str>, Vec<&str>) = edit.iter().partition(|line| line.starts_with("#-"));
        let old: String =
            old.iter().map(|line| format!("{}\n", line.trim_start_matches("#-").trim_start())).collect();
        let new: String = new.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(plan.matches(&old).count(), 1, "{name}: these lines must stand once in the base:\n{old}");
        plan = plan.replace(&old, &new);
    }
    plan
}
