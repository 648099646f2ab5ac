//! The file of a chain: what it is, then every block and every change of the clock, one JSON object a line. A line that
//! is not whole at the end was never acknowledged and is dropped; anything else that is wrong is refused.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use earnest_core::plan::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::block::genesis_root;
use crate::embedded::SPEC;

/// Which lines these are.
const VERSION: u32 = 2;

/// First line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) earnest_chain: u32,
    pub(super) chain_id: u64,
    /// The rules it runs by, such as `Osaka`.
    pub(super) spec: String,
    pub(super) genesis_time: Time,
    /// Digest of the contracts that stand there before the first block.
    #[serde(default)]
    pub(super) genesis_root: B256,
    /// For information.
    pub(super) revm: String,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Line {
    /// What went into a block, and the hash that must come out again.
    Block { number: u64, time: Time, transactions: Vec<Bytes>, senders: Vec<Address>, hash: B256 },
    /// What is added to this machine's clock from here on; no block's hash says whether it is right.
    Clock { offset: i64, check: B256 },
}

impl Line {
    pub(super) fn clock(offset: i64) -> Self {
        Line::Clock { offset, check: Self::clock_check(offset) }
    }

    pub(super) fn clock_check(offset: i64) -> B256 {
        keccak256(format!("clock {offset}"))
    }
}

/// Why a chain's file cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Someone else has it.
    #[error("{} is in use by another process\n  hint: `earnest up`, `earnest gateway` or another command has it open", .0.display())]
    InUse(PathBuf),
    /// The disk.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// A line that is wrong, and what can be done.
    #[error("{}:{line}: {what}\n  hint: {remedy}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
}

pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes that are known to be whole lines.
    length: u64,
    /// The disk failed in a way that leaves unknown what is on it.
    broken: Option<String>,
}

/// For information: what else a chain depends on is its hashes.
const REVM: &str = "43";

/// A line that was cut off ends early. One that goes on lost its newline, and that line was acknowledged.
fn goes_on_after_its_end(line: &[u8]) -> bool {
    let mut lines = serde_json::Deserializer::from_slice(line).into_iter::<Line>();
    matches!(lines.next(), Some(Ok(_))) && lines.byte_offset() < line.len()
}

impl Journal {
    /// Opens the file and locks it, or makes it; `take` gets every line after the first. The head is what the file says,
    /// or, of a new one, what `genesis` gives.
    pub(super) fn open(
        path: &Path,
        chain_id: u64,
        genesis: impl FnOnce() -> (Time, i64),
        mut take: impl FnMut(&Head, Option<Line>) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::File(path.to_path_buf(), error);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_path_buf())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(failed)?;
        let mut journal = Journal { file, path: path.to_path_buf(), length: 0, broken: None };
        let mut head: Option<Head> = None;
        let mut rest = &bytes[..];
        let mut number = 0;
        // What follows the last newline is a line that was cut off.
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, last) = (&rest[..end], end + 1 == rest.len());
            number += 1;
            let taken = match &head {
                None => serde_json::from_slice::<Head>(line).map_err(|error| error.to_string()).map(|it| {
                    head = Some(it);
                }),
                Some(_) => Ok(()),
            };
            let first = number == 1;
            let parsed = match taken {
                Ok(()) if first => Ok(None),
                Ok(()) => serde_json::from_slice::<Line>(line).map(Some).map_err(|error| error.to_string()),
                Err(what) => Err(what),
            };
            match parsed {
                // Cut off, though the newline got to the disk before what is in front of it.
                Err(_) if last && !first && !goes_on_after_its_end(line) => break,
                Err(what) => return Err(journal.wrong(number, what)),
                Ok(parsed) => {
                    let head = head.as_ref().expect("read");
                    if first {
                        journal.check(head, chain_id)?;
                    }
                    take(head, parsed).map_err(|what| journal.wrong(number, what))?;
                }
            }
            journal.length += end as u64 + 1;
            rest = &rest[end + 1..];
        }
        if goes_on_after_its_end(rest) {
            return Err(journal.wrong(number + 1, "two lines in one".into()));
        }
        if journal.length < bytes.len() as u64 {
            journal.cut().map_err(failed)?;
        }
        if head.is_none() {
            let (genesis_time, offset) = genesis();
            let head = Head {
                earnest_chain: VERSION,
                chain_id,
                spec: format!("{SPEC:?}"),
                genesis_time,
                genesis_root: genesis_root(),
                revm: REVM.into(),
            };
            let text = serde_json::to_string(&head).expect("plain data") + "\n";
            journal
                .write(text, &Line::clock(offset))
                .map_err(|error| failed(std::io::Error::other(error)))?;
            // The name is as durable as what is in it.
            if let Some(folder) = path.parent() {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            }
            let wrong = |what| journal.wrong(1, what);
            take(&head, None).and_then(|()| take(&head, Some(Line::clock(offset)))).map_err(wrong)?;
        }
        Ok(journal)
    }

    fn check(&self, head: &Head, chain_id: u64) -> Result<(), OpenError> {
        let other = |what: String, remedy: &str| OpenError::Line {
            path: self.path.clone(),
            line: 1,
            what,
            remedy: remedy.into(),
        };
        let spec = format!("{SPEC:?}");
        if head.earnest_chain != VERSION {
            let what = format!("format {} is not {VERSION}, which this version reads", head.earnest_chain);
            return Err(other(what, "open it with the version of earnest that made it"));
        }
        if head.spec != spec {
            let what = format!("the chain runs by the rules of {}, and this version by {spec}", head.spec);
            return Err(other(
                what,
                "open it with the version of earnest that made it, or deploy in another folder",
            ));
        }
        if head.genesis_root != genesis_root() {
            return Err(other(
                "the chain began with other contracts than this version puts there".into(),
                "open it with the version of earnest that made it, or deploy in another folder",
            ));
        }
        if head.chain_id != chain_id {
            let what = format!("the chain has id {}, and {chain_id} is expected", head.chain_id);
            return Err(other(what, "the file belongs to another folder"));
        }
        Ok(())
    }

    fn wrong(&self, line: usize, what: String) -> OpenError {
        let remedy = format!(
            "the file was changed or damaged: restore it from a copy, or keep the first {} lines and lose the rest, or \
             deploy in another folder",
            line - 1
        );
        OpenError::Line { path: self.path.clone(), line, what, remedy }
    }

    /// Drops what is after the last whole line.
    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }

    /// Writes a line and waits until it is on the disk.
    pub(super) fn append(&mut self, line: &Line) -> Result<(), String> {
        self.write(String::new(), line)
    }

    fn write(&mut self, mut text: String, line: &Line) -> Result<(), String> {
        if let Some(why) = &self.broken {
            return Err(format!("{why}; restart the node"));
        }
        text += &serde_json::to_string(line).expect("plain data");
        text.push('\n');
        let written =
            self.file.seek(SeekFrom::Start(self.length)).and_then(|_| self.file.write_all(text.as_bytes()));
        if let Err(error) = written {
            // A full disk: what is there of the line must go before another may follow.
            if let Err(worse) = self.cut() {
                self.broken = Some(format!("{error}, then {worse}"));
            }
            return Err(error.to_string());
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync the system may forget what it did not write: only reading the file again tells.
            self.broken = Some(error.to_string());
            return Err(error.to_string());
        }
        self.length += text.len() as u64;
        Ok(())
    }
}
