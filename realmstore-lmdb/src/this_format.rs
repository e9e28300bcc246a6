//! What is this crate's own. All its other files are those of
//! `realmstore-lmdb10` as well.

use crate::FileFormat;

/// The engine's name in URLs, in errors and in a backend's facts.
pub(crate) const ENGINE: &str = "lmdb";

/// The format that this crate reads and writes.
pub(crate) const FORMAT: FileFormat = FileFormat::Lmdb09;

/// The format in a backend's facts.
pub(crate) const FORMAT_NAME: &str = "LMDB 0.9 (data version 1)";

/// Whether another program's LMDB, that of a Crossbar.io router, may have a
/// file open at the same time. Where it does, it does not follow a file that
/// outgrows its memory map.
pub(crate) const SHARED_WITH_OTHERS: bool = false;
