#![doc = include_str!("../../README.md")]
#![forbid(unsafe_code)]

mod any;
mod open;

pub use any::{AnyBackend, AnyReadTxn, AnyScan, AnyStore, AnyValue, AnyWriteTxn};
#[cfg(feature = "async")]
pub use open::open_async;
pub use open::{ENGINES, OpenOptions, open, open_read_only};
#[cfg(feature = "async")]
pub use realmstore_async as async_store;
#[cfg(feature = "async")]
pub use realmstore_async::{
    AsyncOptions, AsyncRealmStore, AsyncStore, EventHistory, HistoryRule, WhenFull,
};
pub use realmstore_core::*;
#[cfg(feature = "lmdb")]
pub use realmstore_lmdb as lmdb;
#[cfg(feature = "lmdb")]
pub use realmstore_lmdb_pages as lmdb_pages;
#[cfg(feature = "rocks")]
pub use realmstore_rocks as rocks;
#[cfg(feature = "sled")]
pub use realmstore_sled as sled;
