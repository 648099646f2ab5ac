//! The rules of an Earnest offering as plain functions over plain data: no IO, no async, no clock, no floats in
//! amounts. Time and chain facts come in as arguments; decisions go out. The Solidity contracts follow the same
//! rules, and `earnest-chain`'s lockstep tests hold the two together to the last unit.

pub mod account;
pub mod bid;
pub mod channel;
pub mod charge;
pub mod clearing;
pub mod curve;
pub mod invariants;
pub mod money;
pub mod offering;
pub mod permit;
pub mod plan;
pub mod price_list;
pub mod raise;
pub mod regime;
pub mod schedule;
pub mod setup;
pub mod spend;
pub mod statement;
pub mod terms;
pub mod treasury;
pub mod votes;
pub mod waterfall;
pub mod wind_down;
