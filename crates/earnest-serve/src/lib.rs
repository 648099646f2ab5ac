//! The network: the embedded chain's JSON-RPC, the portal where backers buy, and the attester's service. Everything here
//! listens; what it knows and decides comes from the crates to its left.

pub mod attester;
pub mod chain;
pub mod echo;
pub mod gateway;
pub mod guard;
pub mod once;
pub mod openai;
mod packing;
pub mod portal;
pub mod provider;
pub mod request_id;
pub mod rpc;
pub mod server;
pub mod upstream;
