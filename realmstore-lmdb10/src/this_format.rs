//! What is this crate's own. All its other files are links to those of
//! `realmstore-lmdb`.

use crate::FileFormat;

/// The engine's name in URLs, in errors and in a backend's facts.
pub(crate) const ENGINE: &str = "lmdb10";

/// The format that this crate reads and writes.
pub(crate) const FORMAT: FileFormat = FileFormat::Lmdb10;

/// The format in a backend's facts.
pub(crate) const FORMAT_NAME: &str = "LMDB 1.0 (data version 3)";

/// The number of the format in a file.
pub(crate) const DATA_VERSION: u32 = 3;

/// What a file of the other format is, and what to do with it.
pub(crate) const OTHER_FORMAT: &str = "is a file of LMDB 0.9 (data version 1), and this engine \
     reads LMDB 1.0 only; open it with the engine lmdb";

/// The length of a page's header on 64 bits.
pub(crate) const PAGE_HEADER_LEN: usize = 24;

/// From where on offsets in a page are counted.
pub(crate) const OFFSETS_BEGIN: usize = PAGE_HEADER_LEN;

/// Whether another program's LMDB, that of a Crossbar.io router, may have a
/// file open at the same time. Where it does, it does not follow a file that
/// outgrows its memory map.
pub(crate) const SHARED_WITH_OTHERS: bool = true;
