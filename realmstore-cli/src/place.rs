//! Making a store beside the place where it will stand, so that what stands
//! there is always a whole one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use realmstore_core::{Engine, Location, Timestamp};
use realmstore_lmdb_pages::DATA_FILE;
use tempfile::TempDir;

use crate::failure::{Failure, Result};
use crate::output::warn;

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
        if path.file_name().is_some_and(|name| name == DATA_FILE) {
            return Err(Failure::new(format!(
                "{} names the file of a store; a new one needs the name of a directory",
                path.display()
            )));
        }
        let beside = parent(path);
        fs::create_dir_all(beside).map_err(|error| Failure::at(beside, "cannot be made", error))?;
        Self::beside(location, path, making)
    }

    /// Begins a store that is to take the place of the one at a location, or
    /// that of its only file: what stands at `place`, and not a link to it.
    pub(crate) fn beside(location: &'l Location, place: &Path, making: &str) -> Result<Self> {
        let beside = parent(place);
        let workplace = tempfile::Builder::new()
            .prefix(&workplace_prefix(place, making))
            .rand_bytes(RANDOM_LEN)
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

    /// Puts the finished store in the place of what stands there, a store or
    /// its only file, with its owner and permissions. That is removed once the
    /// new one is in place and on disk. The caller sees to it that nobody has
    /// it open.
    pub(crate) fn exchange(self, place: &Path) -> Result<()> {
        let unfinished = self.unfinished();
        let directory = unfinished.path();
        let new = if place.is_file() {
            let file = directory.join(DATA_FILE);
            take_after_file(place, &file).map_err(|error| not_prepared(place, error))?;
            file
        } else {
            self.prepare(Some(place))?;
            directory.to_owned()
        };
        let workplace = self.workplace.path();
        let swapped =
            swap(&new, place).map_err(|error| Failure::at(place, "cannot be replaced", error))?;
        let old = workplace.join(OLD);
        if !swapped && let Err(failure) = replace_in_steps(&new, place, &old) {
            if old.exists() {
                let _ = self.workplace.keep();
            }
            return Err(failure);
        }
        if let Err(error) = sync_directory(parent(place)) {
            let kept = self.workplace.keep();
            let what = format!(
                "is replaced, but that may not be on disk; what stood there is in {}",
                kept.display()
            );
            return Err(Failure::at(place, &what, error));
        }
        let kept = workplace.to_owned();
        if let Err(error) = self.workplace.close() {
            warn(format_args!(
                "{} cannot be removed, and is not needed: {error}",
                kept.display()
            ));
        }
        Ok(())
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
        move_in(unfinished.path(), place, &aside)?;
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
        given
            .and_then(|()| sync_directory(new))
            .map_err(|error| not_prepared(place, error))
    }
}

fn not_prepared(place: &Path, error: io::Error) -> Failure {
    Failure::at(place, "cannot be given to its owner and put on disk", error)
}

/// The name in a workplace of what was moved out of the way.
const OLD: &str = "old";

/// How many letters and digits end the name of a workplace.
const RANDOM_LEN: usize = 6;

/// What the name of a workplace begins with.
fn workplace_prefix(place: &Path, making: &str) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(place.file_name().unwrap_or_default());
    prefix.push(format!(".{making}."));
    prefix
}

/// The workplace of a process that was killed.
pub(crate) struct Remains(PathBuf);

/// The remains of what killed processes were making beside a place.
pub(crate) fn remains(place: &Path, making: &str) -> Result<Vec<Remains>> {
    let prefix = workplace_prefix(place, making);
    let beside = parent(place);
    let failed = |error| Failure::at(beside, "cannot be looked into", error);
    let mut found = Vec::new();
    let entries = match fs::read_dir(beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let random = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes());
        if random.is_some_and(|random| {
            random.len() == RANDOM_LEN && random.iter().all(u8::is_ascii_alphanumeric)
        }) {
            found.push(Remains(entry.path()));
        }
    }
    Ok(found)
}

impl Remains {
    /// What was moved out of the way, where that is all there is of it.
    pub(crate) fn old(self) -> Option<PathBuf> {
        let old = self.0.join(OLD);
        old.exists().then_some(old)
    }

    /// Removes what nobody needs. What was moved out of the way is left to
    /// whoever knows what stands in its place now.
    pub(crate) fn remove(self) -> Result<()> {
        let path = self.0.clone();
        if let Some(old) = self.old() {
            warn(format_args!(
                "{} is what stood there before something that was cut short; delete it if it is \
                 not needed",
                old.display()
            ));
            return Ok(());
        }
        fs::remove_dir_all(&path).map_err(|error| Failure::at(&path, "cannot be removed", error))
    }
}

/// Swaps what two names stand for, at once; says whether the system, and the
/// file system, can do that.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn swap(new: &Path, place: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;

    match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        swapped => Ok(swapped.map(|()| true)?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn swap(_new: &Path, _place: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Puts something in the place of what stands there. A file is replaced at
/// once; a directory is moved to `old` first, so for a moment none is there.
fn replace_in_steps(new: &Path, place: &Path, old: &Path) -> Result<()> {
    if place.is_file() {
        return fs::rename(new, place)
            .map_err(|error| Failure::at(place, "cannot be replaced", error));
    }
    fs::rename(place, old).map_err(|error| Failure::at(place, "cannot be moved aside", error))?;
    move_in(new, place, old)
}

/// Moves something to a place that was just made free, or what stood there
/// back from where it went.
fn move_in(new: &Path, place: &Path, old: &Path) -> Result<()> {
    fs::rename(new, place).map_err(|error| {
        let back = match fs::rename(old, place) {
            Ok(()) => "and what stood there stands there again".to_owned(),
            Err(_) => format!("and what stood there is now at {}", old.display()),
        };
        Failure::at(place, &format!("cannot be put in place, {back}"), error)
    })
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
pub(crate) fn require_lasting<const N: usize>(locations: [&Location; N]) -> Result<()> {
    match locations
        .into_iter()
        .find(|location| location.engine() == Engine::Memory)
    {
        Some(location) => Err(Failure::new(format!(
            "{location} ends with this command; it takes a store that stays"
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
            Ok(file) if file.is_file() => take_after_file_of(&file, &entry.path())?,
            _ => give_tree(&entry.path(), &directory)?,
        }
    }
    Ok(())
}

/// Whoever could open the old file can open the new one, which is put on disk.
fn take_after_file(old: &Path, new: &Path) -> io::Result<()> {
    take_after_file_of(&fs::metadata(old)?, new)?;
    fs::File::open(new)?.sync_all()
}

fn take_after_file_of(old: &fs::Metadata, new: &Path) -> io::Result<()> {
    give(new, old)?;
    fs::set_permissions(new, old.permissions())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in a new directory, where a directory holds a file that says what it is.
    fn directories(names: [&str; 3]) -> (TempDir, [PathBuf; 3]) {
        let around = tempfile::tempdir().unwrap();
        let paths = names.map(|name| around.path().join(name));
        for path in &paths[..2] {
            fs::create_dir(path).unwrap();
            fs::write(
                path.join("name"),
                path.file_name().unwrap().to_str().unwrap(),
            )
            .unwrap();
        }
        (around, paths)
    }

    fn name_in(directory: &Path) -> String {
        fs::read_to_string(directory.join("name")).unwrap()
    }

    #[test]
    fn what_cannot_be_swapped_at_once_is_moved_aside_first() {
        let (_around, [new, place, old]) = directories(["new", "place", "old"]);
        replace_in_steps(&new, &place, &old).unwrap();
        assert_eq!(
            (name_in(&place), name_in(&old)),
            ("new".into(), "place".into())
        );
        assert!(!new.exists());
        // And comes back where nothing can be put in its place.
        let (_around, [_, place, old]) = directories(["new", "place", "old"]);
        let missing = place.with_file_name("missing");
        let failure = replace_in_steps(&missing, &place, &old).unwrap_err();
        assert!(
            failure.to_string().contains("stands there again"),
            "{failure}"
        );
        assert_eq!(name_in(&place), "place");
        assert!(!old.exists());
    }

    #[test]
    fn remains_are_told_from_the_directories_of_others() {
        let around = tempfile::tempdir().unwrap();
        for name in [
            ".store.compacting.a1B2c3",
            ".store.compacting.a1B2c3d",
            ".store.compacting.x.compacting.a1B2c3",
            ".store.copying.a1B2c3",
            ".store2.compacting.a1B2c3",
            "store",
        ] {
            fs::create_dir(around.path().join(name)).unwrap();
        }
        let found = remains(&around.path().join("store"), "compacting").unwrap();
        assert_eq!(found.len(), 1);
        for remains in found {
            remains.remove().unwrap();
        }
        assert!(!around.path().join(".store.compacting.a1B2c3").exists());
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 5);
    }
}
