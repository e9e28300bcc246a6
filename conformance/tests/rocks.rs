//! The contract, on RocksDB.

#[path = "engines/rocks.rs"]
mod engine;

conformance::suites!(
    engine::Rocks,
    no sharing: "RocksDB keeps every other writer out",
);
