//! Telling what a file is, and the differences between the two formats.

use std::fmt;
use std::path::Path;

use realmstore_core::{ErrorKind, Result};

use crate::bytes::u32_at;
use crate::file::{DataFile, data_file};

/// What every LMDB file has in its header, in the machine's byte order.
pub(crate) const MAGIC: u32 = 0xBEEF_C0DE;

/// How far into a file the magic number may stand, over all formats.
const HEAD_LEN: usize = 64;

/// A file format of LMDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// LMDB 0.9, data version 1: every realm store made before zlmdb 26.10.
    Lmdb09,
    /// LMDB 1.0, data version 3: what zlmdb writes by default since 26.10.
    Lmdb10,
}

/// With its data version: `LMDB 0.9 (data version 1)`.
impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (data version {})", self.name(), self.data_version())
    }
}

/// Where things stand in a page, as LMDB's `MDB_page` has them on 64 bits.
impl FileFormat {
    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lmdb09 => "LMDB 0.9",
            Self::Lmdb10 => "LMDB 1.0",
        }
    }

    /// The number behind the magic number.
    pub(crate) fn data_version(self) -> u32 {
        match self {
            Self::Lmdb09 => 1,
            Self::Lmdb10 => 3,
        }
    }

    /// The length of a page's header.
    pub(crate) fn header_len(self) -> usize {
        match self {
            Self::Lmdb09 => 16,
            Self::Lmdb10 => 24,
        }
    }

    /// Where a page's flags stand; its two bounds follow, or the length of a
    /// large value in pages.
    pub(crate) fn flags_at(self) -> usize {
        self.header_len() - 6
    }

    /// What the bounds and the pointers of a page count from.
    pub(crate) fn pointer_base(self) -> usize {
        match self {
            Self::Lmdb09 => 0,
            Self::Lmdb10 => self.header_len(),
        }
    }

    /// How many bytes a key takes in its node.
    pub(crate) fn key_room(self, len: usize) -> usize {
        match self {
            Self::Lmdb09 => len,
            Self::Lmdb10 => len.next_multiple_of(2),
        }
    }

    /// How many bytes stand in a node for a large value.
    pub(crate) fn large_value_room(self) -> usize {
        match self {
            Self::Lmdb09 => 8,
            Self::Lmdb10 => 24,
        }
    }

    /// Where the magic number stands in a file of this machine.
    fn magic_at(self) -> usize {
        match (self, cfg!(target_pointer_width = "64")) {
            (Self::Lmdb09, true) => 16,
            (Self::Lmdb09, false) => 12,
            (Self::Lmdb10, true) => 24,
            (Self::Lmdb10, false) => 16,
        }
    }
}

/// Tells in which format of LMDB a store is, without opening it.
///
/// `path` is the store's directory or its data file. The answer is `None`
/// where there is nothing yet: no directory, no `data.mdb`, or an empty one.
///
/// # Errors
/// [`ErrorKind::Damaged`] when the file is not one of LMDB,
/// [`ErrorKind::Unsupported`] when its data version or its machine is another,
/// [`ErrorKind::Io`] when it cannot be read.
///
/// ```
/// assert_eq!(realmstore_lmdb_pages::sniff("/no/such/store".as_ref())?, None);
/// # Ok::<(), realmstore_core::Error>(())
/// ```
pub fn sniff(path: &Path) -> Result<Option<FileFormat>> {
    match DataFile::open(data_file(path))? {
        None => Ok(None),
        Some(file) => format_of(&file),
    }
}

/// `None` where the file is empty.
pub(crate) fn format_of(file: &DataFile) -> Result<Option<FileFormat>> {
    let mut head = [0; HEAD_LEN];
    let len = file.read_at(&mut head, 0)?;
    if len == 0 {
        return Ok(None);
    }
    let head = head.get(..len).unwrap_or_default();
    let at = |magic: u32| {
        (0..head.len().saturating_sub(7))
            .step_by(4)
            .find(|&at| u32_at(head, at) == magic)
    };
    let Some(offset) = at(MAGIC) else {
        return Err(match at(MAGIC.swap_bytes()) {
            Some(_) => file.error(
                ErrorKind::Unsupported,
                "was written on a machine of the other byte order",
            ),
            None => file.damaged("is not an LMDB file"),
        });
    };
    let format = match u32_at(head, offset + 4) {
        1 => FileFormat::Lmdb09,
        3 => FileFormat::Lmdb10,
        version => {
            return Err(file.error(
                ErrorKind::Unsupported,
                &format!(
                    "has data version {version} of LMDB; this build knows versions 1 and 3 only"
                ),
            ));
        }
    };
    if offset != format.magic_at() {
        return Err(file.error(
            ErrorKind::Unsupported,
            "was written on a machine of another word size",
        ));
    }
    Ok(Some(format))
}
