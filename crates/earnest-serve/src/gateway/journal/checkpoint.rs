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

/// Pages of a log that could not begin anew for so long (256 MiB), because somebody always reads: then the writer waits for
/// once, and whoever begins to read meanwhile reads the database alone.
const FAR: i64 = 4 * LONGEST;
/// How long it may wait for that, and how rarely.
const WAIT: Duration = Duration::from_millis(100);
const RARELY: u32 = 40;

/// Copies until it is let go of.
pub(super) struct Checkpoints {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        connection.busy_timeout(WAIT).map_err(io::Error::other)?;
        let (stop, stopped) = channel();
        let thread = Builder::new().name("checkpoint".into()).spawn(move || {
            give_way();
            let mut turn: u32 = 0;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                turn = turn.wrapping_add(1);
                // Where the disk failed, the writer says so.
                let pages = copy(&connection).unwrap_or(0);
                if pages > FAR && turn.is_multiple_of(RARELY) {
                    let _ = begin_anew(&connection);
                }
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

/// Keeps neither the writer nor a reader waiting; the pages of the log.
fn copy(connection: &Connection) -> rusqlite::Result<i64> {
    let mut pages = 0;
    for _ in 0..TIMES {
        let copied: i64;
        (pages, copied) = connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if copied >= pages {
            break;
        }
    }
    Ok(pages)
}

/// Empties the log, if readers are done with it in time.
fn begin_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// This thread takes what processor time nobody else wants.
fn give_way() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_always_read_begins_anew_all_the_same() {
        let folder = std::env::temp_dir().join(format!("earnest-log-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("log.db");
        let open = || {
            let connection = Connection::open(&file).unwrap();
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
            connection.pragma_update(None, "journal_mode", "wal").unwrap();
            connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
            connection
        };
        let (writer, copier, readers) = (open(), open(), [open(), open()]);
        writer.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        let (stop, stopped) = channel::<()>();
        let (begun, reads) = channel();
        let reading = std::thread::spawn(move || {
            let begin = |reader: &Connection| {
                reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
            };
            begin(&readers[0]);
            begun.send(()).unwrap();
            // One of the two always reads.
            for turn in 1.. {
                begin(&readers[turn % 2]);
                std::thread::sleep(Duration::from_millis(1));
                readers[(turn + 1) % 2].execute_batch("COMMIT").unwrap();
                if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    return;
                }
            }
        });
        reads.recv().unwrap();
        let length = || std::fs::metadata(folder.join("log.db-wal")).unwrap().len();
        for _ in 0..50 {
            writer.execute("INSERT INTO t VALUES (randomblob(20000))", []).unwrap();
            copy(&copier).unwrap();
        }
        assert!(length() > 900_000, "it did not begin anew: {}", length());
        copier.busy_timeout(Duration::from_secs(2)).unwrap();
        begin_anew(&copier).unwrap();
        assert_eq!(length(), 0);
        drop(stop);
        reading.join().unwrap();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
