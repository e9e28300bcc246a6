//! The contract, on sled.

mod engines;

conformance::suites!(
    engines::Sled,
    no sharing: "sled keeps every other program out",
);
