//! Finding a store's directory, and making sure that its files stay usable
//! for everybody who could use them before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use realmstore_core::{Error, ErrorKind, Result};
use realmstore_lmdb_pages::DATA_FILE;

use crate::error;

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

/// Makes the directory of a new store, and those above it.
pub(crate) fn create_directory(directory: &Path) -> Result<()> {
    let failed = |reason| error::system(reason, directory, "cannot be created");
    let missing: Vec<_> = directory
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    fs::create_dir_all(directory).map_err(failed)?;
    for made in missing.into_iter().rev() {
        inherit_owner(|| open_directory(made), made).map_err(failed)?;
    }
    Ok(())
}

/// Makes the data file of a new store, an empty one, which LMDB sets up by
/// itself, for the owner of the directory.
pub(crate) fn provide_data_file(directory: &Path) -> Result<()> {
    let data = directory.join(DATA_FILE);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&data) {
        Ok(file) => inherit_owner(|| Ok(file), &data),
        Err(reason) if reason.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(reason) => Err(reason),
    }
    .map_err(|reason| error::system(reason, &data, "cannot be created"))
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
/// the store until then, a router for instance, could not do so any more. A
/// lock file of zeros is one that LMDB sets up by itself. It is as long as
/// LMDB would make it, but without holes: LMDB writes to it through a memory
/// map, and a hole that the disk has no space for would end the process. It
/// gets its name when it is complete, since others may be opening the store
/// at the same time.
///
/// An existing lock file is never opened here: closing it again would drop
/// the locks that an environment of this process may hold on it.
pub(crate) fn provide_lock_file(directory: &Path, read_only: bool, max_readers: u32) -> Result<()> {
    let lock = directory.join(LOCK_FILE);
    if fs::symlink_metadata(&lock).is_ok() {
        return Ok(());
    }
    let draft = directory.join(format!(".{LOCK_FILE}.{}", std::process::id()));
    let made = make_lock_file(&draft, &lock, &directory.join(DATA_FILE), max_readers);
    // Whether it has another name by now or is of no use.
    let _ = fs::remove_file(&draft);
    made.or_else(|reason| match reason.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        // A reader does without one there, since nobody can write.
        io::ErrorKind::ReadOnlyFilesystem if read_only => Ok(()),
        io::ErrorKind::PermissionDenied => Err(no_lock_file(directory, read_only, reason)),
        _ => Err(error::system(reason, &lock, "cannot be created")),
    })
}

fn make_lock_file(draft: &Path, lock: &Path, data: &Path, max_readers: u32) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    let mut file = options.open(draft)?;
    file.write_all(&vec![0; lock_file_len(max_readers)])?;
    share_like(&file, data)?;
    match fs::hard_link(draft, lock) {
        // Not every file system has links; there LMDB makes it grow itself.
        Err(reason) if reason.kind() == io::ErrorKind::Unsupported => {
            share_like(&options.create_new(true).open(lock)?, data)
        }
        linked => linked,
    }
}

/// The length of a lock file on 64 bits: a header of two or three cache lines,
/// and one for each reader.
fn lock_file_len(max_readers: u32) -> usize {
    const CACHE_LINE: usize = 64;
    (3 + max_readers as usize) * CACHE_LINE
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
    give(lock, &wanted)?;
    // LMDB writes to the lock file even where the data file is write-protected.
    lock.set_permissions(fs::Permissions::from_mode(wanted.mode() & 0o777 | 0o600))
}

/// Gives what root has made in another user's directory to that user, who
/// could not open it otherwise.
#[cfg(unix)]
fn inherit_owner(made: impl FnOnce() -> io::Result<File>, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    give(&made()?, &fs::metadata(parent_of(path))?)
}

/// Opens a directory, and nothing that has taken its place.
#[cfg(unix)]
fn open_directory(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

/// Gives a file the owner and the group of another one, as far as this user
/// may.
#[cfg(unix)]
fn give(file: &File, like: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let found = file.metadata()?;
    if (like.uid(), like.gid()) == (found.uid(), found.gid()) {
        return Ok(());
    }
    // Only root may give a file away; anybody else may at least give it to a
    // group of his own, or else keeps it.
    fchown(file, Some(like.uid()), Some(like.gid()))
        .or_else(|_| fchown(file, None, Some(like.gid())))
        .or_else(|reason| match reason.kind() {
            // The latter where a container does not know the owner.
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => Ok(()),
            _ => Err(reason),
        })
}

#[cfg(not(unix))]
fn share_like(_lock: &File, _data: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn inherit_owner(_made: impl FnOnce() -> io::Result<File>, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn open_directory(path: &Path) -> io::Result<File> {
    File::open(path)
}
