//! Copies SQLite's log into the database beside the journal's writer. Done by the writer itself, a thousand pages at once,
//! it kept everybody waiting who waits for an entry, and took a processor from those who serve for some 50 ms.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

/// How often.
const EVERY: Duration = Duration::from_millis(250);
/// How often in a row: what was written meanwhile is copied, too, for only a log that was copied whole begins anew.
const TIMES: usize = 8;
/// Pages of a log that grew on all the same (64 MiB), and is copied by the writer.
pub(super) const LONGEST: i64 = 16 << 10;

/// Copies until it is let go of.
pub(super) struct Checkpoints {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = Builder::new().name("checkpoint".into()).spawn(move || {
            give_way();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                // Where the disk failed, the writer says so.
                let _ = copy(&connection);
            }
        })?;
        Ok(Checkpoints { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Keeps neither the writer nor a reader waiting.
fn copy(connection: &Connection) -> rusqlite::Result<()> {
    for _ in 0..TIMES {
        let (pages, copied): (i64, i64) =
            connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if copied >= pages {
            break;
        }
    }
    Ok(())
}

/// This thread takes what processor time nobody else wants.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}
