//! The report over whole raises: plans as they are read, bids and calls as the rules take them.

mod page;
mod stage;
mod summary;
mod text;
