//! A provider's own log of what it served: one JSON object a line, only ever added to. Days are summed up from it, to be
//! held against the gateway's statements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::B256;
use earnest_core::plan::{Time, instant};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::usage::Usage;

/// The log's name in its folder.
pub const FILE: &str = "served.jsonl";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With the last byte of the answer.
    Whole,
    /// The gateway took no more.
    Left,
    /// The upstream failed.
    Broken,
}

/// A request that was served, or begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it ended, by this machine's clock.
    pub time: Time,
    /// The gateway's id of it.
    pub request: String,
    /// By the gateway's name.
    pub model: String,
    /// The upstream's; 0: it did not answer.
    pub status: u16,
    /// How it ended.
    pub end: End,
    /// As the upstream counted it.
    pub usage: Option<Usage>,
    /// Pieces of a stream that carried something written.
    pub chunks: u64,
    /// Basis points of the listed charge that were asked.
    pub ask: u16,
    /// Of the request's body.
    pub request_sha256: B256,
    /// Of as much of the answer as was handed over.
    pub response_sha256: B256,
}

/// What was served of one model on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Of UTC, such as 2026-11-22.
    pub day: String,
    /// By the gateway's name.
    pub model: String,
    /// All of them.
    pub requests: u64,
    /// That were answered to the end, and not with an error.
    pub answered: u64,
    /// Model tokens read, as far as the upstream counted.
    pub prompt: u64,
    /// Of those, from a cache.
    pub cached: u64,
    /// Model tokens written.
    pub completion: u64,
    /// Pieces of streams for which there is no count.
    pub uncounted_chunks: u64,
}

/// A log that cannot be used.
#[derive(Debug, Error)]
pub enum LogError {
    /// The disk.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// Not written by this program.
    #[error("{file}:{line}: {why}")]
    Line {
        /// Which.
        file: String,
        /// Where.
        line: usize,
        /// What is wrong with it.
        why: serde_json::Error,
    },
}

/// The open log.
pub struct Log(Mutex<File>);

impl Log {
    /// Opens it, or makes it. Half a line at its end, left by a crash, is taken away.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let path = folder.join(FILE);
        let failed = |error| LogError::File(path.display().to_string(), error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = File::options().read(true).append(true).create(true).open(&path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(std::io::Error::other(error)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        file.set_len(whole(&text).len() as u64).map_err(failed)?;
        Ok(Log(Mutex::new(file)))
    }

    /// Adds a line. It is the system's from here on: a crash of this program loses none, one of the machine the last.
    pub fn write(&self, line: &Line) -> Result<(), std::io::Error> {
        let text = serde_json::to_string(line).expect("numbers and words") + "\n";
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }
}

/// This machine's clock.
pub(super) fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn whole(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)]
}

/// What a log says, by day and model.
pub fn days(folder: &Path) -> Result<Vec<Day>, LogError> {
    let path = folder.join(FILE);
    let name = path.display().to_string();
    let text = std::fs::read(&path).map_err(|error| LogError::File(name.clone(), error))?;
    let mut days = BTreeMap::new();
    for (index, line) in whole(&text).split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(line).map_err(|why| LogError::Line {
            file: name.clone(),
            line: index + 1,
            why,
        })?;
        let key = (instant::show(line.time)[..10].to_string(), line.model);
        let day: &mut Day = days.entry(key).or_default();
        day.requests += 1;
        day.answered += u64::from(line.end == End::Whole && line.status == 200);
        match line.usage {
            Some(Usage { prompt, cached, completion }) => {
                day.prompt += prompt;
                day.cached += cached;
                day.completion += completion;
            }
            None => day.uncounted_chunks += line.chunks,
        }
    }
    Ok(days.into_iter().map(|((day, model), sum)| Day { day, model, ..sum }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_summed_up_and_half_a_line_counts_for_nothing() {
        let folder = std::env::temp_dir().join(format!("earnest-served-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let line = |time, model: &str, usage, end| Line {
            time,
            request: "r".into(),
            model: model.into(),
            status: 200,
            end,
            usage,
            chunks: 2,
            ask: 8_000,
            request_sha256: B256::ZERO,
            response_sha256: B256::ZERO,
        };
        let usage = Some(Usage { prompt: 3, cached: 1, completion: 2 });
        let log = Log::open(&folder).unwrap();
        assert!(Log::open(&folder).is_err(), "one provider at a time");
        log.write(&line(86_399, "b", usage, End::Whole)).unwrap();
        log.write(&line(86_400, "b", usage, End::Whole)).unwrap();
        log.write(&line(86_401, "b", None, End::Left)).unwrap();
        log.write(&line(86_402, "a", usage, End::Broken)).unwrap();
        drop(log);
        let whole = std::fs::read(folder.join(FILE)).unwrap();
        std::fs::write(folder.join(FILE), [&whole[..], &whole[..40]].concat()).unwrap();
        let sums: Vec<_> = days(&folder)
            .unwrap()
            .into_iter()
            .map(|day| (day.day, day.model, day.requests, day.answered, day.prompt, day.uncounted_chunks))
            .collect();
        assert_eq!(
            sums,
            [
                ("1970-01-01".into(), "b".into(), 1, 1, 3, 0),
                ("1970-01-02".into(), "a".into(), 1, 0, 3, 0),
                ("1970-01-02".into(), "b".into(), 2, 1, 3, 2),
            ]
        );
        Log::open(&folder).unwrap().write(&line(86_403, "a", None, End::Whole)).unwrap();
        assert_eq!(days(&folder).unwrap()[1].requests, 2);
        std::fs::write(folder.join(FILE), "{}\n").unwrap();
        assert!(matches!(days(&folder), Err(LogError::Line { line: 1, .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
