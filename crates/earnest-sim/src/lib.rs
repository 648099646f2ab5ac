//! The decision simulator: ways to fund one lab, under the same futures. A study (TOML) says what the lab wants, what
//! nobody knows, and the designs; a run draws futures, lives each of them under every design with the rules of
//! `earnest-core`, and answers with distributions, differences and the points where the answer flips.

pub mod dice;
pub mod factor;
pub mod normal;
pub mod prior;
