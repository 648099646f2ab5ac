//! Places where a crash test stops the process as a power cut would. Without `EARNEST_CRASH` in the environment they
//! are nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// All of them, in the order a request meets them.
pub const POINTS: [&str; 12] = [
    "admitted",
    "leased",
    "sent",
    "headed",
    "answered",
    "handed",
    "written",
    "charged",
    "journal-before",
    "journal-after",
    "claim-sent",
    "claim-kept",
];

/// `NAME:N`: where, and at which visit.
static WHERE: OnceLock<Option<(String, u64)>> = OnceLock::new();
static VISITS: AtomicU64 = AtomicU64::new(0);

/// The process passes here.
pub(super) fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name));
    let place = WHERE.get_or_init(|| {
        let text = std::env::var("EARNEST_CRASH").ok()?;
        let (name, visit) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), visit.parse().ok()?))
    });
    if let Some((place, visit)) = place
        && place == name
        && VISITS.fetch_add(1, Ordering::Relaxed) + 1 == *visit
    {
        std::process::abort();
    }
}
