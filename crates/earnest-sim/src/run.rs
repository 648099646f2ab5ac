//! Work in chunks over any number of threads. A chunk is a function of its number alone and its numbers are kept by that
//! number, so threads, stopping and going on change no bit. What is done can be kept in a file and taken up again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// First bytes of a file of finished work; changes with the model, so that numbers of two models never mix.
const MARK: &[u8; 16] = b"earnest-sim 0003";
/// Of them, those that all models share.
const FAMILY: usize = 12;
/// Of a record's beginning: phase, chunk and count, 4 bytes each.
const HEAD: usize = 12;
/// Of its checksum.
const SUM: usize = 8;

/// How to work.
pub struct Workers<'w> {
    /// At least 1.
    pub threads: usize,
    /// Told after each chunk: what is done and how many there are, of this phase.
    pub progress: &'w (dyn Fn(&str, u32, u32) + Sync),
    /// Once true, no further chunk is begun.
    pub stop: &'w AtomicBool,
    /// Where finished chunks are kept.
    pub kept: Option<Kept>,
}

/// A run was stopped, or could not keep its work.
#[derive(Debug, Error)]
pub enum Interrupted {
    /// By whoever asked for it.
    #[error("stopped; what is done is kept where --keep says, and the same command goes on from there")]
    Stopped,
    /// By the disk.
    #[error("cannot keep finished work: {0}")]
    Disk(#[from] std::io::Error),
}

/// Phase, chunk and numbers.
type Record = (u32, u32, Vec<f64>);

/// A file of finished chunks, locked for as long as it is open.
pub struct Kept {
    inner: Mutex<(File, Vec<Record>)>,
    /// What every record's checksum begins with, so that none counts for another study.
    head: Vec<u8>,
}

impl Kept {
    /// Opens a file or makes it; one that was never for finished work is refused. `of` names everything that the numbers
    /// depend on; work of something else is thrown away, and so is a record that was cut off in the middle.
    pub fn open(path: &Path, of: &[u8]) -> std::io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        if file.try_lock().is_err() {
            return Err(std::io::Error::other("another run keeps its work in it"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if !bytes.is_empty() && !bytes.starts_with(&MARK[..FAMILY]) {
            return Err(std::io::Error::other("something else stands in it; name a file of its own"));
        }
        let head: Vec<u8> = MARK.iter().copied().chain(Sha256::digest(of)).collect();
        let mut done = Vec::new();
        let mut good = 0;
        if bytes.starts_with(&head) {
            good = head.len();
            while let Some((record, length)) = record(&head, &bytes[good..]) {
                done.push(record);
                good += length;
            }
        } else {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&head)?;
            good += head.len();
        }
        file.set_len(good as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Kept { inner: Mutex::new((file, done)), head })
    }

    fn of_phase(&self, phase: u32) -> Vec<(u32, Vec<f64>)> {
        let (_, done) = &mut *self.inner.lock().expect("no panic holds it");
        let (mine, rest) = std::mem::take(done).into_iter().partition(|(of, _, _)| *of == phase);
        *done = rest;
        mine.into_iter().map(|(_, chunk, numbers)| (chunk, numbers)).collect()
    }

    fn put(&self, phase: u32, chunk: u32, numbers: &[f64]) -> std::io::Result<()> {
        let count = u32::try_from(numbers.len()).expect("chunks are small");
        let mut bytes = Vec::with_capacity(HEAD + 8 * numbers.len() + SUM);
        for number in [phase, chunk, count] {
            bytes.extend(number.to_le_bytes());
        }
        for number in numbers {
            bytes.extend(number.to_bits().to_le_bytes());
        }
        let sum = checksum(&self.head, &bytes);
        bytes.extend(sum);
        self.inner.lock().expect("no panic holds it").0.write_all(&bytes)
    }
}

fn checksum(head: &[u8], record: &[u8]) -> [u8; SUM] {
    let sum = Sha256::new().chain_update(head).chain_update(record).finalize();
    std::array::from_fn(|place| sum[place])
}

/// The record at the beginning of these bytes and its length, if it is whole and of this study.
fn record(head: &[u8], bytes: &[u8]) -> Option<(Record, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (phase, chunk, count) = (word(0)?, word(4)?, word(8)? as usize);
    let end = HEAD.checked_add(count.checked_mul(8)?)?;
    let sum = bytes.get(end..end.checked_add(SUM)?)?;
    if checksum(head, &bytes[..end]) != *sum {
        return None;
    }
    let numbers = bytes[HEAD..end].chunks_exact(8);
    let numbers = numbers.map(|eight| f64::from_bits(u64::from_le_bytes(eight.try_into().expect("eight"))));
    Some(((phase, chunk, numbers.collect()), end + SUM))
}

impl Workers<'_> {
    /// Does chunks 0 to `count` of a phase, each of which comes to `length` numbers; in their order.
    pub fn chunks(
        &self,
        phase: u32,
        name: &str,
        count: u32,
        length: impl Fn(u32) -> usize,
        work: impl Fn(u32) -> Vec<f64> + Sync,
    ) -> Result<Vec<Vec<f64>>, Interrupted> {
        let mut results: Vec<Option<Vec<f64>>> = vec![None; count as usize];
        for (chunk, numbers) in self.kept.as_ref().map(|kept| kept.of_phase(phase)).unwrap_or_default() {
            if let Some(place) = results.get_mut(chunk as usize).filter(|_| numbers.len() == length(chunk)) {
                *place = Some(numbers);
            }
        }
        let todo: Vec<u32> =
            (0u32..).zip(&results).filter(|(_, done)| done.is_none()).map(|(chunk, _)| chunk).collect();
        let done = AtomicU32::new(count - u32::try_from(todo.len()).expect("at most count"));
        let (next, failed) = (AtomicU32::new(0), Mutex::new(None));
        let places = Mutex::new(&mut results);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, todo.len().max(1)) {
                scope.spawn(|| {
                    while !self.stop.load(Ordering::Relaxed) {
                        let mine = next.fetch_add(1, Ordering::Relaxed) as usize;
                        let Some(&chunk) = todo.get(mine) else { return };
                        let numbers = work(chunk);
                        if let Some(Err(error)) =
                            self.kept.as_ref().map(|kept| kept.put(phase, chunk, &numbers))
                        {
                            *failed.lock().expect("no panic holds it") = Some(error);
                            self.stop.store(true, Ordering::Relaxed);
                            return;
                        }
                        places.lock().expect("no panic holds it")[chunk as usize] = Some(numbers);
                        (self.progress)(name, done.fetch_add(1, Ordering::Relaxed) + 1, count);
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().expect("no panic holds it") {
            return Err(error.into());
        }
        results.into_iter().collect::<Option<_>>().ok_or(Interrupted::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers<'w>(threads: usize, stop: &'w AtomicBool, kept: Option<Kept>) -> Workers<'w> {
        Workers { threads, progress: &|_, _, _| {}, stop, kept }
    }

    fn length(chunk: u32) -> usize {
        chunk as usize % 7
    }

    fn work(chunk: u32) -> Vec<f64> {
        (0..chunk % 7).map(|i| f64::from(chunk) + f64::from(i) / 8.0).collect()
    }

    #[test]
    fn threads_and_stops_change_nothing() {
        let path = std::env::temp_dir().join(format!("earnest-kept-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let go = AtomicBool::new(false);
        let whole = workers(1, &go, None).chunks(0, "", 100, length, work).unwrap();
        assert_eq!(workers(16, &go, None).chunks(0, "", 100, length, work).unwrap(), whole);

        for _ in 0..40 {
            let (stop, left) = (AtomicBool::new(false), AtomicU32::new(7));
            let some = |chunk| {
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    stop.store(true, Ordering::Relaxed);
                }
                work(chunk)
            };
            let kept = Kept::open(&path, b"a study").unwrap();
            // With a right checksum and a wrong length.
            kept.put(4, 99, &[1.0; 3]).unwrap();
            match workers(3, &stop, Some(kept)).chunks(4, "", 100, length, some) {
                Ok(done) => {
                    assert_eq!(done, whole);
                    break;
                }
                Err(error) => assert!(matches!(error, Interrupted::Stopped)),
            }
            // A record that was cut off costs nothing but itself.
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 3).unwrap();
        }
        let other = Kept::open(&path, b"another study").unwrap();
        assert!(other.of_phase(4).is_empty());
        assert!(Kept::open(&path, b"another study").is_err(), "it is open");
        drop(other);
        std::fs::write(&path, "my thesis").unwrap();
        assert!(Kept::open(&path, b"a study").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my thesis");
        std::fs::remove_file(path).unwrap();
    }
}
