//! Telling what a file is before LMDB touches it.
//!
//! LMDB has to be kept from files of another format: it refuses them, but may
//! have rewritten their lock file by then, under the feet of the program that
//! has them open. And it trusts the file's header: a file that was cut short
//! would end the process with a bus error at the first read past its end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::Duration;

use realmstore_core::{Error, ErrorKind, Result};

use crate::files::DATA_FILE;
use crate::this_format::{DATA_VERSION, FORMAT, OTHER_FORMAT, PAGE_HEADER_LEN};
use crate::{error, free_pages};

const MAGIC: u32 = 0xBEEF_C0DE;

/// How far into a file the magic number may stand, over all formats.
const HEAD_LEN: usize = 64;

/// A header of a meta page and its record, on 64 bits.
const META_LEN: usize = PAGE_HEADER_LEN + 136;

/// Where the flags of a page stand in its header.
pub(crate) const PAGE_FLAGS: usize = PAGE_HEADER_LEN - 6;

/// Where the magic number stands in the data versions 1 and 3: right after the
/// page header.
const MAGIC_OFFSETS: [usize; 2] = if cfg!(target_pointer_width = "64") {
    [16, 24]
} else {
    [12, 16]
};

const META_PAGE_FLAG: u16 = 0x08;

/// The root of a database without entries.
const NO_PAGE: u64 = u64::MAX;

/// How often a header that does not add up is read again, since another
/// process may have been writing it just then.
const ATTEMPTS: u32 = 3;

/// A file format of LMDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// LMDB 0.9, data version 1: what `realmstore-lmdb` reads and writes.
    Lmdb09,
    /// LMDB 1.0, data version 3, what zlmdb writes by default since 26.10:
    /// what `realmstore-lmdb10` reads and writes.
    Lmdb10,
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
#[doc = concat!("assert_eq!(", env!("CARGO_CRATE_NAME"), "::sniff(\"/no/such/store\".as_ref())?, None);")]
/// # Ok::<(), realmstore_core::Error>(())
/// ```
pub fn sniff(path: &Path) -> Result<Option<FileFormat>> {
    let data = if path.is_file() {
        path.to_owned()
    } else {
        path.join(DATA_FILE)
    };
    match open(&data)? {
        None => Ok(None),
        Some(mut file) => format_of(&mut file, &data),
    }
}

/// Checks that a data file is one that LMDB can be trusted with. Says
/// `false` where there is none, or an empty one.
pub(crate) fn check(data: &Path) -> Result<bool> {
    let Some(mut file) = open(data)? else {
        return Ok(false);
    };
    match format_of(&mut file, data)? {
        None => return Ok(false),
        Some(FORMAT) => {}
        Some(_) => return Err(unsupported(data, OTHER_FORMAT)),
    }
    if cfg!(target_pointer_width = "64") {
        check_header_patiently(&mut file, data)?;
    }
    Ok(true)
}

fn open(data: &Path) -> Result<Option<File>> {
    match File::open(data) {
        Ok(file) => Ok(Some(file)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(error::system(reason, data, "cannot be read")),
    }
}

fn damaged(data: &Path, what: &str) -> Error {
    error::plain(ErrorKind::Damaged, format!("{} {what}", data.display()))
}

fn unsupported(data: &Path, what: &str) -> Error {
    error::plain(ErrorKind::Unsupported, format!("{} {what}", data.display()))
}

fn format_of(file: &mut File, data: &Path) -> Result<Option<FileFormat>> {
    let head = read_at(file, 0, HEAD_LEN)
        .map_err(|reason| error::system(reason, data, "cannot be read"))?;
    if head.is_empty() {
        return Ok(None);
    }
    let at = |magic: u32| {
        (0..head.len().saturating_sub(7))
            .step_by(4)
            .find(|&at| u32_at(&head, at) == magic)
    };
    let Some(offset) = at(MAGIC) else {
        return Err(match at(MAGIC.swap_bytes()) {
            Some(_) => unsupported(data, "was written on a machine of the other byte order"),
            None => damaged(data, "is not an LMDB file"),
        });
    };
    match u32_at(&head, offset + 4) {
        1 if offset == MAGIC_OFFSETS[0] => Ok(Some(FileFormat::Lmdb09)),
        3 if offset == MAGIC_OFFSETS[1] => Ok(Some(FileFormat::Lmdb10)),
        1 | 3 => Err(unsupported(
            data,
            "was written on a machine of another word size",
        )),
        version => Err(unsupported(
            data,
            &format!(
                "has data version {version} of LMDB; this build reads version {DATA_VERSION} only"
            ),
        )),
    }
}

fn check_header_patiently(file: &mut File, data: &Path) -> Result<()> {
    let mut attempt = 1;
    loop {
        match check_header(file, data) {
            Err(error) if error.kind() == ErrorKind::Damaged && attempt < ATTEMPTS => {
                attempt += 1;
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn check_header(file: &mut File, data: &Path) -> Result<()> {
    let unreadable = |reason| error::system(reason, data, "cannot be read");
    let first = read_at(file, 0, META_LEN).map_err(unreadable)?;
    let first = Meta::read(&first)
        .ok_or_else(|| damaged(data, "is damaged: its first header page is not sound"))?;
    let second = read_at(file, first.page_size, META_LEN).map_err(unreadable)?;
    let second = Meta::read(&second)
        .filter(|second| second.page_size == first.page_size)
        .ok_or_else(|| damaged(data, "is damaged: its second header page is not sound"))?;
    let meta = if second.commit_number > first.commit_number {
        second
    } else {
        first
    };

    if meta.main_flags != 0 {
        return Err(damaged(
            data,
            "is not a realm store: its database keeps duplicates or reads keys in another order",
        ));
    }
    if !meta.is_root(meta.free_root) || !meta.is_root(meta.main_root) {
        return Err(damaged(
            data,
            "is damaged: its header leads to a page that does not exist",
        ));
    }
    // Taken after the header, so that a file that grows meanwhile is never
    // found too short.
    let len = file.metadata().map_err(unreadable)?.len();
    let expected = meta
        .last_page
        .checked_add(1)
        .and_then(|pages| pages.checked_mul(meta.page_size))
        .ok_or_else(|| damaged(data, "is damaged: its header counts impossibly many pages"))?;
    if len >= expected {
        return Ok(());
    }
    // LMDB does not write out pages that a transaction took and gave back, so
    // a sound file may be short of its last pages, if they are free ones.
    let missing = len / meta.page_size..meta.last_page + 1;
    if free_pages::all_free(file, meta.page_size, meta.free_root, missing).map_err(unreadable)? {
        return Ok(());
    }
    Err(damaged(
        data,
        &format!("is cut short: {len} bytes, {expected} expected"),
    ))
}

/// What a meta page says about the file.
struct Meta {
    page_size: u64,
    free_root: u64,
    main_flags: u16,
    main_root: u64,
    last_page: u64,
    commit_number: u64,
}

impl Meta {
    fn read(page: &[u8]) -> Option<Self> {
        let record = page.get(PAGE_HEADER_LEN..META_LEN)?;
        if u16_at(page, PAGE_FLAGS) & META_PAGE_FLAG == 0
            || u32_at(record, 0) != MAGIC
            || u32_at(record, 4) != DATA_VERSION
        {
            return None;
        }
        let meta = Self {
            page_size: u32_at(record, 24).into(),
            free_root: u64_at(record, 64),
            main_flags: u16_at(record, 76),
            main_root: u64_at(record, 112),
            last_page: u64_at(record, 120),
            commit_number: u64_at(record, 128),
        };
        let sound = meta.page_size.is_power_of_two()
            && (512..=65_536).contains(&meta.page_size)
            && meta.last_page >= 1;
        sound.then_some(meta)
    }

    fn is_root(&self, page: u64) -> bool {
        page == NO_PAGE || (2..=self.last_page).contains(&page)
    }
}

/// The bytes from `offset` on: `len` of them, or as many as there are.
pub(crate) fn read_at(file: &mut File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    file.seek(SeekFrom::Start(offset))?;
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

// LMDB writes numbers as the machine has them.

/// The number at an offset; zero where the bytes end before it does.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes_at(bytes, at).map_or(0, u16::from_ne_bytes)
}

/// The number at an offset; zero where the bytes end before it does.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes_at(bytes, at).map_or(0, u32::from_ne_bytes)
}

/// The number at an offset; zero where the bytes end before it does.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes_at(bytes, at).map_or(0, u64::from_ne_bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
