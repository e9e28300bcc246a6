//! What is different in the tests of `realmstore-lmdb`.

use lmdb::FileFormat;
pub(crate) use realmstore_lmdb10 as lmdb;

pub(crate) const ENGINE: &str = "lmdb10";
pub(crate) const FORMAT: FileFormat = FileFormat::Lmdb10;
pub(crate) const FORMAT_NAME: &str = "LMDB 1.0 (data version 3)";

/// The other format: itself, its data version, how far into a file its magic
/// number stands, and what the error for it says.
pub(crate) const OTHER: (FileFormat, u32, usize, &str) =
    (FileFormat::Lmdb09, 1, 16, "realmstore-lmdb opens it");

/// How far into a page that is a header of the file the header's record stands.
pub(crate) const META: usize = 24;

/// Whether a store that another process has open is opened for writing only
/// with a size limit.
pub(crate) const LIMIT_BESIDE_OTHERS: bool = true;
