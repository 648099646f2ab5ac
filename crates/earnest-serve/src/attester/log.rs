//! The attester's audit log: one JSON object a line, each with the hash of the line before it, so that no line can be
//! changed, taken out or put in without every later one telling. It names wallets and entities' numbers and nothing
//! else about anyone. It is also the memory: what was given is read back from it.
//!
//! That its end was cut off it cannot tell by itself; whoever wants to know writes down the last hash now and then.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use alloy_primitives::{Address, B256};
use earnest_core::plan::Time;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// SHA-256 of the line before, without its end; zero: there is none.
    pub previous: B256,
    /// The chain's.
    pub time: Time,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Entry {
    /// The service was started.
    Started {
        /// EIP-155 id.
        chain_id: u64,
        /// For which offering.
        offering: Address,
        /// Under which terms.
        terms_hash: B256,
        /// SHA-256 of the rules it goes by.
        rules: B256,
    },
    /// A permit was signed.
    Granted(Grant),
    /// A wallet that signed in was told no.
    Refused {
        /// Which.
        wallet: Address,
        /// Of which round.
        round: u8,
        /// Where it was known.
        entity: Option<u64>,
        /// Why, as a word.
        reason: String,
    },
}

/// A permit that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of the permit, and its digest")]
pub struct Grant {
    pub wallet: Address,
    pub round: u8,
    pub entity: u64,
    pub regime: String,
    pub max_cash: u64,
    pub max_total: u64,
    pub not_before: Time,
    pub expiry: Time,
    pub attester: Address,
    pub generation: u32,
    pub digest: B256,
}

/// A log that cannot be relied on, or not be written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The disk.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// It was changed.
    #[error(
        "{file}:{line}: {what}\n  hint: the log was changed after it was written; keep the file for whoever looks into it, and begin another with --log"
    )]
    Changed {
        /// Which.
        file: String,
        /// Where it does not fit.
        line: usize,
        /// Why.
        what: String,
    },
    /// Another offering's.
    #[error("{0} is the log of another offering\n  hint: --log names another file")]
    OtherOffering(String),
}

/// What a whole log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines.
    pub lines: u64,
    /// Permits signed.
    pub granted: u64,
    /// Decisions against.
    pub refused: u64,
    /// Of the first and the last line.
    pub from: Time,
    /// Of the last line.
    pub to: Time,
    /// SHA-256 of the last line: who knows it knows the whole log.
    pub head: B256,
    /// Bytes of a last line that was cut off while it was written, and counts for nothing.
    pub torn: usize,
}

/// The open log.
pub struct Log {
    file: File,
    name: String,
    length: u64,
    lines: u64,
    head: B256,
    /// A write failed and could not be taken back.
    broken: bool,
}

fn hash(line: &str) -> B256 {
    B256::from_slice(&Sha256::digest(line))
}

/// Reads a log and checks every line; `each` sees them.
fn read(file: &str, text: &[u8], mut each: impl FnMut(Line)) -> Result<Summary, LogError> {
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let mut summary = Summary { torn: text.len() - whole, ..Summary::default() };
    for (index, bytes) in text[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let changed = |what: String| LogError::Changed { file: file.to_string(), line: index + 1, what };
        let line =
            std::str::from_utf8(&bytes[..bytes.len() - 1]).map_err(|error| changed(error.to_string()))?;
        let parsed: Line = serde_json::from_str(line).map_err(|error| changed(error.to_string()))?;
        if parsed.previous != summary.head {
            return Err(changed("it does not carry the hash of the line before".into()));
        }
        if parsed.number != summary.lines + 1 {
            return Err(changed(format!(
                "it is number {}, and {} was due",
                parsed.number,
                summary.lines + 1
            )));
        }
        match &parsed.entry {
            Entry::Started { .. } => {}
            Entry::Granted(_) => summary.granted += 1,
            Entry::Refused { .. } => summary.refused += 1,
        }
        if summary.lines == 0 {
            summary.from = parsed.time;
        }
        (summary.lines, summary.to, summary.head) = (parsed.number, parsed.time, hash(line));
        each(parsed);
    }
    Ok(summary)
}

/// Checks a log without opening it for writing.
pub fn verify(path: &Path) -> Result<Summary, LogError> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| LogError::File(name.clone(), error))?;
    read(&name, &text, |_| {})
}

impl Log {
    /// Opens it, or makes it; `each` sees every permit that was signed for this offering. A last line that was cut off
    /// in the middle is dropped: its permit never left.
    pub fn open(path: &Path, started: &Entry, mut each: impl FnMut(Grant)) -> Result<Self, LogError> {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| LogError::File(name.clone(), error);
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(std::io::Error::other(error)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let place = |entry: &Entry| match entry {
            Entry::Started { chain_id, offering, .. } => Some((*chain_id, *offering)),
            _ => None,
        };
        let mut foreign = false;
        let summary = read(&name, &text, |line| match line.entry {
            Entry::Granted(grant) => each(grant),
            other => foreign |= place(&other).is_some_and(|found| Some(found) != place(started)),
        })?;
        if foreign {
            return Err(LogError::OtherOffering(name));
        }
        let length = (text.len() - summary.torn) as u64;
        file.set_len(length).map_err(failed)?;
        Ok(Log { file, name, length, lines: summary.lines, head: summary.head, broken: false })
    }

    /// Writes a line and waits until it is on the disk.
    pub fn write(&mut self, time: Time, entry: Entry) -> Result<(), LogError> {
        let failed = |error| LogError::File(self.name.clone(), error);
        if self.broken {
            return Err(failed(std::io::Error::other("an earlier line could not be written")));
        }
        let line = Line { number: self.lines + 1, previous: self.head, time, entry };
        let text = serde_json::to_string(&line).expect("numbers and words");
        let written =
            self.file.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line in the middle would be taken for a change.
            self.broken = self.file.set_len(self.length).is_err();
            return Err(failed(error));
        }
        self.length += text.len() as u64 + 1;
        (self.lines, self.head) = (line.number, hash(&text));
        Ok(())
    }
}
