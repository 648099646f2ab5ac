//! The command line as a user has it: README's tour, the demo on every example, a real node, and mistakes.

mod anvil;
mod any_chain;
mod audit;
mod clients;
mod crashes;
mod demo;
mod mistakes;
mod openai;
mod portal;
mod provider;
mod simulate;
mod tour;
mod up;
mod upstreams;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A fresh folder with the example plans in it.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    for examples in ["examples/plans", "examples/studies"] {
        std::fs::create_dir_all(folder.join(examples)).expect("a folder for the test");
        for example in std::fs::read_dir(root().join(examples)).expect("the examples") {
            let example = example.expect("an example").path();
            std::fs::copy(&example, folder.join(examples).join(example.file_name().expect("a name")))
                .expect("a copy");
        }
    }
    folder
}

/// Runs `earnest` in a folder.
fn earnest(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_earnest"));
    command.args(args).current_dir(folder);
    for name in ["EARNEST_KEY", "EARNEST_KEY_FILE", "EARNEST_STATE", "EARNEST_RPC"] {
        command.env_remove(name);
    }
    command.output().expect("earnest starts")
}

/// What a successful run printed on stdout.
fn said(folder: &Path, args: &[&str]) -> String {
    let output = earnest(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a failed run printed on stderr.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = earnest(folder, args);
    assert!(!output.status.success(), "{args:?} went through");
    String::from_utf8(output.stderr).expect("UTF-8")
}
