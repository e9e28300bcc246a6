//! Making a store beside the place where it will stand, so that what stands
//! there is always a whole one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use realmstore_core::{Engine, Location, Timestamp};
use tempfile::TempDir;

use crate::failure::{Failure, Result};

/// A store in the making, in a directory beside its place. Dropped, it goes
/// without a trace.
pub(crate) struct NewStore<'l> {
    location: &'l Location,
    workplace: TempDir,
}

impl<'l> NewStore<'l> {
    /// Begins a store for a location. `making` says what is going on, in the
    /// name of the directory that a killed process leaves.
    pub(crate) fn at(location: &'l Location, making: &str) -> Result<Self> {
        let path = location.path();
        if path.file_name().is_some_and(|name| name == "data.mdb") {
            return Err(Failure::new(format!(
                "{} names the file of a store; a new one needs the name of a directory",
                path.display()
            )));
        }
        let beside = parent(path);
        fs::create_dir_all(beside).map_err(|error| Failure::at(beside, "cannot be made", error))?;
        let name = path.file_name().unwrap_or_default();
        let workplace = tempfile::Builder::new()
            .prefix(&format!(".{}.{making}.", name.to_string_lossy()))
            .tempdir_in(beside)
            .map_err(|error| Failure::at(beside, "does not take a new directory", error))?;
        Ok(Self {
            location,
            workplace,
        })
    }

    /// Where the store is while it is being made.
    pub(crate) fn unfinished(&self) -> Location {
        Location::new(self.location.engine(), self.workplace.path().join("store"))
    }

    /// Puts the finished store in its place, where there must be nothing. It
    /// then belongs to whom its directory belongs to.
    pub(crate) fn put_in_place(self) -> Result<()> {
        let place = self.location.path();
        self.prepare(place.is_dir().then_some(place))?;
        // An empty directory may stand in the way; rename does not replace one everywhere.
        let _ = fs::remove_dir(place);
        fs::rename(self.unfinished().path(), place)
            .and_then(|()| sync_directory(parent(place)))
            .map_err(|error| Failure::at(place, "cannot be put in place", error))
    }

    /// Puts the finished store in its place. What stands there is moved aside,
    /// and its owner owns the new one; returns where it went.
    pub(crate) fn replace(self) -> Result<PathBuf> {
        let place = self.location.path();
        let mut name = place.file_name().unwrap_or_default().to_owned();
        // No character that a file system or a location would take amiss.
        name.push(format!(".replaced-{}", Timestamp::now().as_nanos()));
        let aside = place.with_file_name(name);
        let unfinished = self.unfinished();
        self.prepare(Some(place))?;
        fs::rename(place, &aside)
            .map_err(|error| Failure::at(place, "cannot be moved aside", error))?;
        if let Err(error) = fs::rename(unfinished.path(), place) {
            let back = match fs::rename(&aside, place) {
                Ok(()) => "and what stood there stands there again".to_owned(),
                Err(_) => format!("and what stood there is now at {}", aside.display()),
            };
            let what = format!("cannot be put in place, {back}");
            return Err(Failure::at(place, &what, error));
        }
        let moved = format!(
            "is in place, but may not be on disk; what stood there is at {}",
            aside.display()
        );
        sync_directory(parent(place)).map_err(|error| Failure::at(place, &moved, error))?;
        Ok(aside)
    }

    /// Makes the finished store one that can be moved to its place: on disk,
    /// and of use to whom what stands there is, or the directory around it.
    fn prepare(&self, there: Option<&Path>) -> Result<()> {
        let (unfinished, place) = (self.unfinished(), self.location.path());
        let new = unfinished.path();
        let given = match there {
            Some(old) => take_after(old, new),
            None => fs::metadata(parent(place)).and_then(|owner| give_tree(new, &owner)),
        };
        given.and_then(|()| sync_directory(new)).map_err(|error| {
            Failure::at(place, "cannot be given to its owner and put on disk", error)
        })
    }
}

/// Refuses a place where something stands already.
pub(crate) fn require_nothing_at(path: &Path) -> Result<()> {
    if is_free(path)? {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} is not empty; nothing that exists is overwritten",
        path.display()
    )))
}

/// Whether there is nothing at a place, or an empty directory. What is no
/// directory is refused.
pub(crate) fn is_free(path: &Path) -> Result<bool> {
    match fs::read_dir(path).map(Iterator::count) {
        Ok(entries) => Ok(entries == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::at(path, "cannot be looked into", error)),
    }
}

/// Refuses a store that ends with the command.
pub(crate) fn require_lasting(locations: [&Location; 2]) -> Result<()> {
    match locations
        .into_iter()
        .find(|location| location.engine() == Engine::Memory)
    {
        Some(location) => Err(Failure::new(format!(
            "{location} ends with this command; it takes two stores that stay"
        ))),
        None => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Puts a directory's entries on disk, where a directory can be opened for that.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs::File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// Whoever could open the old store can open the new one.
fn take_after(old: &Path, new: &Path) -> io::Result<()> {
    let directory = fs::metadata(old)?;
    give(new, &directory)?;
    fs::set_permissions(new, directory.permissions())?;
    for entry in fs::read_dir(new)? {
        let entry = entry?;
        match fs::metadata(old.join(entry.file_name())) {
            Ok(file) if file.is_file() => {
                give(&entry.path(), &file)?;
                fs::set_permissions(entry.path(), file.permissions())?;
            }
            _ => give_tree(&entry.path(), &directory)?,
        }
    }
    Ok(())
}

/// What root makes in somebody's directory must be of use to its owner: a
/// router does not run as root.
fn give_tree(tree: &Path, owner: &fs::Metadata) -> io::Result<()> {
    give(tree, owner)?;
    if fs::symlink_metadata(tree)?.is_dir() {
        for entry in fs::read_dir(tree)? {
            give_tree(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn give(path: &Path, owner: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};

    let found = fs::symlink_metadata(path)?;
    if (owner.uid(), owner.gid()) == (found.uid(), found.gid()) {
        return Ok(());
    }
    match lchown(path, Some(owner.uid()), Some(owner.gid())) {
        // Only root may give files away; with anybody else they stay.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

#[cfg(not(unix))]
fn give(_path: &Path, _owner: &fs::Metadata) -> io::Result<()> {
    Ok(())
}
