//! What a provider says that it served, signed: it comes as trailers after the answer, and names the request and the
//! bytes on both sides, so that it can be held against what the gateway saw, or shown to others later.

use alloy_primitives::{Address, B256, hex};
use axum::http::{HeaderMap, HeaderValue};
use earnest_chain::key::{Key, signer_of};
use earnest_chain::voucher::House;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::hello::is_model_name;

/// The claim, compact JSON.
pub const USAGE: &str = "earnest-usage";
/// 65 bytes in hex.
pub const SIGNATURE: &str = "earnest-usage-signature";
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
    #[error("the usage claim was not signed by {0}")]
    Signature(Address),
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
    /// As trailers, signed.
    pub fn sign(&self, key: &Key, house: House) -> HeaderMap {
        let text = serde_json::to_string(self).expect("words and numbers");
        let signature = hex::encode_prefixed(key.sign(house.usage(text.as_bytes())));
        let mut trailers = HeaderMap::with_capacity(2);
        let value = |text: &str| HeaderValue::from_str(text).expect("names and ids are plain text");
        trailers.insert(USAGE, value(&text));
        trailers.insert(SIGNATURE, value(&signature));
        trailers
    }

    /// The claim behind an answer, if this provider signed it for this request and for these bytes. Without the hashes a
    /// provider could sign once and be paid for an answer that it did not give, and nobody could show it later.
    pub fn of(
        trailers: Option<&HeaderMap>,
        provider: Address,
        house: House,
        seen: Seen<'_>,
    ) -> Result<Self, UsageError> {
        let claim = Self::verify(trailers.ok_or(UsageError::Missing(USAGE))?, provider, house)?;
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

    /// From trailers, if this provider signed it. Whether it is true is for those who saw the answer.
    pub fn verify(trailers: &HeaderMap, provider: Address, house: House) -> Result<Self, UsageError> {
        let text = |name: &'static str| {
            let value = trailers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or(UsageError::Missing(name))
        };
        let (text, signature) = (text(USAGE)?, text(SIGNATURE)?);
        if text.len() > LONGEST {
            return Err(UsageError::Unread(format!("it has {} bytes, and {LONGEST} is most", text.len())));
        }
        let signature = hex::decode(signature).map_err(|_| UsageError::Signature(provider))?;
        if signer_of(house.usage(text.as_bytes()), &signature) != Some(provider) {
            return Err(UsageError::Signature(provider));
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

    use super::*;

    fn house(chain_id: u64) -> House {
        House::new(chain_id, Address::repeat_byte(9))
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
    fn a_claim_is_its_signers_in_its_realm() {
        let key = Key::from_words("a provider");
        let trailers = claim().sign(&key, house(31_337));
        assert_eq!(UsageClaim::verify(&trailers, key.address(), house(31_337)), Ok(claim()));
        let nobody = Address::repeat_byte(1);
        assert_eq!(UsageClaim::verify(&trailers, nobody, house(31_337)), Err(UsageError::Signature(nobody)));
        let refused = Err(UsageError::Signature(key.address()));
        assert_eq!(UsageClaim::verify(&trailers, key.address(), house(1)), refused);
        for name in [USAGE, SIGNATURE] {
            let mut fewer = trailers.clone();
            fewer.remove(name);
            assert_eq!(
                UsageClaim::verify(&fewer, key.address(), house(31_337)),
                Err(UsageError::Missing(name))
            );
        }
        let mut more = claim();
        more.usage = Some(Usage { prompt: 1, cached: 2, completion: 0 });
        let trailers = more.sign(&key, house(31_337));
        assert!(matches!(
            UsageClaim::verify(&trailers, key.address(), house(31_337)),
            Err(UsageError::Unread(_))
        ));
    }

    #[test]
    fn a_claim_is_for_the_bytes_that_were_seen() {
        let key = Key::from_words("a provider");
        let trailers = claim().sign(&key, house(31_337));
        let seen = Seen {
            request: "req_1",
            request_sha256: B256::repeat_byte(1),
            response_sha256: B256::repeat_byte(2),
        };
        let held = |trailers, seen| UsageClaim::of(trailers, key.address(), house(31_337), seen);
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
    fn a_mutated_claim_is_nobodys() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let key = Key::from_words("a provider");
        let trailers = claim().sign(&key, house(31_337));
        for _ in 0..10_000 {
            let mut changed = trailers.clone();
            let mut bytes = changed[USAGE].as_bytes().to_vec();
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = random.random(),
                1 => bytes.insert(at, random.random()),
                _ => drop(bytes.remove(at)),
            }
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { continue };
            if changed.insert(USAGE, value.clone()).as_ref() != Some(&value) {
                assert!(UsageClaim::verify(&changed, key.address(), house(31_337)).is_err());
            }
        }
    }
}
