//! The contract, on RocksDB.

mod engines;

conformance::suites!(
    engines::Rocks,
    no sharing: "RocksDB keeps every other writer out",
);
