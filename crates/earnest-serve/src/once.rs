//! What is told to whoever runs it once, and not again with every request.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Different things that are told.
const MOST: usize = 64;

/// What was told.
#[derive(Debug, Default)]
pub struct Once(Mutex<HashSet<String>>);

impl Once {
    /// Whether this is new, and it is not too much.
    pub fn is_new(&self, what: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MOST && !told.contains(what) && told.insert(what.to_owned())
    }
}
