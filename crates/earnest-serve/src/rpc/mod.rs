//! JSON-RPC 2.0 of the development chain, over HTTP and WebSocket: what wallets and libraries call, in the words they
//! expect.

mod filters;
mod methods;
mod params;
mod socket;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use earnest_chain::chain::ChainError;
use earnest_chain::node::{Node, Refused};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::filters::Filters;
use self::params::Params;
use crate::server::BODY;

/// Most calls in a batch, and most of them at once.
const BATCH: usize = 1_000;
const BATCH_AT_ONCE: usize = 64;
/// Bytes after which no more of a batch is answered.
const BATCH_ANSWER: usize = 25 << 20;
/// Calls that run the EVM or search logs at once.
const HEAVY: usize = 8;
/// WebSockets at once.
const SOCKETS: usize = 4_096;

/// The service.
pub struct Rpc {
    node: Arc<Node>,
    filters: Mutex<Filters>,
    heavy: Semaphore,
    sockets: Arc<Semaphore>,
}

/// An error as JSON-RPC has it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl Failure {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), data: None }
    }

    pub(crate) fn params(message: impl Into<String>) -> Self {
        Self::new(-32_602, message)
    }

    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(-32_000, message)
    }
}

impl From<Refused> for Failure {
    fn from(why: Refused) -> Self {
        Failure::server(why.to_string())
    }
}

impl From<ChainError> for Failure {
    fn from(why: ChainError) -> Self {
        match why {
            // As geth does it: libraries look for the code and decode the data.
            ChainError::Reverted(data) => {
                let message = match earnest_chain::errors::describe(&data) {
                    text if text.starts_with("unknown error") || data.is_empty() => {
                        "execution reverted".into()
                    }
                    text => format!("execution reverted: {text}"),
                };
                Failure { code: 3, message, data: Some(json!(data)) }
            }
            ChainError::Halted(why) | ChainError::Node(why) => Failure::server(why),
            other => Failure::server(other.to_string()),
        }
    }
}

/// Adds the chain's JSON-RPC to pages: POST on `/`, and WebSocket on `/`, where a plain GET stays the pages'.
pub fn router(node: Arc<Node>, pages: Router) -> Router {
    let rpc = Arc::new(Rpc {
        node,
        filters: Mutex::default(),
        heavy: Semaphore::new(HEAVY),
        sockets: Arc::new(Semaphore::new(SOCKETS)),
    });
    pages
        .merge(Router::new().route("/", post(over_http)).with_state(rpc.clone()))
        .layer(from_fn_with_state(rpc, over_socket))
}

async fn over_http(State(rpc): State<Arc<Rpc>>, body: Bytes) -> Response {
    match rpc.answer(&body).await {
        Some(answer) => {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], answer).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn over_socket(State(rpc): State<Arc<Rpc>>, request: Request, next: Next) -> Response {
    let upgrades = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if request.uri().path() != "/" || request.method() != Method::GET || !upgrades {
        return next.run(request).await;
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Ok(permit) = rpc.sockets.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many WebSockets\n").into_response();
    };
    upgrade
        .max_message_size(BODY)
        .max_frame_size(BODY)
        // The default would be 256 KiB for a socket that says nothing.
        .read_buffer_size(4 << 10)
        .write_buffer_size(4 << 10)
        .on_upgrade(move |socket| async move {
            socket::serve(rpc, socket).await;
            drop(permit);
        })
}

impl Rpc {
    /// Answers a request or a batch; nothing, if it is only notifications.
    pub(crate) async fn answer(&self, body: &[u8]) -> Option<Vec<u8>> {
        // The parser allows 128 levels.
        let request: Value = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                return Some(bytes(&failed(
                    Value::Null,
                    Failure::new(-32_700, format!("parse error: {error}")),
                )));
            }
        };
        let Value::Array(batch) = request else {
            return self.one(request).await.map(|answer| bytes(&answer));
        };
        if batch.is_empty() || batch.len() > BATCH {
            let why = format!("a batch has 1 to {BATCH} requests, and this one {}", batch.len());
            return Some(bytes(&failed(Value::Null, Failure::new(-32_600, why))));
        }
        let mut answers =
            futures_util::stream::iter(batch).map(|request| self.one(request)).buffered(BATCH_AT_ONCE);
        let mut all = vec![b'['];
        while let Some(answer) = answers.next().await {
            let Some(answer) = answer else { continue };
            if all.len() > 1 {
                all.push(b',');
            }
            all.extend(bytes(&answer));
            if all.len() > BATCH_ANSWER {
                let why = format!("the answers to this batch are over {BATCH_ANSWER} bytes");
                return Some(bytes(&failed(Value::Null, Failure::new(-32_003, why))));
            }
        }
        all.push(b']');
        (all.len() > 2).then_some(all)
    }

    async fn one(&self, request: Value) -> Option<Value> {
        let (id, method, params) = match parts(request) {
            Ok(parts) => parts,
            Err((id, failure)) => return Some(failed(id, failure)),
        };
        let outcome = self.call(&method, params).await;
        let id = id?; // a notification
        Some(match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(failure) => failed(id, failure),
        })
    }
}

/// Takes a request apart: id (none of a notification), method and parameters.
pub(crate) fn parts(request: Value) -> Result<(Option<Value>, String, Params), (Value, Failure)> {
    let invalid = |id: Option<&Value>, what: &str| {
        let id = id.filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or_default();
        (id, Failure::new(-32_600, format!("invalid request: {what}")))
    };
    let Value::Object(mut request) = request else { return Err(invalid(None, "it is not an object")) };
    let id = request.remove("id");
    if id.as_ref().is_some_and(|id| !(id.is_string() || id.is_number() || id.is_null())) {
        return Err(invalid(None, "its id is not a string, a number or null"));
    }
    if request.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(id.as_ref(), "it is not JSON-RPC 2.0"));
    }
    let Some(Value::String(method)) = request.remove("method") else {
        return Err(invalid(id.as_ref(), "it has no method"));
    };
    match request.remove("params").unwrap_or_default() {
        Value::Array(params) => Ok((id, method, Params::new(params))),
        Value::Null => Ok((id, method, Params::new(Vec::new()))),
        Value::Object(_) => {
            Err((id.unwrap_or_default(), Failure::params("parameters by name are not supported")))
        }
        _ => Err(invalid(id.as_ref(), "its parameters are not an array")),
    }
}

pub(crate) fn failed(id: Value, failure: Failure) -> Value {
    let mut error = json!({"code": failure.code, "message": failure.message});
    if let Some(data) = failure.data {
        error["data"] = data;
    }
    json!({"jsonrpc": "2.0", "id": id, "error": error})
}

fn bytes(answer: &Value) -> Vec<u8> {
    serde_json::to_vec(answer).expect("a value")
}
