//! What is different in the tests of `realmstore-lmdb10`.

use lmdb::FileFormat;
pub(crate) use realmstore_lmdb as lmdb;

pub(crate) const ENGINE: &str = "lmdb";
pub(crate) const FORMAT: FileFormat = FileFormat::Lmdb09;
pub(crate) const FORMAT_NAME: &str = "LMDB 0.9 (data version 1)";

/// The other format: itself, its data version, how far into a file its magic
/// number stands, and what the error for it says.
pub(crate) const OTHER: (FileFormat, u32, usize, &str) =
    (FileFormat::Lmdb10, 3, 24, "realmstore-lmdb10 opens it");

/// How far into a page that is a header of the file the header's record stands.
pub(crate) const META: usize = 16;

/// Whether a store that another process has open is opened for writing only
/// with a size limit.
pub(crate) const LIMIT_BESIDE_OTHERS: bool = false;
