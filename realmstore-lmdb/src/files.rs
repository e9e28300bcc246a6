//! Finding a store's directory, and making sure that its files stay usable
//! for everybody who could use them before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use realmstore_core::{Error, ErrorKind, Result};

use crate::error;

/// The file that holds the entries.
pub(crate) const DATA_FILE: &str = "data.mdb";

/// The file in which transactions register and writers wait.
pub(crate) const LOCK_FILE: &str = "lock.mdb";

/// The directory that a path means: itself, or its parent where it names a
/// `data.mdb`. It need not exist.
pub(crate) fn store_directory(path: &Path) -> Result<PathBuf> {
    let names_data_file = path.file_name().is_some_and(|name| name == DATA_FILE);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(path.to_owned()),
        Ok(_) if names_data_file => Ok(parent_of(path)),
        Ok(_) => Err(error::plain(
            ErrorKind::InvalidInput,
            format!(
                "{} is a file; an LMDB store is a directory with a data.mdb in it",
                path.display()
            ),
        )),
        Err(reason) => match reason.kind() {
            io::ErrorKind::NotFound if names_data_file => Ok(parent_of(path)),
            io::ErrorKind::NotFound => Ok(path.to_owned()),
            io::ErrorKind::NotADirectory => Err(error::plain(
                ErrorKind::InvalidInput,
                format!(
                    "{} leads through a file that is not a directory",
                    path.display()
                ),
            )
            .source(reason)),
            _ => Err(error::system(reason, path, "cannot be looked at")),
        },
    }
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the directory of a new store.
pub(crate) fn create_directory(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .map_err(|reason| error::system(reason, directory, "cannot be created"))
}

/// Refuses a data file that this user cannot write to.
pub(crate) fn check_writable(data: &Path) -> Result<()> {
    match File::options().read(true).write(true).open(data) {
        Ok(_) => Ok(()),
        Err(reason) => match reason.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Err(error::plain(
                    ErrorKind::ReadOnly,
                    format!("{} cannot be written to; open it read-only", data.display()),
                )
                .source(reason))
            }
            _ => Err(error::system(reason, data, "cannot be opened for writing")),
        },
    }
}

/// Creates the lock file where an existing store has none, with the data
/// file's owner and permissions.
///
/// LMDB would create it for the calling user alone; whoever else could open
/// the store until then, a router for instance, could not do so any more. An
/// empty lock file is one that LMDB sets up by itself.
///
/// An existing lock file is never opened here: closing it again would drop
/// the locks that an environment of this process may hold on it.
pub(crate) fn provide_lock_file(directory: &Path, read_only: bool) -> Result<()> {
    let lock = directory.join(LOCK_FILE);
    match File::options().write(true).create_new(true).open(&lock) {
        Ok(file) => share_like(&file, &directory.join(DATA_FILE))
            .map_err(|reason| error::system(reason, &lock, "cannot be given its permissions")),
        Err(reason) => match reason.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            // A reader does without one there, since nobody can write.
            io::ErrorKind::ReadOnlyFilesystem if read_only => Ok(()),
            io::ErrorKind::PermissionDenied => Err(no_lock_file(directory, read_only, reason)),
            _ => Err(error::system(reason, &lock, "cannot be created")),
        },
    }
}

fn no_lock_file(directory: &Path, read_only: bool, reason: io::Error) -> Error {
    let place = directory.display();
    let message = if read_only {
        format!(
            "{place} has no lock.mdb, and this user may not create the one that even a reader \
             needs; open a copy of the directory, or give this user write permission on it"
        )
    } else {
        format!("{place} has no lock.mdb, and this user may not create one there")
    };
    error::plain(ErrorKind::Io, message).source(reason)
}

#[cfg(unix)]
fn share_like(lock: &File, data: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let wanted = fs::metadata(data)?;
    let found = lock.metadata()?;
    if (wanted.uid(), wanted.gid()) != (found.uid(), found.gid()) {
        // Only root may give a file away; anybody else may at least give it
        // to a group of his own, or else keeps it.
        give(lock, Some(wanted.uid()), wanted.gid())
            .or_else(|_| give(lock, None, wanted.gid()))
            .or_else(|reason| match reason.kind() {
                io::ErrorKind::PermissionDenied => Ok(()),
                _ => Err(reason),
            })?;
    }
    // LMDB writes to the lock file even where the data file is write-protected.
    lock.set_permissions(fs::Permissions::from_mode(wanted.mode() & 0o777 | 0o600))
}

#[cfg(unix)]
fn give(file: &File, user: Option<u32>, group: u32) -> io::Result<()> {
    std::os::unix::fs::fchown(file, user, Some(group))
}

#[cfg(not(unix))]
fn share_like(_lock: &File, _data: &Path) -> io::Result<()> {
    Ok(())
}
