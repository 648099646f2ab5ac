//! What a proxy before a model costs: time added to an answer and to each piece of a stream, processor time a request,
//! memory. An upstream that answers in exactly 20 ms and a load generator with a fixed rate live in this process; the
//! proxies are asked in turn, and between any two of them the upstream itself, so that a busy machine is busy for all.
//!
//! ```text
//! gateway_load latency|streams|memory [--json] [--rounds N] [--seconds S] [--requests N]
//!              [--rate R] [--gateway BINARY PLAN] [--peers FOLDER] [--target JSON]… [--only NAME]…
//! ```
//!
//! `--gateway` is Earnest's with this upstream, on a plan that sells `example-small`; `--peers` the folder with LiteLLM
//! and Portkey's gateway, and a target something that runs already: `{"name", "base_url", "headers": {}, "pid"}`, its
//! upstream being at `--port PORT`. Latency is looked at at half of what each bears, of all that bear it at half of what
//! Earnest's bear, or at `--rate`.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// What the upstream takes for an answer, and between two model tokens of a stream.
const TICK: Duration = Duration::from_millis(20);
/// What the 99th percentile may be at a rate that is still borne.
const BORNE: Duration = Duration::from_millis(200);
/// Requests that may be under way before a rate counts as too much.
const MOST_OPEN: usize = 2_000;
const MODEL: &str = "bench";

/// One clock for the upstream and the clients: microseconds since the start.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn micros() -> u64 {
    u64::try_from(START.elapsed().as_micros()).expect("not for ages")
}

/// Wakes up 20 ms after it was asked, to some 50 µs; tokio's own timers go by whole milliseconds, which would be more
/// than what is measured.
#[derive(Clone)]
struct Ticker(std::sync::mpsc::Sender<(Instant, oneshot::Sender<()>)>);

impl Ticker {
    fn start() -> Self {
        let (send, asked) = std::sync::mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            // All wait for equally long: whoever came first is due first.
            while let Ok((due, wake)) = asked.recv() {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = wake.send(());
            }
        });
        Ticker(send)
    }

    async fn tick(&self) {
        let (wake, woken) = oneshot::channel();
        let _ = self.0.send((Instant::now() + TICK, wake));
        let _ = woken.await;
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn answer(body: String, kind: &str) -> Response<Body> {
    let response = Response::builder().header("content-type", kind);
    response.body(Full::new(Bytes::from(body)).boxed_unsync()).expect("a response")
}

/// Chat completions with usage. A stream has as many model tokens as are asked for, each saying when it left; one that is
/// asked for in the words "stay idle" says one and then nothing more.
async fn serve(request: Request<Incoming>, ticker: Ticker) -> Result<Response<Body>, hyper::Error> {
    let head = format!("\"id\":\"chatcmpl-bench\",\"created\":1700000000,\"model\":\"{MODEL}\"");
    if request.method() != Method::POST {
        let one = json!({"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "bench"});
        let list = json!({"object": "list", "data": [one]});
        return Ok(answer(list.to_string(), "application/json"));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tokens = asked["max_tokens"].as_u64().unwrap_or(8);
    let usage =
        format!("{{\"prompt_tokens\":12,\"completion_tokens\":{tokens},\"total_tokens\":{}}}", 12 + tokens);
    if asked["stream"] != true {
        ticker.tick().await;
        let message =
            "{\"role\":\"assistant\",\"content\":\"An answer of a usual length, for what it is worth.\"}";
        let choice = format!("{{\"index\":0,\"message\":{message},\"finish_reason\":\"stop\"}}");
        let text =
            format!("{{{head},\"object\":\"chat.completion\",\"choices\":[{choice}],\"usage\":{usage}}}");
        return Ok(answer(text, "application/json"));
    }
    let idle = body.windows(9).any(|words| words == b"stay idle");
    let event = move |choices: &str, more: &str| {
        format!("data: {{{head},\"object\":\"chat.completion.chunk\",\"choices\":[{choices}]{more}}}\n\n")
    };
    let events = stream::unfold(0, move |number| {
        let (ticker, event, usage) = (ticker.clone(), event.clone(), usage.clone());
        async move {
            let text = if number < tokens {
                if idle && number > 0 {
                    std::future::pending::<()>().await;
                }
                ticker.tick().await;
                let delta = format!("{{\"content\":\"{} \"}}", micros());
                event(&format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}"), "")
            } else if number == tokens {
                let last = event("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "");
                last + &event("", &format!(",\"usage\":{usage}")) + "data: [DONE]\n\n"
            } else {
                return None;
            };
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), number + 1))
        }
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    Ok(response.body(StreamBody::new(events).boxed_unsync()).expect("a response"))
}

/// The upstream, on a thread of its own.
fn upstream(port: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ticker = Ticker::start();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let ticker = ticker.clone();
                let service = service_fn(move |request| serve(request, ticker.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    Ok(address)
}

/// Something that answers chat completions: the upstream itself, or what stands before it.
#[derive(Clone, Deserialize)]
struct Target {
    name: String,
    /// Up to and with `/v1`; over plain HTTP.
    base_url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Whose processor time and memory are counted, with all its descendants.
    pid: Option<u32>,
}

impl Target {
    fn address(&self) -> Result<&str> {
        let rest = self.base_url.strip_prefix("http://").context("a base URL over plain HTTP")?;
        rest.split('/').next().context("an address")
    }

    /// Its process and every descendant.
    fn tree(&self) -> Vec<u32> {
        let mut tree: Vec<u32> = self.pid.into_iter().collect();
        let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
                Some((pid, fields(pid)?.get(1)?.parse().ok()?))
            })
            .collect();
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            let known = tree.clone();
            let children = parents.iter().filter(|(pid, of)| *of == parent && !known.contains(pid));
            tree.extend(children.map(|(pid, _)| pid));
            next += 1;
        }
        tree
    }

    /// Processor time that it has used so far; Linux counts in hundredths of a second.
    fn cpu(&self) -> Duration {
        let ticks = |pid: u32| -> Option<u64> {
            let fields = fields(pid)?;
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        Duration::from_millis(10 * self.tree().into_iter().filter_map(ticks).sum::<u64>())
    }

    /// Memory that it holds now, in megabytes.
    fn memory(&self) -> f64 {
        let kilobytes = |pid: u32| -> Option<u32> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        f64::from(self.tree().into_iter().filter_map(kilobytes).sum::<u32>()) / 1_000.0
    }
}

/// What `/proc` says of a process, after its name: state, parent, …
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_string).collect())
}

/// A proxy that this process has started; it ends with it.
struct Proxy {
    target: Target,
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
fn litellm(peers: &Path, upstream: SocketAddr) -> Result<Proxy> {
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
    };
    Ok(Proxy { target, child, folder: Some(folder) })
}

/// Portkey's gateway, which keeps no keys: the upstream is named in a header of each request.
fn portkey(peers: &Path, upstream: SocketAddr) -> Result<Proxy> {
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

/// `earnest gateway` before the upstream, with everything on: a key, metering, receipts, the journal on the disk. And
/// `earnest up`, which is a chain, a gateway and a provider that has dialled in to it, all in one process.
fn earnest(binary: &Path, plan: &Path, upstream: SocketAddr) -> Result<[Proxy; 2]> {
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
        },
        child,
        folder: None,
    };

    let mut child = spawn(run(&["up", "plan.toml", "--state", "up"]).args(serve))?;
    let of_up = said(&mut child, "key")?;
    let mut up = proxy("earnest up", &of_up["api"], &of_up["key"], child);
    up.folder = Some(folder.clone());

    std::fs::create_dir(folder.join("alone"))?;
    let mut place: Value = serde_json::from_slice(&std::fs::read(folder.join("up/deployment.json"))?)?;
    place["rpc"] = json!(of_up["rpc"]);
    std::fs::write(folder.join("alone/deployment.json"), place.to_string())?;
    std::fs::write(folder.join("alone/plan.toml"), &text)?;
    let mut child = spawn(run(&["gateway", "--state", "alone", "--as", "gateway"]).args(serve))?;
    let base_url = said(&mut child, "gateway")?.remove("gateway").context("a base URL")?;
    let mut alone = proxy("earnest", &base_url, "", child);
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
fn bare(upstream: SocketAddr) -> Result<Proxy> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", &upstream.to_string()]).stdout(Stdio::piped());
    let mut child = spawn(&mut command)?;
    let base_url = said(&mut child, "bare")?.remove("bare").context("a base URL")?;
    let target = Target { name: "bare".into(), base_url, headers: BTreeMap::new(), pid: Some(child.id()) };
    Ok(Proxy { target, child, folder: None })
}

fn pass_on(upstream: String) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("bare http://{}/v1", listener.local_addr()?);
        let to = Target {
            name: "upstream".into(),
            base_url: format!("http://{upstream}/v1"),
            headers: BTreeMap::new(),
            pid: None,
        };
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

/// Kept connections to one target; a request takes one that is free, or opens another.
struct Client {
    target: Target,
    free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    fn new(target: &Target) -> Arc<Self> {
        Arc::new(Client { target: target.clone(), free: Mutex::new(Vec::new()) })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.target.address()?).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, body: &Bytes) -> Result<Request<Full<Bytes>>> {
        let address = self.target.address()?;
        let path = self.target.base_url.trim_start_matches("http://").trim_start_matches(address);
        let mut request = Request::post(format!("{path}/chat/completions"))
            .header("host", address)
            .header("content-type", "application/json");
        for (name, value) in &self.target.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(body.clone()))?)
    }

    /// An answer that was accepted, and the connection that it comes on.
    async fn open(&self, body: &Bytes) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>)> {
        let kept = self.free.lock().expect("no panic holds it").pop().filter(|sender| !sender.is_closed());
        let fresh = kept.is_none();
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut response = sender.send_request(self.request(body)?).await;
        if response.is_err() && !fresh {
            // It was closed at the very moment at which it was taken.
            sender = self.connect().await?;
            response = sender.send_request(self.request(body)?).await;
        }
        let response = response?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            bail!("{} answers {status}: {}", self.target.name, String::from_utf8_lossy(&text));
        }
        Ok((sender, response))
    }

    /// A whole answer.
    async fn ask(&self, body: &Bytes) -> Result<Bytes> {
        let (sender, response) = self.open(body).await?;
        let answer = response.into_body().collect().await?.to_bytes();
        self.free.lock().expect("no panic holds it").push(sender);
        Ok(answer)
    }

    /// How long each piece of a stream was on its way, in microseconds; ends with the stream, or after so many pieces.
    async fn listen(&self, body: &Bytes, most: usize) -> Result<(Vec<u64>, Response<Incoming>)> {
        let (sender, mut response) = self.open(body).await?;
        let (mut delays, mut rest) = (Vec::new(), Vec::new());
        while delays.len() < most {
            let Some(frame) = response.body_mut().frame().await else {
                self.free.lock().expect("no panic holds it").push(sender);
                break;
            };
            let now = micros();
            let Ok(data) = frame?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let Some(event) = line.strip_prefix(b"data: ") else { continue };
                let Ok(event) = serde_json::from_slice::<Value>(event) else { continue };
                let Some(sent) = event["choices"][0]["delta"]["content"].as_str() else { continue };
                if let Ok(sent) = sent.trim().parse::<u64>() {
                    delays.push(now.saturating_sub(sent));
                }
            }
        }
        Ok((delays, response))
    }
}

fn question(words: &str, tokens: u64, stream: bool) -> Bytes {
    let prompt = format!("{words} {}", "A question of some length, as people ask them. ".repeat(4));
    let mut body = json!({
        "model": MODEL, "max_tokens": tokens, "messages": [{"role": "user", "content": prompt}],
    });
    if stream {
        body["stream"] = json!(true);
    }
    Bytes::from(body.to_string())
}

/// The value that so many hundredths of all do not exceed.
fn percentile(sorted: &[u64], hundredths: usize) -> u64 {
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds to be read")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// What came of asking at a fixed rate for a while.
struct Load {
    /// From when a request was due to when its answer was there, in microseconds, sorted.
    latencies: Vec<u64>,
    asked: u64,
    failed: Option<anyhow::Error>,
    /// More requests were under way than any rate that is borne has.
    swamped: bool,
}

impl Load {
    fn borne(&self) -> bool {
        self.failed.is_none()
            && !self.swamped
            && u128::from(percentile(&self.latencies, 99)) <= BORNE.as_micros()
    }
}

/// Asks at a fixed rate, whatever the answers do: a request that is late is late, and none waits for another.
async fn load(target: &Target, rate: u32, seconds: f64) -> Load {
    let (send, mut due) = mpsc::unbounded_channel();
    let warm = Duration::from_millis(500);
    let (begin, end) = (Instant::now(), warm + Duration::from_secs_f64(seconds));
    // Its own thread sleeps to some 50 µs; tokio would send them in heaps, one a millisecond.
    std::thread::spawn(move || {
        let period = Duration::from_secs(1) / rate;
        for number in 0.. {
            let at = period * number;
            std::thread::sleep((begin + at).saturating_duration_since(Instant::now()));
            if at >= end || send.send((begin + at, at >= warm)).is_err() {
                return;
            }
        }
    });
    let (client, body) = (Client::new(target), question("How much?", 8, false));
    let mut running = JoinSet::new();
    let mut load = Load { latencies: Vec::new(), asked: 0, failed: None, swamped: false };
    let take = |load: &mut Load, done: Result<(Result<Bytes>, u64, bool), tokio::task::JoinError>| match done
    {
        Ok((Ok(_), latency, true)) => load.latencies.push(latency),
        Ok((Err(error), ..)) => load.failed = Some(error),
        Ok(_) => {}
        Err(error) => load.failed = Some(error.into()),
    };
    while let Some((at, counted)) = due.recv().await {
        let (client, body) = (client.clone(), body.clone());
        running.spawn(async move {
            let answer = client.ask(&body).await;
            (answer, u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX), counted)
        });
        load.asked += 1;
        while let Some(done) = running.try_join_next() {
            take(&mut load, done);
        }
        if running.len() > MOST_OPEN || load.failed.is_some() {
            load.swamped = running.len() > MOST_OPEN;
            break;
        }
    }
    if load.swamped || load.failed.is_some() {
        running.abort_all();
    }
    while let Some(done) = running.join_next().await {
        if !done.as_ref().is_err_and(tokio::task::JoinError::is_cancelled) {
            take(&mut load, done);
        }
    }
    load.latencies.sort_unstable();
    load
}

/// The most requests a second that it bears, to some 5%, looked for from a rate on.
async fn saturation(target: &Target, mut rate: u32, seconds: f64) -> Result<u32> {
    let (mut borne, mut too_much) = (0, None);
    loop {
        // A hiccup of the machine is not the proxy's: it has to fail twice.
        let mut failed = None;
        let mut holds = false;
        for _ in 0..2 {
            let load = load(target, rate, seconds).await;
            holds = load.borne();
            if holds {
                break;
            }
            failed = load.failed;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if holds {
            borne = rate;
        } else if rate < 4 {
            let slow = || anyhow!("{} does not bear {rate} requests a second", target.name);
            return Err(failed.unwrap_or_else(slow));
        } else {
            too_much = Some(rate);
        }
        rate = match too_much {
            None => borne * 2,
            Some(most) if borne == 0 => most / 2,
            // The root of the product: between them by the same factor.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
            Some(most) => (f64::from(borne) * f64::from(most)).sqrt() as u32,
        };
        if rate == borne || too_much.is_some_and(|most| borne > 0 && most - borne <= most / 20) {
            return Ok(borne);
        }
    }
}

struct Options {
    json: bool,
    rounds: usize,
    seconds: f64,
    requests: u64,
    /// Asked at this rate, instead of half of what each bears.
    rate: Option<u32>,
    /// The upstream itself.
    direct: Target,
    targets: Vec<Target>,
}

/// How often the most that each bears is looked for.
const SEARCHES: usize = 3;

/// What was seen of a target at one rate, a value a round.
#[derive(Default)]
struct Seen {
    /// The 50th and the 99th percentile, and what the target added to them, in milliseconds.
    percentiles: [Vec<f64>; 2],
    added: [Vec<f64>; 2],
    /// Processor time of a request in microseconds.
    cpu: Vec<f64>,
}

/// The middle one and the ends.
fn spread(values: &[f64], digits: i32) -> Value {
    let ends = [f64::min, f64::max].map(|pick| values.iter().copied().fold(f64::NAN, pick));
    let [median, least, most] = [median(values.to_vec()), ends[0], ends[1]].map(|it| rounded(it, digits));
    json!({"median": median, "min": least, "max": most})
}

/// The rates at which targets are asked, and which: half of what Earnest's bear, for all that bear it, so that they can be
/// compared; and half of what it bears itself for everyone else.
fn plan(options: &Options, most: &[u32]) -> Vec<(u32, Vec<usize>)> {
    let all: Vec<usize> = (0..options.targets.len()).collect();
    if let Some(rate) = options.rate {
        return vec![(rate, all)];
    }
    let half = |index: usize| (most[index] / 2).max(1);
    let (ours, others): (Vec<usize>, Vec<usize>) =
        all.iter().partition(|&&index| options.targets[index].name.starts_with("earnest"));
    let common = ours.into_iter().map(half);
    let common =
        common.map(|rate| (rate, all.iter().copied().filter(|&index| most[index] >= rate).collect()));
    common.chain(others.into_iter().map(|index| (half(index), vec![index]))).collect()
}

async fn latency(options: &Options) -> Result<Value> {
    let step = options.seconds.min(3.0);
    let mut searched = vec![Vec::new(); options.targets.len()];
    if options.rate.is_none() {
        eprintln!("upstream alone: {} requests a second", saturation(&options.direct, 64, step).await?);
        for _ in 0..SEARCHES {
            for (target, found) in options.targets.iter().zip(&mut searched) {
                let from = found.last().map_or(64, |last: &u32| last * 4 / 5);
                found.push(saturation(target, from, step).await?);
                eprintln!("{}: {} requests a second", target.name, found[found.len() - 1]);
            }
        }
    }
    let most: Vec<u32> = searched
        .iter()
        .map(|found| {
            let mut found = found.clone();
            found.sort_unstable();
            found.get(found.len() / 2).copied().unwrap_or_default()
        })
        .collect();
    let mut seen: BTreeMap<(u32, usize), Seen> = BTreeMap::new();
    let rates = plan(options, &most);
    for round in 0..options.rounds {
        for (rate, index) in rates.iter().flat_map(|(rate, who)| who.iter().map(|index| (*rate, *index))) {
            let target = &options.targets[index];
            let before = load(&options.direct, rate, options.seconds).await;
            let cpu = target.cpu();
            let through = load(target, rate, options.seconds).await;
            let cpu = target.cpu().saturating_sub(cpu);
            for load in [&before, &through] {
                if let Some(error) = &load.failed {
                    bail!("at {rate} requests a second: {error:#}");
                }
                ensure!(!load.swamped, "{} was swamped at {rate} requests a second", target.name);
            }
            let at = |load: &Load, hundredths| millis(percentile(&load.latencies, hundredths));
            #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
            let each = cpu.as_secs_f64() * 1e6 / through.asked as f64;
            let seen = seen.entry((rate, index)).or_default();
            for (place, hundredths) in [50, 99].into_iter().enumerate() {
                seen.percentiles[place].push(at(&through, hundredths));
                seen.added[place].push(at(&through, hundredths) - at(&before, hundredths));
            }
            seen.cpu.push(each);
            eprintln!(
                "round {}: {} at {rate}/s: p50 {:.3} ms, {:+.3}; p99 {:.3} ms, {:+.3}; {each:.0} µs of processor a request",
                round + 1,
                target.name,
                seen.percentiles[0][round],
                seen.added[0][round],
                seen.percentiles[1][round],
                seen.added[1][round],
            );
        }
    }
    let bare = options.targets.iter().position(|target| target.name == "bare");
    let figures = options.targets.iter().enumerate().map(|(index, target)| {
        let at = rates.iter().filter_map(|(rate, _)| Some((rate, seen.get(&(*rate, index))?)));
        let at = at.map(|(rate, figures)| {
            let mut at = json!({
                "rate": rate,
                "p50_ms": spread(&figures.percentiles[0], 3),
                "p99_ms": spread(&figures.percentiles[1], 3),
                "added_p50_ms": spread(&figures.added[0], 3),
                "added_p99_ms": spread(&figures.added[1], 3),
                "cpu_us_per_request": spread(&figures.cpu, 0),
            });
            // Of the same rounds at the same rate.
            if let Some(other) = bare.filter(|&bare| bare != index).and_then(|bare| seen.get(&(*rate, bare)))
            {
                let ratios = |ours: &[f64], bares: &[f64]| -> Vec<f64> {
                    ours.iter().zip(bares).map(|(ours, bare)| ours / bare).collect()
                };
                at["cpu_over_bare"] = spread(&ratios(&figures.cpu, &other.cpu), 2);
                at["p99_over_bare"] = spread(&ratios(&figures.percentiles[1], &other.percentiles[1]), 2);
                let added = median(figures.added[1].clone()) / median(other.added[1].clone());
                at["added_p99_over_bare"] = json!(rounded(added, 2));
            }
            at
        });
        let mut figure = json!({"name": target.name, "at": at.collect::<Vec<_>>()});
        if options.rate.is_none() {
            figure["max_rps"] = json!(most[index]);
            figure["max_rps_found"] = json!(searched[index]);
            if let Some(bare) = bare.filter(|&bare| bare != index) {
                figure["max_rps_over_bare"] =
                    json!(rounded(f64::from(most[index]) / f64::from(most[bare]), 2));
            }
        }
        figure
    });
    Ok(figures.collect())
}

/// Streams of a model token every 20 ms: how long each is on its way, and what streams that say nothing hold.
async fn streams(options: &Options) -> Result<Value> {
    const OPEN: usize = 50;
    const IDLE: usize = 2_000;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
    let tokens = (options.seconds / TICK.as_secs_f64()) as u64;
    let mut delays = vec![Vec::new(); options.targets.len() + 1];
    for round in 0..options.rounds {
        for (target, delays) in [&options.direct].into_iter().chain(&options.targets).zip(&mut delays) {
            let (client, body) = (Client::new(target), question("Tell me.", tokens, true));
            let mut running = JoinSet::new();
            for _ in 0..OPEN {
                let (client, body) = (client.clone(), body.clone());
                running
                    .spawn(async move { Ok::<_, anyhow::Error>(client.listen(&body, usize::MAX).await?.0) });
                tokio::time::sleep(Duration::from_micros(700)).await; // not all in the same millisecond
            }
            let patience = Duration::from_secs_f64(30.0 + 3.0 * options.seconds);
            let deadline = tokio::time::Instant::now() + patience;
            let next =
                async |running: &mut JoinSet<_>| tokio::time::timeout_at(deadline, running.join_next()).await;
            while let Some(one) = next(&mut running)
                .await
                .with_context(|| format!("{}: streams that do not end", target.name))?
            {
                let one: Vec<u64> = one??;
                ensure!(one.len() as u64 == tokens, "{}: {} of {tokens} pieces came", target.name, one.len());
                delays.extend(one);
            }
            eprintln!("round {}: {}: {} pieces so far", round + 1, target.name, delays.len());
        }
    }
    let mut results = Vec::new();
    for (target, mut delays) in [&options.direct].into_iter().chain(&options.targets).zip(delays) {
        delays.sort_unstable();
        let before = target.memory();
        let (client, body) = (Client::new(target), question("Please stay idle.", 100, true));
        let mut open = Vec::new();
        let mut failed = None;
        // In groups: how fast connections are taken is not what is asked here.
        while target.pid.is_some() && open.len() < IDLE && failed.is_none() {
            let mut running = JoinSet::new();
            for _ in 0..50 {
                let (client, body) = (client.clone(), body.clone());
                running.spawn(async move { client.listen(&body, 1).await });
            }
            let group = async {
                while let Some(one) = running.join_next().await {
                    match one? {
                        Ok((_, response)) => open.push(response),
                        Err(error) => failed = Some(format!("{error:#}")),
                    }
                }
                anyhow::Ok(())
            };
            match tokio::time::timeout(Duration::from_secs(30), group).await {
                Ok(done) => done?,
                Err(_) => failed = Some("no answer in 30 seconds".into()),
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = target.memory();
        let mut result = json!({
            "name": target.name,
            "piece_p50_ms": millis(percentile(&delays, 50)),
            "piece_p99_ms": millis(percentile(&delays, 99)),
            "piece_max_ms": millis(*delays.last().unwrap_or(&0)),
            "pieces": delays.len(),
        });
        if target.pid.is_some() {
            result["idle_streams"] = json!(open.len());
            result["memory_before_mb"] = json!(rounded(before, 1));
            result["memory_idle_mb"] = json!(rounded(idle, 1));
        }
        if let Some(failed) = failed {
            result["failed"] = json!(failed);
        }
        drop(open);
        tokio::time::sleep(Duration::from_secs(1)).await;
        results.push(result);
    }
    Ok(results.into())
}

/// Memory over many requests, half of them streams, of as many clients as are served at once.
async fn memory(options: &Options) -> Result<Value> {
    let mut results = Vec::new();
    for target in &options.targets {
        let (client, mut seen) = (Client::new(target), Vec::new());
        let part = (options.requests / 10).max(1);
        for tenth in 0..=10 {
            // The first tenth fills caches and pools, and is not looked at.
            if tenth > 0 {
                seen.push(rounded(target.memory(), 1));
            }
            let mut running = JoinSet::new();
            for worker in 0..64 {
                let client = client.clone();
                let (whole, stream) = (question("How much?", 8, false), question("Tell me.", 2, true));
                running.spawn(async move {
                    for number in (worker..part).step_by(64) {
                        if number % 2 == 0 {
                            client.ask(&whole).await?;
                        } else {
                            client.listen(&stream, usize::MAX).await?;
                        }
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(done) = running.join_next().await {
                done??;
            }
        }
        eprintln!("{}: {seen:?} MB", target.name);
        let (first, last) = (seen[0], seen[seen.len() - 1]);
        results.push(json!({
            "name": target.name, "requests": part * 10, "memory_mb": seen,
            "growth_percent": rounded((last / first - 1.0) * 100.0, 1),
        }));
    }
    Ok(results.into())
}

/// Waits until it answers.
async fn ready(target: &Target) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let (client, body) = (Client::new(target), question("Are you there?", 8, false));
        let asked = tokio::time::timeout(Duration::from_secs(10), client.ask(&body)).await;
        match asked.unwrap_or_else(|_| Err(anyhow!("nothing in 10 seconds"))) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("{} does not answer", target.name));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().context("what: latency, streams or memory")?;
    if part == "bare" {
        return pass_on(arguments.next().context("before which upstream?")?);
    }
    let (mut json, mut rounds, mut seconds, mut requests, mut port) = (false, 7, 5.0, 500_000, 0);
    let (mut gateway, mut peers, mut targets) = (None, None, Vec::<Target>::new());
    let (mut rate, mut only) = (None, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} of what?"));
        match argument.as_str() {
            "--json" => json = true,
            "--rounds" => rounds = value()?.parse()?,
            "--seconds" => seconds = value()?.parse()?,
            "--requests" => requests = value()?.parse()?,
            "--port" => port = value()?.parse()?,
            "--gateway" => gateway = Some((PathBuf::from(value()?), PathBuf::from(value()?))),
            "--rate" => rate = Some(value()?.parse()?),
            "--only" => only.push(value()?),
            "--peers" => peers = Some(PathBuf::from(value()?)),
            "--target" => targets.push(serde_json::from_str(&value()?)?),
            _ => bail!("unknown: {argument}"),
        }
    }
    LazyLock::force(&START);
    earnest_serve::server::raise_file_limit();
    let upstream = upstream(port)?;
    let direct = Target {
        name: "direct".into(),
        base_url: format!("http://{upstream}/v1"),
        headers: BTreeMap::new(),
        pid: None,
    };
    let mut proxies = Vec::new();
    if let Some((binary, plan)) = gateway {
        proxies.extend(earnest(&binary, &plan, upstream)?);
    }
    if part == "latency" {
        proxies.push(bare(upstream)?);
    }
    if let Some(peers) = peers {
        proxies.push(litellm(&peers, upstream)?);
        proxies.push(portkey(&peers, upstream)?);
    }
    targets.splice(0..0, proxies.iter().map(|proxy| proxy.target.clone()));
    targets.retain(|target| only.is_empty() || only.contains(&target.name));
    ensure!(!targets.is_empty(), "nothing to measure\n  hint: --gateway, --peers or --target");
    let options = Options { json, rounds, seconds, requests, rate, direct, targets };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        for target in &options.targets {
            ready(target).await?;
        }
        match part.as_str() {
            "latency" => latency(&options).await,
            "streams" => streams(&options).await,
            "memory" => memory(&options).await,
            _ => bail!("unknown: {part}"),
        }
    })?;
    drop(proxies);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    for figure in figures.as_array().context("a list")? {
        let shown: Vec<String> = figure
            .as_object()
            .context("an object")?
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        println!("{}", shown.join(", "));
    }
    Ok(())
}
