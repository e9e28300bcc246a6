//! `verify`: what is damaged in a store.

use std::ops::ControlFlow;

use realmstore_core::Backend;
use realmstore_core::store;

use crate::Outcome;
use crate::failure::Result;
use crate::findings::Findings;
use crate::output::Output;

/// Prints what a verification of the store finds.
pub(crate) fn run<B: Backend>(db: &B, json: bool, output: &mut Output) -> Result<Outcome> {
    let mut findings = Findings::new(output, json);
    let mut printed = Ok(());
    let verified = store::verify(db, |finding| {
        printed = findings.add(&finding);
        if printed.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    printed?;
    findings.finish(verified.rows)
}
