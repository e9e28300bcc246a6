//! What is this crate's own. All its other files are links to those of
//! `realmstore-lmdb`.

use crate::FileFormat;

/// The engine's name in URLs, in errors and in a backend's facts.
pub(crate) const ENGINE: &str = "lmdb10";

/// The format that this crate reads and writes.
pub(crate) const FORMAT: FileFormat = FileFormat::Lmdb10;

/// The format in a backend's facts.
pub(crate) const FORMAT_NAME: &str = "LMDB 1.0 (data version 3)";

/// Whether another program's LMDB, that of a Crossbar.io router, may have a
/// file open at the same time. Where it does, it does not follow a file that
/// outgrows its memory map.
pub(crate) const SHARED_WITH_OTHERS: bool = true;
