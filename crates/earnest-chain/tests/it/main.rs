//! Model and contracts together, in the embedded EVM.

mod extremes;
mod hostile;
mod hostile_cash;
mod kept;
mod lockstep;
mod lost_keys;
mod node;
mod story;
mod treasury;
mod vault;
mod world;
