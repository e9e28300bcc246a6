//! The contract, on LMDB.

mod engines;

conformance::suites!(engines::Lmdb);
