//! The built-in model that is none: it repeats what it is told, and says so. It speaks OpenAI's interface, so that a
//! whole lab can be tried without any weights, and it can be paced, so that benches and tests know what to expect.

mod answers;
mod ask;
mod chat;
mod completions;
mod embeddings;
mod instance;
mod responses;
mod words;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::hex;
use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use ask::Fault;

/// Most bytes of a request.
const LONGEST_REQUEST: usize = 32 << 20;

/// What it answers to, and how it is paced.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Names of models.
    pub models: Vec<String>,
    /// From the request to the first model token.
    pub delay_first: Duration,
    /// From each model token to the next.
    pub delay_token: Duration,
}

impl Default for Echo {
    fn default() -> Self {
        Echo { models: vec!["echo".into()], delay_first: Duration::ZERO, delay_token: Duration::ZERO }
    }
}

type Shared = State<Arc<Echo>>;
type Received = Result<Bytes, BytesRejection>;

impl Echo {
    /// `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/responses`, `/v1/models`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/chat/completions", post(chat::answer))
            .route("/v1/completions", post(completions::answer))
            .route("/v1/embeddings", post(embeddings::answer))
            .route("/v1/responses", post(responses::answer))
            .route("/v1/models", get(models))
            .route("/v1/models/{*name}", get(model))
            .fallback(unknown)
            .method_not_allowed_fallback(unknown)
            .layer(DefaultBodyLimit::max(LONGEST_REQUEST))
            .with_state(Arc::new(self))
    }

    fn knows(&self, name: &str) -> bool {
        self.models.iter().any(|model| model == name)
    }

    /// What a list says of a model.
    fn card(name: &str) -> Value {
        json!({
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "earnest",
            "description": "Built in: repeats what it is told. It is no language model.",
        })
    }

    /// What has to pass before so many model tokens are written, all at once.
    async fn write(&self, tokens: usize) {
        let rest = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.delay_first + self.delay_token.saturating_mul(rest);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Events of a stream, as they are due.
    fn stream(&self, events: impl Iterator<Item = Event> + Send + 'static) -> Response {
        let (first, token) = (self.delay_first, self.delay_token);
        let state = (events, first);
        let paced = futures_util::stream::unfold(state, move |(mut events, mut wait)| async move {
            let event = events.next()?;
            if event.token {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                wait = token;
            }
            Some((Ok::<_, std::convert::Infallible>(event.text), (events, wait)))
        });
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        (headers, Body::from_stream(paced)).into_response()
    }
}

/// One event of a stream.
struct Event {
    text: String,
    /// It carries a model token, and is due when that is.
    token: bool,
}

impl Event {
    fn data(token: bool, data: &Value) -> Self {
        Event { text: format!("data: {data}\n\n"), token }
    }

    fn done() -> Self {
        Event { text: "data: [DONE]\n\n".into(), token: false }
    }
}

async fn models(State(echo): Shared) -> Response {
    let cards: Vec<Value> = echo.models.iter().map(|name| Echo::card(name)).collect();
    Json(json!({"object": "list", "data": cards})).into_response()
}

async fn model(State(echo): Shared, Path(name): Path<String>) -> Result<Response, Fault> {
    if echo.knows(&name) { Ok(Json(Echo::card(&name)).into_response()) } else { Err(Fault::no_model(&name)) }
}

async fn unknown(request: Request) -> Fault {
    let (method, path) = (request.method(), request.uri().path());
    let path: String = path.chars().take(200).collect();
    Fault::unknown(StatusCode::NOT_FOUND, format!("Unknown request URL: {method} {path}"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A name that nothing else has.
fn id(prefix: &str) -> String {
    let mut chance = [0; 12];
    getrandom::fill(&mut chance).expect("the system has randomness");
    format!("{prefix}{}", hex::encode(chance))
}
