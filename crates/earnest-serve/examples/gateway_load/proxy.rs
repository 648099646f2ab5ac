//! The proxies that are measured, as this process starts them: Earnest's two, one that only passes bytes on, and its peers.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::client::Client;
use crate::target::{Start, Target};
use crate::upstream::MODEL;

/// A proxy that this process has started; it ends with it.
pub struct Proxy {
    pub target: Target,
    child: Child,
    folder: Option<PathBuf>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let tree = self.target.tree().into_iter().map(|pid| pid.to_string());
        let _ = Command::new("kill").args(tree).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn spawn(command: &mut Command) -> Result<Child> {
    let shown = format!("{command:?}");
    command.spawn().with_context(|| format!("cannot start {shown}"))
}

fn temporary(name: &str) -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("earnest-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// LiteLLM's proxy with the packages of its image, one worker and a master key; no database, no callbacks, no retries,
/// its log thrown away.
pub fn litellm(peers: &Path, upstream: SocketAddr) -> Result<Proxy> {
    let (port, folder) = (free_port()?, temporary("litellm")?);
    let model = json!({"model_name": MODEL, "litellm_params": {
        "model": format!("openai/{MODEL}"), "api_base": format!("http://{upstream}/v1"), "api_key": "sk-upstream",
    }});
    // JSON is YAML.
    let config = json!({
        "model_list": [model],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"num_retries": 0, "telemetry": false},
    });
    let file = folder.join("config.yaml");
    std::fs::write(&file, config.to_string())?;
    let mut command = Command::new(peers.join(".venv/bin/litellm"));
    command.arg("--config").arg(file).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--num_workers", "1", "--telemetry", "False"]).current_dir(&folder);
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
    command.env_remove("PYTHONDONTWRITEBYTECODE"); // or it may compile what it imports again and again
    let child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let target = Target {
        name: "litellm".into(),
        base_url: format!("http://127.0.0.1:{port}/v1"),
        headers: [("authorization".into(), "Bearer sk-bench".into())].into(),
        pid: Some(child.id()),
        start: None,
    };
    Ok(Proxy { target, child, folder: Some(folder) })
}

/// Portkey's gateway, which keeps no keys: the upstream is named in a header of each request.
pub fn portkey(peers: &Path, upstream: SocketAddr) -> Result<Proxy> {
    let port = free_port()?;
    let mut command = Command::new("node");
    command.arg(peers.join("node_modules/@portkey-ai/gateway/build/start-server.js"));
    command.args(["--headless", &format!("--port={port}")]).env("NODE_ENV", "production");
    let child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let headers = [
        ("authorization", "Bearer sk-upstream".to_string()),
        ("x-portkey-provider", "openai".into()),
        ("x-portkey-custom-host", format!("http://{upstream}/v1")),
    ];
    let target = Target {
        name: "portkey".into(),
        base_url: format!("http://127.0.0.1:{port}/v1"),
        headers: headers.map(|(name, value)| (name.to_string(), value)).into(),
        pid: Some(child.id()),
        start: None,
    };
    Ok(Proxy { target, child, folder: None })
}

/// What a command prints as `NAME VALUE …`, up to and with a name.
fn said(child: &mut Child, last: &str) -> Result<HashMap<String, String>> {
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut said = HashMap::new();
    while !said.contains_key(last) {
        let line = lines.next().with_context(|| format!("it stopped before it said its {last}"))??;
        let mut words = line.split_whitespace().map(str::to_string);
        if let (Some(name), Some(value)) = (words.next(), words.next()) {
            said.insert(name, value);
        }
    }
    // Someone has to read on, or it stops when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(said)
}

/// Waits until a gateway that was started at a moment answers that it is well.
fn started(target: &Target, begun: Instant) -> Result<Start> {
    let address = target.address()?;
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{} is not well: {answer}", target.name);
    Ok(Start { secs: begun.elapsed().as_secs_f64(), memory_mb: target.memory() })
}

/// `earnest gateway` before the upstream, with everything on: a key, metering, receipts, the journal on the disk. And
/// `earnest up`, which is a chain, a gateway and a provider that has dialled in to it, all in one process.
pub fn earnest(binary: &Path, plan: &Path, upstream: SocketAddr) -> Result<[Proxy; 2]> {
    let folder = temporary("gateway")?;
    let text = std::fs::read_to_string(plan)?.replacen("name = \"example-small\"", "name = \"bench\"", 1);
    ensure!(text.contains("name = \"bench\""), "the plan sells no example-small");
    std::fs::write(folder.join("plan.toml"), &text)?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(&folder).stderr(Stdio::null()).stdout(Stdio::piped());
        command
    };
    let serve = format!("http://{upstream}/v1");
    let serve = ["--port", "0", "--upstream", &serve, "--model", MODEL];
    let proxy = |name: &str, base_url: &str, key: &str, child: Child| Proxy {
        target: Target {
            name: name.into(),
            base_url: base_url.into(),
            headers: [("authorization".into(), format!("Bearer {key}"))].into(),
            pid: Some(child.id()),
            start: None,
        },
        child,
        folder: None,
    };

    let begun = Instant::now();
    let mut child = spawn(run(&["up", "plan.toml", "--state", "up"]).args(serve))?;
    let of_up = said(&mut child, "key")?;
    let mut up = proxy("earnest up", &of_up["api"], &of_up["key"], child);
    up.target.start = Some(started(&up.target, begun)?);
    up.folder = Some(folder.clone());

    std::fs::create_dir(folder.join("alone"))?;
    let mut place: Value = serde_json::from_slice(&std::fs::read(folder.join("up/deployment.json"))?)?;
    place["rpc"] = json!(of_up["rpc"]);
    std::fs::write(folder.join("alone/deployment.json"), place.to_string())?;
    std::fs::write(folder.join("alone/plan.toml"), &text)?;
    let begun = Instant::now();
    let mut child = spawn(run(&["gateway", "--state", "alone", "--as", "gateway"]).args(serve))?;
    let base_url = said(&mut child, "gateway")?.remove("gateway").context("a base URL")?;
    let mut alone = proxy("earnest", &base_url, "", child);
    alone.target.start = Some(started(&alone.target, begun)?);
    let faucet = run(&["faucet", "buyer", "100_000 cash", "--state", "up"]).output()?;
    ensure!(faucet.status.success(), "no play money");
    let create = ["key", "create", "--state", "alone", "--as", "buyer", "--deposit", "100_000 cash"];
    let key = run(&create).output()?;
    ensure!(key.status.success(), "no key");
    let bearer = format!("Bearer {}", String::from_utf8(key.stdout)?.trim());
    alone.target.headers.insert("authorization".into(), bearer);
    Ok([alone, up])
}

/// A proxy that does nothing but pass bytes on, made of the same library: what is left for anyone who wants to do more.
pub fn bare(upstream: SocketAddr) -> Result<Proxy> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", &upstream.to_string()]).stdout(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let base_url = said(&mut child, "bare")?.remove("bare").context("a base URL")?;
    let target = Target {
        name: "bare".into(),
        base_url,
        headers: BTreeMap::new(),
        pid: Some(child.id()),
        start: None,
    };
    Ok(Proxy { target, child, folder: None })
}

pub fn pass_on(upstream: String) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("bare http://{}/v1", listener.local_addr()?);
        let to = Target::plain("upstream", format!("http://{upstream}/v1"));
        let client = Client::new(&to);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let client = client.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let client = client.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let (sender, response) = client.open(&body).await?;
                    let (head, body) = response.into_parts();
                    let body = body.collect().await?.to_bytes();
                    client.free.lock().expect("no panic holds it").push(sender);
                    anyhow::Ok(Response::from_parts(head, Full::new(body)))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    })
}
