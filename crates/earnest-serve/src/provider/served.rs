//! A provider's own log of what it served, and of what the gateway counted less: one JSON object a line, only ever added
//! to. Days are summed up from it, to be held against the gateway's statements.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::B256;
use earnest_core::plan::{Time, instant};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::counted::Counted;
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

/// A request of which the gateway counted less than was stated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedLine {
    /// When it was heard, by this machine's clock.
    pub time: Time,
    /// What the gateway said.
    #[serde(flatten)]
    pub counted: Counted,
}

/// A line of the log, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What was served.
    Served(Line),
    /// `{"counted": {…}}`: what was counted less.
    Counted(CountedLine),
    /// `{"kind": {…}}` of a later version: passed over.
    Unknown,
}

impl Entry {
    /// From a line. A kind is the only name at the top, and has an object.
    pub fn read(line: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind {
            counted: CountedLine,
        }
        let kinds: Result<BTreeMap<String, serde_json::Map<String, serde_json::Value>>, _> =
            serde_json::from_slice(line);
        match kinds.ok().filter(|kinds| kinds.len() == 1) {
            Some(kinds) if kinds.contains_key("counted") => {
                serde_json::from_slice::<Kind>(line).map(|kind| Entry::Counted(kind.counted))
            }
            Some(_) => Ok(Entry::Unknown),
            None => serde_json::from_slice(line).map(Entry::Served),
        }
    }
}

/// What a log says in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By day and model.
    pub days: Vec<Day>,
    /// Why less was counted, and for how many requests.
    pub reasons: BTreeMap<String, u64>,
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
    /// Requests of which the gateway counted less than was stated; what it said that day.
    pub less_requests: u64,
    /// Model tokens, read and written, that were stated and not counted.
    pub less: u64,
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

/// The open log. A thread of its own writes it: where the disk is syncing for somebody else, a write waits for many
/// milliseconds, and whoever serves requests would wait with it.
pub struct Log {
    lines: Option<SyncSender<String>>,
    writer: Option<JoinHandle<()>>,
}

/// Lines that may wait for the disk; then whoever has another waits, too.
const MOST_WAITING: usize = 4_096;

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
        let (lines, coming) = std::sync::mpsc::sync_channel(MOST_WAITING);
        let writer = std::thread::Builder::new().name("served".into()).spawn(move || write(file, &coming));
        Ok(Log { lines: Some(lines), writer: Some(writer.map_err(failed)?) })
    }

    /// Adds what was served. It is the system's a moment later: a crash of this program or the machine loses the last.
    pub fn write(&self, line: &Line) {
        self.add(line);
    }

    /// Adds what was counted less.
    pub fn write_counted(&self, line: &CountedLine) {
        self.add(&BTreeMap::from([("counted", line)]));
    }

    fn add(&self, line: &impl Serialize) {
        let text = serde_json::to_string(line).expect("numbers and words") + "\n";
        let _ = self.lines.as_ref().map(|lines| lines.send(text));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

/// Writes what comes, as much at once as has come.
fn write(mut file: File, coming: &Receiver<String>) {
    while let Ok(mut text) = coming.recv() {
        text.extend(coming.try_iter().take(MOST_WAITING));
        if let Err(error) = file.write_all(text.as_bytes()) {
            let lines = text.lines().count();
            eprintln!("warning: {lines} lines of what was served are not in the log: {error}");
        }
    }
}

/// This machine's clock.
pub(super) fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn whole(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)]
}

/// What a log says.
pub fn sums(folder: &Path) -> Result<Sums, LogError> {
    let path = folder.join(FILE);
    let name = path.display().to_string();
    let text = std::fs::read(&path).map_err(|error| LogError::File(name.clone(), error))?;
    let (mut days, mut reasons) = (BTreeMap::new(), BTreeMap::new());
    for (index, line) in whole(&text).split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let unread = |why| LogError::Line { file: name.clone(), line: index + 1, why };
        let key = |time, model| (instant::show(time)[..10].to_string(), model);
        let line = match Entry::read(line).map_err(unread)? {
            Entry::Served(line) => line,
            Entry::Counted(CountedLine { time, counted }) => {
                let day: &mut Day = days.entry(key(time, counted.model.clone())).or_default();
                day.less_requests += 1;
                day.less = day.less.saturating_add(counted.less());
                *reasons.entry(counted.why).or_default() += 1;
                continue;
            }
            Entry::Unknown => continue,
        };
        let day = days.entry(key(line.time, line.model)).or_default();
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
    let days = days.into_iter().map(|((day, model), sum)| Day { day, model, ..sum }).collect();
    Ok(Sums { days, reasons })
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
        let less = |time, stated, why: &str| {
            let counted = Usage { prompt: 3, cached: 1, completion: 1 };
            let counted =
                Counted { request: "r".into(), model: "b".into(), stated, counted, why: why.into() };
            CountedLine { time, counted }
        };
        let usage = Some(Usage { prompt: 3, cached: 1, completion: 2 });
        let log = Log::open(&folder).unwrap();
        assert!(Log::open(&folder).is_err(), "one provider at a time");
        log.write(&line(86_399, "b", usage, End::Whole));
        log.write(&line(86_400, "b", usage, End::Whole));
        log.write(&line(86_401, "b", None, End::Left));
        log.write(&line(86_402, "a", usage, End::Broken));
        log.write_counted(&less(86_403, usage, "cut off"));
        log.write_counted(&less(86_404, None, "cut off"));
        log.write_counted(&less(86_405, usage, "bounded"));
        drop(log);
        // A later version may write what this one does not know.
        let mut text = std::fs::read_to_string(folder.join(FILE)).unwrap();
        assert_eq!(text.matches("{\"counted\":{\"time\":").count(), 3, "{text}");
        text += "{\"later\":{\"x\":1}}\n";
        std::fs::write(folder.join(FILE), text).unwrap();
        let whole = std::fs::read(folder.join(FILE)).unwrap();
        std::fs::write(folder.join(FILE), [&whole[..], &whole[..40]].concat()).unwrap();
        let Sums { days, reasons } = sums(&folder).unwrap();
        assert_eq!(reasons, BTreeMap::from([("bounded".into(), 1), ("cut off".into(), 2)]));
        let less: Vec<_> = days.iter().map(|day| (day.less_requests, day.less)).collect();
        assert_eq!(less, [(0, 0), (0, 0), (3, 2)]);
        let found: Vec<_> = days
            .into_iter()
            .map(|day| (day.day, day.model, day.requests, day.answered, day.prompt, day.uncounted_chunks))
            .collect();
        assert_eq!(
            found,
            [
                ("1970-01-01".into(), "b".into(), 1, 1, 3, 0),
                ("1970-01-02".into(), "a".into(), 1, 0, 3, 0),
                ("1970-01-02".into(), "b".into(), 2, 1, 3, 2),
            ]
        );
        Log::open(&folder).unwrap().write(&line(86_403, "a", None, End::Whole));
        assert_eq!(sums(&folder).unwrap().days[1].requests, 2);
        std::fs::write(folder.join(FILE), "{}\n").unwrap();
        assert!(matches!(sums(&folder), Err(LogError::Line { line: 1, .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
