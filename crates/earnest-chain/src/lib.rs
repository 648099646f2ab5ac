//! The contracts seen from Rust: an EVM in this process or any JSON-RPC node behind one face, bindings, deployment of
//! a plan, and the story of a raise told to the contracts.

pub mod audit;
pub mod bindings;
pub mod chain;
pub mod deploy;
pub mod embedded;
pub mod errors;
pub mod fact;
pub mod history;
pub mod index;
pub mod key;
pub mod layout;
pub mod ledger;
pub mod node;
pub mod permit;
pub mod rpc;
pub mod story;
pub mod voucher;
