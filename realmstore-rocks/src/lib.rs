//! RocksDB as a storage engine of realmstore.
//!
//! [`RocksBackend`] keeps a realm store in one directory, in the files of
//! RocksDB 11.8. It is the engine for stores that are written to more than
//! they are read: what is committed goes to a log and is sorted into files
//! later, in the background and compressed.
//!
//! ```
//! use realmstore_core::{Backend, ReadTxn, WriteTxn};
//! use realmstore_rocks::RocksBackend;
//!
//! # fn main() -> realmstore_core::Result<()> {
//! # let directory = tempfile::tempdir().map_err(|error| {
//! #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
//! # })?;
//! let store = RocksBackend::open(directory.path().join("realm"))?;
//!
//! let mut transaction = store.begin_write()?;
//! transaction.put(b"key", b"value")?;
//! transaction.commit()?;
//!
//! let snapshot = store.begin_read()?;
//! let value = snapshot.get(b"key")?;
//! assert_eq!(value.as_ref().map(AsRef::as_ref), Some(&b"value"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # What to know about it
//!
//! * **Values are lent, not copied**, by RocksDB's cache.
//! * **A write transaction is in memory until it is committed**, and some
//!   three times over while it is.
//! * **A commit is on disk** when it has returned. With less
//!   [durability](RocksOptions::durability) a crash of the machine may take
//!   the newest commits, in their order.
//! * **One writer.** A store is open for writing once, in one process; the
//!   second attempt is refused with
//!   [`ErrorKind::InUse`](realmstore_core::ErrorKind::InUse). Readers of other
//!   processes, opened [read-only](RocksOptions::read_only), see the store as
//!   it was when they opened it.
//! * **Memory** is that of the [cache](RocksOptions::cache_size), and up to
//!   128 MiB of what was written last.
//! * **When the disk is full** commits fail with
//!   [`ErrorKind::Full`](realmstore_core::ErrorKind::Full), and succeed again
//!   some seconds after there is space.
//! * **A log that is damaged** in its middle is read up to there when the store
//!   is opened, and what follows is lost without an error; RocksDB cannot tell
//!   it from a log that the machine's crash has cut off. Any other damage that
//!   is met is an error.
//! * **A value** has at most 4 GiB less one byte.
//! * **Compiling RocksDB takes long**: 20 to 30 minutes on two processors. It
//!   needs a C++ compiler and libclang.
//!
//! # Why it is as it is
//!
//! *No transactions of RocksDB.* Changes are kept in an
//! [`Overlay`](realmstore_core::overlay::Overlay) and written as one batch.
//! RocksDB's optimistic transactions do the same and look for conflicts, which
//! cannot be with one writer; a store of theirs cannot be opened read-only.
//! They are slower as well. Medians of 3, each event being 2 gets and 3 puts,
//! on 2 shared cores of an AMD EPYC, 2026-11-22:
//!
//! ```text
//! cargo run --release -p realmstore-rocks --example compare_transactions
//! ```
//!
//! | events a commit, on disk | overlay and batch | optimistic transaction |
//! |---|---|---|
//! | 1 | 6,795 events/s | 6,726 events/s |
//! | 10 | 49,273 events/s | 39,806 events/s |
//! | 100 | 115,003 events/s | 78,246 events/s |
//! | 1,000 | 109,536 events/s | 66,386 events/s |
//!
//! *Indexes and filters in parts.* A file's index and filter are a megabyte or
//! more as a whole. Kept outside of the cache, they grow with the store without
//! a limit; kept in it whole, they do not fit in one of its shards, and are read
//! again for each get. In parts they take what the cache has.
//!
//! *No filter for the subscriptions of a file.* One that knows the first 10
//! bytes of all keys helps only where a subscription has no events at all, and
//! slows the newest events of one that has.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod backend;
mod error;
mod options;
mod scan;
mod txn;

pub use backend::RocksBackend;
pub use options::RocksOptions;
pub use scan::RocksScan;
pub use txn::{RocksReadTxn, RocksValue, RocksWriteTxn};

/// The engine's name in URLs, in errors and in a backend's facts.
const ENGINE: &str = "rocks";
