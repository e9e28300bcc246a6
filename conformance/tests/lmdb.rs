//! The contract, on LMDB.

#[path = "engines/lmdb.rs"]
mod engine;

conformance::suites!(engine::Lmdb);
