//! What a provider says that it served, sealed with its link's key: it comes as trailers after the answer, and names the
//! request and the bytes on both sides, so that it can be held against what the gateway saw.

use alloy_primitives::{B256, hex};
use axum::http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::hello::is_model_name;
use super::link_key::LinkKey;

/// The claim, compact JSON.
pub const USAGE: &str = "earnest-usage";
/// HMAC-SHA256 of the claim under the link's key, in hex.
pub const SEAL: &str = "earnest-usage-seal";
/// Most bytes of a claim.
const LONGEST: usize = 4 << 10;
/// Most bytes of a request's id.
const LONGEST_ID: usize = 128;

/// Model tokens of one request, as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Read.
    pub prompt: u64,
    /// Of those, read from a cache.
    pub cached: u64,
    /// Written.
    pub completion: u64,
}

/// What was served for one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageClaim {
    /// The gateway's id of it.
    pub request: String,
    /// By the gateway's name.
    pub model: String,
    /// The upstream's HTTP status.
    pub status: u16,
    /// None: the upstream did not say.
    pub usage: Option<Usage>,
    /// Pieces of a stream that carried something written; 0 where it was no stream.
    pub chunks: u64,
    /// SHA-256 of the request's body as the gateway sent it.
    pub request_sha256: B256,
    /// SHA-256 of the answer's body.
    pub response_sha256: B256,
}

/// Why a claim is none.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the message says it")]
pub enum UsageError {
    #[error("the answer ended without the trailer {0}")]
    Missing(&'static str),
    #[error("the usage claim cannot be read: {0}")]
    Unread(String),
    #[error("the usage claim was not sealed with the key of its link")]
    Seal,
    #[error("the usage claim is for the request {claimed:?}, and {asked:?} was asked")]
    OtherRequest { claimed: String, asked: String },
    #[error("the usage claim is for a request with the SHA-256 {claimed}, and {sent} was sent")]
    OtherBody { claimed: B256, sent: B256 },
    #[error("the usage claim is for an answer with the SHA-256 {claimed}, and {received} was received")]
    OtherAnswer { claimed: B256, received: B256 },
}

/// What a gateway saw of a request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'s> {
    /// Its id.
    pub request: &'s str,
    /// SHA-256 of the body as it was sent.
    pub request_sha256: B256,
    /// SHA-256 of the answer's bytes as they were received, before anything was made of them.
    pub response_sha256: B256,
}

/// Whether it can name a request.
pub fn is_request_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl UsageClaim {
    /// As trailers, sealed.
    pub fn seal(&self, key: &LinkKey) -> HeaderMap {
        let text = serde_json::to_string(self).expect("words and numbers");
        let seal = hex::encode_prefixed(key.seal(text.as_bytes()));
        let mut trailers = HeaderMap::with_capacity(2);
        let value = |text: String| HeaderValue::try_from(text).expect("names and ids are plain text");
        trailers.insert(USAGE, value(text));
        trailers.insert(SEAL, value(seal));
        trailers
    }

    /// The claim behind an answer, if it was sealed on this link for this request and for these bytes. Without the hashes
    /// who stands between the two could have one answer paid for another.
    pub fn of(trailers: Option<&HeaderMap>, key: &LinkKey, seen: Seen<'_>) -> Result<Self, UsageError> {
        let claim = Self::verify(trailers.ok_or(UsageError::Missing(USAGE))?, key)?;
        let Seen { request, request_sha256: sent, response_sha256: received } = seen;
        if claim.request != request {
            return Err(UsageError::OtherRequest { claimed: claim.request, asked: request.into() });
        }
        if claim.request_sha256 != sent {
            return Err(UsageError::OtherBody { claimed: claim.request_sha256, sent });
        }
        if claim.response_sha256 != received {
            return Err(UsageError::OtherAnswer { claimed: claim.response_sha256, received });
        }
        Ok(claim)
    }

    /// From trailers, if it was sealed with this key. Whether it is true is for those who saw the answer.
    pub fn verify(trailers: &HeaderMap, key: &LinkKey) -> Result<Self, UsageError> {
        let text = |name: &'static str| {
            let value = trailers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or(UsageError::Missing(name))
        };
        let (text, seal) = (text(USAGE)?, text(SEAL)?);
        if text.len() > LONGEST {
            return Err(UsageError::Unread(format!("it has {} bytes, and {LONGEST} is most", text.len())));
        }
        if !hex::decode(seal).is_ok_and(|seal| key.sealed(text.as_bytes(), &seal)) {
            return Err(UsageError::Seal);
        }
        let unread = |why: String| UsageError::Unread(why);
        let claim: UsageClaim = serde_json::from_str(text).map_err(|error| unread(error.to_string()))?;
        if !is_model_name(&claim.model) || !is_request_id(&claim.request) {
            return Err(unread("it names no model or no request".into()));
        }
        if claim.usage.is_some_and(|usage| usage.cached > usage.prompt) {
            return Err(unread("more was cached than read".into()));
        }
        Ok(claim)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::link_key::Agreement;
    use super::*;

    /// The key of a link, and of another.
    fn keys() -> [LinkKey; 2] {
        let [one, other] = [(); 2].map(|()| Agreement::default());
        [b"one", b"two"].map(|said| one.with(&other.public(), said).unwrap())
    }

    fn claim() -> UsageClaim {
        UsageClaim {
            request: "req_1".into(),
            model: "echo".into(),
            status: 200,
            usage: Some(Usage { prompt: 12, cached: 2, completion: 30 }),
            chunks: 30,
            request_sha256: B256::repeat_byte(1),
            response_sha256: B256::repeat_byte(2),
        }
    }

    #[test]
    fn a_claim_is_good_on_its_link() {
        let [key, other] = keys();
        let trailers = claim().seal(&key);
        assert_eq!(UsageClaim::verify(&trailers, &key), Ok(claim()));
        assert_eq!(UsageClaim::verify(&trailers, &other), Err(UsageError::Seal));
        for name in [USAGE, SEAL] {
            let mut fewer = trailers.clone();
            fewer.remove(name);
            assert_eq!(UsageClaim::verify(&fewer, &key), Err(UsageError::Missing(name)));
        }
        let mut more = claim();
        more.usage = Some(Usage { prompt: 1, cached: 2, completion: 0 });
        assert!(matches!(UsageClaim::verify(&more.seal(&key), &key), Err(UsageError::Unread(_))));
    }

    #[test]
    fn a_claim_is_for_the_bytes_that_were_seen() {
        let [key, _] = keys();
        let trailers = claim().seal(&key);
        let seen = Seen {
            request: "req_1",
            request_sha256: B256::repeat_byte(1),
            response_sha256: B256::repeat_byte(2),
        };
        let held = |trailers, seen| UsageClaim::of(trailers, &key, seen);
        assert_eq!(held(Some(&trailers), seen), Ok(claim()));
        assert_eq!(held(None, seen), Err(UsageError::Missing(USAGE)));
        let other = B256::repeat_byte(3);
        let request = held(Some(&trailers), Seen { request: "req_2", ..seen });
        assert!(matches!(request, Err(UsageError::OtherRequest { .. })), "{request:?}");
        let body = held(Some(&trailers), Seen { request_sha256: other, ..seen });
        assert!(matches!(body, Err(UsageError::OtherBody { .. })), "{body:?}");
        let answer = held(Some(&trailers), Seen { response_sha256: other, ..seen });
        assert!(matches!(answer, Err(UsageError::OtherAnswer { .. })), "{answer:?}");
    }

    #[test]
    fn a_claim_or_a_seal_that_was_changed_is_refused() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let [key, _] = keys();
        let trailers = claim().seal(&key);
        for round in 0..10_000 {
            let mut changed = trailers.clone();
            let name = if round % 2 == 0 { USAGE } else { SEAL };
            let mut bytes = changed[name].as_bytes().to_vec();
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes.insert(at, random.random()),
                _ => drop(bytes.remove(at)),
            }
            // Hex is read in either case, and with 0x or without.
            let same = |bytes: &[u8]| hex::decode(bytes).ok();
            if name == SEAL && same(&bytes) == same(trailers[SEAL].as_bytes()) {
                continue;
            }
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { continue };
            if changed.insert(name, value.clone()).as_ref() != Some(&value) {
                assert!(UsageClaim::verify(&changed, &key).is_err());
            }
        }
    }
}
