//! Model and contracts together, in the embedded EVM.

mod books;
mod extremes;
mod frauds;
mod hostile;
mod hostile_cash;
mod kept;
mod lockstep;
mod lockstep_spend;
mod lost_keys;
mod node;
mod story;
mod treasury;
mod vault;
mod world;
