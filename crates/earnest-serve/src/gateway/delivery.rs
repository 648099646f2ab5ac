//! What of an answer has left this machine's hands. A client pays for what was given to the system for it, not for what
//! was made: so every connection counts when its buffer was written out, and a charge waits for that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;

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
        delivery.0.lock().unwrap_or_else(PoisonError::into_inner).from =
            self.taken.load(Ordering::Relaxed) + head;
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
    }

    fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn written(&self) {
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        deliveries.retain(|delivery| !delivery.written());
    }

    fn gone(&self) {
        let taken = self.taken.load(Ordering::Relaxed);
        for delivery in self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            delivery.gone(taken);
        }
    }
}

/// A client's socket. HTTP/1 flushes it only once its own buffer is empty, so that a flush means: all that was handed
/// over is the system's now, and would reach the client though this process died.
pub struct Written<S> {
    socket: S,
    connection: Arc<Connection>,
    pace: Pace,
    /// Runs from when the client leaves something standing until it has taken all.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Written<S> {
    /// Watches a socket, and gives up on a client that in so long takes less than the least of what is there for it.
    pub fn new(socket: S, connection: Arc<Connection>, span: Duration) -> Self {
        Written { socket, connection, pace: Pace::new(span), timer: None }
    }

    /// A client that takes too little has left.
    fn unless_slow<T>(&mut self, cx: &mut Context<'_>, went: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        while went.is_pending() {
            let Ok(ends) = self.pace.waits(Instant::now()) else {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if timer.deadline() != ends {
                timer.as_mut().reset(ends);
            }
            ready!(timer.as_mut().poll(cx));
        }
        went
    }

    fn wrote(&mut self, cx: &mut Context<'_>, went: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &went {
            self.connection.took(*bytes);
            self.pace.moved(*bytes);
        }
        self.unless_slow(cx, went)
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
        self.wrote(cx, went)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.socket).poll_flush(cx);
        ready!(self.unless_slow(cx, went))?;
        self.pace.rests();
        self.timer = None;
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
        self.wrote(cx, went)
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
        Arc::new(Delivery(Mutex::new(State {
            handed,
            written,
            last: false,
            from: u64::MAX,
            then: Some(Box::new(then)),
        })))
    }

    /// The next piece goes to the connection's buffer; all that was handed over so far, that piece included.
    pub fn hand(&self, so_far: Progress, last: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.handed, state.last) = (so_far, last);
    }

    /// What has been written out.
    pub fn progress(&self) -> Progress {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).written
    }

    /// The buffer is empty. True once nothing more will come.
    pub(super) fn written(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).last;
        if !last {
            self.gone(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

    /// Writes this much to a client that takes so many bytes every 10 ms, where the span is 100 ms.
    async fn written_to(bytes: usize, takes: usize) -> io::Result<()> {
        let (socket, mut client) = tokio::io::duplex(1 << 10);
        let span = Duration::from_millis(100);
        let mut socket = Written::new(socket, Arc::default(), span);
        let client = tokio::spawn(async move {
            let mut some = vec![0; takes];
            while let Ok(1..) = client.read(&mut some).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let sent = async {
            socket.write_all(&vec![b'x'; bytes]).await?;
            socket.flush().await
        };
        let sent = tokio::time::timeout(Duration::from_secs(20), sent).await.expect("it ends");
        client.abort();
        sent
    }

    #[tokio::test]
    async fn who_takes_a_byte_now_and_then_is_let_go_of() {
        let began = Instant::now();
        let slow = written_to(1 << 20, 1).await.expect_err("a byte every 10 ms");
        assert_eq!(slow.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn who_takes_all_there_is_is_waited_for() {
        // More than once each span, and again and again; that it is never the least does not count.
        let (socket, mut client) = tokio::io::duplex(1 << 10);
        let mut socket = Written::new(socket, Arc::default(), Duration::from_millis(50));
        let reading = tokio::spawn(async move {
            let (mut some, mut all) = ([0; 1 << 10], 0);
            while let Ok(read @ 1..) = client.read(&mut some).await {
                all += read;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            all
        });
        for _ in 0..10 {
            socket.write_all(&[b'x'; 2 << 10]).await.unwrap();
            socket.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        drop(socket);
        assert_eq!(reading.await.unwrap(), 20 << 10);
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
