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
//! cannot be with one writer; a store of theirs cannot be opened read-only. On
//! 2 processors, each event being 2 gets and 3 puts, medians of 3:
//!
//! | events a commit | overlay and batch | optimistic transaction |
//! |---|---|---|
//! | 1, on disk | 6,500 events/s | 6,000 events/s |
//! | 10, on disk | 42,000 | 34,000 |
//! | 100, on disk | 99,000 | 58,000 |
//! | 1,000, on disk | 139,000 | 67,000 |
//! | 200,000, on disk | 200,000 | 59,000 |
//! | 1, eventually | 130,000 | 96,000 |
//!
//! A scan of 200,000 entries in a transaction with 1,000 events in it went over
//! 5.7 M entries/s, against 2.0 M.
//!
//! *Indexes and filters in parts.* A file's index and filter are a megabyte or
//! more as a whole. Kept outside of the cache, they grow with the store without
//! a limit; kept in it, they did not fit in one of its shards, and were read
//! again for each of 3,000 gets/s. In parts they take what the cache has: with
//! 4 million events in 760 MB, 120,000 gets/s of keys that are there and 400,000
//! of keys that are not, against 110,000 and 750,000 without the limit.
//!
//! *No filter for the subscriptions of a file.* One that knows the first 10
//! bytes of all keys made the newest ten events of a subscription slower where
//! there were any (77,000 queries/s without it, 55,000 with it), and faster
//! only where there were none (143,000 and 172,000).

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
