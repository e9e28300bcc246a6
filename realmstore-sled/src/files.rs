//! The files of sled, and what it leaves to be done with them.
//!
//! Its flush is not enough for a commit to be on disk. On Linux it ends with
//! `sync_file_range`, which writes neither a file's new length nor the cache
//! of the disk; and large values are in files of their own, which sled writes
//! and never syncs.
//!
//! Nor is a store closed when sled has been dropped: threads of its own may
//! still hold the file, and its lock, for a moment.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The file in which sled keeps its log.
pub(crate) const DATA_FILE: &str = "db";

/// How long to wait at most for sled to let go of the file.
const CLOSING: Duration = Duration::from_secs(2);

/// The files of an open store. To be dropped after sled.
pub(crate) struct Files {
    data: File,
    large_values: PathBuf,
    /// The names of the large values that are on disk. None is written twice.
    synced: Mutex<HashSet<OsString>>,
}

impl Files {
    /// Of the store in a directory, whose own entry is put on disk.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        sync(directory)?;
        let parent = match directory.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(Path::new(".")),
            parent => parent,
        };
        if let Some(parent) = parent.filter(|parent| parent.is_dir()) {
            sync(parent)?;
        }
        Ok(Self {
            data: File::open(directory.join(DATA_FILE))?,
            large_values: directory.join("blobs"),
            synced: Mutex::default(),
        })
    }

    /// The lock that sled has, and that stays when all of this is dropped and
    /// sled has let go of it.
    pub(crate) fn lock(&self) -> io::Result<File> {
        self.data.try_clone()
    }

    /// Puts on disk what sled has written.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // Elsewhere directories cannot be synced, nor files that were opened
        // to be read, and sled itself syncs the log in full.
        if !cfg!(unix) {
            return Ok(());
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = HashSet::new();
        for entry in fs::read_dir(&self.large_values)? {
            let name = entry?.file_name();
            if !synced.contains(&name) {
                match sync(&self.large_values.join(&name)) {
                    // sled removes those that are not needed any more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    result => result?,
                }
            }
            found.insert(name);
        }
        if !found.is_subset(&synced) {
            sync(&self.large_values)?;
        }
        *synced = found;
        self.data.sync_data()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let begun = Instant::now();
        while matches!(self.data.try_lock(), Err(TryLockError::WouldBlock))
            && begun.elapsed() < CLOSING
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn sync(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}
