//! What one commit left in the file, while others go on writing to it.
//!
//! # Why a snapshot needs no lock
//!
//! LMDB never writes over a page that the last commit or the one before it
//! can reach. A transaction W takes pages from the list of free ones only if
//! they were freed by W - 2 or earlier (`mdb_page_alloc` stops at
//! `mdb_find_oldest`, which is at most W - 1). A page that commit N can reach
//! is freed by N + 1 at the earliest, so N + 3 is the first transaction that
//! may write over it. That one begins when N + 2 is committed; and N + 2 is
//! entered in the header page where N was. So as long as the header of N still
//! stands where it was, to the last byte, whatever was read before that was
//! looked at is what N left there. It is the same in both formats.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realmstore_core::{Error, ErrorKind, Result};

use crate::bytes::{u16_at, u32_at};
use crate::check::{PageFinding, Severity};
use crate::error::Fault;
use crate::file::DataFile;
use crate::format::FileFormat;
use crate::header::{Headers, META_LEN, Meta};
use crate::page::{KeyOrder, LargeValue, OVERFLOW_FLAG, Page, check_number, unexpected_type};

/// How many bytes of pages a snapshot keeps at most.
const CACHE_SIZE: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Snapshot<'f> {
    file: &'f DataFile,
    pub(crate) meta: Meta,
    /// Pages that were read, each where its number modulo the length says.
    cache: RefCell<Vec<Option<Page>>>,
    skipped: Option<&'f Skipped>,
}

/// Damaged pages that scans have passed over, and what is the matter with each.
#[derive(Debug, Default)]
pub(crate) struct Skipped(Mutex<BTreeMap<u64, String>>);

impl Skipped {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn findings(&self) -> Vec<PageFinding> {
        let pages = self.pages();
        let findings = pages.iter().map(|(&page, message)| PageFinding {
            page,
            severity: Severity::Damage,
            message: message.clone(),
        });
        findings.collect()
    }
}

impl<'f> Snapshot<'f> {
    /// What the last commit left.
    pub(crate) fn begin(file: &'f DataFile, format: FileFormat) -> Result<Self> {
        Self::of(file, &Headers::read(file, format)?)
    }

    pub(crate) fn of(file: &'f DataFile, headers: &Headers) -> Result<Self> {
        let meta = headers
            .newest()
            .ok_or_else(|| file.damaged("is damaged: neither of its header pages is sound"))?;
        match meta.fault() {
            Some(fault) => Err(file.damaged(fault)),
            None => Ok(Self {
                file,
                meta: meta.clone(),
                cache: RefCell::default(),
                skipped: None,
            }),
        }
    }

    /// Lets scans pass over damaged pages, and notes which.
    pub(crate) fn past_damage(mut self, skipped: Option<&'f Skipped>) -> Self {
        self.skipped = skipped;
        self
    }

    /// Whether a scan passes over what is at fault; if so it is noted.
    pub(crate) fn skips(&self, fault: &Fault) -> bool {
        let (Some(skipped), Fault::Page { number, what }) = (self.skipped, fault) else {
            return false;
        };
        skipped.pages().insert(*number, what.to_string());
        true
    }

    pub(crate) fn file(&self) -> &'f DataFile {
        self.file
    }

    /// A page of a tree.
    pub(crate) fn page(&self, number: u64, order: KeyOrder) -> Result<Page, Fault> {
        let mut cache = self.cache.borrow_mut();
        if cache.is_empty() {
            cache.resize((CACHE_SIZE / self.meta.page_size) as usize, None);
        }
        let places = cache.len().max(1) as u64;
        let Some(place) = cache.get_mut((number % places) as usize) else {
            return self.read_page(number, order);
        };
        match place {
            Some(page) if page.number() == number && page.order() == order => Ok(page.clone()),
            place => {
                let page = self.read_page(number, order)?;
                *place = Some(page.clone());
                Ok(page)
            }
        }
    }

    fn read_page(&self, number: u64, order: KeyOrder) -> Result<Page, Fault> {
        let bytes = self.read(number, self.meta.page_size)?;
        Page::new(bytes, self.meta.format, number, order).map_err(|what| Fault::page(number, what))
    }

    /// The pages that a large value takes, once all but its content is checked.
    pub(crate) fn large_value_pages(&self, value: &LargeValue) -> Result<Range<u64>, Fault> {
        self.check_large_value(value, &self.read(value.first, self.meta.page_size)?)
    }

    /// The bytes of a large value, and where in them it lies.
    pub(crate) fn large_value(
        &self,
        value: &LargeValue,
    ) -> Result<(Arc<[u8]>, Range<usize>), Fault> {
        let header = self.meta.format.header_len();
        let bytes = self.read(value.first, header as u64 + value.len)?;
        self.check_large_value(value, &bytes)?;
        let place = header..bytes.len();
        Ok((bytes, place))
    }

    fn check_large_value(&self, value: &LargeValue, bytes: &[u8]) -> Result<Range<u64>, Fault> {
        let format = self.meta.format;
        let wrong = |what| Fault::page(value.first, what);
        check_number(bytes, value.first).map_err(wrong)?;
        let flags = u16_at(bytes, format.flags_at());
        if flags != OVERFLOW_FLAG {
            return Err(wrong(unexpected_type(
                flags,
                "the first page of a large value",
            )));
        }
        let pages = u64::from(u32_at(bytes, format.flags_at() + 2));
        let needed = (format.header_len() as u64 + value.len).div_ceil(self.meta.page_size);
        if pages < needed || value.pages.is_some_and(|said| said != pages) {
            return Err(wrong(
                format!(
                    "begins {pages} pages of a large value of {} bytes, which takes {}",
                    value.len,
                    value.pages.unwrap_or(needed)
                )
                .into(),
            ));
        }
        // No overflow: the first page was read, and a count has 32 bits.
        let end = value.first + pages;
        if end - 1 > self.meta.last_page {
            return Err(wrong(
                format!(
                    "begins a large value that ends behind the last page {}",
                    self.meta.last_page
                )
                .into(),
            ));
        }
        Ok(value.first..end)
    }

    /// The bytes of the file from the beginning of a page on.
    fn read(&self, number: u64, len: u64) -> Result<Arc<[u8]>, Fault> {
        if !(2..=self.meta.last_page).contains(&number) {
            return Err(Fault::page(
                number,
                format!(
                    "does not exist, but is referred to; the pages of the trees are 2 to {}",
                    self.meta.last_page
                ),
            ));
        }
        // No overflow: a header that counts so many pages is refused.
        let offset = number * self.meta.page_size;
        let file_len = self.file.len()?;
        let available = file_len.saturating_sub(offset);
        let len = match usize::try_from(len) {
            Ok(wanted) if len <= available => wanted,
            _ => {
                self.confirm()?;
                return Err(Fault::page(
                    number,
                    format!("does not fit into the file of {file_len} bytes, which is cut short"),
                ));
            }
        };
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        let read = self.file.read_at(Arc::make_mut(&mut bytes), offset)?;
        self.confirm()?;
        if read < len {
            return Err(Fault::page(number, "was cut off while it was read"));
        }
        Ok(bytes)
    }

    /// Fails if what was read until now need not be what the commit left.
    pub(crate) fn confirm(&self) -> Result<()> {
        let mut header = [0; META_LEN];
        self.file.read_at(&mut header, self.header_offset())?;
        if header == self.meta.raw {
            return Ok(());
        }
        Err(self.file.error(
            ErrorKind::Conflict,
            "was written to faster than it was read; read it again, or take a copy and read that",
        ))
    }

    fn header_offset(&self) -> u64 {
        self.meta.page * self.meta.page_size + self.meta.format.header_len() as u64
    }

    /// The pages that the header counts and that the file is too short for.
    ///
    /// LMDB does not write out pages that a transaction took and gave back,
    /// so a sound file may be short of its last pages, if they are free ones.
    pub(crate) fn missing_pages(&self) -> Result<Option<Range<u64>>> {
        // Taken after the header, so that a file that grows meanwhile is never
        // found too short.
        let there = self.file.len()? / self.meta.page_size;
        Ok((there <= self.meta.last_page).then_some(there..self.meta.last_page + 1))
    }

    pub(crate) fn cut_short(&self) -> Result<Error> {
        let len = self.file.len()?;
        let expected = self.meta.expected_len().unwrap_or(u64::MAX);
        Ok(self
            .file
            .damaged(&format!("is cut short: {len} bytes, {expected} expected")))
    }
}
