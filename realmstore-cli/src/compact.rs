//! `compact`: disk space that a store does not need any more, given back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use realmstore_core::{Backend, Engine, Location, RealmStore};
use realmstore_lmdb_pages::DATA_FILE;

use crate::backup::require_no_holder;
use crate::copy::copy_into;
use crate::engines::{Compaction, Engines};
use crate::failure::{Failure, Result};
use crate::output::{Output, warn};
use crate::place::{NewStore, Remains, remains, require_lasting};
use crate::repair::require_sound_file;
use crate::table::bytes;

/// What goes on, in the name of the directory that a killed process leaves.
const MAKING: &str = "compacting";

/// Makes the store at a location as small as it can be.
pub(crate) fn run<E: Engines>(engines: &E, location: &Location, output: &mut Output) -> Result<()> {
    require_lasting([location])?;
    let place = place_of(location)?;
    engines.will_write(location)?;
    require_no_holder(engines, location)?;
    // The executable that writes a file of LMDB makes others like it.
    let engine = match location.engine() {
        engine if engine.is_lmdb() => Engine::Lmdb,
        engine => engine,
    };
    let location = &Location::new(engine, location.path());
    let start = Instant::now();
    // What is no realm store is refused.
    let store = RealmStore::attach(engines.read_in_place(location)?)?;
    let before = store.db().info()?.size_on_disk;
    drop(store);
    let mut dense = None;
    let compaction = engines.compact(location, &mut |source| {
        let copied = Dense::copy(engines, source, location, &place);
        dense = Some(copied.inspect_err(|_| warn(format_args!("{location} stays as it was")))?);
        Ok(())
    })?;
    let after = match (compaction, dense) {
        (Compaction::Copied { lock }, Some(dense)) => {
            let after = dense.size.min(before);
            if after < before {
                dense.store.exchange(&place)?;
            }
            drop(lock);
            after
        }
        _ => engines.read_in_place(location)?.info()?.size_on_disk,
    };
    let took = start.elapsed().as_secs_f64();
    if after >= before {
        return output.line(format_args!(
            "{location} takes {} and cannot be made smaller",
            bytes(before)
        ));
    }
    output.line(format_args!(
        "{location} took {} and takes {} now; compacted in {took:.1} s",
        bytes(before),
        bytes(after)
    ))
}

/// What is replaced when a store is: for LMDB its one file, else its directory;
/// wherever links lead.
fn place_of(location: &Location) -> Result<PathBuf> {
    let path = location.path();
    let named = if location.engine().is_lmdb() && path.is_dir() {
        path.join(DATA_FILE)
    } else {
        path.to_owned()
    };
    let Ok(place) = named.canonicalize() else {
        // The engine says what is wrong with it, but not where a store went.
        return match remains(&named, MAKING)?.into_iter().find_map(Remains::old) {
            Some(old) => Err(Failure::new(format!(
                "there is nothing at {}, since compacting it was cut short; the store is at {}, \
                 move it back",
                path.display(),
                old.display()
            ))),
            None => Ok(named),
        };
    };
    if location.engine() == Engine::Sled {
        require_only_sled(&place)?;
    }
    Ok(place)
}

/// Refuses a directory in which something else than sled's files would go.
fn require_only_sled(directory: &Path) -> Result<()> {
    let failed = |error| Failure::at(directory, "cannot be looked into", error);
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_known = ["db", "conf", "blobs"].contains(&&*name) || name.starts_with("snap.");
        if !is_known || entry.file_type().map_err(failed)?.is_symlink() {
            return Err(Failure::new(format!(
                "{} is no file of sled, and would go with the old files; move it elsewhere",
                entry.path().display()
            )));
        }
    }
    Ok(())
}

/// A copy without what is deleted.
struct Dense<'l> {
    store: NewStore<'l>,
    size: u64,
}

impl<'l> Dense<'l> {
    /// Copies a store that nobody else can open.
    fn copy<E: Engines>(
        engines: &E,
        source: &E::Reading,
        location: &'l Location,
        place: &Path,
    ) -> Result<Self> {
        require_sound_file(engines, source, location)?;
        for remains in remains(place, MAKING)? {
            remains.remove()?;
        }
        let store = NewStore::beside(location, place, MAKING)?;
        copy_into(engines, source, &store)?;
        let unfinished = engines.read_in_place(&store.unfinished())?;
        let size = unfinished.info()?.size_on_disk;
        Ok(Self { store, size })
    }
}
