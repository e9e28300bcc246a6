//! Which process has a store open.
//!
//! LMDB holds a lock on the first byte of `lock.mdb` as long as it has the
//! store open, whatever its version: an exclusive one while it sets the file
//! up, a shared one from then on. The system tells whose lock it is. But these
//! locks are lost when their process closes any descriptor of the file, also
//! one that has nothing to do with LMDB. So nobody is asked about a store that
//! is open in this process, and none is opened while somebody asks.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use realmstore_core::Result;

use crate::{ENGINE, exclusive, files};

/// Held while this process opens a `lock.mdb`, by LMDB or without it.
static OPENING: Mutex<()> = Mutex::new(());

/// A process that has a store open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// Its process ID. `None` where the system does not tell it, as for a
    /// process in another container.
    pub process: Option<u32>,
}

impl fmt::Display for Holder {
    /// Writes "process 1234", or "a process that this one cannot see".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(f, "process {process}"),
            None => f.write_str("a process that this one cannot see"),
        }
    }
}

/// Tells which process has the store in a directory open, by LMDB of any
/// version. Where there are several, it is one of them; where this process is
/// one, it is this. The path of the `data.mdb` in the directory will do as
/// well.
///
/// The answer is `None` where nobody has it open, where there is no store, and
/// on systems other than Unix. It may be out of date as soon as it is given.
///
/// It must not be asked about a store that this process has open by something
/// other than this crate or `heed`: that would lose its locks.
///
/// # Errors
/// [`ErrorKind::Io`](realmstore_core::ErrorKind::Io) when `lock.mdb` cannot be
/// read, [`ErrorKind::InvalidInput`](realmstore_core::ErrorKind::InvalidInput)
/// when the path does not name a directory.
///
/// ```
/// # fn main() -> realmstore_core::Result<()> {
#[doc = concat!("assert_eq!(", env!("CARGO_CRATE_NAME"), "::holder(\"/no/such/store\")?, None);")]
/// # Ok(())
/// # }
/// ```
pub fn holder(path: impl AsRef<Path>) -> Result<Option<Holder>> {
    let _opening = opening();
    files::store_directory(path.as_ref())
        .and_then(|directory| {
            if is_open_here(&directory) {
                return Ok(Some(Holder {
                    process: Some(std::process::id()),
                }));
            }
            other_holder(&directory)
        })
        .map_err(|error| error.engine(ENGINE).operation("holder"))
}

/// The right to open a lock file in this process.
pub(crate) fn opening() -> MutexGuard<'static, ()> {
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process has the store open, or keeps everybody out of it.
pub(crate) fn is_open_here(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|directory| {
        exclusive::is_exclusive_here(&directory) || heed::env_closing_event(directory).is_some()
    })
}

/// Who has a store open that cannot be had, in words.
pub(crate) fn named(directory: &Path) -> String {
    match other_holder(directory) {
        Ok(Some(holder)) => holder.to_string(),
        _ => "another process".to_owned(),
    }
}

/// Which other process has a store open that this one has not. The caller has
/// the right to open a lock file.
#[cfg(unix)]
pub(crate) fn other_holder(directory: &Path) -> Result<Option<Holder>> {
    use std::fs::File;
    use std::io;

    use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};

    use crate::error;

    let path = directory.join(files::LOCK_FILE);
    let failed = |reason| error::system(reason, &path, "cannot be read");
    let file = match File::open(&path) {
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let exclusive = Flock {
        length: 1,
        ..Flock::from(FlockType::WriteLock)
    };
    let in_the_way =
        fcntl_getlk(&file, &exclusive).map_err(|reason| failed(io::Error::from(reason)))?;
    Ok(in_the_way.map(|lock| Holder {
        process: lock
            .pid
            .and_then(|process| u32::try_from(Pid::as_raw(Some(process))).ok()),
    }))
}

/// Nobody tells.
#[cfg(not(unix))]
pub(crate) fn other_holder(_directory: &Path) -> Result<Option<Holder>> {
    Ok(None)
}
