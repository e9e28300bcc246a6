//! The open store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heed::{MdbError, RoTxn, RwTxn, WithoutTls};
use realmstore_core::writer_lock::WriterLock;
use realmstore_core::{Backend, BackendInfo, Durability, Error, ErrorKind, Result};

use crate::gate::{Gate, Pass};
use crate::options::{MAP_UNIT, round_up};
use crate::redo::RedoLog;
use crate::this_format::FORMAT_NAME;
use crate::{ENGINE, Entries, Environment, LmdbOptions, LmdbReadTxn, LmdbWriteTxn, error};

/// A realm store in LMDB.
///
/// Share it between threads by reference or in an `Arc`: a process can open a
/// store only once at a time. It is closed when it is dropped.
pub struct LmdbBackend {
    env: Environment,
    entries: Entries,
    gate: Gate,
    /// In front of LMDB's own lock, which would let a thread wait for itself
    /// for ever, and would make the wait of other threads look like the work of
    /// another process.
    writer: WriterLock<RedoLog>,
    directory: PathBuf,
    read_only: bool,
    durability: Durability,
    grow_timeout: Duration,
    growth_limit: Option<usize>,
    size_limit: Option<usize>,
}

/// An environment that was opened, and how it was.
pub(crate) struct Opened {
    pub(crate) env: Environment,
    pub(crate) entries: Entries,
    pub(crate) directory: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) grow_timeout: Duration,
    /// How large the map may become by itself; `None` where it stays as it is.
    pub(crate) growth_limit: Option<usize>,
    /// How large this process may make the file.
    pub(crate) size_limit: Option<usize>,
}

impl LmdbBackend {
    /// Opens the store in a directory with the default options, and creates
    /// it where there is none.
    ///
    /// # Errors
    /// Those of [`LmdbOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        LmdbOptions::new().open(path)
    }

    pub(crate) fn new(opened: Opened) -> Self {
        let Opened {
            env,
            entries,
            directory,
            read_only,
            durability,
            grow_timeout,
            growth_limit,
            size_limit,
        } = opened;
        let gate = Gate::new(env.info().map_size);
        let writer = WriterLock::default();
        Self {
            env,
            entries,
            gate,
            writer,
            directory,
            read_only,
            durability,
            grow_timeout,
            growth_limit,
            size_limit,
        }
    }

    pub(crate) fn entries(&self) -> Entries {
        self.entries
    }

    /// Whether the map grows by itself, and changes are kept for that.
    pub(crate) fn map_grows(&self) -> bool {
        self.growth_limit.is_some()
    }

    /// Begins LMDB's write transaction. The caller holds the writer lock.
    pub(crate) fn begin_heed_write(&self) -> Result<(RwTxn<'_>, Pass<'_>)> {
        let begun = self.begin(|| self.env.write_txn())?;
        // The map has followed another process beyond the limit.
        if self
            .size_limit
            .is_some_and(|limit| self.gate.map_size() > limit)
        {
            return Err(self.full().operation("begin"));
        }
        Ok(begun)
    }

    /// The error of a change for which there is no room.
    pub(crate) fn full(&self) -> Error {
        let error = error::engine(MdbError::MapFull.into(), "grow the map");
        match self.size_limit {
            Some(limit) if self.gate.map_size() >= limit => error::plain(
                ErrorKind::Full,
                format!(
                    "data.mdb may not become larger than {limit} bytes, its size limit; nothing of \
                     this transaction is stored"
                ),
            )
            .source(error),
            _ => error,
        }
    }

    /// Whether LMDB has given the environment up after it could not write the
    /// file's header.
    pub(crate) fn has_failed_for_good(&self) -> bool {
        matches!(self.env.read_txn(), Err(heed::Error::Mdb(MdbError::Panic)))
    }

    /// Makes the map larger, by at least `room` bytes where that is allowed.
    /// The caller holds the writer lock, and no transaction.
    pub(crate) fn grow(&self, room: usize) -> Result<()> {
        let size = self.gate.map_size();
        let limit = self.growth_limit.unwrap_or_default();
        if size >= limit {
            return Err(self.full());
        }
        // Large values take whole pages, and the tree above them some more.
        let with_room = size
            .saturating_add(room)
            .saturating_add(room / 8 + (1 << 20));
        let wanted = size.saturating_mul(2).max(with_room);
        self.resize(size, round_up(wanted, MAP_UNIT).unwrap_or(limit).min(limit))
    }

    /// Follows another process that has made the file larger than the map was
    /// when it had the size `seen`.
    fn follow(&self, seen: usize) -> Result<()> {
        let file = self
            .env
            .real_disk_size()
            .map_err(|error| error::engine(error, "begin"))?;
        let file = usize::try_from(file)
            .ok()
            .and_then(|len| round_up(len, MAP_UNIT));
        let doubled = self
            .growth_limit
            .map_or(seen, |limit| seen.saturating_mul(2).min(limit));
        self.resize(seen, doubled.max(file.unwrap_or(seen)))
    }

    fn resize(&self, seen: usize, size: usize) -> Result<()> {
        self.gate.resize(seen, self.grow_timeout, || {
            // SAFETY: LMDB asks that no transaction of this process be alive
            // while the map is replaced. Each holds a pass of the gate, from
            // before it begins until after it has ended, as does every other
            // call that looks into the map; and the gate runs this only while
            // no pass is given out, and gives none out meanwhile.
            unsafe { self.env.resize(size) }
                .map_err(|error| error::engine(error, "grow the map"))?;
            Ok(self.env.info().map_size)
        })
    }

    /// Begins a transaction of LMDB, once the map is large enough for the
    /// file and a place among the readers is free.
    fn begin<T>(&self, begin: impl Fn() -> heed::Result<T>) -> Result<(T, Pass<'_>)> {
        let mut swept = false;
        loop {
            let pass = self.gate.enter()?;
            let seen = self.gate.map_size();
            match begin() {
                Ok(transaction) => return Ok((transaction, pass)),
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    drop(pass);
                    self.follow(seen)?;
                }
                // Processes that have crashed leave their places taken.
                Err(heed::Error::Mdb(MdbError::ReadersFull)) if !swept => {
                    swept = true;
                    self.env
                        .clear_stale_readers()
                        .map_err(|error| error::engine(error, "begin"))?;
                }
                Err(error) => return Err(error::engine(error, "begin")),
            }
        }
    }
}

impl Backend for LmdbBackend {
    type ReadTxn<'b> = LmdbReadTxn<'b>;
    type WriteTxn<'b> = LmdbWriteTxn<'b>;

    /// Begins a snapshot of what is committed now.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when as many snapshots are open as
    /// [`LmdbOptions::max_readers`] allows, or when another process has made
    /// the file larger than the map and transactions of this process keep the
    /// map from following for longer than [`LmdbOptions::grow_timeout`].
    fn begin_read(&self) -> Result<LmdbReadTxn<'_>> {
        let (txn, pass): (RoTxn<'_, WithoutTls>, _) = self.begin(|| self.env.read_txn())?;
        Ok(LmdbReadTxn::new(self.entries, txn, pass))
    }

    /// Begins the one write transaction.
    ///
    /// # Errors
    /// As for snapshots; [`ErrorKind::ReadOnly`] in a store that was opened
    /// read-only; [`ErrorKind::Full`] when another process has made the file
    /// larger than [`LmdbOptions::size_limit`].
    fn begin_write(&self) -> Result<LmdbWriteTxn<'_>> {
        if self.read_only {
            return Err(error::plain(
                ErrorKind::ReadOnly,
                "the store was opened read-only",
            ));
        }
        let writer = self
            .writer
            .acquire()
            .map_err(|error| error.engine(ENGINE))?;
        LmdbWriteTxn::begin(self, writer)
    }

    fn sync(&self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        let _pass = self.gate.enter()?;
        self.env
            .force_sync()
            .map_err(|error| error::engine(error, "sync"))
    }

    fn info(&self) -> Result<BackendInfo> {
        let size = self
            .env
            .real_disk_size()
            .map_err(|error| error::engine(error, "info"))?;
        let mut info = BackendInfo::new(ENGINE, FORMAT_NAME);
        info.path = Some(self.directory.clone());
        info.read_only = self.read_only;
        info.durability = Some(self.durability);
        info.size_on_disk = size;
        Ok(info)
    }
}

impl fmt::Debug for LmdbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LmdbBackend")
            .field("directory", &self.directory)
            .field("read_only", &self.read_only)
            .field("map_size", &self.gate.map_size())
            .finish_non_exhaustive()
    }
}
