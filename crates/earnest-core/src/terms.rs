//! What a buyer signs to: a hash of `[terms]` and `[[documents]]` in a canonical form. It is bound into every
//! permit and bid, so nothing else in the plan may move it: running an offering must never void a signature.
//!
//! The form, for whoever wants to compute it elsewhere. A *number* is 8 bytes, big-endian. A *field* is the
//! number of its bytes, then the bytes. In this order:
//!
//! 1. field `earnest terms 1` (ASCII, as are the words below);
//! 2. fields `title`, `governing_law`, `position`, `credit`, each in UTF-8 as TOML reads it, not normalised;
//! 3. the number of promises, then each promise as a field, in the order of the file;
//! 4. the number of documents, then for each, in the order of the file: field `name`; field `kind`, by its word
//!    in the plan (`purchase-agreement`, `risk-disclosure`, `white-paper`, `other`); field `sha256`, the 32 bytes
//!    themselves.
//!
//! The hash is Keccak-256 of all that. A document's `file` is where it happens to lie and is left out.

use alloy_primitives::{B256, keccak256};

use crate::plan::Plan;

const VERSION: &str = "earnest terms 1";

/// The hash that permits and bids carry.
pub fn terms_hash(plan: &Plan) -> B256 {
    keccak256(canonical(plan))
}

/// The bytes that are hashed.
pub fn canonical(plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    field(&mut bytes, VERSION.as_bytes());
    let terms = &plan.terms;
    for text in [&terms.title, &terms.governing_law, &terms.position, &terms.credit] {
        field(&mut bytes, text.as_bytes());
    }
    number(&mut bytes, terms.promises.len());
    for promise in &terms.promises {
        field(&mut bytes, promise.as_bytes());
    }
    number(&mut bytes, plan.documents.len());
    for document in &plan.documents {
        field(&mut bytes, document.name.as_bytes());
        field(&mut bytes, document.kind.word().as_bytes());
        field(&mut bytes, document.sha256.as_slice());
    }
    bytes
}

fn number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as u64).to_be_bytes());
}

/// The length before the bytes keeps `ab`, `c` apart from `a`, `bc`.
fn field(bytes: &mut Vec<u8>, field: &[u8]) {
    number(bytes, field.len());
    bytes.extend(field);
}
