//! What is measured.

#![allow(clippy::expect_used, reason = "a system that fails ends the benchmark")]

pub mod beside_cfxdb;
pub mod codec;
pub mod growth;
pub mod ingest;
pub mod read;
pub mod size;
pub mod tuning;
pub mod writers;
