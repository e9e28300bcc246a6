//! The two header pages, which LMDB calls meta pages, and what they say.
//!
//! A commit with number N is entered in page N modulo 2, so the header of the
//! commit before it stays until the next commit.

use std::path::Path;
use std::thread;
use std::time::Duration;

use realmstore_core::{Error, ErrorKind, Result};

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::file::DataFile;
use crate::format::{FileFormat, MAGIC, format_of};
use crate::free_list;
use crate::page::{KeyOrder, MAX_DEPTH, META_FLAG, NO_PAGE};
use crate::snapshot::Snapshot;

/// The length of a header behind the header of its page.
pub(crate) const META_LEN: usize = 136;

/// Where the commit's number stands in it, the last of its fields.
pub(crate) const COMMIT_NUMBER_AT: usize = 128;

const LEAST_PAGE: u64 = 512;
const LARGEST_PAGE: u64 = 65_536;

/// How often a header that does not add up is read again, since another
/// process may have been writing it just then.
const ATTEMPTS: u32 = 3;

/// How often the headers are read until they are twice the same. A commit
/// takes longer than reading them, so two or three times will do.
const STABLE_ATTEMPTS: u32 = 1000;

/// What a file's header says about one of its trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) order: KeyOrder,
    pub(crate) flags: u16,
    pub(crate) depth: u16,
    pub(crate) branch_pages: u64,
    pub(crate) leaf_pages: u64,
    pub(crate) overflow_pages: u64,
    pub(crate) entries: u64,
    pub(crate) root: u64,
}

impl Tree {
    fn read(record: &[u8], order: KeyOrder) -> Self {
        Self {
            order,
            flags: u16_at(record, 4),
            depth: u16_at(record, 6),
            branch_pages: u64_at(record, 8),
            leaf_pages: u64_at(record, 16),
            overflow_pages: u64_at(record, 24),
            entries: u64_at(record, 32),
            root: u64_at(record, 40),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root == NO_PAGE
    }
}

/// What one header page says about the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) format: FileFormat,
    /// The page where it stands, 0 or 1.
    pub(crate) page: u64,
    pub(crate) page_size: u64,
    /// The tree of free pages.
    pub(crate) free: Tree,
    /// The tree of the entries.
    pub(crate) main: Tree,
    pub(crate) last_page: u64,
    pub(crate) commit_number: u64,
    /// The bytes that say so.
    pub(crate) raw: [u8; META_LEN],
}

impl Meta {
    fn read(format: FileFormat, number: u64, page: &[u8]) -> Option<Self> {
        let raw: [u8; META_LEN] = *page.get(format.header_len()..)?.first_chunk()?;
        if u16_at(page, format.flags_at()) & META_FLAG == 0
            || u32_at(&raw, 0) != MAGIC
            || u32_at(&raw, 4) != format.data_version()
        {
            return None;
        }
        let meta = Self {
            format,
            page: number,
            page_size: u32_at(&raw, 24).into(),
            free: Tree::read(raw.get(24..)?, KeyOrder::Numbers),
            main: Tree::read(raw.get(72..)?, KeyOrder::Bytes),
            last_page: u64_at(&raw, 120),
            commit_number: u64_at(&raw, COMMIT_NUMBER_AT),
            raw,
        };
        let sound = meta.page_size.is_power_of_two()
            && (LEAST_PAGE..=LARGEST_PAGE).contains(&meta.page_size)
            && meta.last_page >= 1;
        sound.then_some(meta)
    }

    /// What is wrong with it beyond its form, if anything is. Only the
    /// header of the last commit is held to this.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.main.flags != 0 {
            return Some(
                "is not a realm store: its database keeps duplicates or reads keys in another \
                 order",
            );
        }
        if !self.is_root(&self.free) || !self.is_root(&self.main) {
            return Some("is damaged: its header leads to a page that does not exist");
        }
        if self.expected_len().is_none() {
            return Some("is damaged: its header counts impossibly many pages");
        }
        // LMDB looks for it by its number.
        if self.commit_number % 2 != self.page {
            return Some("is damaged: its last commit is in the wrong one of its two header pages");
        }
        let deep = |tree: &Tree| tree.depth > MAX_DEPTH || (tree.depth == 0) != tree.is_empty();
        if deep(&self.free) || deep(&self.main) {
            return Some("is damaged: its header gives a tree an impossible depth");
        }
        None
    }

    /// How long the file is when all of its pages are there.
    pub(crate) fn expected_len(&self) -> Option<u64> {
        self.last_page.checked_add(1)?.checked_mul(self.page_size)
    }

    fn is_root(&self, tree: &Tree) -> bool {
        tree.is_empty() || (2..=self.last_page).contains(&tree.root)
    }
}

/// Both header pages, each where it can be read as one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) [Option<Meta>; 2]);

impl Headers {
    /// Reads them until they are twice the same, so that neither was being
    /// written to at the time.
    pub(crate) fn read(file: &DataFile, format: FileFormat) -> Result<Self> {
        let mut headers = Self::read_once(file, format)?;
        for _ in 0..STABLE_ATTEMPTS {
            let again = Self::read_once(file, format)?;
            if again == headers {
                return Ok(headers);
            }
            headers = again;
        }
        Err(file.error(
            ErrorKind::Conflict,
            "is being committed to without a pause; try again",
        ))
    }

    fn read_once(file: &DataFile, format: FileFormat) -> Result<Self> {
        let read = |number, offset| -> Result<Option<Meta>> {
            let mut page = [0; 24 + META_LEN];
            let len = file.read_at(&mut page, offset)?;
            Ok(Meta::read(
                format,
                number,
                page.get(..len).unwrap_or_default(),
            ))
        };
        if let Some(first) = read(0, 0)? {
            let second = read(1, first.page_size)?;
            let second = second.filter(|second| second.page_size == first.page_size);
            return Ok(Self([Some(first), second]));
        }
        // Only the second one knows where it stands.
        let mut size = LEAST_PAGE;
        while size <= LARGEST_PAGE {
            if let Some(second) = read(1, size)?.filter(|second| second.page_size == size) {
                return Ok(Self([None, Some(second)]));
            }
            size *= 2;
        }
        Ok(Self([None, None]))
    }

    /// The header of the last commit.
    pub(crate) fn newest(&self) -> Option<&Meta> {
        match &self.0 {
            [Some(first), Some(second)] if second.commit_number > first.commit_number => {
                Some(second)
            }
            [Some(first), _] => Some(first),
            [None, second] => second.as_ref(),
        }
    }
}

/// Checks that a data file is one of this format that LMDB can be trusted
/// with: both header pages are sound, and the file is as long as they say.
/// What lies behind is not looked at; that is [`check`](fn@crate::check).
///
/// Says `false` where there is no file, or an empty one. On a machine of 32
/// bits the format is all that is checked.
///
/// # Errors
/// * [`ErrorKind::Unsupported`]: it is in another format of LMDB;
/// * [`ErrorKind::Damaged`]: it is not of LMDB, is cut short, or has a damaged
///   header; or it is of LMDB and not a realm store;
/// * [`ErrorKind::Io`]: it cannot be read.
pub fn check_header(data: &Path, expected: FileFormat) -> Result<bool> {
    let Some(file) = DataFile::open(data.to_owned())? else {
        return Ok(false);
    };
    match format_of(&file)? {
        None => return Ok(false),
        Some(format) if format == expected => {}
        Some(format) => return Err(other_format(&file, format, expected)),
    }
    if cfg!(target_pointer_width = "64") {
        check_header_patiently(&file, expected)?;
    }
    Ok(true)
}

fn other_format(file: &DataFile, found: FileFormat, expected: FileFormat) -> Error {
    let message = match found {
        FileFormat::Lmdb10 => format!(
            "is a file of LMDB 1.0 (data version 3, the default of zlmdb since 26.10), and {} is \
             expected here; realmstore-lmdb10 opens it, and `realmstore copy` converts it",
            expected.name()
        ),
        FileFormat::Lmdb09 => format!(
            "is a file of {found}, and {} is expected here; realmstore-lmdb opens it, and \
             `realmstore copy` converts it",
            expected.name()
        ),
    };
    file.error(ErrorKind::Unsupported, &message)
}

fn check_header_patiently(file: &DataFile, format: FileFormat) -> Result<()> {
    let mut attempt = 1;
    loop {
        match check_header_once(file, format) {
            Err(error)
                if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Conflict)
                    && attempt < ATTEMPTS =>
            {
                attempt += 1;
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn check_header_once(file: &DataFile, format: FileFormat) -> Result<()> {
    let headers = Headers::read(file, format)?;
    let [first, second] = &headers.0;
    if first.is_none() {
        return Err(file.damaged("is damaged: its first header page is not sound"));
    }
    if second.is_none() {
        return Err(file.damaged("is damaged: its second header page is not sound"));
    }
    let snapshot = Snapshot::of(file, &headers)?;
    if let Some(missing) = snapshot.missing_pages()?
        && !free_list::names_all(&snapshot, &missing)?
    {
        return Err(snapshot.cut_short()?);
    }
    Ok(())
}
