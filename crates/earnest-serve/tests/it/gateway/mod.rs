//! The gateway over real sockets, with the contracts behind it.

mod described;
mod lab;
mod upstreams;

mod audit;
mod blamed;
mod campaign;
mod clients;
mod failover;
mod hostile;
mod leaving;
mod mixes;
mod money;
mod requests;
mod sealed;
mod slow;
