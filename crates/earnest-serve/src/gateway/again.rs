//! `Idempotency-Key`: the same key and body at the same path is the same request, and is told its answer again.

use std::sync::Arc;

use alloy_primitives::B256;
use axum::body::Body as AxumBody;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::Gateway;
use super::answer::{TOO_MANY_ANSWERS, durable, encoded, text};
use super::delivery::{Connection, Delivery};
use super::journal::Entry;
use super::refusal::Refusal;
use super::whole::Whole;
use crate::openai::Endpoint;

/// What is known of an `Idempotency-Key`.
pub enum Again {
    /// It was answered.
    Known(Response),
    /// It is this request's.
    Turn(Turn),
}

/// Holds an `Idempotency-Key` while its request runs.
pub struct Turn(Arc<Gateway>, (String, String));

impl Turn {
    /// The header.
    pub fn idempotency(&self) -> &str {
        &self.1.1
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.lock().expect("no panic holds it").remove(&self.1);
    }
}

impl Gateway {
    /// What an `Idempotency-Key` is told, or the turn to answer it.
    pub(super) async fn again(
        self: Arc<Self>,
        key: String,
        channel: B256,
        endpoint: Endpoint,
        idempotency: String,
        asked: B256,
        connection: &Connection,
    ) -> Result<Again, Refusal> {
        if idempotency.is_empty() || idempotency.len() > 255 {
            return Err(Refusal::Bad("an Idempotency-Key has 1 to 255 characters".into(), None));
        }
        // The same bytes mean something else to another endpoint.
        let name = (key, format!("{} {idempotency}", endpoint.path()));
        if !self.running.lock().expect("no panic holds it").insert(name.clone()) {
            return Err(Refusal::Conflict("a request with this Idempotency-Key is still running".into()));
        }
        let turn = Turn(self.clone(), name.clone());
        // What the last one wrote may not be on the disk yet.
        let flush = self.journal.write(Entry::Flush);
        durable(&self, Some(flush)).await?;
        let mut room = self.answers.room(channel);
        let gateway = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            let Some(kept) = gateway.journal.answer(&name.0, &name.1)? else { return Ok(None) };
            let receipt = gateway.journal.receipt(&kept.id, channel)?;
            anyhow::Ok(Some((kept, receipt)))
        });
        let found = found.await.map_err(|error| Refusal::Internal(error.to_string()))?;
        let Some((kept, receipt)) = found.map_err(|error| Refusal::Internal(error.to_string()))? else {
            return Ok(Again::Turn(turn));
        };
        if kept.asked != asked {
            return Err(Refusal::Conflict("this Idempotency-Key was used with another body".into()));
        }
        if kept.body.is_empty() {
            return Err(Refusal::Conflict(format!(
                "the answer to this Idempotency-Key broke off or was too long to keep, and was charged as far as it came (receipt {}); use another key to ask again",
                kept.id
            )));
        }
        if !room.grow(kept.body.len()) {
            return Err(Refusal::Busy(TOO_MANY_ANSWERS.into(), 1));
        }
        self.metrics.replayed(endpoint);
        let delivery = Delivery::new(move |_| drop(room));
        connection.carry(delivery.clone(), 0);
        let mut response = Response::new(AxumBody::new(Whole::new(kept.body.into(), delivery)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, text(kept.content_type));
        headers.insert("x-request-id", text(kept.id));
        headers.insert("x-earnest-replayed", HeaderValue::from_static("true"));
        if let Some(receipt) = receipt {
            headers.insert("x-earnest-receipt", text(encoded(&receipt)));
        }
        Ok(Again::Known(response))
    }
}
