//! OpenAI's wire format as servers and clients really speak it: one reader, used by gateway and provider alike. What it
//! cannot read is not stated, and never a reason to keep an answer from whoever can use it; a quirk is a fixture in
//! `tests/upstreams`.

pub mod answer;
pub mod count;
pub mod dialect;
pub mod events;
pub mod fault;
pub(crate) mod mend;
pub mod request;
pub mod usage;

use earnest_core::charge::Service;

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
}

impl Endpoint {
    /// All.
    pub const ALL: [Endpoint; 4] =
        [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Responses];

    /// Below `/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/chat/completions",
            Endpoint::Completions => "/completions",
            Endpoint::Embeddings => "/embeddings",
            Endpoint::Responses => "/responses",
        }
    }

    /// What it is sold as.
    pub fn service(self) -> Service {
        match self {
            Endpoint::Embeddings => Service::Embedding,
            _ => Service::Text,
        }
    }
}
