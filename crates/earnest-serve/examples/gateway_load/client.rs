//! Who asks: kept connections to one target, questions, and when each piece of an answer came.

use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::target::Target;
use crate::upstream::{MODEL, micros};

/// Kept connections to one target; a request takes one that is free, or opens another.
pub struct Client {
    target: Target,
    pub free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub fn new(target: &Target) -> Arc<Self> {
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
    pub async fn open(&self, body: &Bytes) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>)> {
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
    pub async fn ask(&self, body: &Bytes) -> Result<Bytes> {
        let (sender, response) = self.open(body).await?;
        let answer = response.into_body().collect().await?.to_bytes();
        self.free.lock().expect("no panic holds it").push(sender);
        Ok(answer)
    }

    /// How long each piece of a stream was on its way, in microseconds; ends with the stream, or after so many pieces.
    pub async fn listen(&self, body: &Bytes, most: usize) -> Result<(Vec<u64>, Response<Incoming>)> {
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

pub fn question(words: &str, tokens: u64, stream: bool) -> Bytes {
    let prompt = format!("{words} {}", "A question of some length, as people ask them. ".repeat(4));
    let mut body = json!({
        "model": MODEL, "max_tokens": tokens, "messages": [{"role": "user", "content": prompt}],
    });
    if stream {
        body["stream"] = json!(true);
    }
    Bytes::from(body.to_string())
}
