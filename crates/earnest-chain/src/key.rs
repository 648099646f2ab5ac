//! A signing key, from a file, an environment variable or a seed; never from a command's arguments.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, Signature, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use thiserror::Error;

/// A secp256k1 key and its address.
#[derive(Clone, Debug)]
pub struct Key(pub(crate) PrivateKeySigner);

/// The text is not a key.
#[derive(Debug, Error)]
#[error("not a private key: 32 bytes in hex are expected")]
pub struct BadKey;

impl Key {
    /// From 32 bytes in hex, with or without `0x`, spaces around it ignored.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        text.trim().parse().map(Key).map_err(|_| BadKey)
    }

    /// A development key, the same for the same words. Anyone can make it: never for real money.
    pub fn from_words(words: &str) -> Self {
        let mut seed = keccak256(words);
        loop {
            if let Ok(signer) = PrivateKeySigner::from_bytes(&seed) {
                return Key(signer);
            }
            seed = keccak256(seed); // one in 2¹²⁸
        }
    }

    /// Its account.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// Signs a transaction.
    pub fn sign_transaction(&self, transaction: TxEip1559) -> TxEnvelope {
        let signature = self.0.sign_hash_sync(&transaction.signature_hash()).expect("a local key signs");
        TxEnvelope::from(transaction.into_signed(signature))
    }

    /// Signs a digest: 65 bytes, low s.
    pub fn sign(&self, digest: B256) -> Bytes {
        let signature = self.0.sign_hash_sync(&digest).expect("a local key signs");
        signature.as_bytes().to_vec().into()
    }
}

/// Whose signature it is over a digest; `None`: nobody's.
pub fn signer_of(digest: B256, signature: &[u8]) -> Option<Address> {
    Signature::from_raw(signature).ok()?.recover_address_from_prehash(&digest).ok()
}
