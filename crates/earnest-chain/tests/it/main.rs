//! Model and contracts together, in the embedded EVM.

mod lockstep;
mod story;
