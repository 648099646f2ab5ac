//! What of an answer has left this machine's hands. A client pays for what was given to the system for it, not for what
//! was made: so every connection counts when its buffer was written out, and a charge waits for that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::openai::count::Text;

/// A client's connection, and the answers that it has not taken whole.
#[derive(Default)]
pub struct Connection {
    deliveries: Mutex<Vec<Arc<Delivery>>>,
    /// Bytes that the system has taken.
    taken: AtomicU64,
}

impl Connection {
    /// From now on tells this answer what was written out. Its head has so many bytes.
    pub fn carry(&self, delivery: Arc<Delivery>, head: u64) {
        delivery.0.lock().expect("no panic holds it").from = self.taken.load(Ordering::Relaxed) + head;
        self.deliveries.lock().expect("no panic holds it").push(delivery);
    }

    fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn written(&self) {
        let mut deliveries = self.deliveries.lock().expect("no panic holds it");
        deliveries.retain(|delivery| !delivery.written());
    }

    fn gone(&self) {
        let taken = self.taken.load(Ordering::Relaxed);
        for delivery in self.deliveries.lock().expect("no panic holds it").drain(..) {
            delivery.gone(taken);
        }
    }
}

/// A client's socket. HTTP/1 flushes it only once its own buffer is empty, so that a flush means: all that was handed
/// over is the system's now, and would reach the client though this process died.
pub struct Written<S> {
    socket: S,
    connection: Arc<Connection>,
    /// How long a client may take nothing of what is there for it.
    patience: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Written<S> {
    /// Watches a socket, and gives up on a client that takes nothing for so long.
    pub fn new(socket: S, connection: Arc<Connection>, patience: Duration) -> Self {
        Written { socket, connection, patience, stalled: None }
    }

    fn took(&self, went: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = went {
            self.connection.took(*bytes);
        }
    }

    /// A client that takes nothing for too long has left.
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, went: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if went.is_ready() {
            self.stalled = None;
            return went;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> Drop for Written<S> {
    fn drop(&mut self) {
        self.connection.gone();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Written<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Written<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.took(&went);
        self.unless_stalled(cx, went)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.socket).poll_flush(cx);
        ready!(self.unless_stalled(cx, went))?;
        self.connection.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.took(&went);
        self.unless_stalled(cx, went)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// How much of an answer: its text, as far as the gateway reads it, and bytes of anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Text.
    pub text: Text,
    /// Bytes of anything; of an answer in one piece, what the system took.
    pub bytes: u64,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of it was written out.
    Whole,
    /// That much was.
    After(Progress),
}

type Then = Box<dyn FnOnce(Ended) + Send>;

/// One answer on its way.
pub struct Delivery(Mutex<State>);

struct State {
    handed: Progress,
    written: Progress,
    last: bool,
    /// Bytes of its connection that come before its own.
    from: u64,
    then: Option<Then>,
}

impl Delivery {
    /// Calls `then` once, when the answer is over.
    pub fn new(then: impl FnOnce(Ended) + Send + 'static) -> Arc<Self> {
        let (handed, written) = (Progress::default(), Progress::default());
        Arc::new(Delivery(Mutex::new(State { handed, written, last: false, from: u64::MAX, then: Some(Box::new(then)) })))
    }

    /// The next piece goes to the connection's buffer; all that was handed over so far, that piece included.
    pub fn hand(&self, so_far: Progress, last: bool) {
        let mut state = self.0.lock().expect("no panic holds it");
        (state.handed, state.last) = (so_far, last);
    }

    /// What has been written out.
    pub fn progress(&self) -> Progress {
        self.0.lock().expect("no panic holds it").written
    }

    /// The buffer is empty. True once nothing more will come.
    pub(super) fn written(&self) -> bool {
        let mut state = self.0.lock().expect("no panic holds it");
        state.written = state.handed;
        if !state.last {
            return state.then.is_none();
        }
        let then = state.then.take();
        drop(state);
        if let Some(then) = then {
            then(Ended::Whole);
        }
        true
    }

    /// The client is gone, or the answer broke off; the connection's system had taken so many bytes.
    pub(super) fn gone(&self, taken: u64) {
        let mut state = self.0.lock().expect("no panic holds it");
        let part = taken.saturating_sub(state.from).min(state.handed.bytes);
        let (mut written, then) = (state.written, state.then.take());
        written.bytes = written.bytes.max(part);
        drop(state);
        if let Some(then) = then {
            then(Ended::After(written));
        }
    }

    /// The answer's body was let go of. If it was handed over whole, only the connection knows how it ends.
    pub(super) fn dropped(&self) {
        let last = self.0.lock().expect("no panic holds it").last;
        if !last {
            self.gone(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_counts_once_its_bytes_are_written_out() {
        let connection = Arc::new(Connection::default());
        let mut socket = Written::new(tokio::io::sink(), connection.clone(), Duration::MAX);
        let (told, hear) = mpsc::channel();
        let delivery = Delivery::new(move |ended| {
            let _ = told.send(ended);
        });
        connection.carry(delivery.clone(), 0);
        let first = Progress { bytes: 9, ..Progress::default() };
        delivery.hand(first, false);
        assert_eq!(delivery.progress(), Progress::default());
        socket.flush().await.unwrap();
        assert_eq!(delivery.progress(), first);
        delivery.hand(Progress { bytes: 18, ..Progress::default() }, true);
        delivery.dropped();
        assert!(hear.try_recv().is_err(), "it is in the buffer only");
        socket.flush().await.unwrap();
        assert_eq!(hear.try_recv(), Ok(Ended::Whole));
        drop(socket);
        assert!(hear.try_recv().is_err(), "once");
    }

    #[test]
    fn who_leaves_has_had_what_was_written_out() {
        let connection = Arc::new(Connection::default());
        let socket = Written::new((), connection.clone(), Duration::MAX);
        let (told, hear) = mpsc::channel();
        let delivery = Delivery::new(move |ended| {
            let _ = told.send(ended);
        });
        connection.carry(delivery.clone(), 0);
        let first = Progress { bytes: 9, ..Progress::default() };
        delivery.hand(first, false);
        connection.written();
        delivery.hand(Progress { bytes: 45, ..Progress::default() }, true);
        drop(socket);
        assert_eq!(hear.try_recv(), Ok(Ended::After(first)));
    }
}
