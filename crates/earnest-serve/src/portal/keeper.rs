//! Keeps what pages show fresh: one thread follows the chain with the index, and readers share what it last saw. No
//! reader ever waits for the chain, and no page asks twice: browsers are told of a new head.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use earnest_chain::chain::Chain;
use earnest_chain::fact::Event;
use earnest_chain::history::Head;
use earnest_chain::index::Index;
use earnest_chain::ledger::Difference;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;
use earnest_report::Summary;
use futures_util::StreamExt;
use tokio_stream::wrappers::WatchStream;

use super::{At, Opener, Problem, Shared};

/// How often a node is asked whether it has moved.
const POLL: Duration = Duration::from_millis(500);
/// The same of a chain in this process, which answers at once.
const POLL_HERE: Duration = Duration::from_millis(50);
/// So often pages are told the time of a chain whose clock runs between its blocks: rounds open and close by it.
const TIME: Duration = Duration::from_secs(10);
/// How far such a clock may be from where it should be before it counts as moved.
const DRIFT_SECS: u64 = 2;
/// How long to wait after the chain did not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// So often a silent stream shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Newest events a page shows.
const NEWEST: usize = 200;

/// The raise as it was last seen.
pub(super) struct View {
    pub(super) raise: Raise,
    pub(super) summary: Summary,
    pub(super) head: Head,
    /// Time of the chain.
    pub(super) now: Time,
    pub(super) events: u64,
    pub(super) difference: Option<Difference>,
    pub(super) newest: Vec<Event>,
    /// The newest that moved the treasury's cash.
    pub(super) moves: Vec<Event>,
    /// The chain was read at least once.
    pub(super) is_read: bool,
    /// The chain answered when it was last asked.
    pub(super) is_fresh: bool,
    /// Its clock runs between blocks.
    pub(super) clock_runs: bool,
    /// Counts what was published; browsers compare it.
    pub(super) version: u64,
}

impl View {
    /// Of an index as it stands, at the least block it can be at.
    pub(super) fn of(plan: &Plan, index: &Index, from_block: u64) -> View {
        let mut view = View::seen(plan, index, 0, 0);
        view.is_read = view.head.number > from_block;
        view
    }

    fn seen(plan: &Plan, index: &Index, now: Time, version: u64) -> View {
        let raise = index.raise().clone();
        let now = now.max(index.head().time);
        let newest = index.newest(NEWEST).unwrap_or_default();
        let moves = index.newest_of_treasury(NEWEST).unwrap_or_default();
        View {
            summary: Summary::of(plan, &raise, now),
            raise,
            head: index.head(),
            now,
            events: index.events().unwrap_or_default(),
            difference: index.difference().cloned(),
            newest,
            moves,
            is_read: true,
            is_fresh: true,
            clock_runs: false,
            version,
        }
    }

    /// The same, but the chain does not answer.
    fn stale(&self) -> View {
        View {
            raise: self.raise.clone(),
            summary: self.summary.clone(),
            difference: self.difference.clone(),
            newest: self.newest.clone(),
            moves: self.moves.clone(),
            is_fresh: false,
            version: self.version + 1,
            ..*self
        }
    }
}

/// Starts the thread. It ends once the portal is gone.
pub(super) fn keep(shared: &Arc<Shared>, mut index: Index, open: Arc<Opener>) {
    let shared = Arc::downgrade(shared);
    std::thread::spawn(move || {
        let (mut last, mut chain) = (None, None::<Chain>);
        loop {
            let wait = match &mut chain {
                Some(chain) => look(&shared, &mut index, chain, &mut last),
                None => match open() {
                    Ok(opened) => {
                        chain = Some(opened);
                        Some(Duration::ZERO)
                    }
                    Err(error) => gone(&shared, &error.to_string()),
                },
            };
            let Some(wait) = wait else { return };
            std::thread::sleep(wait);
        }
    });
}

/// The chain does not answer: say so, once, and wait.
fn gone(shared: &Weak<Shared>, error: &str) -> Option<Duration> {
    let shared = shared.upgrade()?;
    let view = shared.view();
    if view.is_fresh {
        eprintln!("portal: {error}");
        shared.view.send_replace(Arc::new(view.stale()));
    }
    Some(PATIENCE)
}

/// The chain as it was when pages were last told of it.
#[derive(Clone, Copy)]
struct Seen {
    block: u64,
    time: Time,
    at: Instant,
}

impl Seen {
    /// Nothing has happened since that a page shows.
    fn still_holds(&self, block: u64, time: Time, clock_runs: bool) -> bool {
        let since = self.at.elapsed();
        let time_holds = match clock_runs {
            false => time == self.time,
            true => time.abs_diff(self.time + since.as_secs()) <= DRIFT_SECS && since < TIME,
        };
        block == self.block && time_holds
    }
}

/// Looks once; says how long to wait, or that nobody listens any more.
fn look(
    shared: &Weak<Shared>,
    index: &mut Index,
    chain: &mut Chain,
    last: &mut Option<Seen>,
) -> Option<Duration> {
    let is_here = !matches!(chain, Chain::Rpc(_));
    let poll = if is_here { POLL_HERE } else { POLL };
    let moved = chain.block().and_then(|block| Ok((block, chain.time()?)));
    if let Ok((block, time)) = moved
        && last.is_some_and(|seen| seen.still_holds(block, time, is_here))
    {
        return (shared.strong_count() > 0).then_some(poll);
    }
    let synced = moved.map_err(|error| error.to_string()).and_then(|here| {
        index.sync(chain).map_err(|error| error.to_string())?;
        Ok(here)
    });
    match synced {
        Ok((block, time)) => {
            let shared = shared.upgrade()?;
            *last = Some(Seen { block, time, at: Instant::now() });
            let version = shared.view().version + 1;
            // A node elsewhere tells only the time of its last block; that of a real chain goes on.
            let clock_runs = is_here || !shared.is_development();
            let view = View { clock_runs, ..View::seen(&shared.plan, index, time, version) };
            shared.view.send_replace(Arc::new(view));
            Some(poll)
        }
        Err(error) => {
            *last = None;
            gone(shared, &error)
        }
    }
}

/// Tells a browser of every new head. Only the newest counts, so a slow reader misses some and needs no memory.
pub(super) async fn events(State(shared): At) -> Response {
    let Ok(seat) = shared.listeners.clone().try_acquire_owned() else {
        let problem = Problem { status: StatusCode::SERVICE_UNAVAILABLE, ..Problem::busy() };
        return problem.into_response();
    };
    let heads = WatchStream::new(shared.view.subscribe()).map(move |view| {
        let _ = &seat;
        let head = serde_json::json!({
            "number": view.head.number,
            "hash": view.head.hash,
            "time": view.now,
            "version": view.version,
        });
        Ok::<_, Infallible>(Sent::default().event("head").data(head.to_string()))
    });
    Sse::new(heads).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_is_no_news_and_one_that_jumps_is() {
        let seen = Seen { block: 9, time: 1_000, at: Instant::now() };
        assert!(seen.still_holds(9, 1_001, true));
        assert!(!seen.still_holds(9, 1_100, true));
        assert!(!seen.still_holds(9, 900, true));
        assert!(!seen.still_holds(10, 1_000, true));
        assert!(seen.still_holds(9, 1_000, false));
        assert!(!seen.still_holds(9, 1_001, false));
        let long_ago = Instant::now().checked_sub(TIME).expect("the machine runs for longer");
        assert!(!Seen { at: long_ago, ..seen }.still_holds(9, 1_000 + TIME.as_secs(), true));
    }
}
