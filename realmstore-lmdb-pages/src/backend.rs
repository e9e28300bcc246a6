//! The open file as a store.

use std::fs::File;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use realmstore_core::{
    Backend, BackendInfo, Durability, Error, ErrorKind, KeyRange, Order, ReadTxn, Result, Scan,
    WriteTxn,
};

use crate::ENGINE;
use crate::check::{PageFinding, check_file};
use crate::copy::copy_patiently;
use crate::cursor::{Cursor, node};
use crate::error::Fault;
use crate::file::{DataFile, data_file};
use crate::format::{FileFormat, format_of};
use crate::page::Content;
use crate::snapshot::{Skipped, Snapshot};

/// The slot of the directory of tables, which its keys begin with.
const DIRECTORY_SLOT: [u8; 2] = [0, 0];

/// A realm store in an LMDB file of either format, read without LMDB.
///
/// It never writes, takes no lock and opens no lock file, so a store can be
/// read beside whatever has it open; what that means for a snapshot is said
/// at [`begin_read`](Backend::begin_read).
#[derive(Debug)]
pub struct PagesBackend {
    file: DataFile,
    format: FileFormat,
    path: PathBuf,
    skipped: Option<Skipped>,
}

impl PagesBackend {
    /// Opens the store in a directory, or a data file by its own path.
    ///
    /// # Errors
    /// * [`ErrorKind::NotFound`]: there is no store;
    /// * [`ErrorKind::Damaged`]: the file is not of LMDB, or its header is
    ///   damaged; or it is of LMDB and not a realm store;
    /// * [`ErrorKind::Unsupported`]: it has another data version, or is of
    ///   another kind of machine; or this machine has not 64 bits;
    /// * [`ErrorKind::Io`]: it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        open(path.as_ref()).map_err(|error| error.engine(ENGINE).operation("open"))
    }

    /// Copies what the last commit left into an empty file, as
    /// [`copy_snapshot`](crate::copy_snapshot) does, and opens that. It still
    /// says the path of the original. The file is for this process: it need
    /// not have a name, and is not forced to disk.
    ///
    /// # Errors
    /// Those of [`copy_snapshot`](crate::copy_snapshot).
    pub fn copied_into(&mut self, copy: File) -> Result<Self> {
        copy_patiently(&self.file, self.format, &copy, self.file.path(), false)
            .map_err(|error| error.engine(ENGINE).operation("copy"))?;
        Ok(Self {
            file: self.file.with_content_of(copy),
            format: self.format,
            path: self.path.clone(),
            skipped: self.skipped.as_ref().map(|_| Skipped::default()),
        })
    }

    /// Lets scans go on behind damaged pages, without what stood there:
    /// [`skipped`](Self::skipped) says which. A [`get`](ReadTxn::get) of
    /// something that may have stood there is still an error, and so is a scan
    /// of the directory of tables (the keys that begin with two zeros): without
    /// it whole tables would look empty.
    pub fn past_damage(mut self) -> Self {
        self.skipped = Some(Skipped::default());
        self
    }

    /// The damaged pages that scans have passed over, by their numbers.
    pub fn skipped(&self) -> Vec<PageFinding> {
        let skipped = self.skipped.as_ref();
        skipped.map(Skipped::findings).unwrap_or_default()
    }

    /// Checks every page of the file; as [`check`](fn@crate::check).
    ///
    /// # Errors
    /// Those of [`check`](fn@crate::check).
    pub fn check(&self, on_finding: impl FnMut(PageFinding)) -> Result<()> {
        check_file(&self.file, self.format, on_finding)
            .map_err(|error| error.engine(ENGINE).operation("check"))
    }

    /// Which of the formats the file has.
    pub fn format(&self) -> FileFormat {
        self.format
    }
}

fn open(path: &Path) -> Result<PagesBackend> {
    let (file, format) = open_file(path)?;
    Snapshot::begin(&file, format)?;
    Ok(PagesBackend {
        file,
        format,
        path: path.to_owned(),
        skipped: None,
    })
}

/// The data file that a path means, and its format.
pub(crate) fn open_file(path: &Path) -> Result<(DataFile, FileFormat)> {
    let missing = || {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no LMDB store in {}", path.display()),
        )
    };
    let file = DataFile::open(data_file(path))?.ok_or_else(missing)?;
    let format = format_of(&file)?.ok_or_else(missing)?;
    if cfg!(not(target_pointer_width = "64")) {
        return Err(file.error(
            ErrorKind::Unsupported,
            "can be read without LMDB on machines of 64 bits only",
        ));
    }
    Ok((file, format))
}

impl Backend for PagesBackend {
    type ReadTxn<'b> = PagesReadTxn<'b>;
    type WriteTxn<'b> = PagesWriteTxn;

    /// Begins a snapshot of what is committed now.
    ///
    /// Nobody knows of it, and it holds nobody up. It stays good until two
    /// more commits are made; then what it has not read yet may be
    /// overwritten, and reading that fails with [`ErrorKind::Conflict`]. It
    /// never gives anything but what that commit left. A store that is written
    /// to faster than it is read is best read from a
    /// [copy](crate::copy_snapshot).
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when the header is damaged, [`ErrorKind::Io`]
    /// when it cannot be read.
    fn begin_read(&self) -> Result<PagesReadTxn<'_>> {
        let snapshot = Snapshot::begin(&self.file, self.format);
        match snapshot {
            Ok(snapshot) => Ok(PagesReadTxn {
                snapshot: snapshot.past_damage(self.skipped.as_ref()),
            }),
            Err(error) => Err(error.engine(ENGINE).operation("begin")),
        }
    }

    fn begin_write(&self) -> Result<PagesWriteTxn> {
        Err(Error::new(ErrorKind::ReadOnly, "the store was opened read-only").engine(ENGINE))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn info(&self) -> Result<BackendInfo> {
        let mut info = BackendInfo::new(ENGINE, self.format.to_string());
        info.path = Some(self.path.clone());
        info.read_only = true;
        info.durability = Some(Durability::OnDisk);
        info.size_on_disk = self.file.len()?;
        Ok(info)
    }
}

/// A snapshot. It can be sent to another thread.
#[derive(Debug)]
pub struct PagesReadTxn<'b> {
    snapshot: Snapshot<'b>,
}

impl ReadTxn for PagesReadTxn<'_> {
    type Value<'t>
        = PagesValue
    where
        Self: 't;
    type Scan<'t>
        = PagesScan<'t>
    where
        Self: 't;

    /// The value of a key.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when a page on the way is damaged,
    /// [`ErrorKind::Conflict`] when it may have been overwritten since the
    /// snapshot began, [`ErrorKind::Io`] when it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<PagesValue>> {
        get(&self.snapshot, key).map_err(|fault| error_of(&self.snapshot, fault, "get"))
    }

    /// Walks the keys in a range. Its errors are those of
    /// [`get`](ReadTxn::get).
    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<PagesScan<'_>> {
        PagesScan::begin(&self.snapshot, range, order)
            .map_err(|fault| error_of(&self.snapshot, fault, "scan"))
    }

    fn commit_number(&self) -> Option<u64> {
        Some(self.snapshot.meta.commit_number)
    }
}

fn error_of(snapshot: &Snapshot<'_>, fault: Fault, operation: &'static str) -> Error {
    fault
        .into_error(snapshot.file().path())
        .engine(ENGINE)
        .operation(operation)
}

fn get(snapshot: &Snapshot<'_>, key: &[u8]) -> Result<Option<PagesValue>, Fault> {
    let mut cursor = Cursor::new(snapshot, snapshot.meta.main);
    cursor.seek_least_above(key, true)?;
    match cursor.leaf() {
        Some((page, index)) if node(page, index)?.key == key => {
            PagesValue::read(snapshot, &cursor).map(Some)
        }
        _ => Ok(None),
    }
}

/// A value, in the page or pages where it was read.
#[derive(Debug, Clone)]
pub struct PagesValue {
    bytes: Arc<[u8]>,
    place: Range<usize>,
}

impl PagesValue {
    /// The value where the cursor is; an empty one where it is nowhere.
    fn read(snapshot: &Snapshot<'_>, cursor: &Cursor<'_>) -> Result<Self, Fault> {
        let (bytes, place) = match cursor.leaf() {
            Some((page, index)) => match node(page, index)?.content {
                Content::Value(place) => (page.bytes().clone(), place),
                Content::Large(value) => snapshot.large_value(&value)?,
                Content::Child(_) => return Err(Fault::page(page.number(), "is not a leaf")),
            },
            None => return Err(Fault::page(snapshot.meta.main.root, "has no such entry")),
        };
        Ok(Self { bytes, place })
    }
}

impl AsRef<[u8]> for PagesValue {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(self.place.clone()).unwrap_or_default()
    }
}

/// A scan in progress; its entries are lent from the pages that it has read.
#[derive(Debug)]
pub struct PagesScan<'t> {
    snapshot: &'t Snapshot<'t>,
    /// Whether it may go on behind damage.
    skips: bool,
    cursor: Cursor<'t>,
    order: Order,
    /// Where the range ends.
    end: Bound<Box<[u8]>>,
    begun: bool,
    value: Option<PagesValue>,
}

impl<'t> PagesScan<'t> {
    fn begin(
        snapshot: &'t Snapshot<'t>,
        (lower, upper): KeyRange<'_>,
        order: Order,
    ) -> Result<Self, Fault> {
        let mut cursor = Cursor::new(snapshot, snapshot.meta.main);
        let (sought, end) = match order {
            Order::Ascending => (
                match lower {
                    Bound::Unbounded => cursor.seek_first(),
                    Bound::Included(key) => cursor.seek_least_above(key, true),
                    Bound::Excluded(key) => cursor.seek_least_above(key, false),
                },
                upper,
            ),
            Order::Descending => (
                match upper {
                    Bound::Unbounded => cursor.seek_last(),
                    Bound::Included(key) => cursor.seek_greatest_below(key, true),
                    Bound::Excluded(key) => cursor.seek_greatest_below(key, false),
                },
                lower,
            ),
        };
        let skips = match lower {
            Bound::Included(key) | Bound::Excluded(key) => !key.starts_with(&DIRECTORY_SLOT),
            Bound::Unbounded => false,
        };
        past_damage(snapshot, skips, &mut cursor, order, sought)?;
        Ok(Self {
            snapshot,
            skips,
            cursor,
            order,
            end: end.map(Box::from),
            begun: false,
            value: None,
        })
    }

    /// Steps to the next entry and reads its value; says whether there is one.
    fn step(&mut self) -> Result<bool, Fault> {
        if self.begun {
            self.go_on()?;
        }
        self.begun = true;
        loop {
            if self.is_at_end()? {
                return Ok(false);
            }
            match PagesValue::read(self.snapshot, &self.cursor) {
                Err(fault) if self.skips && self.snapshot.skips(&fault) => self.go_on()?,
                read => {
                    self.value = Some(read?);
                    return Ok(true);
                }
            }
        }
    }

    fn go_on(&mut self) -> Result<(), Fault> {
        let moved = go_on(&mut self.cursor, self.order);
        past_damage(
            self.snapshot,
            self.skips,
            &mut self.cursor,
            self.order,
            moved,
        )
    }

    /// Whether there is no entry where it is, or one that is not in the range.
    fn is_at_end(&self) -> Result<bool, Fault> {
        let Some((page, index)) = self.cursor.leaf() else {
            return Ok(true);
        };
        let key = node(page, index)?.key;
        Ok(match (&self.end, self.order) {
            (Bound::Unbounded, _) => false,
            (Bound::Included(end), Order::Ascending) => key > &**end,
            (Bound::Excluded(end), Order::Ascending) => key >= &**end,
            (Bound::Included(end), Order::Descending) => key < &**end,
            (Bound::Excluded(end), Order::Descending) => key <= &**end,
        })
    }
}

fn go_on(cursor: &mut Cursor<'_>, order: Order) -> Result<(), Fault> {
    match order {
        Order::Ascending => cursor.advance(),
        Order::Descending => cursor.retreat(),
    }
}

/// Goes on until no damaged page is in the way, where they are to be skipped.
fn past_damage(
    snapshot: &Snapshot<'_>,
    skips: bool,
    cursor: &mut Cursor<'_>,
    order: Order,
    mut moved: Result<(), Fault>,
) -> Result<(), Fault> {
    while let Err(fault) = &moved {
        if !skips || !snapshot.skips(fault) {
            break;
        }
        moved = go_on(cursor, order);
    }
    moved
}

impl Scan for PagesScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self.step() {
            Ok(true) => {}
            Ok(false) => {
                self.cursor.leave();
                return Ok(None);
            }
            Err(fault) => {
                self.cursor.leave();
                return Err(error_of(self.snapshot, fault, "scan"));
            }
        }
        let entry = self.cursor.leaf().zip(self.value.as_ref());
        let Some(((page, index), value)) = entry else {
            return Ok(None);
        };
        match node(page, index) {
            Ok(node) => Ok(Some((node.key, value.as_ref()))),
            Err(fault) => Err(error_of(self.snapshot, fault, "scan")),
        }
    }
}

/// The write transaction that nobody gets, since the store is read-only.
#[derive(Debug)]
pub enum PagesWriteTxn {}

impl ReadTxn for PagesWriteTxn {
    type Value<'t> = PagesValue;
    type Scan<'t> = PagesScan<'t>;

    fn get(&self, _key: &[u8]) -> Result<Option<PagesValue>> {
        match *self {}
    }

    fn scan(&self, _range: KeyRange<'_>, _order: Order) -> Result<PagesScan<'_>> {
        match *self {}
    }
}

impl WriteTxn for PagesWriteTxn {
    fn put(&mut self, _key: &[u8], _value: &[u8]) -> Result<()> {
        match *self {}
    }

    fn delete(&mut self, _key: &[u8]) -> Result<bool> {
        match *self {}
    }

    fn commit(self) -> Result<()> {
        match self {}
    }
}
