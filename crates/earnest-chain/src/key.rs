//! A signing key, from a file, an environment variable or a seed; never from a command's arguments.

use std::fmt;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use thiserror::Error;

/// A secp256k1 key and its address. The C library signs: a gateway signs a receipt for every answer, and it takes a third
/// of what a signature in plain Rust does.
#[derive(Clone)]
pub struct Key {
    secret: SecretKey,
    address: Address,
}

/// The text is not a key.
#[derive(Debug, Error)]
#[error("not a private key: 32 bytes in hex are expected")]
pub struct BadKey;

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.address)
    }
}

impl Key {
    /// From 32 bytes in hex, with or without `0x`, spaces around it ignored.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let bytes: B256 = text.trim().parse().map_err(|_| BadKey)?;
        Key::from_bytes(bytes).ok_or(BadKey)
    }

    /// A development key, the same for the same words. Anyone can make it: never for real money.
    pub fn from_words(words: &str) -> Self {
        let mut seed = keccak256(words);
        loop {
            if let Some(key) = Key::from_bytes(seed) {
                return key;
            }
            seed = keccak256(seed); // one in 2¹²⁸
        }
    }

    fn from_bytes(bytes: B256) -> Option<Self> {
        let secret = SecretKey::from_byte_array(bytes.0).ok()?;
        let public = PublicKey::from_secret_key(SECP256K1, &secret).serialize_uncompressed();
        Some(Key { secret, address: Address::from_raw_public_key(&public[1..]) })
    }

    /// Its account.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a transaction.
    pub fn sign_transaction(&self, transaction: TxEip1559) -> TxEnvelope {
        let signature = self.signature(transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature))
    }

    /// Signs a digest: 65 bytes, low s.
    pub fn sign(&self, digest: B256) -> Bytes {
        self.signature(digest).as_bytes().to_vec().into()
    }

    fn signature(&self, digest: B256) -> Signature {
        let signed = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.secret);
        let (parity, halves) = signed.serialize_compact();
        Signature::from_bytes_and_parity(&halves, i32::from(parity) & 1 == 1)
    }
}

/// Whose signature it is over a digest; `None`: nobody's. The last byte is 27 or 28, or 0 or 1 as some wallets write it:
/// others are of transactions, and the same signature should not have a hundred forms.
pub fn signer_of(digest: B256, signature: &[u8]) -> Option<Address> {
    if !matches!(signature.get(64), Some(0 | 1 | 27 | 28)) {
        return None;
    }
    Signature::from_raw(signature).ok()?.recover_address_from_prehash(&digest).ok()
}
