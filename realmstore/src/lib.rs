#![doc = include_str!("../../README.md")]
#![forbid(unsafe_code)]

mod any;
mod open;

pub use any::{AnyBackend, AnyReadTxn, AnyScan, AnyStore, AnyValue, AnyWriteTxn};
pub use open::{ENGINES, OpenOptions, open, open_read_only};
pub use realmstore_core::*;
#[cfg(feature = "lmdb")]
pub use realmstore_lmdb as lmdb;
#[cfg(feature = "lmdb")]
pub use realmstore_lmdb_pages as lmdb_pages;
#[cfg(feature = "rocks")]
pub use realmstore_rocks as rocks;
#[cfg(feature = "sled")]
pub use realmstore_sled as sled;
