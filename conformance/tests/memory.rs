//! The contract, in memory.

mod engines;

conformance::suites!(
    engines::Memory,
    no reopening: "a store in memory ends with its backend",
    no sharing: "no other program writes to a store in memory",
);
