//! Model and contracts together, in the embedded EVM.

mod hostile;
mod hostile_cash;
mod kept;
mod lockstep;
mod story;
mod vault;
mod world;
