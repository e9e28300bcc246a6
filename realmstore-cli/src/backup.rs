//! `backup` and `restore`: a whole store, put away and put back.

use std::fs;

use realmstore_core::{Engine, Location, RealmStore};
use realmstore_lmdb_pages::{DATA_FILE, Severity, check, copy_snapshot};

use crate::copy::copy_into;
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::output::{Output, warn};
use crate::place::{NewStore, require_lasting, require_nothing_at};
use crate::table::{bytes, grouped};

/// Puts a copy of the store at `from` in the directory `to`, while whoever has
/// it open goes on.
pub(crate) fn backup<E: Engines>(
    engines: &E,
    from: &Location,
    to: &Location,
    output: &mut Output,
) -> Result<()> {
    let to = &same_engine(from, to)?;
    require_nothing_at(to.path())?;
    let made = NewStore::at(to, "backing-up")?;
    let copied = fill(engines, from, &made)?;
    made.put_in_place()?;
    output.line(format_args!("{copied} from {from} to {to}"))
}

/// Puts the backup at `from` back in the place `to`.
pub(crate) fn restore<E: Engines>(
    engines: &E,
    from: &Location,
    to: &Location,
    replace: bool,
    output: &mut Output,
) -> Result<()> {
    let to = &same_engine(from, to)?;
    let in_the_way = require_nothing_at(to.path()).err();
    let replaces = in_the_way.is_some();
    if let Some(refusal) = in_the_way.filter(|_| !replace) {
        return Err(refusal);
    }
    if let Some(holder) = engines.holder(to)? {
        return Err(Failure::new(format!(
            "{holder} has {to} open; stop it before its store is replaced"
        )));
    }
    let made = NewStore::at(to, "restoring")?;
    let copied = fill(engines, from, &made)?;
    if replaces {
        let aside = made.replace()?;
        output.line(format_args!(
            "What stood at {to} is now at {}",
            aside.display()
        ))?;
    } else {
        made.put_in_place()?;
    }
    output.line(format_args!("{copied} from {from} to {to}"))
}

/// Where a store of the engine of `from` goes that is to stand at `to`: a path
/// alone says nothing of an engine.
fn same_engine(from: &Location, to: &Location) -> Result<Location> {
    require_lasting([from, to])?;
    if to.engine() != from.engine() && to.engine() != Engine::Lmdb && !is_lmdb(from) {
        return Err(Failure::new(format!(
            "{to}: a backup has the engine of its store, {}; `realmstore copy` changes it",
            from.engine()
        )));
    }
    Ok(Location::new(from.engine(), to.path()))
}

fn is_lmdb(location: &Location) -> bool {
    matches!(location.engine(), Engine::Lmdb | Engine::Lmdb10)
}

/// Fills a store in the making with what another one holds at one moment; says what that is.
fn fill<E: Engines>(engines: &E, from: &Location, made: &NewStore<'_>) -> Result<String> {
    if !is_lmdb(from) {
        let copied = copy_into(engines, &engines.read(from)?, made)?;
        let (entries, size) = (grouped(copied.entries), bytes(copied.bytes));
        return Ok(format!("{entries} entries, {size}, copied and compared"));
    }
    let unfinished = made.unfinished();
    let directory = unfinished.path();
    fs::create_dir(directory).map_err(|error| {
        Failure::Other(
            format!("{} cannot be made", directory.display()),
            Some(error),
        )
    })?;
    let copied = copy_snapshot(from.path(), &directory.join(DATA_FILE))?;
    // What is no realm store is refused; damage is copied like everything else.
    RealmStore::attach(engines.read_in_place(&unfinished)?)?;
    let mut damaged = 0u64;
    check(directory, |finding| {
        if finding.severity == Severity::Damage {
            warn(format_args!("{from}: {finding}"));
            damaged += 1;
        }
    })?;
    if damaged > 0 {
        warn("the file is damaged, and so is its copy");
    }
    Ok(format!(
        "commit {}, {}, copied",
        copied.commit_number,
        bytes(copied.len)
    ))
}
