//! `verify`: what is damaged in a store.

use std::ops::ControlFlow;

use realmstore_core::store::{self, Finding, Severity};
use realmstore_core::{Backend, ErrorKind, Location};
use realmstore_lmdb_pages::sniff;

use crate::Outcome;
use crate::engines::{Damage, Engines};
use crate::failure::{Failure, Result};
use crate::findings::Findings;
use crate::output::Output;

/// Prints what a verification of the store finds: of its file first, then of
/// what stands in it.
pub(crate) fn run<E: Engines>(
    engines: &E,
    location: &Location,
    json: bool,
    output: &mut Output,
) -> Result<Outcome> {
    let mut findings = Findings::new(output, json);
    match engines.read(location) {
        Ok(store) => {
            let mut printed = Ok(());
            engines.check_file(&store, &mut |damage| {
                if printed.is_ok() {
                    printed = findings.add(&in_file(damage));
                }
            })?;
            printed?;
            rows(&store, &mut findings)?;
        }
        // A store of which nothing can be read is damaged; what never was one cannot be checked.
        Err(failure) if failure.is(ErrorKind::Damaged) && is_a_store(location) => {
            findings.add(&in_file(whole_file(failure)))?;
        }
        Err(failure) => return Err(failure),
    }
    findings.finish()
}

/// Prints what a verification of an open store finds.
pub(crate) fn run_on<B: Backend>(db: &B, json: bool, output: &mut Output) -> Result<Outcome> {
    let mut findings = Findings::new(output, json);
    rows(db, &mut findings)?;
    findings.finish()
}

fn rows<B: Backend>(db: &B, findings: &mut Findings<'_>) -> Result<()> {
    let mut printed = Ok(());
    let verified = store::verify(db, |finding| {
        printed = findings.add(&finding);
        if printed.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    printed?;
    match verified {
        Ok(verified) => findings.add_rows(verified.rows),
        // In a damaged file the rows can be walked no further than to the damage.
        Err(error) if error.kind() == ErrorKind::Damaged && findings.has_errors() => {
            findings.add(&in_file(whole_file(error.into())))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn is_a_store(location: &Location) -> bool {
    !location.engine().is_lmdb() || matches!(sniff(location.path()), Ok(Some(_)))
}

fn whole_file(failure: Failure) -> Damage {
    Damage {
        place: String::new(),
        problem: failure.to_string(),
    }
}

fn in_file(damage: Damage) -> Finding {
    Finding {
        severity: Severity::Error,
        table: "file",
        key: damage.place,
        problem: damage.problem,
    }
}
