//! The services over real sockets.

mod attester;
mod attester_hook;
mod attester_rules;
