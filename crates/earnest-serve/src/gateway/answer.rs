//! What an answer in one piece and one in several have in common.

use alloy_primitives::B256;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use bytes::{Bytes, BytesMut};
use earnest_chain::voucher::SignedReceipt;

use super::refusal::Refusal;
use super::route::Served;
use super::{Gateway, crash};
use crate::openai::Endpoint;
use crate::openai::answer::Counted;
use crate::openai::usage::Resolved;
use crate::provider::usage::{self, UsageClaim, UsageError};

/// Why a long answer is not held.
pub const TOO_MANY_ANSWERS: &str = "this gateway holds as many long answers as it can at once";

/// A receipt as a header has it.
pub fn encoded(receipt: &SignedReceipt) -> String {
    let json = serde_json::to_vec(receipt).expect("a receipt is JSON");
    base64::engine::general_purpose::STANDARD.encode(json)
}

pub fn text(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

pub async fn durable(gateway: &Gateway, entry: Option<u64>) -> Result<(), Refusal> {
    if let Some(entry) = entry
        && !gateway.journal.durable(entry).await
    {
        return Err(Refusal::Internal("the gateway's disk failed; nothing was charged".into()));
    }
    crash::point("leased");
    Ok(())
}

/// Bytes in which some ranges, so far behind `from`, say another name.
pub fn renamed(bytes: &[u8], from: usize, places: &[std::ops::Range<usize>], name: &str) -> Bytes {
    let name = serde_json::to_string(name).expect("a string");
    let mut out = BytesMut::with_capacity(bytes.len() + name.len());
    let mut at = 0;
    for place in places {
        out.extend_from_slice(&bytes[at..from + place.start]);
        out.extend_from_slice(name.as_bytes());
        at = from + place.end;
    }
    out.extend_from_slice(&bytes[at..]);
    out.freeze()
}

/// Usage as an answer of an endpoint tells it.
pub fn told(endpoint: Endpoint, counted: &Counted) -> serde_json::Value {
    let Counted { usage, estimated, .. } = *counted;
    let total = usage.input.saturating_add(usage.output);
    let details = serde_json::json!({"cached_tokens": usage.cached});
    match endpoint {
        Endpoint::Responses => serde_json::json!({
            "input_tokens": usage.input, "input_tokens_details": details, "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": total, "estimated": estimated,
        }),
        _ => serde_json::json!({
            "prompt_tokens": usage.input, "prompt_tokens_details": details, "completion_tokens": usage.output,
            "total_tokens": total, "estimated": estimated,
        }),
    }
}

/// What a provider sealed at the end of an answer, if it came over a link. What is missing, or is about other bytes than
/// came, costs it a strike.
pub fn sealed_usage(
    trailers: Option<&HeaderMap>,
    served: &Served,
    id: &str,
    answer: B256,
    stated: Resolved,
) -> Result<Option<Resolved>, UsageError> {
    let (Some(asked), Some(link)) = (served.asked, &served.link) else { return Ok(None) };
    let seen = usage::Seen { request: id, request_sha256: asked, response_sha256: answer };
    let claim = UsageClaim::of(trailers, &link.key, seen).inspect_err(|_| served.strike())?;
    let Some(usage) = claim.usage else { return Ok(None) };
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    let sealed = Resolved {
        input: some(usage.prompt),
        output: some(usage.completion),
        cached: usage.cached,
        reasoning: stated.reasoning,
        total: None,
    };
    if (sealed.input, sealed.output) != (stated.input, stated.output) {
        served.strike();
    }
    Ok(Some(sealed))
}
