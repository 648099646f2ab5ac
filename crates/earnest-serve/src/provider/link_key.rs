//! A link's own key. Gateway and provider agree on it at the hello, under the provider's signature; with it each answer is
//! known for the provider's in a few microseconds, where a signature and its check take a hundred. It proves nothing to
//! others: both sides have it.

use std::fmt;

use alloy_primitives::{FixedBytes, keccak256};
use hmac::{Hmac, KeyInit, Mac};
use secp256k1::ecdh::SharedSecret;
use secp256k1::{PublicKey, SECP256K1, SecretKey};
use sha2::Sha256;

/// A public key of secp256k1, compressed.
pub type Point = FixedBytes<33>;

/// What one side agrees with: made for one purpose and never written down.
pub struct Agreement {
    secret: SecretKey,
    public: Point,
}

impl Default for Agreement {
    fn default() -> Self {
        let secret = loop {
            let mut random = [0; 32];
            getrandom::fill(&mut random).expect("the system has randomness");
            if let Ok(secret) = SecretKey::from_byte_array(random) {
                break secret;
            }
        };
        let public = PublicKey::from_secret_key(SECP256K1, &secret).serialize().into();
        Agreement { secret, public }
    }
}

impl Agreement {
    /// What the other side is shown.
    pub fn public(&self) -> Point {
        self.public
    }

    /// The key that both come to, each from its own secret and the other's public key (ECDH): of what else was `said` as
    /// well, so that no two hellos share one. None: `theirs` is no public key.
    pub fn with(&self, theirs: &Point, said: &[u8]) -> Option<LinkKey> {
        let theirs = PublicKey::from_slice(theirs.as_slice()).ok()?;
        let shared = SharedSecret::new(&theirs, &self.secret).secret_bytes();
        let key = keccak256([&shared[..], said].concat());
        Some(LinkKey(Hmac::new_from_slice(key.as_slice()).expect("it takes keys of any length")))
    }
}

/// Seals what comes over a link: HMAC-SHA256 (RFC 2104).
#[derive(Clone)]
pub struct LinkKey(Hmac<Sha256>);

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey")
    }
}

impl LinkKey {
    /// The seal under some bytes.
    pub fn seal(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(bytes).finalize().into_bytes().into()
    }

    /// Whether it is the seal under these bytes; takes as long whatever it is.
    pub fn sealed(&self, bytes: &[u8], seal: &[u8]) -> bool {
        self.0.clone().chain_update(bytes).verify_slice(seal).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_one_key_and_nobody_else_does() {
        let [gateway, provider, relay] = [(); 3].map(|()| Agreement::default());
        let ours = gateway.with(&provider.public(), b"hello").unwrap();
        let theirs = provider.with(&gateway.public(), b"hello").unwrap();
        let seal = theirs.seal(b"an answer");
        assert!(ours.sealed(b"an answer", &seal));
        assert!(!ours.sealed(b"another", &seal) && !ours.sealed(b"an answer", &seal[..31]));
        for other in [
            relay.with(&provider.public(), b"hello"),
            relay.with(&gateway.public(), b"hello"),
            gateway.with(&provider.public(), b"another hello"),
        ] {
            assert!(!other.unwrap().sealed(b"an answer", &seal));
        }
        for none in [Point::ZERO, Point::repeat_byte(0xff)] {
            assert!(gateway.with(&none, b"").is_none());
        }
    }
}
