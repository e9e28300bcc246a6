//! The open store.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use realmstore_core::overlay::Overlay;
use realmstore_core::writer_lock::WriterLock;
use realmstore_core::{Backend, BackendInfo, Durability, ErrorKind, Result};
use rocksdb::{
    BottommostLevelCompaction, CompactOptions, DB, WriteBatch, WriteOptions, properties,
};

use crate::{ENGINE, RocksOptions, RocksReadTxn, RocksWriteTxn, error};

/// The version of RocksDB that is compiled in.
const FORMAT: &str = "RocksDB 11.8.1";

/// A realm store in RocksDB.
///
/// Share it between threads by reference or in an `Arc`: only one can be open
/// for writing at a time. It is closed when it is dropped.
pub struct RocksBackend {
    db: DB,
    writer: WriterLock<Overlay>,
    directory: PathBuf,
    read_only: bool,
    durability: Durability,
}

impl RocksBackend {
    /// Opens the store in a directory with the default options, and creates
    /// it where there is none.
    ///
    /// # Errors
    /// Those of [`RocksOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        RocksOptions::new().open(path)
    }

    /// Gives the disk space back that deleted and overwritten entries take, by
    /// writing all files anew, in place. Takes as much space as the store has
    /// entries while it works. When this process ends before it does, the store
    /// is as it was, and the next one that opens it to write removes what was
    /// left.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] when the store was opened read-only;
    /// [`ErrorKind::Full`] or [`ErrorKind::Io`] when the disk is full or fails,
    /// [`ErrorKind::Damaged`] when a file is damaged. Nothing is lost then.
    pub fn compact(&self) -> Result<()> {
        if self.read_only {
            return Err(error::plain(
                ErrorKind::ReadOnly,
                "the store was opened read-only",
            ));
        }
        let failed = |error| error::engine(error, "compact");
        self.db.flush().map_err(failed)?;
        let mut options = CompactOptions::default();
        // Files at the bottom would stay as they are, with all that was deleted.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.db
            .compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        // It does not tell how it ended.
        let failures = self.db.property_int_value(properties::BACKGROUND_ERRORS);
        match failures.map_err(failed)? {
            None | Some(0) => Ok(()),
            Some(_) => Err(error::plain(
                ErrorKind::Io,
                "RocksDB could not write all files anew, for want of space on the disk or because \
                 it fails; nothing is lost, and its file LOG says more",
            )
            .operation("compact")),
        }
    }

    pub(crate) fn new(db: DB, directory: PathBuf, read_only: bool, durability: Durability) -> Self {
        Self {
            db,
            writer: WriterLock::default(),
            directory,
            read_only,
            durability,
        }
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    /// Writes a batch as a whole.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(self.durability == Durability::OnDisk);
        self.db.write_opt(batch, &options).map_err(error::commit)
    }
}

impl Backend for RocksBackend {
    type ReadTxn<'b> = RocksReadTxn<'b>;
    type WriteTxn<'b> = RocksWriteTxn<'b>;

    /// Begins a snapshot of what is committed now. A store that was opened
    /// read-only stays as it was then.
    fn begin_read(&self) -> Result<RocksReadTxn<'_>> {
        Ok(RocksReadTxn::new(&self.db))
    }

    fn begin_write(&self) -> Result<RocksWriteTxn<'_>> {
        if self.read_only {
            return Err(error::plain(
                ErrorKind::ReadOnly,
                "the store was opened read-only",
            ));
        }
        let changes = self
            .writer
            .acquire()
            .map_err(|error| error.engine(ENGINE))?;
        Ok(RocksWriteTxn::new(self, changes))
    }

    fn sync(&self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.db
            .flush_wal(true)
            .map_err(|error| error::engine(error, "sync"))
    }

    fn info(&self) -> Result<BackendInfo> {
        let size = size_of(&self.directory).map_err(|error| {
            error::system(error, &self.directory, "cannot be listed").operation("info")
        })?;
        let mut info = BackendInfo::new(ENGINE, FORMAT);
        info.path = Some(self.directory.clone());
        info.read_only = self.read_only;
        info.durability = Some(self.durability);
        info.size_on_disk = size;
        Ok(info)
    }
}

/// The bytes of all files in a directory. Files that go meanwhile count for
/// nothing.
fn size_of(directory: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(directory)? {
        match entry?.metadata() {
            Ok(found) => size += found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

impl fmt::Debug for RocksBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksBackend")
            .field("directory", &self.directory)
            .field("read_only", &self.read_only)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
