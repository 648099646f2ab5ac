//! The portal in a browser, on `earnest up`: the scripts in `e2e/portal`, each on an offering of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::{folder, root};

/// `earnest up` on a plan, stopped with the test.
struct Up {
    child: Child,
    url: String,
}

impl Up {
    fn start(name: &str, plan: &str) -> Self {
        let state = folder(&format!("portal-{name}"));
        let plan = root().join("e2e/portal/plans").join(format!("{plan}.toml"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
            .args(["up", "--port", "0", "--state", "state"])
            .arg(plan)
            .current_dir(state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("earnest up starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.by_ref().find_map(|line| line.ok()?.strip_prefix("portal ").map(str::to_owned));
        let url = line.expect("it says where the portal is").trim_end_matches('/').to_owned();
        // Someone has to read on, or it stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Up { child, url }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(script: &str, plan: &str) {
    let wanted = std::env::var_os("EARNEST_E2E").is_some() && std::env::var_os("EARNEST_CHROMIUM").is_some();
    if !wanted {
        println!("skipped: EARNEST_E2E and EARNEST_CHROMIUM are not set; e2e/node_modules must be installed");
        return;
    }
    // One browser at a time: two processors are soon busy.
    static BROWSER: Mutex<()> = Mutex::new(());
    let _turn = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let up = Up::start(script, plan);
    let output = Command::new("node")
        .arg(root().join("e2e/portal").join(format!("{script}.mjs")))
        .env("EARNEST_PORTAL_URL", &up.url)
        .env("EARNEST_RPC", &up.url)
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
}

#[test]
fn a_backer_an_issuer_and_a_certifier_go_all_the_way() {
    run("walk", "walk");
}

#[test]
fn a_bid_is_made_by_keyboard_alone() {
    run("keyboard", "walk");
}

#[test]
fn whatever_goes_wrong_ends_in_words() {
    run("trouble", "hostile");
}
