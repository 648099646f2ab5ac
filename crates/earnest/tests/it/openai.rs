//! OpenAI's clients as they come, on llama.cpp's server with a tiny model of noise, and on an upstream that fails as it
//! is asked to.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::{folder, root};

/// A process that prints `upstream URL MODEL` when it answers; killed with the test.
pub(crate) struct Upstream {
    child: Child,
    pub(crate) url: String,
}

impl Upstream {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the upstream starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        lines.read_line(&mut line).expect("a line");
        let url = line.split_whitespace().nth(1).expect("a URL").to_string();
        Upstream { child, url }
    }

    /// llama.cpp on noise; `noise.lines` in the folder gets what it counted of each generation.
    pub(crate) fn noise(python: &str, folder: &Path) -> Self {
        let script = root().join("e2e/models/serve.py");
        Self::start(
            Command::new(python)
                .arg(script)
                .arg("--lines")
                .arg(folder.join("noise.lines"))
                .arg("--log")
                .arg(folder.join("noise.log")),
        )
    }

    /// One of the servers that e2e/upstreams/real.py knows; `noise.lines` in the folder gets what it counted itself.
    pub(crate) fn real(server: &str, python: &str, folder: &Path) -> Self {
        let script = root().join("e2e/upstreams/real.py");
        Self::start(
            Command::new(python)
                .arg(script)
                .args([server, "0", "--name", "noise", "--lines"])
                .arg(folder.join("noise.lines"))
                .arg("--log")
                .arg(folder.join("noise.log"))
                .arg("--work")
                .arg(folder.join("work")),
        )
    }

    /// What fails as it is asked to; its log is at `/log`.
    pub(crate) fn trouble() -> Self {
        Self::start(Command::new("node").arg(root().join("e2e/openai/trouble.mjs")))
    }

    pub(crate) fn log(&self) -> String {
        self.url.replace("/v1", "/log")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Told to, not killed: it may have a server of its own to stop.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The interpreter with OpenAI's clients, where there is one; the suites in Node need the packages of e2e as well.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("EARNEST_PYTHON").ok().filter(|_| std::env::var("EARNEST_E2E").is_ok());
    if python.is_none() {
        println!(
            "skipped: EARNEST_PYTHON and EARNEST_E2E do not name OpenAI's clients; cargo xtask test does"
        );
    }
    python
}

/// Runs every suite `against` an upstream or a gateway, with the environment that e2e/openai/common.mjs tells of. One
/// after the other: what is computed in one batch with others' requests is not repeated to the bit.
pub(crate) fn suites(python: &str, against: &str, environment: &[(&str, &str)]) {
    let mut all =
        vec![("node", "node.mjs"), ("node", "ai-sdk.mjs"), (python, "python.py"), (python, "wrappers.py")];
    // What the upstream is asked shows that the suite is right, and one version does for that.
    let others = std::env::var("EARNEST_OPENAI_PYTHONS").unwrap_or_default();
    if against == "gateway" {
        if others.is_empty() {
            println!("skipped: EARNEST_OPENAI_PYTHONS names no other versions; cargo xtask test does");
        }
        all.extend(others.split(':').filter(|other| !other.is_empty()).map(|other| (other, "python.py")));
    }
    for (interpreter, suite) in all {
        let mut command = Command::new(interpreter);
        command.arg(root().join("e2e/openai").join(suite)).args(["--against", against]);
        let output = command.envs(environment.iter().copied()).output().expect("the suite starts");
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{suite}: {errors}{said}");
        println!("{said}");
    }
}

#[test]
fn stock_clients_find_in_the_upstream_what_they_expect() {
    let Some(python) = python() else { return };
    let (noise, trouble) = (Upstream::noise(&python, &folder("openai-upstream")), Upstream::trouble());
    suites(
        &python,
        "upstream",
        &[
            ("EARNEST_BASE_URL", &noise.url),
            ("EARNEST_TROUBLE_URL", &trouble.url),
            ("EARNEST_TROUBLE_LOG", &trouble.log()),
        ],
    );
}

/// `earnest up` with its gateway, killed with the test.
pub(crate) struct Lab {
    child: Mutex<Child>,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) rpc: String,
}

impl Lab {
    /// On a plan that sells all the models of the suites for cash.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, None)
    }

    /// The same, to die at a named point.
    pub(crate) fn start_with(folder: &Path, arguments: &[&str], crash: Option<&str>) -> Self {
        let plan = folder.join("lab.toml");
        let quickstart = std::fs::read_to_string(root().join("examples/plans/quickstart.toml"));
        let mut text = quickstart.expect("the example");
        for model in ["noise", "trouble"] {
            text += &format!(
                "\n[[price_list.models]]\nname = \"{model}\"\ninput = \"0.5 credits per million\"\n\
                 output = \"2 credits per million\"\nembedding = \"0.1 credits per million\"\n"
            );
        }
        let text = text.replace(
            "[[price_list.models]]\nname = \"example-small\"",
            "[[price_list.models]]\nname = \"echo\"",
        );
        std::fs::write(&plan, text).expect("a plan");
        let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
            .args(["up", "lab.toml", "--port", "0", "--claim-every", "2 seconds"])
            .args(["--claim-least-cash", "0 cash", "--claim-least-credits", "0 credits"])
            .args(arguments)
            .current_dir(folder)
            .env_remove("EARNEST_STATE")
            .envs(crash.map(|place| ("EARNEST_CRASH", place)))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("up.err")).expect("a file"))
            .spawn()
            .expect("it starts");
        let mut found = std::collections::HashMap::new();
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        while !found.contains_key("key") {
            let line = lines.next().and_then(Result::ok).unwrap_or_else(|| {
                panic!(
                    "it does not serve: {}",
                    std::fs::read_to_string(folder.join("up.err")).unwrap_or_default()
                )
            });
            if let Some((name, value)) = line.split_once(' ') {
                found.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        let rpc = found["rpc"].split(' ').next().expect("a URL").to_owned();
        Lab { child: Mutex::new(child), url: found["api"].clone(), key: found["key"].clone(), rpc }
    }

    /// Ends it; then the same folder's gateway, with the server as an upstream of its own.
    pub(crate) fn with_its_own_upstream(self, folder: &Path, upstream: &str, model: &str) -> Self {
        let _ = Command::new("kill").arg(self.child.lock().expect("no panic").id().to_string()).status();
        self.wait_for_end();
        let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
            .args(["gateway", "--as", "gateway", "--port", "0", "--upstream", upstream, "--model", model])
            .current_dir(folder)
            .env_remove("EARNEST_STATE")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("gateway.err")).expect("a file"))
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        lines.read_line(&mut line).expect("a line");
        let said = || std::fs::read_to_string(folder.join("gateway.err")).unwrap_or_default();
        let url = line.strip_prefix("gateway ").unwrap_or_else(|| panic!("it does not serve: {}", said()));
        let (key, rpc) = (self.key.clone(), self.rpc.clone());
        Lab { child: Mutex::new(child), url: url.trim().to_owned(), key, rpc }
    }

    /// `kill -9`
    pub(crate) fn kill(&self) {
        let _ = self.child.lock().expect("no panic").kill();
    }

    /// It has died.
    pub(crate) fn ended(&self) -> bool {
        self.child.lock().expect("no panic").try_wait().expect("a child").is_some()
    }

    /// Waits until it has.
    pub(crate) fn wait_for_end(&self) {
        for _ in 0..300 {
            if self.ended() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let child = self.child.get_mut().expect("no panic");
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Another key of the folder's only channel.
fn another_key(folder: &Path, name: &str, limits: &[&str]) -> String {
    let channels: serde_json::Value =
        serde_json::from_str(&crate::said(folder, &["key", "list", "--json"])).expect("JSON");
    let channel = channels[0]["channel"].as_str().expect("an id");
    let arguments = [&["key", "create", "--name", name, "--channel", channel], limits].concat();
    crate::said(folder, &arguments).trim().to_owned()
}

#[test]
fn stock_clients_find_in_the_gateway_what_they_expect() {
    let Some(python) = python() else { return };
    let (noise, trouble) = (Upstream::noise(&python, &folder("openai-noise")), Upstream::trouble());
    let (real, troubled, echo) = (folder("lab-noise"), folder("lab-trouble"), folder("lab-echo"));
    let patience = ["--patience-ms", "8000", "--silence-ms", "4000"];
    let lab = Lab::start(&real, &["--upstream", &noise.url, "--model", "noise"]);
    let arguments = [&["--upstream", &trouble.url, "--model", "trouble"][..], &patience].concat();
    let bad = Lab::start(&troubled, &arguments);
    let built_in = Lab::start(&echo, &[]);
    let limited = another_key(&troubled, "limited", &["--models", "noise"]);
    let empty = another_key(&troubled, "empty", &["--total", "0.000001 cash"]);
    let wire = real.join("wire.lines");
    suites(
        &python,
        "gateway",
        &[
            ("EARNEST_WIRE", wire.to_str().expect("a path")),
            ("EARNEST_BASE_URL", &lab.url),
            ("EARNEST_API_KEY", &lab.key),
            ("EARNEST_TROUBLE_URL", &bad.url),
            ("EARNEST_TROUBLE_KEY", &bad.key),
            ("EARNEST_TROUBLE_LOG", &trouble.log()),
            ("EARNEST_LIMITED_KEY", &limited),
            ("EARNEST_EMPTY_KEY", &empty),
            ("EARNEST_ECHO_URL", &built_in.url),
            ("EARNEST_ECHO_KEY", &built_in.key),
        ],
    );
    as_described(&wire, &lab.url);
}

fn description() -> Value {
    let text = std::fs::read_to_string(root().join("docs/openapi.json")).expect("the description");
    serde_json::from_str(&text).expect("JSON")
}

/// What went over the wire is what docs/openapi.json says: requests that were answered, answers of the honest gateway, and
/// refusals of every one.
fn as_described(wire: &Path, honest: &str) {
    let document = description();
    let check = |schema: &Value, text: &str, line: &str| {
        let mut root = schema.clone();
        root["components"] = document["components"].clone();
        let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Err(error) = jsonschema::validate(&root, &value) {
            panic!("not as described: {error} at {}: {line}", error.instance_path());
        }
    };
    let lines = std::fs::read_to_string(wire).expect("the suites tell");
    let (mut asked, mut answered) = (0, 0);
    for line in lines.lines() {
        let said: Value = serde_json::from_str(line).expect("JSON");
        let url = said["url"].as_str().expect("a URL");
        let Some((_, path)) = url.split_once("/v1") else { continue };
        let status = said["status"].as_u64().expect("a status");
        let method = said["method"].as_str().expect("a method").to_lowercase();
        let operation = &document["paths"][format!("/v1{path}")][method];
        if let (200, Some(body), false) = (status, said["asked"].as_str(), operation.is_null()) {
            check(&operation["requestBody"]["content"]["application/json"]["schema"], body, line);
            asked += 1;
        }
        let Some(body) = said["answered"].as_str() else { continue };
        if status == 200 && url.starts_with(honest) && !operation.is_null() {
            check(&operation["responses"]["200"]["content"]["application/json"]["schema"], body, line);
            answered += 1;
        } else if status >= 400 && !url.ends_with("/log") && !url.starts_with("http://127.0.0.1:9/") {
            check(&json!({"$ref": "#/components/schemas/Error"}), body, line);
            answered += 1;
        }
    }
    println!("{asked} requests and {answered} answers are as described");
    assert!(asked > 50 && answered > 50, "only {asked} requests and {answered} answers were seen");
}

#[test]
fn schemathesis_finds_the_gateway_as_it_is_described() {
    let Some(python) = python() else { return };
    let folder = folder("lab-described");
    let lab = Lab::start(&folder, &[]);
    // Of the models and versions that there might be, those that there are: it would hardly find them by chance.
    let mut document = description();
    for endpoint in ["chat/completions", "completions", "embeddings", "responses"] {
        let operation = &mut document["paths"][format!("/v1/{endpoint}")]["post"];
        let fields = &mut operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
        fields["model"] = json!({"enum": ["echo"]});
    }
    document["components"]["parameters"]["PriceVersion"]["schema"] = json!({"enum": ["1"]});
    std::fs::write(folder.join("openapi.json"), document.to_string()).expect("a file");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                  unsupported_method,allow_header_conformance,ignored_auth";
    let output = Command::new(Path::new(&python).with_file_name("schemathesis"))
        .args(["run", "openapi.json", "--url", lab.url.trim_end_matches("/v1"), "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {}", lab.key)])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "30", "--max-time", "60"])
        .arg("--generation-deterministic")
        .args(["--continue-on-failure", "--request-timeout", "10", "--checks", checks])
        .current_dir(&folder)
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", said.split("= SUMMARY").nth(1).unwrap_or(&said));
}
