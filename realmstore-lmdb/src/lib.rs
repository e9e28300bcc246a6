#![doc = include_str!("this_format.md")]
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
//! * **Never put a store on a network file system**, and never use one in a
//!   child process that was forked while it was open.
//! * **The map never gets in the way.** By default as much address space is
//!   reserved as no store will fill. A smaller map, asked for by
//!   [`LmdbOptions::map_size`], grows by itself; what it costs is said there.
//! * **A store stays within [`LmdbOptions::size_limit`]**, where it has one.
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
//! open only files from those you trust, or read them with
//! [`realmstore_lmdb_pages`], which trusts none.

mod backend;
mod error;
mod exclusive;
mod files;
mod gate;
mod holder;
mod options;
mod redo;
mod scan;
mod this_format;
mod txn;

pub use backend::LmdbBackend;
pub use exclusive::Exclusive;
pub use holder::{Holder, holder};
pub use options::LmdbOptions;
pub use realmstore_lmdb_pages::{FileFormat, sniff};
pub use scan::LmdbScan;
pub use txn::{LmdbReadTxn, LmdbWriteTxn};

use this_format::ENGINE;

/// The unnamed database, the only one that a realm store has.
type Entries = heed::Database<'static, heed::types::Bytes, heed::types::Bytes>;

/// An environment whose read transactions are not bound to threads.
type Environment = heed::Env<heed::WithoutTls>;
