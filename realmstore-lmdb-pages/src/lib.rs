//! Realm stores in LMDB files, read without LMDB.
//!
//! Both file formats of LMDB are read, 0.9 (data version 1) and 1.0 (data
//! version 3), by safe Rust that believes nothing of what a file says until it
//! has looked. So one program reads both, no damaged or forged file can crash
//! it, and nothing is touched: no lock file is opened, no place among the
//! readers taken, and a router that has the store open notices nothing.
//!
//! ```
//! use realmstore_core::{Backend, Order, ReadTxn, Scan};
//! use realmstore_lmdb_pages::PagesBackend;
//! use std::ops::Bound;
//!
//! # fn main() -> realmstore_core::Result<()> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/crossbar-lmdb10.mdb");
//! let store = PagesBackend::open(path)?;
//! let snapshot = store.begin_read()?;
//! let mut scan = snapshot.scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)?;
//! let mut entries = 0;
//! while let Some((_key, _value)) = scan.next()? {
//!     entries += 1;
//! }
//! assert!(entries > 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What to know about it
//!
//! * It only reads. [`realmstore-lmdb`](https://docs.rs/realmstore-lmdb)
//!   writes, in the format of LMDB 0.9.
//! * A snapshot of a file that others write to is good for at least one more
//!   commit. What comes later is noticed: it is an error of the kind
//!   [`Conflict`](realmstore_core::ErrorKind::Conflict), and never a wrong
//!   answer. [`copy_snapshot`] makes a copy that can be read at leisure.
//! * Damage is an error of the kind [`Damaged`](realmstore_core::ErrorKind::Damaged)
//!   that names the page. [`check`](fn@check) names all of it at once.
//! * Files of 64-bit machines with this one's byte order are read, on 64-bit
//!   machines. Encrypted files of LMDB 1.0, and files with checksums, are not
//!   realm stores.
//! * A program that writes past LMDB's own rules (with `MDB_NOSYNC` and a
//!   crash of the machine, for instance) can leave damage; that is found as
//!   far as it shows in the form of the pages. LMDB keeps no checksums, so a
//!   byte of a value that was changed is not noticed.

#![forbid(unsafe_code)]

mod backend;
mod bytes;
mod check;
mod copy;
mod cursor;
pub mod error;
mod file;
mod format;
mod free_list;
mod header;
mod page;
mod snapshot;

pub use backend::{PagesBackend, PagesReadTxn, PagesScan, PagesValue, PagesWriteTxn};
pub use check::{PageFinding, Severity, check};
pub use copy::{CopiedSnapshot, copy_snapshot};
pub use format::{FileFormat, sniff};
pub use header::check_header;

/// The name of LMDB in URLs, in errors and in a backend's facts.
pub(crate) const ENGINE: &str = "lmdb";

/// The file of a store's directory that holds the entries.
pub const DATA_FILE: &str = "data.mdb";
