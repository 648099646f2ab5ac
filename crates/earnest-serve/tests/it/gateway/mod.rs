//! The gateway over real sockets, with the contracts behind it.

mod lab;

mod hostile;
mod money;
mod requests;
