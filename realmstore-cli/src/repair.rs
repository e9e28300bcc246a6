//! `repair`: put a damaged store right, deleting nothing.

use std::ops::ControlFlow;

use realmstore_core::store::{self, Remedy, Repaired, TableRepair};
use realmstore_core::{Backend, Location};

use crate::Outcome;
use crate::engines::{Damage, Engines, Writing};
use crate::failure::{Failure, Result};
use crate::findings::place;
use crate::json::Object;
use crate::output::Output;
use crate::table::grouped;
use crate::verify;

/// Repairs the store at a location, prints what was done, and verifies it.
pub(crate) fn run<E: Engines>(
    engines: &E,
    location: &Location,
    writing: Writing,
    json: bool,
    output: &mut Output,
) -> Result<Outcome> {
    engines.will_write(location)?;
    require_sound_file(engines, &engines.read(location)?, location)?;
    // Not attached: that would refuse what is to be repaired.
    repair(&engines.write(location, writing)?, json, output)
}

/// Refuses a file whose pages are damaged: the engine would trust them.
pub(crate) fn require_sound_file<E: Engines>(
    engines: &E,
    store: &E::Reading,
    location: &Location,
) -> Result<()> {
    let mut damage = None;
    engines.check_file(store, &mut |found| {
        damage.get_or_insert(found);
    })?;
    let Some(Damage { place, problem }) = damage else {
        return Ok(());
    };
    Err(Failure::new(format!(
        "{location}: its file is damaged ({place} {problem}), and what the engine would do to it \
         nobody knows; nothing was changed. `realmstore restore` puts a backup in its place, \
         `realmstore export` gives what can still be read, `realmstore verify` names all of it"
    )))
}

fn repair<B: Backend>(db: &B, json: bool, output: &mut Output) -> Result<Outcome> {
    let mut printed = Ok(());
    let done = store::repair(db, |repaired| {
        printed = print(repaired, json, output);
        if printed.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    printed?;
    for table in &done.tables {
        print_table(table, json, output)?;
    }
    if done.tables.is_empty() && !json {
        output.line("There was nothing to repair.")?;
    }
    verify::run_on(db, json, output)
}

fn print(repaired: &Repaired, json: bool, output: &mut Output) -> Result<()> {
    if json {
        let mut object = Object::new();
        object.insert("repaired".to_owned(), remedy(repaired.remedy).into());
        object.insert("table".to_owned(), repaired.table.into());
        object.insert("key".to_owned(), repaired.key.as_str().into());
        object.insert("problem".to_owned(), repaired.problem.as_str().into());
        object.insert("quarantine".to_owned(), repaired.number.into());
        return output.json(&object);
    }
    output.line(format_args!(
        "{}, quarantine {}: {}: {}",
        remedy(repaired.remedy),
        repaired.number,
        place(repaired.table, &repaired.key),
        repaired.problem
    ))
}

/// What was done, in words.
fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::MovedAside => "moved aside",
        Remedy::Replaced => "replaced",
        Remedy::LossNoted => "loss noted",
    }
}

fn print_table(table: &TableRepair, json: bool, output: &mut Output) -> Result<()> {
    if json {
        let mut object = Object::new();
        object.insert("table".to_owned(), table.table.into());
        object.insert("moved_aside".to_owned(), table.moved_aside.into());
        object.insert("replaced".to_owned(), table.replaced.into());
        object.insert("losses_noted".to_owned(), table.losses_noted.into());
        object.insert("made".to_owned(), table.made.into());
        return output.json(&object);
    }
    output.line(format_args!(
        "{}: {} moved aside, {} replaced, {} losses noted, {} rows made",
        table.table,
        grouped(table.moved_aside),
        grouped(table.replaced),
        grouped(table.losses_noted),
        grouped(table.made)
    ))
}
