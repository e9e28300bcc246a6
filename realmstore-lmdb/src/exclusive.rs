//! Keeping everybody out of a store while its data file is replaced.
//!
//! Whoever opens a store, by LMDB of any version, first asks for an exclusive
//! lock on the first byte of `lock.mdb`, and then opens `data.mdb` by its name.
//! Where it does not get the lock it waits for a shared one, and takes
//! `lock.mdb` for set up by whoever had the other. What that says of the last
//! commit would not be true of another data file: so it says that it is no lock
//! file, before anything is replaced and whatever becomes of this process. Who
//! waited is then refused with `MDB_INVALID` (this crate tries again), and who
//! comes later sets it up anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use realmstore_core::Result;

use crate::{ENGINE, files, holder};

/// The directories that this process keeps everybody out of.
static HERE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A store that nobody can open by LMDB, in this process or in another one,
/// until this is dropped. Its `data.mdb` can be read without LMDB, and another
/// file of the same format be given its name.
///
/// Other processes that open the store meanwhile wait. By this crate they then
/// open what is there; by another LMDB they are refused once, with
/// `MDB_INVALID`. On systems other than Unix nobody is kept out, and nobody
/// found who has the store open.
///
/// ```
/// # fn main() -> realmstore_core::Result<()> {
/// # let directory = tempfile::tempdir().map_err(|error| {
/// #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
/// # })?;
/// # let path = directory.path().join("realm");
#[doc = concat!("use ", env!("CARGO_CRATE_NAME"), "::{Exclusive, LmdbBackend};")]
/// use realmstore_core::ErrorKind;
///
/// # drop(LmdbBackend::open(&path)?);
/// let exclusive = Exclusive::lock(&path)?;
/// assert_eq!(LmdbBackend::open(&path).unwrap_err().kind(), ErrorKind::InUse);
/// drop(exclusive);
/// assert!(LmdbBackend::open(&path).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Exclusive {
    directory: PathBuf,
    /// Closed, it gives the lock up.
    #[cfg(unix)]
    _lock: Option<std::fs::File>,
}

impl Exclusive {
    /// Keeps everybody out of the store in a directory, which must be there.
    /// The path of the `data.mdb` in it will do as well.
    ///
    /// As with [`holder`](crate::holder()), the store must not be open in this
    /// process by something other than this crate or `heed`.
    ///
    /// # Errors
    /// * [`ErrorKind::InUse`](realmstore_core::ErrorKind::InUse): it is open, in
    ///   a process that the error names where the system tells;
    /// * [`ErrorKind::InvalidInput`](realmstore_core::ErrorKind::InvalidInput):
    ///   the path does not name a directory;
    /// * [`ErrorKind::Io`](realmstore_core::ErrorKind::Io): it is not there, or
    ///   this user may not write to `lock.mdb`.
    pub fn lock(path: impl AsRef<Path>) -> Result<Self> {
        Self::lock_directory(path.as_ref()).map_err(|error| error.engine(ENGINE).operation("lock"))
    }

    #[cfg(unix)]
    fn lock_directory(path: &Path) -> Result<Self> {
        use std::fs::File;
        use std::io;
        use std::os::unix::fs::FileExt;

        use realmstore_core::ErrorKind;
        use rustix::fs::{FlockOperation, fcntl_lock};

        use crate::error;

        /// What makes it a lock file of LMDB, and more that is of no use then.
        const HEADER: [u8; 64] = [0; 64];
        /// As many as a reader would make room for.
        const READERS: u32 = 1024;

        let _opening = holder::opening();
        let directory = files::store_directory(path)?;
        let in_use = |holder: &str| {
            error::plain(
                ErrorKind::InUse,
                format!(
                    "{} is open in {holder}; nobody may have it open",
                    directory.display()
                ),
            )
        };
        if holder::is_open_here(&directory) {
            return Err(in_use("this process"));
        }
        files::provide_lock_file(&directory, false, READERS)?;
        let lock = directory.join(files::LOCK_FILE);
        let failed = |reason: io::Error| error::system(reason, &lock, "cannot be locked");
        let mut options = File::options();
        let file = options.read(true).write(true).open(&lock).map_err(failed)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                return Err(in_use(&holder::named(&directory)));
            }
            locked => locked.map_err(|reason| failed(reason.into()))?,
        }
        file.write_all_at(&HEADER, 0).map_err(failed)?;
        Ok(Self::here(&directory, Some(file)))
    }

    #[cfg(not(unix))]
    fn lock_directory(path: &Path) -> Result<Self> {
        let directory = files::store_directory(path)?;
        Ok(Self::here(&directory))
    }

    fn here(directory: &Path, #[cfg(unix)] lock: Option<std::fs::File>) -> Self {
        let directory = directory
            .canonicalize()
            .unwrap_or_else(|_| directory.to_owned());
        here().insert(directory.clone());
        Self {
            directory,
            #[cfg(unix)]
            _lock: lock,
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let _opening = holder::opening();
        #[cfg(unix)]
        drop(self._lock.take());
        here().remove(&self.directory);
    }
}

/// Whether this process keeps everybody out of a directory.
pub(crate) fn is_exclusive_here(directory: &Path) -> bool {
    here().contains(directory)
}

fn here() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HERE.lock().unwrap_or_else(PoisonError::into_inner)
}
