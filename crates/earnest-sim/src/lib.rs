//! The decision simulator: ways to fund one lab, under the same futures. A study (TOML) says what the lab wants, what
//! nobody knows, and the designs; a run draws futures, lives each of them under every design with the rules of
//! `earnest-core`, and answers with distributions, differences and the points where the answer flips.

mod amount;
pub mod answers;
pub mod dice;
pub mod factor;
pub mod lab;
pub mod normal;
pub mod offering;
pub mod outcome;
pub mod ownership;
pub mod prior;
pub mod report;
pub mod run;
pub mod statistics;
pub mod study;
pub mod world;
