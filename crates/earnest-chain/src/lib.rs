//! Contracts seen from Rust.
