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

mod client;
mod figures;
mod latency;
mod load;
mod memory;
mod proxy;
mod streams;
mod target;
mod upstream;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::client::{Client, question};
use crate::target::Target;

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
        return proxy::pass_on(arguments.next().context("before which upstream?")?);
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
    LazyLock::force(&upstream::START);
    earnest_serve::server::raise_file_limit();
    let upstream = upstream::upstream(port)?;
    let direct = Target::plain("direct", format!("http://{upstream}/v1"));
    let mut proxies = Vec::new();
    if let Some((binary, plan)) = gateway {
        proxies.extend(proxy::earnest(&binary, &plan, upstream)?);
    }
    if part == "latency" {
        proxies.push(proxy::bare(upstream)?);
    }
    if let Some(peers) = peers {
        proxies.push(proxy::litellm(&peers, upstream)?);
        proxies.push(proxy::portkey(&peers, upstream)?);
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
            "latency" => latency::latency(&options).await,
            "streams" => streams::streams(&options).await,
            "memory" => memory::memory(&options).await,
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
