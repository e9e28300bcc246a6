//! What is this crate's own. All its other files are those of
//! `realmstore-lmdb10` as well.

use crate::FileFormat;

/// The engine's name in URLs, in errors and in a backend's facts.
pub(crate) const ENGINE: &str = "lmdb";

/// The format that this crate reads and writes.
pub(crate) const FORMAT: FileFormat = FileFormat::Lmdb09;

/// The format in a backend's facts.
pub(crate) const FORMAT_NAME: &str = "LMDB 0.9 (data version 1)";

/// The number of the format in a file.
pub(crate) const DATA_VERSION: u32 = 1;

/// What a file of the other format is, and what to do with it.
pub(crate) const OTHER_FORMAT: &str = "is a file of LMDB 1.0 (data version 3, the default of \
     zlmdb since 26.10), and this build reads LMDB 0.9 only; copy its entries with Python into a \
     store that zlmdb opens with lib_version=\"0.9\"";

/// The length of a page's header on 64 bits.
pub(crate) const PAGE_HEADER_LEN: usize = 16;

/// From where on offsets in a page are counted.
pub(crate) const OFFSETS_BEGIN: usize = 0;

/// Whether another program's LMDB, that of a Crossbar.io router, may have a
/// file open at the same time. Where it does, it does not follow a file that
/// outgrows its memory map.
pub(crate) const SHARED_WITH_OTHERS: bool = false;
