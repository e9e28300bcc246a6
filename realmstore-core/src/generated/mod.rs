//! What `flatc` makes of `schema/realmstore.fbs`, checked in so that nobody
//! needs `flatc` to build. `scripts/generate` writes it; do not edit.
//!
//! The records use its field positions only; the rest is there for tools that
//! want to verify a record as a whole ([`flatbuffers::root`]).

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction
)]

include!("realmstore.rs");
