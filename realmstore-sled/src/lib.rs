//! sled as a storage engine of realmstore.
//!
//! [`SledBackend`] keeps a realm store in one directory, in the files of sled
//! 0.34. It is written in Rust alone, so it needs no C compiler.
//!
//! ```
//! use realmstore_core::{Backend, ReadTxn, WriteTxn};
//! use realmstore_sled::SledBackend;
//!
//! # fn main() -> realmstore_core::Result<()> {
//! # let directory = tempfile::tempdir().map_err(|error| {
//! #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
//! # })?;
//! let store = SledBackend::open(directory.path().join("realm"))?;
//!
//! let mut transaction = store.begin_write()?;
//! transaction.put(b"key", b"value")?;
//! transaction.commit()?;
//!
//! let snapshot = store.begin_read()?;
//! assert_eq!(snapshot.get(b"key")?.as_ref().map(AsRef::as_ref), Some(&b"value"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Before you choose it
//!
//! * **sled is not being kept up.** 0.34.7 is of 2021. There are open reports
//!   of stores that were corrupt after a hard stop of the process or the
//!   machine ([#1509], [#1533]), and two of its dependencies are unmaintained
//!   ([RUSTSEC-2024-0384] on `instant`, [RUSTSEC-2025-0057] on `fxhash`).
//!   Choose LMDB for what must not be lost.
//! * **The versions of sled to come have other files**, which this crate will
//!   not read.
//!
//! [#1509]: https://github.com/spacejam/sled/issues/1509
//! [#1533]: https://github.com/spacejam/sled/issues/1533
//! [RUSTSEC-2024-0384]: https://rustsec.org/advisories/RUSTSEC-2024-0384.html
//! [RUSTSEC-2025-0057]: https://rustsec.org/advisories/RUSTSEC-2025-0057.html
//!
//! # What to know about it
//!
//! * **One process has the store**, and opens it once; whoever comes second
//!   is refused with [`ErrorKind::InUse`](realmstore_core::ErrorKind::InUse).
//!   That goes for readers as well: sled has no read-only mode.
//! * **Snapshots cost memory.** While one lives, the values that were changed
//!   after it began stay in memory as they were. A commit reads the old value
//!   of each key that it changes.
//! * **A transaction is in memory until its commit**, which adds a second copy
//!   for sled and the old values of its keys. Split very large ones.
//! * **A commit is on disk** when it has returned. sled's own flush would not
//!   be enough for that; this crate syncs the files after it.
//! * **While sled applies a commit, it holds up every look into any store of
//!   sled in the process**, for as long as that takes. Nobody waits for the disk.

#![forbid(unsafe_code)]

mod backend;
mod error;
mod files;
mod key;
mod options;
mod scan;
mod snapshots;
mod txn;

pub use backend::SledBackend;
pub use options::SledOptions;
pub use scan::SledScan;
pub use txn::{SledReadTxn, SledValue, SledWriteTxn};

/// The engine's name in URLs, in errors and in a backend's facts.
const ENGINE: &str = "sled";
