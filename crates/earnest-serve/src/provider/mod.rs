//! Independent providers. They sit behind NAT, so they dial out: one HTTP/1.1 request to the gateway is upgraded, and
//! on that connection the provider serves HTTP/2 and the gateway asks. Many requests share it, whoever reads slowly
//! holds back only its own, and a client that leaves stops the work upstream: all three are HTTP/2's own doing.

pub mod counted;
pub mod dial;
pub mod doors;
pub mod hello;
pub mod link_key;
pub mod meter;
pub mod name;
pub mod roster;
pub mod served;
pub mod usage;

mod answer;

use std::time::Duration;

/// Where providers dial in.
pub const DOOR: &str = "/earnest/provider";
/// Where they are told what to sign.
pub const CHALLENGE: &str = "/earnest/provider/challenge";
/// What the connection is upgraded to.
pub const PROTOCOL: &str = "earnest-provider";
/// A provider itself answers this: the link works, whatever its upstream does.
pub const READY: &str = "/earnest/ready";
/// All that can be asked of a provider, and how.
pub const PATHS: [(&str, http::Method); 5] = [
    ("/v1/chat/completions", http::Method::POST),
    ("/v1/completions", http::Method::POST),
    ("/v1/embeddings", http::Method::POST),
    ("/v1/responses", http::Method::POST),
    ("/v1/models", http::Method::GET),
];

use axum::http;

/// Either side asks the other for a sign of life this often, and waits as long for it.
const PULSE: Duration = Duration::from_secs(10);
/// What may be under way of one answer that its reader does not take.
const STREAM_WINDOW: u32 = 64 << 10;
/// What may be under way of all requests on their way to a provider, which takes them as they come.
const REQUESTS_WINDOW: u32 = 1 << 20;
/// Requests at once that were given up: before the provider looked at them, or with frames of their answers still on the
/// way. HTTP/2's usual bounds of 20 and 50 (and of 1,024 frames, ever, that come later than that) are against peers that
/// mean no good; a gateway passes on what any of its clients does, and one of them must not end the link of all.
const RESETS: usize = 16_384;
/// Bytes of one message's headers or trailers.
const HEADERS: u32 = 16 << 10;

/// What may be under way on a connection. Readers who stop reading fill the window of their stream and no more, so
/// that with room for all of them none can hold back the others. Half of it in bytes is also what the small frames that
/// a connection holds may cost beyond their bytes (up to 256 each, before it is ended for all): for each stream twice
/// its window in pieces of 64 bytes, and 64 MiB for frames that came for streams already given up, whose cost is never
/// handed back.
fn connection_window(concurrency: u16) -> u32 {
    (128 << 20) + 16 * STREAM_WINDOW * u32::from(concurrency)
}
