//! LMDB as a storage engine of realmstore.
//!
//! [`LmdbBackend`] keeps a realm store in one directory, in two files:
//! `data.mdb` and `lock.mdb`. They are in the format of LMDB 0.9 (data
//! version 1), which Crossbar.io's realm stores have as well, so a store can
//! be handed over in either direction.
//!
//! ```
//! use realmstore_core::{Backend, ReadTxn, WriteTxn};
//! use realmstore_lmdb::LmdbBackend;
//!
//! # fn main() -> realmstore_core::Result<()> {
//! # let directory = tempfile::tempdir().map_err(|error| {
//! #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
//! # })?;
//! let store = LmdbBackend::open(directory.path().join("realm"))?;
//!
//! let mut transaction = store.begin_write()?;
//! transaction.put(b"key", b"value")?;
//! transaction.commit()?;
//!
//! let snapshot = store.begin_read()?;
//! assert_eq!(snapshot.get(b"key")?, Some(&b"value"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # What to know about it
//!
//! * **Values are lent, not copied.** What a snapshot hands out points into
//!   the memory map and lives as long as the snapshot.
//! * **Read transactions are taken without thread-local storage.** A thread
//!   may hold any number of them, and they may be sent to another thread. A
//!   write transaction stays on the thread that began it.
//! * **One environment per process and path.** LMDB's file locks break when
//!   one process opens a store twice, so the second attempt is refused with
//!   [`ErrorKind::InUse`](realmstore_core::ErrorKind::InUse); share the
//!   backend, by reference or in an `Arc`.
//! * **Several processes** may have a store open at once if they have the
//!   same version of LMDB. A Crossbar.io router has another one: whoever comes
//!   second is refused. Never put a store on a network file system, and never
//!   use one in a child process that was forked while it was open.
//! * **The map never gets in the way.** By default as much address space is
//!   reserved as no store will fill. A smaller map, asked for by
//!   [`LmdbOptions::map_size`], grows by itself; what it costs is said there.
//! * **A commit is on disk** when it has returned.
//! * **A value** has at most 4 GiB less one byte.
//!
//! # Safety of the memory map
//!
//! LMDB reads its file through a memory map and trusts what it finds there.
//! This crate opens one on these grounds: LMDB's own locks keep every program
//! that uses them from changing what a snapshot sees, nobody opens the file
//! twice in one process, the file's format, header and length are checked
//! before LMDB touches it, and the map is resized only while no transaction of
//! the process is alive. What nobody can check from inside is a program that
//! overwrites or truncates `data.mdb` without asking LMDB, or deletes
//! `lock.mdb` while the store is open: that breaks the process, with a bus
//! error at best. A file whose inner pages were forged is not detected either;
//! open only files from those you trust.

mod backend;
mod error;
mod files;
mod format;
mod free_pages;
mod gate;
mod options;
mod redo;
mod scan;
mod txn;

pub use backend::LmdbBackend;
pub use format::{FileFormat, sniff};
pub use options::LmdbOptions;
pub use scan::LmdbScan;
pub use txn::{LmdbReadTxn, LmdbWriteTxn};

/// The engine's name in URLs, in errors and in a backend's facts.
const ENGINE: &str = "lmdb";

/// The unnamed database, the only one that a realm store has.
type Entries = heed::Database<'static, heed::types::Bytes, heed::types::Bytes>;

/// An environment whose read transactions are not bound to threads.
type Environment = heed::Env<heed::WithoutTls>;
