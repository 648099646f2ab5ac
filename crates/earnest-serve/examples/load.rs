//! How many bids a second `earnest up` takes from concurrent senders over HTTP. Each is signed before, sent on one of
//! several connections, and counted when it is acknowledged, which is when it is on the disk; then the node is killed,
//! and the chain's file must have every one of them. One JSON object on stdout.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256, hex};
use alloy_sol_types::SolCall;
use anyhow::{Context, Result, bail, ensure};
use earnest_chain::bindings::{DevCash, Offering};
use earnest_chain::deploy::Record;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::key::Key;
use earnest_chain::node::Node;
use earnest_chain::permit::{Approval, SignedPermit};
use earnest_chain::story::sol_permit;
use earnest_core::plan::Plan;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Cash of every bid.
const CASH: u64 = 100_000_000;

/// `earnest up` in a folder of its own.
struct Up {
    child: Child,
    folder: PathBuf,
    address: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Up {
    fn start(binary: &Path, plan: &Path, folder: PathBuf) -> Result<Self> {
        let _ = std::fs::remove_dir_all(&folder);
        let mut child = Command::new(binary)
            .arg("up")
            .arg(plan)
            .args(["--port", "0", "--state"])
            .arg(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let line = lines
            .find(|line| line.as_ref().is_ok_and(|line| line.starts_with("rpc")))
            .context("it stopped")??;
        let url = line.split_whitespace().nth(1).context("a URL")?;
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_string();
        Ok(Up { child, folder, address })
    }
}

/// One kept connection that speaks just enough HTTP.
struct Connection {
    stream: TcpStream,
    address: String,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, address: address.into(), buffer: Vec::new() })
    }

    async fn post(&mut self, body: &str) -> Result<Value> {
        let head =
            format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.address, body.len());
        self.stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed");
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?.to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("a length")?;
            if self.buffer.len() >= end + 4 + length.parse::<usize>()? {
                return Ok(serde_json::from_slice(&self.buffer[end + 4..])?);
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.post(&body.to_string()).await?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("{method}: {}", answer["error"]),
        }
    }
}

fn signed(key: &Key, nonce: u64, to: Address, gas_limit: u64, call: &impl SolCall) -> String {
    let transaction = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit,
        to: TxKind::Call(to),
        input: call.abi_encode().into(),
        ..TxEip1559::default()
    };
    let raw = hex::encode_prefixed(key.sign_transaction(transaction).encoded_2718());
    json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]}).to_string()
}

/// Sends everything over so many connections, each waiting for its answers; the hashes that were acknowledged.
async fn send_all(address: &str, connections: usize, bodies: Vec<String>) -> Result<Vec<B256>> {
    let (bodies, next) = (Arc::new(bodies), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address).await?;
        let (bodies, next) = (bodies.clone(), next.clone());
        tasks.spawn(async move {
            let mut hashes = Vec::new();
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = connection.post(body).await?;
                let hash =
                    answer["result"].as_str().with_context(|| format!("refused: {}", answer["error"]))?;
                hashes.push(hash.parse::<B256>()?);
            }
            anyhow::Ok(hashes)
        });
    }
    let mut all = Vec::new();
    while let Some(hashes) = tasks.join_next().await {
        all.extend(hashes??);
    }
    Ok(all)
}

/// Seconds that the bids took, and the blocks they are in.
async fn run(binary: &Path, plan: &Path, bids: usize, connections: usize) -> Result<(f64, u64)> {
    let mut up =
        Up::start(binary, plan, std::env::temp_dir().join(format!("earnest-load-{}", std::process::id())))?;
    let record: Record = serde_json::from_slice(&std::fs::read(up.folder.join("deployment.json"))?)?;
    let at = &record.contracts;
    let plan = Plan::read("plan.toml", &std::fs::read_to_string(up.folder.join("plan.toml"))?)?.0;
    let keys: Vec<Key> = (0..bids).map(|index| Key::from_words(&format!("load {index}"))).collect();
    let deployer = Key::from_words("earnest dev deployer");
    let mut connection = Connection::open(&up.address).await?;

    let count = connection.call("eth_getTransactionCount", json!([deployer.address(), "latest"])).await?;
    let first = u64::from_str_radix(count.as_str().context("a number")?.trim_start_matches("0x"), 16)?;
    let mints = (first..).zip(&keys).map(|(nonce, key)| {
        signed(
            &deployer,
            nonce,
            at.cash,
            100_000,
            &DevCash::mintCall { to: key.address(), units: U256::from(CASH) },
        )
    });
    send_all(&up.address, connections, mints.collect()).await?;
    let approve = DevCash::approveCall { spender: at.offering, value: U256::MAX };
    let approvals = keys.iter().map(|key| signed(key, 0, at.cash, 100_000, &approve));
    send_all(&up.address, connections, approvals.collect()).await?;

    let round = &plan.rounds[0];
    connection.call("evm_setNextBlockTimestamp", json!([round.open + 86_400])).await?;
    connection.call("evm_mine", json!([])).await?;
    let attester = Key::from_words("earnest dev attester");
    let bodies = keys.iter().enumerate().map(|(entity, key)| {
        let approval = Approval { entity: entity as u64 + 1, valid_secs: 30 * 86_400, ..Approval::default() };
        let permit =
            SignedPermit::issue(&plan, &record, (&attester, 1), key.address(), 0, &approval, round.open)?;
        let call = Offering::bidCall {
            permit: sol_permit(&permit.permit()),
            signature: permit.signature,
            cash_: U256::from(CASH),
            tick: U256::ZERO,
            schedule: U256::ZERO,
        };
        Ok(signed(key, 1, at.offering, 300_000, &call))
    });
    let bodies = bodies.collect::<Result<Vec<_>>>()?;

    let before = connection.call("eth_blockNumber", json!([])).await?;
    let start = Instant::now();
    let hashes = send_all(&up.address, connections, bodies).await?;
    let elapsed = start.elapsed().as_secs_f64();

    // What was acknowledged is there after the hardest stop.
    up.child.kill()?;
    up.child.wait()?;
    let node = Node::open(&up.folder.join("chain.log"), DEV_CHAIN_ID, 0)?;
    ensure!(hashes.len() == bids, "{} of {bids} bids were acknowledged", hashes.len());
    for hash in hashes {
        let (block, index) = node.place(hash).with_context(|| format!("bid {hash} was lost"))?;
        ensure!(block.transactions[index].receipt.status(), "bid {hash} failed");
    }
    let before = u64::from_str_radix(before.as_str().context("a number")?.trim_start_matches("0x"), 16)?;
    Ok((elapsed, node.head().header.number - before))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| {
        arguments.next().with_context(|| format!("usage: load BINARY PLAN BIDS CONNECTIONS RUNS: no {what}"))
    };
    let (binary, plan) = (PathBuf::from(next("BINARY")?), PathBuf::from(next("PLAN")?));
    let (bids, connections, runs) =
        (next("BIDS")?.parse()?, next("CONNECTIONS")?.parse()?, next("RUNS")?.parse::<usize>()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rates = Vec::new();
    let mut blocks = Vec::new();
    for _ in 0..runs.max(1) {
        let (seconds, count) = runtime.block_on(run(&binary, &plan, bids, connections))?;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        rates.push((bids as f64 / seconds).round());
        blocks.push(count);
    }
    let mut sorted = rates.clone();
    sorted.sort_by(f64::total_cmp);
    let result = json!({
        "bids": bids, "connections": connections, "runs": rates, "blocks": blocks,
        "durable_bids_per_sec": sorted[sorted.len() / 2],
        "processors": std::thread::available_parallelism()?.get(),
    });
    println!("{}", serde_json::to_string_pretty(&result)?);
    Ok(())
}
