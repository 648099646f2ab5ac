//! One listener for everything. It bounds what anyone can hold: connections, headers, bodies, and the time for each; a
//! slow or silent client costs a socket for a while and nothing more.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::gateway::delivery::{Connection, Written};
use crate::guard::{Guard, allow, preflight};

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, WebSockets not counted; more wait in the system's queue.
    pub connections: usize,
    /// From the start of a connection, or the last answer, to the end of a request's headers.
    pub headers: Duration,
    /// From the headers to the answer.
    pub request: Duration,
    /// How long a connection is kept for further requests; one answer more may be read for as long again.
    pub connection: Duration,
    /// In this time a client must take 64 KiB of what is there for it, or all.
    pub stall: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// How long those who are being answered have when the server stops.
    pub grace: Duration,
}

impl Limits {
    /// For a gateway: answers take their time, and whoever reads one keeps its connection.
    pub fn for_gateway() -> Self {
        Limits {
            connections: 16_384,
            headers: Duration::from_secs(75),
            request: Duration::from_secs(900),
            connection: Duration::from_secs(3_600),
            body: usize::MAX,
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1_024,
            headers: Duration::from_secs(10),
            request: Duration::from_secs(30),
            connection: Duration::from_secs(120),
            stall: Duration::from_secs(60),
            body: BODY,
            grace: Duration::from_secs(5),
        }
    }
}

/// Threads that serve connections, each for itself: what one connection wakes is on the same thread, so that nobody has
/// to be woken for it. That is half of what a short answer costs. They end with this.
pub struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Workers {
    /// One for each processor.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count)
            .map(|number| Worker::start(format!("worker-{number}")))
            .collect::<io::Result<_>>()
            .map(Workers)
    }

    /// The one with the fewest connections.
    fn idlest(&self) -> Option<&Worker> {
        self.0.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))
    }
}

impl Worker {
    fn start(name: String) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name(name).spawn(move || drop(runtime.block_on(stopped)))?;
        Ok(Worker { runtime: handle, connections: Arc::default(), _stop: stop })
    }

    fn take<F: Future<Output = ()> + Send + 'static>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) {
        // A socket belongs to the runtime that it is registered with.
        let Ok(stream) = stream.into_std() else { return };
        let connections = self.connections.clone();
        connections.fetch_add(1, Ordering::Relaxed);
        self.runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream).await;
            }
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Bytes of a body, and of a WebSocket message.
pub const BODY: usize = 4 << 20;
/// Bytes that the system holds for a client and has not sent.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 << 10;
/// Bytes of a request's headers.
const HEADERS: usize = 32 << 10;

/// Serves until `shutdown` is done, then lets go of everyone.
pub async fn serve(listener: TcpListener, app: Router, guard: Guard, shutdown: impl Future<Output = ()>) {
    serve_within(Limits::default(), listener, app, guard, shutdown).await;
}

/// The same with other limits.
pub async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    app: Router,
    guard: Guard,
    shutdown: impl Future<Output = ()>,
) {
    // The guard is outermost: nothing else sees a request that it refuses.
    let app = app
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(from_fn_with_state(limits, within))
        .layer(from_fn_with_state(Arc::new(guard), guarded));
    serve_unguarded(limits, listener, app, shutdown).await;
}

/// The same for what looks after itself, and is for everyone: no `Host` is checked, no body bounded.
pub async fn serve_unguarded(
    limits: Limits,
    listener: TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()>,
) {
    serve_over(&Workers(Vec::new()), limits, listener, app, shutdown).await;
}

/// The same over threads of their own; where there are none, over those of this runtime.
pub async fn serve_over(
    workers: &Workers,
    limits: Limits,
    listener: TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await.expect("never closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (app, stopped) = (app.clone(), stopped.clone());
                let serve = move |stream| async move {
                    connection(limits, stream, app, stopped).await;
                    drop(permit);
                };
                match workers.idlest() {
                    Some(worker) => worker.take(stream, serve),
                    None => drop(tokio::spawn(serve(stream))),
                }
            }
            // Out of file descriptors, most likely: some will be given back.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = timeout(limits.grace, permits.acquire_many(all)).await;
}

async fn connection(limits: Limits, stream: TcpStream, app: Router, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    hold_little_back(&stream);
    // What an answer costs goes by what was written out of it.
    let written = Arc::new(Connection::default());
    let stream = Written::new(stream, written.clone(), limits.stall);
    let app = TowerToHyperService::new(app);
    let app = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(written.clone());
        app.call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_headers(64)
        .max_header_size(HEADERS)
        .max_buf_size(2 * HEADERS)
        .serve_connection(TokioIo::new(stream), app)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(limits.connection) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // No further requests. Who does not read the last answer is left standing.
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.connection, connection).await;
}

/// The system takes up to some megabytes for a client, and asks for more only once a third of them is gone: a client of
/// an ordinary pace would seem to take nothing for minutes, and one that leaves would be charged for all of it.
fn hold_little_back(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let origin = match guard.check(&parts) {
        Ok(origin) => origin,
        Err(refusal) => return (StatusCode::FORBIDDEN, refusal.message()).into_response(),
    };
    let mut response = match preflight(&parts) {
        Some(response) => response,
        None => next.run(Request::from_parts(parts, body)).await,
    };
    allow(response.headers_mut(), origin);
    response
}

async fn within(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    // What says that it is too large is not waited for; what says nothing is cut off where it gets too large.
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > limits.body) {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n").into_response();
    }
    match timeout(limits.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

/// Has the system give memory by the page alone. It gives whole heaps 2 MB at a time where it may, and a gateway, which
/// holds a little here and there for everyone, would take half as much again as it needs.
pub fn take_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Lets this process have as many open files as the system allows it: some systems start with 256.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum.or(Some(65_536)).map(|most| most.min(65_536));
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
