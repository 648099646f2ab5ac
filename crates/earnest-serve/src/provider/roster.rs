//! The providers that are there now: each link is a connection that one of them dialled and signed for. A link takes
//! as many requests at once as its provider offered, and a request that is dropped stops on the other side.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use axum::http::{Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::counted::{self, COUNTED, Counted, MOST_AT_ONCE};
use super::hello::Offer;
use super::link_key::LinkKey;
use super::{HEADERS, PULSE, READY, RESETS, STREAM_WINDOW, connection_window};

/// Most links of one provider: processes of its own on several machines.
pub const MOST_OF_ONE: usize = 16;
/// Most links in all.
pub const MOST: usize = 4_096;

/// Most that wait to be told to a provider.
const MOST_WAITING: usize = 1_024;
/// How long telling may take.
const TELLING: Duration = Duration::from_secs(10);

/// Why a link does not take a request, or did not answer it.
#[derive(Debug, Error)]
pub enum LinkError {
    /// It has as many as its provider takes at once.
    #[error("the provider is busy with {0} requests, as many as it takes")]
    Busy(usize),
    /// The provider has gone, or is about to.
    #[error("the provider has gone")]
    Gone,
    /// The request cannot be sent as it is.
    #[error("the path of the request cannot be sent")]
    Path,
    /// It broke off before the answer began.
    #[error("the provider did not answer: {0}")]
    Broken(#[from] hyper::Error),
}

/// A provider that can be asked.
pub struct Link {
    /// Operator key.
    pub provider: Address,
    /// What it signed.
    pub offer: Offer,
    /// What its answers are sealed with.
    pub key: LinkKey,
    /// Of this gateway's links, from 1.
    pub number: u64,
    /// When it came.
    pub since: Instant,
    home: ThreadId,
    sender: SendRequest<Full<Bytes>>,
    taken: Arc<AtomicUsize>,
    dismissed: watch::Sender<bool>,
    to_tell: mpsc::Sender<Counted>,
}

/// One of the requests that a link takes at once; given back when dropped.
struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a provider's answer. It is read at the reader's pace; dropped early, it stops the provider.
pub struct Answer {
    body: Incoming,
    /// Given back at the end, though the reader may keep the body.
    turn: Option<Turn>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let goes_on = match &polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(Some(Err(_)) | None) => false,
        };
        if !goes_on {
            self.turn = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Link {
    /// Speaks HTTP/2 on a connection; the future that comes with it is the connection's life, as far as new requests
    /// go.
    pub(super) async fn begin(
        stream: impl Read + Write + Send + Unpin + 'static,
        provider: Address,
        offer: Offer,
        key: LinkKey,
        number: u64,
    ) -> Result<(Self, impl Future<Output = ()> + Send), LinkError> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(connection_window(offer.concurrency))
            .max_concurrent_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .max_header_list_size(HEADERS)
            .keep_alive_interval(PULSE)
            .keep_alive_timeout(PULSE)
            .keep_alive_while_idle(true)
            .handshake(stream)
            .await?;
        let (dismissed, mut told) = watch::channel(false);
        let (to_tell, waiting) = mpsc::channel(MOST_WAITING);
        let telling = tell_all(sender.clone(), waiting);
        let life = async move {
            tokio::select! {
                _ = connection => {}
                _ = told.wait_for(|dismissed| *dismissed) => {}
                () = telling => {}
            }
        };
        let (taken, since, home) = (Arc::default(), Instant::now(), std::thread::current().id());
        Ok((Link { provider, offer, key, number, since, home, sender, taken, dismissed, to_tell }, life))
    }

    /// Tells the provider what was counted of a request where that is less than it stated. Returns at once: it goes out
    /// when there is time, and is dropped where too many wait or the link has ended.
    pub fn tell(&self, counted: Counted) {
        let _ = self.to_tell.try_send(counted);
    }

    /// Whether the other side speaks HTTP/2 and is there.
    pub async fn is_ready(&self) -> Result<(), LinkError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::from_static(READY);
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::NO_CONTENT { Ok(()) } else { Err(LinkError::Gone) }
    }

    /// Asks. Only the path of the request's URI counts. Whoever drops what this returns, before or after the answer
    /// began, stops the work on the other side.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Answer>, LinkError> {
        if self.is_closed() {
            return Err(LinkError::Gone);
        }
        let most = usize::from(self.offer.concurrency);
        let turn = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1));
        let turn = match turn {
            Ok(_) => Turn(self.taken.clone()),
            Err(taken) => return Err(LinkError::Busy(taken)),
        };
        let answer = self.sender.clone().send_request(addressed(request)?).await?;
        Ok(answer.map(|body| Answer { body, turn: Some(turn) }))
    }

    /// Whether its connection is served by the thread that asks: then nobody has to be woken for a request.
    pub fn is_here(&self) -> bool {
        self.home == std::thread::current().id()
    }

    /// Requests that it is answering.
    pub fn inflight(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes no more requests.
    pub fn is_closed(&self) -> bool {
        *self.dismissed.borrow() || self.sender.is_closed()
    }

    /// Lets it answer what it has, and sends it no more.
    pub fn dismiss(&self) {
        self.dismissed.send_replace(true);
    }
}

/// As HTTP/2 wants it: only the path of the request's URI counts.
fn addressed(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, LinkError> {
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.into_parts();
    uri.scheme = Some(axum::http::uri::Scheme::HTTP);
    uri.authority = Some(axum::http::uri::Authority::from_static("provider"));
    parts.uri = Uri::from_parts(uri).map_err(|_| LinkError::Path)?;
    parts.version = axum::http::Version::HTTP_2;
    Ok(Request::from_parts(parts, Full::new(body)))
}

/// Tells a provider what was counted, as many as wait at a time and one message after the other: of the provider's
/// streams it takes the one beyond its concurrency, so that no request waits for it. It does not end before the link.
async fn tell_all(mut sender: SendRequest<Full<Bytes>>, mut waiting: mpsc::Receiver<Counted>) {
    let mut together = Vec::with_capacity(MOST_AT_ONCE);
    while waiting.recv_many(&mut together, MOST_AT_ONCE).await > 0 {
        let request = Request::post(COUNTED).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(counted::written(&together)).expect("a path and a header");
        let Ok(request) = addressed(request) else { break };
        together.clear();
        let Ok(Ok(answer)) = timeout(TELLING, sender.send_request(request)).await else { continue };
        if answer.status() == StatusCode::NOT_FOUND {
            waiting.close(); // it is older than this
        }
    }
    std::future::pending().await
}

/// Who is there.
#[derive(Default)]
pub struct Roster {
    links: RwLock<Vec<Arc<Link>>>,
    changes: watch::Sender<u64>,
}

impl Roster {
    /// All that take requests, the oldest first.
    pub fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.iter().filter(|link| !link.is_closed()).cloned().collect()
    }

    /// Tells of every coming and going.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Dismisses everyone.
    pub fn close(&self) {
        for link in self.links() {
            link.dismiss();
        }
    }

    /// Takes a link in. A process that dialled in again has lost its earlier link, whether the gateway noticed or not;
    /// beyond the most of one provider its oldest makes room. False: there is no room.
    pub(super) fn enter(&self, link: &Arc<Link>) -> bool {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|other| !other.is_closed());
        let ours = |other: &&Arc<Link>| other.provider == link.provider;
        for other in links.iter().filter(ours).filter(|other| other.offer.instance == link.offer.instance) {
            other.dismiss();
        }
        let count = links.iter().filter(ours).filter(|other| !other.is_closed()).count();
        for other in links.iter().filter(ours).take((count + 1).saturating_sub(MOST_OF_ONE)) {
            other.dismiss();
        }
        links.retain(|other| !other.is_closed());
        let room = links.len() < MOST;
        if room {
            links.push(link.clone());
        }
        drop(links);
        self.changes.send_modify(|count| *count += 1);
        room
    }

    /// Lets it go.
    pub(super) fn leave(&self, link: &Link) {
        link.dismiss();
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|other| other.number != link.number);
        drop(links);
        self.changes.send_modify(|count| *count += 1);
    }
}
