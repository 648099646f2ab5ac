//! The portal in a browser, on `earnest up`: the scripts in `e2e/portal`, each on an offering of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::{folder, root};

/// `earnest up` on a plan, stopped with the test.
struct Up {
    child: Child,
    url: String,
}

impl Up {
    fn start(name: &str, plan: &Path, arguments: &[&str]) -> Self {
        let state = folder(&format!("portal-{name}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
            .args(["up", "--port", "0", "--state", "state", "--claim-every", "2 seconds"])
            .args(["--claim-least-cash", "0 cash", "--claim-least-credits", "0 credits"])
            .args(arguments)
            .arg(plan)
            .env_remove("EARNEST_GATEWAY")
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
    let up = Up::start(script, &root().join("e2e/portal/plans").join(format!("{plan}.toml")), &[]);
    let output = Command::new("node")
        .arg(root().join("e2e/portal").join(format!("{script}.mjs")))
        .env("EARNEST_PORTAL_URL", &up.url)
        .env("EARNEST_RPC", &up.url)
        .env("EARNEST_BIN", env!("CARGO_BIN_EXE_earnest"))
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

#[test]
fn keys_are_made_used_and_ended_and_prices_and_providers_are_told() {
    run("spend", "spend");
}

#[test]
fn a_key_is_made_by_keyboard_alone() {
    run("spend-keyboard", "spend");
}

/// A page, and what it may call.
async fn page(up: &Up, path: &str) -> (String, String) {
    let answer = reqwest::get(format!("{}{path}", up.url)).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    (answer.text().await.expect("a page"), policy)
}

#[tokio::test]
async fn a_portal_says_which_gateway_it_knows_or_that_it_knows_none() {
    let quickstart = root().join("examples/plans/quickstart.toml");
    let elsewhere = Up::start("elsewhere", &quickstart, &["--gateway", "https://api.example.com/v1"]);
    for path in ["/keys", "/providers"] {
        let (text, policy) = page(&elsewhere, path).await;
        assert!(text.contains("data-gateway=\"https://api.example.com\""), "{text}");
        assert!(policy.contains("connect-src 'self' https://api.example.com;"), "{policy}");
    }
    let (_, policy) = page(&elsewhere, "/prices").await;
    assert!(policy.contains("connect-src 'self';"), "{policy}");

    let text = std::fs::read_to_string(&quickstart).expect("the example");
    let (bare, _) = text.split_once("[price_list]").expect("a price list at its end");
    let plan = folder("portal-bare-plan").join("bare.toml");
    std::fs::write(&plan, bare).expect("a plan");
    let up = Up::start("bare", &plan, &[]);
    for (path, words) in [
        ("/keys", "knows of no gateway"),
        ("/providers", "knows of no gateway"),
        ("/prices", "The plan has no price list"),
    ] {
        let (text, policy) = page(&up, path).await;
        assert!(text.contains(words), "{text}");
        assert!(policy.contains("connect-src 'self';"), "{policy}");
    }
}

#[tokio::test]
async fn a_folder_of_reports_is_shown_and_nothing_beside_it() {
    let reports = folder("portal-reports-folder");
    for (name, text) in [("lab.html", "<p>finished</p>"), ("note.txt", "x"), ("a b.html", "x")] {
        std::fs::write(reports.join(name), text).expect("a file");
    }
    let quickstart = root().join("examples/plans/quickstart.toml");
    let up = Up::start("reports", &quickstart, &["--reports", reports.to_str().expect("text")]);
    let (list, _) = page(&up, "/reports").await;
    assert!(list.contains("href=\"/report/lab\""), "{list}");
    assert_eq!(list.matches("href=\"/report/").count(), 1, "{list}");
    let (report, policy) = page(&up, "/report/lab").await;
    assert_eq!(report, "<p>finished</p>");
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
    for path in ["/report/none", "/report/note", "/report/a%20b", "/report/..%2Freports%2Flab"] {
        let answer = reqwest::get(format!("{}{path}", up.url)).await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
}
