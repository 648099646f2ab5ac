//! The rules of an Earnest offering as plain functions over plain data: no IO, no async, no clock, no floats in
//! amounts. Time and chain facts come in as arguments; decisions go out. The Solidity contracts follow the same
//! rules, and `earnest-chain`'s lockstep tests hold the two together to the last unit.

pub mod money;
pub mod plan;
