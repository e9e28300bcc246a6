//! The open store.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use realmstore_core::overlay::Overlay;
use realmstore_core::writer_lock::WriterLock;
use realmstore_core::{Backend, BackendInfo, Durability, ErrorKind, Result};
use sled::{Batch, Db, IVec, Tree};

use crate::files::Files;
use crate::key::encode;
use crate::snapshots::Snapshots;
use crate::{ENGINE, SledOptions, SledReadTxn, SledWriteTxn, error};

/// A realm store in sled.
///
/// Share it between threads by reference or in an `Arc`: a store can be open
/// only once at a time. It is closed when it is dropped.
pub struct SledBackend {
    db: Db,
    // After sled, whose lock it waits for.
    files: Files,
    snapshots: Snapshots,
    writer: WriterLock<Overlay>,
    directory: PathBuf,
    read_only: bool,
    durability: Durability,
}

impl SledBackend {
    /// Opens the store in a directory with the default options, and creates
    /// it where there is none.
    ///
    /// # Errors
    /// Those of [`SledOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        SledOptions::new().open(path)
    }

    /// Closes the store and keeps everybody from opening it, until the file
    /// that this returns is closed. Its files can then be moved: sled itself
    /// finds some of them by their names as long as a store is open.
    ///
    /// sled gives its lock up when it is closed, and a millisecond later at
    /// most this takes it over.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] when somebody was faster, [`ErrorKind::Io`] when the
    /// file cannot be locked.
    pub fn close_locked(self) -> Result<File> {
        let directory = self.directory.clone();
        let failed = |reason| error::system(reason, &directory, "cannot be locked");
        let lock = self.files.lock().map_err(failed)?;
        drop(self);
        // The wait for sled has locked this very file, where it came to its end.
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(error::plain(
                ErrorKind::InUse,
                format!("{} was opened by somebody else", directory.display()),
            )),
            Err(TryLockError::Error(reason)) => Err(failed(reason)),
        }
    }

    pub(crate) fn new(
        db: Db,
        files: Files,
        directory: PathBuf,
        read_only: bool,
        durability: Durability,
    ) -> Self {
        Self {
            db,
            files,
            snapshots: Snapshots::default(),
            writer: WriterLock::default(),
            directory,
            read_only,
            durability,
        }
    }

    /// The one tree, which holds the newest state.
    pub(crate) fn tree(&self) -> &Tree {
        &self.db
    }

    fn flush(&self) -> sled::Result<()> {
        self.tree().flush()?;
        Ok(self.files.sync()?)
    }

    /// Commits the changes of the write transaction, whose lock the caller holds.
    pub(crate) fn commit(&self, changes: &Overlay) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        let mut images = Vec::with_capacity(changes.len());
        for change in changes.iter() {
            let key = IVec::from(&*encode(change.key));
            let before = if change.was_absent {
                None
            } else {
                let found = self.tree().get(&key);
                found.map_err(|error| error::engine(error, "commit"))?
            };
            match change.value {
                Some(value) => batch.insert(key.clone(), value),
                None => batch.remove(key.clone()),
            }
            images.push((key, before));
        }
        self.snapshots.publish(images);
        self.tree()
            .apply_batch(batch)
            .and_then(|()| match self.durability {
                Durability::OnDisk => self.flush(),
                Durability::Eventual | Durability::NoSync => Ok(()),
            })
            .map_err(|error| {
                error::plain(
                    ErrorKind::UnknownOutcome,
                    "sled failed in the commit; open the store again to see whether the commit \
                     is in it",
                )
                .operation("commit")
                .source(error)
            })?;
        self.snapshots.complete();
        Ok(())
    }
}

impl Backend for SledBackend {
    type ReadTxn<'b> = SledReadTxn<'b>;
    type WriteTxn<'b> = SledWriteTxn<'b>;

    fn begin_read(&self) -> Result<SledReadTxn<'_>> {
        Ok(SledReadTxn::new(self.tree(), self.snapshots.begin()))
    }

    fn begin_write(&self) -> Result<SledWriteTxn<'_>> {
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
        if self.snapshots.in_doubt() {
            return Err(error::plain(
                ErrorKind::Engine,
                "an earlier commit failed half-way; close the store, see to the disk, and open \
                 it again",
            ));
        }
        Ok(SledWriteTxn::new(self, writer))
    }

    fn sync(&self) -> Result<()> {
        self.flush().map_err(|error| error::engine(error, "sync"))
    }

    fn info(&self) -> Result<BackendInfo> {
        let mut info = BackendInfo::new(ENGINE, "sled 0.34");
        info.path = Some(self.directory.clone());
        info.read_only = self.read_only;
        info.durability = Some(self.durability);
        info.size_on_disk = self
            .db
            .size_on_disk()
            .map_err(|error| error::engine(error, "info"))?;
        Ok(info)
    }
}

impl fmt::Debug for SledBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledBackend")
            .field("directory", &self.directory)
            .field("read_only", &self.read_only)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
