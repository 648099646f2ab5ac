//! A WebSocket: calls, and subscriptions to new blocks and logs. What is sent waits in a short queue; who does not read
//! it is dropped, and holds up nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U64;
use alloy_rpc_types_eth::Filter;
use axum::extract::ws::{Message, WebSocket};
use earnest_chain::node::Block;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::params::Params;
use super::{Failure, Rpc, failed, parts};

/// Messages that may wait to be read.
const QUEUE: usize = 256;
/// Calls of one socket at once; when there are more, it is not read from.
const CALLS: usize = 64;
/// Subscriptions of one socket.
const SUBSCRIPTIONS: usize = 100;
/// How often a silent socket is asked whether it is there, and how long it has to say so.
const PING: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(90);
/// How long one message may take to be sent.
const SEND: Duration = Duration::from_secs(5);

enum Subscription {
    Heads,
    Logs(Box<Filter>),
}

/// Why a socket is let go.
struct Gone;

pub(super) async fn serve(rpc: Arc<Rpc>, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let (queue, mut outgoing) = mpsc::channel::<Message>(QUEUE);
    let writer = async move {
        while let Some(message) = outgoing.recv().await {
            if !matches!(timeout(SEND, sink.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    let reader = async move {
        let calls = Arc::new(Semaphore::new(CALLS));
        let mut subscriptions =
            Subscriptions { rpc: rpc.clone(), queue: queue.clone(), all: BTreeMap::new(), last: 0 };
        let mut heads = rpc.node.heads();
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(Ok(message)) = message else { return };
                    heard = Instant::now();
                    let body = match message {
                        Message::Text(text) => text.as_bytes().to_vec(),
                        Message::Binary(bytes) => bytes.to_vec(),
                        Message::Close(_) => return,
                        Message::Ping(_) | Message::Pong(_) => continue,
                    };
                    match subscriptions.serve(&body, &mut heads).await {
                        Ok(true) => continue,
                        Ok(false) => {}
                        Err(Gone) => return,
                    }
                    let Ok(permit) = calls.clone().acquire_owned().await else { return };
                    let (rpc, queue) = (rpc.clone(), queue.clone());
                    tokio::spawn(async move {
                        if let Some(answer) = rpc.answer(&body).await {
                            let text = String::from_utf8(answer).expect("JSON is UTF-8");
                            let _ = queue.send(Message::Text(text.into())).await; // or the socket is gone
                        }
                        drop(permit);
                    });
                }
                block = heads.recv(), if !subscriptions.all.is_empty() => {
                    // One that fell behind by so many blocks would miss some, and must know.
                    let Ok(block) = block else { return };
                    if subscriptions.tell(&block).await.is_err() {
                        return;
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE || queue.try_send(Message::Ping(Default::default())).is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
    }
}

struct Subscriptions {
    rpc: Arc<Rpc>,
    queue: mpsc::Sender<Message>,
    all: BTreeMap<u64, Subscription>,
    last: u64,
}

impl Subscriptions {
    /// Answers what only a socket can be asked; false: it is something else.
    async fn serve(&mut self, body: &[u8], heads: &mut Receiver<Arc<Block>>) -> Result<bool, Gone> {
        let asks = |name: &str| body.windows(name.len()).any(|part| part == name.as_bytes());
        if !asks("eth_subscribe") && !asks("eth_unsubscribe") {
            return Ok(false);
        }
        let Ok(request @ Value::Object(_)) = serde_json::from_slice::<Value>(body) else { return Ok(false) };
        let Ok((id, method, params)) = parts(request) else { return Ok(false) };
        let outcome = match method.as_str() {
            "eth_subscribe" => self.subscribe(params, heads),
            "eth_unsubscribe" => self.unsubscribe(params),
            _ => return Ok(false),
        };
        if let Some(id) = id {
            let answer = match outcome {
                Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                Err(failure) => failed(id, failure),
            };
            self.send(&answer).await?;
        }
        Ok(true)
    }

    fn subscribe(&mut self, mut params: Params, heads: &mut Receiver<Arc<Block>>) -> Result<Value, Failure> {
        let kind: String = params.next()?;
        let subscription = match kind.as_str() {
            "newHeads" => Subscription::Heads,
            "logs" => Subscription::Logs(Box::new(params.optional()?.unwrap_or_default())),
            other => {
                return Err(Failure::params(format!(
                    "no {other:?} subscription: newHeads and logs are offered"
                )));
            }
        };
        if self.all.len() >= SUBSCRIPTIONS {
            return Err(Failure::new(
                -32_005,
                format!("a connection has at most {SUBSCRIPTIONS} subscriptions"),
            ));
        }
        if self.all.is_empty() {
            *heads = self.rpc.node.heads(); // what came while nobody listened is not told
        }
        self.last += 1;
        self.all.insert(self.last, subscription);
        Ok(json!(U64::from(self.last)))
    }

    fn unsubscribe(&mut self, mut params: Params) -> Result<Value, Failure> {
        let id: U64 = params.next()?;
        Ok(json!(self.all.remove(&id.to()).is_some()))
    }

    async fn tell(&self, block: &Block) -> Result<(), Gone> {
        for (id, subscription) in &self.all {
            let results: Vec<Value> = match subscription {
                Subscription::Heads => vec![json!(block.shown(false).header)],
                Subscription::Logs(filter) => {
                    let mut logs = Vec::new();
                    block.logs(filter, &mut logs);
                    logs.iter().map(|log| json!(log)).collect()
                }
            };
            for result in results {
                let params = json!({"subscription": U64::from(*id), "result": result});
                self.send(&json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})).await?;
            }
        }
        Ok(())
    }

    /// Waits for room in the queue. Meanwhile blocks pass by; whoever misses one is let go.
    async fn send(&self, message: &Value) -> Result<(), Gone> {
        self.queue.send(Message::Text(message.to_string().into())).await.map_err(|_| Gone)
    }
}
