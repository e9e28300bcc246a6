//! The check of a whole file.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use realmstore_core::Result;

use crate::ENGINE;
use crate::backend::open_file;
use crate::bytes::u64_at;
use crate::cursor::{check_depth, check_keys, child, node};
use crate::error::Fault;
use crate::file::DataFile;
use crate::format::FileFormat;
use crate::free_list;
use crate::header::{Headers, Tree};
use crate::page::{Content, KeyOrder, LargeValue, Packing, Page, PageKind, check_number};
use crate::snapshot::Snapshot;

/// Something that [`check`] noticed about a page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageFinding {
    /// The page's number. What concerns a whole tree is said of its root, and
    /// what concerns the whole file of the header page that counts.
    pub page: u64,
    /// Whether anything is lost or in danger by it.
    pub severity: Severity,
    /// What is the matter with the page: `carries the number 7`.
    pub message: String,
}

/// What a [`PageFinding`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The file is not as LMDB leaves one. Entries may be missing or wrong,
    /// and LMDB may crash with it, or damage more when it writes.
    Damage,
    /// Nothing is wrong, but somebody may want to know.
    Remark,
}

impl fmt::Display for PageFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} {}", self.page, self.message)
    }
}

/// Checks every page of an LMDB file of either format, and names all that is
/// not as it should be, in the order in which it is met.
///
/// `path` is a store's directory or a data file. Checked are both header
/// pages; every page that the entries and the list of free pages take: that
/// it is inside of the file, carries its own number, is of the right type,
/// and has its entries inside of it and in order, between the keys and at the
/// depth that its parents say; that no page is used twice; the length of
/// large values; the counts that the header gives; the list of free pages:
/// that it names each once, in order, and none that is in use. Behind a
/// damaged page the check goes on with the next one. What the values hold is
/// not looked at.
///
/// Pages that are neither in use nor free are a [remark](Severity::Remark):
/// crashes leave some, and nobody misses them.
///
/// It is meant for a file at rest, or for a [copy](crate::copy_snapshot). One
/// that is written to meanwhile fails with [`ErrorKind::Conflict`](realmstore_core::ErrorKind::Conflict) after the
/// second commit; what was found until then is right.
///
/// # Errors
/// Those of [`PagesBackend::open`](crate::PagesBackend::open), except for a
/// damaged header, which is a finding.
pub fn check(path: &Path, on_finding: impl FnMut(PageFinding)) -> Result<()> {
    let (file, format) = open_file(path)?;
    check_file(&file, format, on_finding).map_err(|error| error.engine(ENGINE).operation("check"))
}

pub(crate) fn check_file(
    file: &DataFile,
    format: FileFormat,
    mut on_finding: impl FnMut(PageFinding),
) -> Result<()> {
    let mut damage = |page, message: &str| {
        on_finding(PageFinding {
            page,
            severity: Severity::Damage,
            message: message.to_owned(),
        });
    };
    let headers = Headers::read(file, format)?;
    for (number, header) in (0..).zip(&headers.0) {
        match header {
            None => damage(number, "is not a sound header page"),
            Some(meta) => {
                let mut own = [0; 8];
                file.read_at(&mut own, number * meta.page_size)?;
                if let Err(what) = check_number(&own, number) {
                    damage(number, &what);
                }
            }
        }
    }
    let Some(newest) = headers.newest() else {
        return Ok(());
    };
    // The other one need not lead anywhere any more.
    if let Some(fault) = newest.fault() {
        damage(newest.page, fault);
        return Ok(());
    }
    let snapshot = Snapshot::of(file, &headers)?;
    let pages_in_file = file.len()?.div_ceil(newest.page_size);
    let mut check = Check {
        snapshot: &snapshot,
        on_finding,
        used: Pages::new(pages_in_file.min(newest.last_page + 1)),
        free: Pages::default(),
        lists: Vec::new(),
        damaged: false,
    };
    check.tree(&newest.main)?;
    check.tree(&newest.free)?;
    check.free_lists();
    check.all_pages(pages_in_file)
}

struct Check<'s, F> {
    snapshot: &'s Snapshot<'s>,
    on_finding: F,
    used: Pages,
    free: Pages,
    /// The lists of free pages, and the pages where they stand.
    lists: Vec<(u64, Vec<u8>)>,
    damaged: bool,
}

/// A page that is to be looked at, and what its parents say of it.
struct Visit {
    number: u64,
    parent: Option<u64>,
    level: usize,
    lower: Option<Box<[u8]>>,
    upper: Option<Box<[u8]>>,
}

/// What a tree turned out to have.
#[derive(Default)]
struct Counts {
    branch_pages: u64,
    leaf_pages: u64,
    overflow_pages: u64,
    entries: u64,
}

impl<F: FnMut(PageFinding)> Check<'_, F> {
    fn tree(&mut self, tree: &Tree) -> Result<()> {
        let mut counts = Counts::default();
        let mut whole = true;
        let mut open = Vec::new();
        if !tree.is_empty() {
            open.push(Visit {
                number: tree.root,
                parent: None,
                level: 0,
                lower: None,
                upper: None,
            });
        }
        while let Some(visit) = open.pop() {
            let page = self.visit(&visit, tree);
            let Some(page) = self.note(page)? else {
                whole = false;
                continue;
            };
            let contents = match page.kind() {
                PageKind::Branch => {
                    counts.branch_pages += 1;
                    children(&page, &visit, &mut open)
                }
                PageKind::Leaf => {
                    counts.leaf_pages += 1;
                    counts.entries += page.len() as u64;
                    let values = self.leaf(&page, tree.order)?;
                    whole &= values.is_some();
                    counts.overflow_pages += values.unwrap_or_default();
                    Ok(())
                }
            };
            whole &= self.note(contents)?.is_some();
        }
        // With pages missing no count can be right.
        if whole {
            self.compare(&counts, tree);
        }
        Ok(())
    }

    /// Reads a page of a tree and checks it against what its parents say.
    fn visit(&mut self, visit: &Visit, tree: &Tree) -> Result<Page, Fault> {
        let page = match self.snapshot.page(visit.number, tree.order) {
            // A page may be missing altogether; say who wants it.
            Err(Fault::Page { number, what }) => {
                return Err(match visit.parent {
                    Some(parent) => Fault::page(number, format!("(under page {parent}) {what}")),
                    None => Fault::Page { number, what },
                });
            }
            page => page?,
        };
        self.claim(visit.number)?;
        check_depth(&page, visit.level, tree)?;
        check_keys(&page, visit.lower.as_deref(), visit.upper.as_deref())?;
        match page.packing() {
            Packing::Dense => {}
            Packing::WithGaps => {
                let message = "has gaps between its entries, and LMDB leaves none";
                self.remark(page.number(), message.into());
            }
            Packing::Overlapping => {
                return Err(Fault::page(
                    visit.number,
                    "has entries that lie upon each other",
                ));
            }
        }
        Ok(page)
    }

    /// Checks what the entries of a leaf lead to; says how many pages of large
    /// values there are, or nothing when one is damaged.
    fn leaf(&mut self, page: &Page, order: KeyOrder) -> Result<Option<u64>> {
        let mut pages = 0;
        let mut whole = true;
        for index in 0..page.len() {
            let taken = self.entry(page, index, order);
            match self.note(taken)? {
                Some(taken) => pages += taken,
                None => whole = false,
            }
        }
        Ok(whole.then_some(pages))
    }

    fn entry(&mut self, page: &Page, index: usize, order: KeyOrder) -> Result<u64, Fault> {
        let entry = node(page, index)?;
        let taken = match entry.content {
            Content::Large(value) => self.large_value(&value, page.number())?,
            _ => 0,
        };
        if order == KeyOrder::Numbers {
            let freed_by = u64_at(entry.key, 0);
            let newest = self.snapshot.meta.commit_number;
            if !(1..=newest).contains(&freed_by) {
                return Err(Fault::page(
                    page.number(),
                    format!("has pages freed by commit {freed_by}, and the last one is {newest}"),
                ));
            }
            let list = free_list::list_bytes(self.snapshot, page, index)?;
            self.lists.push((page.number(), list));
        }
        Ok(taken)
    }

    fn large_value(&mut self, value: &LargeValue, leaf: u64) -> Result<u64, Fault> {
        let pages = match self.snapshot.large_value_pages(value) {
            Err(Fault::Page { number, what }) => {
                return Err(Fault::page(number, format!("(under page {leaf}) {what}")));
            }
            pages => pages?,
        };
        let count = pages.end - pages.start;
        if pages.end > self.used.len {
            return Err(Fault::page(
                value.first,
                "begins a large value that is cut short by the end of the file",
            ));
        }
        for number in pages {
            self.claim(number)?;
        }
        Ok(count)
    }

    fn claim(&mut self, number: u64) -> Result<(), Fault> {
        if self.used.insert(number) {
            return Ok(());
        }
        Err(Fault::page(number, "is used twice"))
    }

    fn compare(&mut self, found: &Counts, tree: &Tree) {
        let name = match tree.order {
            KeyOrder::Bytes => "entries",
            KeyOrder::Numbers => "free pages",
        };
        for (what, found, recorded) in [
            ("branch pages", found.branch_pages, tree.branch_pages),
            ("leaf pages", found.leaf_pages, tree.leaf_pages),
            (
                "pages of large values",
                found.overflow_pages,
                tree.overflow_pages,
            ),
            ("entries", found.entries, tree.entries),
        ] {
            if found != recorded {
                self.damage(
                    self.snapshot.meta.page,
                    format!(
                        "counts {recorded} {what} in the tree of {name}, and there are {found}"
                    ),
                );
            }
        }
    }

    fn free_lists(&mut self) {
        let meta = &self.snapshot.meta;
        let last = meta.last_page;
        self.free = Pages::new(self.used.len);
        for (page, bytes) in std::mem::take(&mut self.lists) {
            let list = match free_list::list(&bytes) {
                Ok(list) => list,
                Err(what) => {
                    self.damage(page, what.into());
                    continue;
                }
            };
            let mut previous = u64::MAX;
            for free in list {
                let wrong = if !(2..=last).contains(&free) {
                    Some(format!(
                        "does not exist, and page {page} has it as free; the last is {last}"
                    ))
                } else if free >= previous {
                    Some(format!(
                        "is out of order in the list of free pages in page {page}"
                    ))
                } else if self.used.contains(free) {
                    Some(format!("is in use, and page {page} has it as free"))
                } else if !self.free.insert(free) {
                    Some(format!("is free twice, the second time in page {page}"))
                } else {
                    None
                };
                previous = free;
                if let Some(wrong) = wrong {
                    self.damage(free, wrong);
                }
            }
        }
    }

    /// Looks for pages that are neither used nor free.
    fn all_pages(&mut self, in_file: u64) -> Result<()> {
        let meta = &self.snapshot.meta;
        // Of a tree that cannot be walked, no page is known to be used.
        if !self.damaged {
            let mut lost = (2..self.used.len)
                .filter(|&page| !self.used.contains(page) && !self.free.contains(page));
            if let Some(first) = lost.next() {
                let message = match lost.count() {
                    0 => "is neither in use nor free".to_owned(),
                    more => format!("and {more} more behind it are neither in use nor free"),
                };
                self.remark(first, message);
            }
        }
        let missing = self.snapshot.missing_pages()?;
        let missing =
            missing.filter(|missing| missing.end - missing.start > self.free.behind(missing));
        if let Some(missing) = missing {
            let message = format!(
                "says that the last page is {}, but the file ends in page {}",
                meta.last_page,
                in_file.max(missing.start).saturating_sub(1)
            );
            self.damage(meta.page, message);
        }
        Ok(())
    }

    /// Tells of a damaged page, and passes other errors on.
    fn note<T>(&mut self, result: Result<T, Fault>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Page { number, what }) => {
                self.damage(number, what.into_owned());
                Ok(None)
            }
            Err(Fault::Failed(error)) => Err(error),
        }
    }

    fn remark(&mut self, page: u64, message: String) {
        (self.on_finding)(PageFinding {
            page,
            severity: Severity::Remark,
            message,
        });
    }

    fn damage(&mut self, page: u64, message: String) {
        self.damaged = true;
        (self.on_finding)(PageFinding {
            page,
            severity: Severity::Damage,
            message,
        });
    }
}

/// Puts the children of a branch on the list, the first on top.
fn children(page: &Page, visit: &Visit, open: &mut Vec<Visit>) -> Result<(), Fault> {
    for index in (0..page.len()).rev() {
        let lower = match index {
            0 => visit.lower.clone(),
            _ => Some(node(page, index)?.key.into()),
        };
        let upper = match index + 1 {
            next if next < page.len() => Some(node(page, next)?.key.into()),
            _ => visit.upper.clone(),
        };
        open.push(Visit {
            number: child(page, index)?,
            parent: Some(page.number()),
            level: visit.level + 1,
            lower,
            upper,
        });
    }
    Ok(())
}

/// A set of pages: a bit for each that the file has, and a list of those
/// behind its end.
#[derive(Default)]
struct Pages {
    bits: Vec<u64>,
    len: u64,
    behind: HashSet<u64>,
}

impl Pages {
    fn new(len: u64) -> Self {
        Self {
            bits: vec![0; len.div_ceil(64) as usize],
            len,
            behind: HashSet::new(),
        }
    }

    /// Says whether it was not yet there.
    fn insert(&mut self, page: u64) -> bool {
        match self.bits.get_mut((page / 64) as usize) {
            Some(word) if page < self.len => {
                let bit = 1 << (page % 64);
                let new = *word & bit == 0;
                *word |= bit;
                new
            }
            _ => self.behind.insert(page),
        }
    }

    fn contains(&self, page: u64) -> bool {
        match self.bits.get((page / 64) as usize) {
            Some(word) if page < self.len => word & (1 << (page % 64)) != 0,
            _ => self.behind.contains(&page),
        }
    }

    /// How many of these pages at the end of the file, or behind it, are there.
    fn behind(&self, pages: &Range<u64>) -> u64 {
        let at_end = (pages.start..self.len).filter(|&page| self.contains(page));
        self.behind.len() as u64 + at_end.count() as u64
    }
}
