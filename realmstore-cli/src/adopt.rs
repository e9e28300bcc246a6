//! `adopt`: make a store of Crossbar.io our own.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use realmstore_core::store::{Adoption, Sessions};
use realmstore_core::table::Table;
use realmstore_core::{Backend, Event, RealmStore, Session};

use crate::failure::Result;
use crate::output::{Output, to_stderr, warn};
use crate::rows;
use crate::table::grouped;

/// Adopts the store, and prints what was moved.
pub(crate) fn run<B: Backend>(store: &RealmStore<B>, output: &mut Output) -> Result<()> {
    let shows_progress = io::stderr().is_terminal();
    let mut is_progress_shown = false;
    let done = store.adopt(
        |so_far| {
            if shows_progress && !so_far.complete {
                to_stderr(format_args!(
                    "\r{} events moved …",
                    grouped(so_far.events_moved)
                ));
                is_progress_shown = true;
            } else if is_progress_shown {
                to_stderr("\n");
            }
            ControlFlow::Continue(())
        },
        |key, error| {
            let place = if error.table_name() == Some(Sessions::NAME) {
                rows::place::<Session>(key)
            } else {
                rows::place::<Event>(key)
            };
            warn(format_args!("{place}: {error}"));
        },
    )?;
    print(&done, output)
}

fn print(done: &Adoption, output: &mut Output) -> Result<()> {
    output.line(match done.events_moved {
        0 => "No events of Crossbar.io were left to move.".to_owned(),
        moved => format!("{} events moved into the ordered table.", grouped(moved)),
    })?;
    if done.events_left > 0 {
        let left = grouped(done.events_left);
        output.line(format_args!(
            "{left} events cannot be read and stay where they are."
        ))?;
    }
    output.line(format_args!(
        "{} sessions are in the index by authid.",
        grouped(done.sessions_indexed)
    ))?;
    if done.sessions_damaged > 0 {
        output.line(format_args!(
            "{} sessions are damaged and cannot be in it; so that they are not forgotten, the index is not used.",
            grouped(done.sessions_damaged)
        ))?;
    }
    Ok(())
}
