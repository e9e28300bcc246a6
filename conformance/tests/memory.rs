//! The contract, in memory.

#[path = "engines/memory.rs"]
mod engine;

conformance::suites!(
    engine::Memory,
    no reopening: "a store in memory ends with its backend",
    no sharing: "no other program writes to a store in memory",
);
