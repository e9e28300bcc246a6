//! The contract, on sled.

#[path = "engines/sled.rs"]
mod engine;

conformance::suites!(
    engine::Sled,
    no sharing: "sled keeps every other program out",
);
