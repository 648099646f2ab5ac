//! `earnest provider`: it dials in from the command line, answers, stops when told to, and knows what it served.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_serve::provider::counted::Counted;
use earnest_serve::provider::doors::{Admission, Doors, accept};
use earnest_serve::provider::hello::Realm;
use earnest_serve::provider::name::Names;
use earnest_serve::provider::roster::Roster;
use earnest_serve::provider::usage::Usage;
use serde_json::{Value, json};

use crate::{folder, refused, said};

/// A door without a gateway behind it.
async fn door(chain_id: u64) -> (String, Arc<Roster>) {
    let roster = Arc::new(Roster::default());
    let realm = Realm { chain_id, revenue: Address::repeat_byte(9) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let names = Names::default();
    names.listens_at(listener.local_addr().expect("it"));
    let app = accept(Doors::new(realm, names.into(), Admission::Anyone, 8_000, roster.clone()));
    let url = format!("http://{}", listener.local_addr().expect("it"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, roster)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_nothing_that_is_sold_does_not_start() {
    let names = Names::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    names.listens_at(listener.local_addr().expect("it"));
    let realm = Realm { chain_id: DEV_CHAIN_ID, revenue: Address::repeat_byte(9) };
    let doors = Doors::new(realm, names.into(), Admission::Anyone, 8_000, Arc::default());
    let terms = || async { axum::Json(json!({"price_list": {"models": [{"model": "sold"}]}})) };
    let app = accept(doors).route("/earnest/terms", axum::routing::get(terms));
    let url = format!("http://{}", listener.local_addr().expect("it"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = folder("provider-unsold");
    let told = tokio::task::spawn_blocking(move || {
        refused(&folder, &["provider", "--gateway", &url, "--as", "alice", "--model", "nope=x"])
    });
    let told = told.await.expect("no panic");
    assert!(told.contains("nothing to offer: the gateway sells sold, and not nope\n  hint: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_answers_stops_and_knows_what_it_served() {
    let (url, roster) = door(DEV_CHAIN_ID).await;
    let folder = folder("provider");
    let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
        .args(["provider", "--gateway", &url, "--as", "alice", "--model", "small", "--ask", "79.5%"])
        .current_dir(&folder)
        .env_remove("EARNEST_KEY_FILE")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("provider.err")).expect("a file"))
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let line = lines.next().expect("a line").expect("text");
    let linked = async {
        while roster.links().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        roster.links().remove(0)
    };
    let link = tokio::time::timeout(Duration::from_secs(20), linked).await.expect("it dials in");
    assert_eq!(line, format!("provider {}", link.provider));
    assert_eq!((link.offer.models.as_slice(), link.offer.ask), (&["small".to_string()][..], 7_950));
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    for id in ["one", "two"] {
        let request = Request::post("/v1/chat/completions").header("x-request-id", id);
        let answer =
            link.send(request.body(body.clone().into()).expect("a request")).await.expect("an answer");
        let answer = to_bytes(Body::new(answer.into_body()), 1 << 20).await.expect("a body");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["choices"][0]["message"]["content"], "echo: hi");
    }
    link.tell(Counted {
        request: "two".into(),
        model: "small".into(),
        stated: Some(Usage { prompt: 1, cached: 0, completion: 3 }),
        counted: Usage { prompt: 1, cached: 0, completion: 1 },
        why: "cut off by the client".into(),
    });
    let log = folder.join(".earnest-provider/served.jsonl");
    let heard = async {
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("{\"counted\":")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), heard).await.expect("it hears of it");
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(stopped.success());
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("it ends");
    let errors = std::fs::read_to_string(folder.join("provider.err")).expect("a file");
    assert!(ended.success() && errors.contains("no model") && errors.ends_with("stopped\n"), "{errors}");

    let earnings: Value =
        serde_json::from_str(&said(&folder, &["provider", "earnings", "--json"])).expect("JSON");
    assert_eq!((&earnings["requests"], &earnings["answered"]), (&json!(2), &json!(2)));
    // hi | echo : hi
    assert_eq!((&earnings["prompt"], &earnings["completion"]), (&json!(2), &json!(6)));
    assert_eq!(
        (&earnings["days"][0]["model"], earnings["days"].as_array().map(Vec::len)),
        (&json!("small"), Some(1))
    );
    let table = said(&folder, &["provider", "earnings"]);
    assert!(table.lines().count() == 4 && table.contains("small"), "{table}");
    assert!(
        table.ends_with("the gateway counted less for 1 requests: cut off by the client (1)\n"),
        "{table}"
    );
    assert_eq!(
        (&earnings["less"], &earnings["days"][0]["less"], &earnings["reasons"]),
        (&json!(2), &json!(2), &json!({"cut off by the client": 1}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_paid_is_told_so_at_once() {
    let folder = folder("provider-mistakes");
    let (url, _roster) = door(DEV_CHAIN_ID).await;
    let (other, _roster) = door(1).await;
    let nobody = ["--gateway", "http://127.0.0.1:9"];
    let cases: [(&[&str], &str); 7] = [
        (&[], "--gateway https://gateway.example"),
        (&nobody, "no connection to the gateway"),
        (&["run", "--gateway", &url], "--key-file FILE"),
        (&["--gateway", &other, "--as", "alice"], "chain 1 is not a development chain"),
        (
            &["--gateway", &url, "--as", "alice", "--ask", "81%"],
            "it asks 81% of the charge, and 80% is most here",
        ),
        (&["--gateway", &url, "--as", "alice", "--model", "a b"], "\"a b\" is no name of a model"),
        (
            &["--gateway", &url, "--as", "alice", "--upstream", "http://127.0.0.1:9/v1"],
            "does not list its models",
        ),
    ];
    for (args, expected) in cases {
        let args = [&["provider"], args].concat();
        let inside = folder.clone();
        let words = args.iter().map(ToString::to_string).collect::<Vec<_>>();
        let told = tokio::task::spawn_blocking(move || {
            refused(&inside, &words.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let told = told.await.expect("it is refused");
        assert!(told.contains(expected), "{args:?}: {told}");
    }
    assert!(refused(&folder, &["provider", "earnings", "--log", "elsewhere"]).contains("hint: --log"));
}

/// A process that serves, with the first line that it says; killed with the test.
struct Serving(std::process::Child, String);

impl Serving {
    fn start(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let errors = std::fs::File::create(folder.join(format!("{}.err", arguments[0]))).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("EARNEST_KEY_FILE")
            .env_remove("EARNEST_STATE")
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        Serving(child, line.trim().to_owned())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two shells and no `earnest up`: the gateway has the development chain's file, and other commands work beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_and_a_provider_serve_a_key_that_was_made_beside_them() {
    let folder = folder("beside");
    said(&folder, &["deploy", "examples/plans/quickstart.toml"]);
    let gateway = Serving::start(&folder, &["gateway", "--as", "gateway", "--port", "0", "--open-door"]);
    let url = gateway.1.strip_prefix("gateway ").expect("its URL").to_owned();
    said(&folder, &["faucet", "alice", "2 cash"]);
    let key = said(&folder, &["key", "create", "--as", "alice", "--deposit", "1 cash"]);
    let _provider = Serving::start(&folder, &["provider", "--gateway", &url, "--as", "bob", "--ask", "0%"]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = json!({"model": "example-small", "messages": [{"role": "user", "content": "hi"}]});
    let asked = || client.post(format!("{url}/chat/completions")).bearer_auth(key.trim()).json(&body).send();
    let answered = async {
        loop {
            let answer = asked().await.expect("an answer");
            if answer.status() == 200 {
                return answer.json::<Value>().await.expect("JSON");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), answered).await.expect("an answer");
    assert_eq!(answer["choices"][0]["message"]["content"], "echo: hi");
    let file = folder.join(".earnest/up.url");
    assert!(file.exists());
    let mut gateway = gateway;
    let _ = Command::new("kill").arg(gateway.0.id().to_string()).status();
    assert!(gateway.0.wait().expect("it ends").success());
    assert!(!file.exists(), "nobody has the chain any more");
    said(&folder, &["status"]);
}
