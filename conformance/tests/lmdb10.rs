//! The contract, on LMDB 1.0.
//!
//! No test may have both this engine and that of LMDB 0.9: each brings a
//! library of C whose functions have the same names.

#[path = "engines/lmdb10.rs"]
mod engine;

conformance::suites!(engine::Lmdb10);
