//! What a raise looks like to people: text for a terminal, one self-contained page for a board. Pure functions of
//! the plan, the state of the raise and a time: nothing here reads a clock, a chain or a file, so a demo, a fork
//! and the real thing are shown by the same code.

mod book;
pub mod figure;
mod lines;
pub mod page;
pub mod position;
pub mod summary;
pub mod text;
mod vesting;
pub mod words;

pub use summary::Summary;
