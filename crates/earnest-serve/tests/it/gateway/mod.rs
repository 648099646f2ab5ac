//! The gateway over real sockets, with the contracts behind it.

mod described;
mod lab;
mod upstreams;

mod audit;
mod hostile;
mod money;
mod requests;
mod slow;
