//! `backup` and `restore`: a whole store, put away and put back.

use std::fs;

use realmstore_core::{Engine, ErrorKind, Location, RealmStore};
use realmstore_lmdb_pages::{DATA_FILE, PagesBackend, copy_snapshot};

use crate::Outcome;
use crate::copy::copy_into;
use crate::engines::{Damage, Engines, Writing};
use crate::failure::{Failure, Result};
use crate::lmdb::check_lmdb;
use crate::output::{Output, warn};
use crate::place::{NewStore, is_free, require_lasting, require_nothing_at};
use crate::table::{bytes, grouped};

/// Puts a copy of the store at `from` in the directory `to`, while whoever has
/// it open goes on.
pub(crate) fn backup<E: Engines>(
    engines: &E,
    from: &Location,
    to: &Location,
    output: &mut Output,
) -> Result<Outcome> {
    let to = &same_engine(from, to)?;
    require_nothing_at(to.path())?;
    let made = NewStore::at(to, "backing-up")?;
    let copied = fill(engines, from, &made)?;
    made.put_in_place()?;
    copied.print(from, to, output)
}

/// Puts the backup at `from` back in the place `to`.
pub(crate) fn restore<E: Engines>(
    engines: &E,
    from: &Location,
    to: &Location,
    replace: bool,
    output: &mut Output,
) -> Result<Outcome> {
    let to = &same_engine(from, to)?;
    let replaces = !is_free(to.path())?;
    if replaces && !replace {
        return Err(Failure::new(format!(
            "{} is not empty; --replace moves aside what stands there",
            to.path().display()
        )));
    }
    if replaces {
        require_nobody_at(engines, to)?;
    }
    let made = NewStore::at(to, "restoring")?;
    let copied = fill(engines, from, &made)?;
    if copied.is_damaged {
        return Err(Failure::new(format!(
            "the file of the backup {from} is damaged; nothing was changed"
        )));
    }
    if replaces {
        // Copying may have taken long.
        require_nobody_at(engines, to)?;
        let aside = made.replace()?;
        output.line(format_args!(
            "What stood at {to} is now at {}",
            aside.display()
        ))?;
    } else {
        made.put_in_place()?;
    }
    copied.print(from, to, output)
}

/// Refuses to replace a store that somebody has open, or one of another engine.
fn require_nobody_at<E: Engines>(engines: &E, to: &Location) -> Result<()> {
    let Some(found) = Engine::recognise(to.path()) else {
        return Ok(());
    };
    if found != to.engine() && !(found.is_lmdb() && to.engine().is_lmdb()) {
        return Err(Failure::new(format!(
            "{} holds a store of {found}, and the backup is one of {}; move it aside yourself",
            to.path().display(),
            to.engine()
        )));
    }
    require_no_holder(engines, to)?;
    if found.is_lmdb() {
        return Ok(());
    }
    // These engines let nobody else open a store to write.
    match engines.write(to, Writing::default()) {
        Err(failure) if failure.is(ErrorKind::InUse) => Err(failure),
        _ => Ok(()),
    }
}

/// Refuses to replace a store of which a process can be named that has it open.
pub(crate) fn require_no_holder<E: Engines>(engines: &E, location: &Location) -> Result<()> {
    match engines.holder(location)? {
        Some(holder) => Err(Failure::new(format!(
            "{holder} has {location} open; stop it before its store is replaced"
        ))),
        None => Ok(()),
    }
}

/// What was copied.
struct Copy {
    what: String,
    /// Whether its file is damaged, and so was the one that it was copied from.
    is_damaged: bool,
}

impl Copy {
    fn print(self, from: &Location, to: &Location, output: &mut Output) -> Result<Outcome> {
        output.line(format_args!("{} from {from} to {to}", self.what))?;
        if !self.is_damaged {
            return Ok(Outcome::Done);
        }
        warn("the file is damaged, and so is its copy");
        Ok(Outcome::Found)
    }
}

/// Where a store of the engine of `from` goes that is to stand at `to`: a path
/// alone says nothing of an engine.
fn same_engine(from: &Location, to: &Location) -> Result<Location> {
    require_lasting([from, to])?;
    let is_same = to.engine() == from.engine() || to.engine().is_lmdb() && from.engine().is_lmdb();
    if !is_same && to.engine() != Engine::Lmdb {
        return Err(Failure::new(format!(
            "{to}: a backup has the engine of its store, {}; `realmstore copy` changes it",
            from.engine()
        )));
    }
    Ok(Location::new(from.engine(), to.path()))
}

/// Fills a store in the making with what another one holds at one moment.
fn fill<E: Engines>(engines: &E, from: &Location, made: &NewStore<'_>) -> Result<Copy> {
    if !from.engine().is_lmdb() {
        let copied = copy_into(engines, &engines.read(from)?, made)?;
        let (entries, size) = (grouped(copied.entries), bytes(copied.bytes));
        return Ok(Copy {
            what: format!("{entries} entries, {size}, copied and compared"),
            is_damaged: false,
        });
    }
    let unfinished = made.unfinished();
    let directory = unfinished.path();
    fs::create_dir(directory).map_err(|error| Failure::at(directory, "cannot be made", error))?;
    let copied = copy_snapshot(from.path(), &directory.join(DATA_FILE))?;
    let copy = PagesBackend::open(directory)?;
    let mut is_damaged = false;
    check_lmdb(&copy, &mut |Damage { place, problem }| {
        warn(format_args!("{from}: {place} {problem}"));
        is_damaged = true;
    })?;
    if !is_damaged {
        // What is no realm store is refused.
        RealmStore::attach(copy)?;
    }
    Ok(Copy {
        what: format!(
            "commit {}, {}, copied",
            copied.commit_number,
            bytes(copied.len)
        ),
        is_damaged,
    })
}
