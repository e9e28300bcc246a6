//! What the executables of the command-line tool do. They differ in the
//! engines that they bring ([`Engines`]), since the two versions of LMDB cannot
//! be linked into one.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod adopt;
mod backup;
mod cli;
mod compact;
mod copy;
mod demo;
mod engines;
mod export;
mod failure;
mod fields;
mod findings;
mod get;
mod history;
mod import;
mod info;
mod json;
mod lists;
mod lmdb;
mod output;
mod place;
mod progress;
mod purge;
mod quarantine;
mod repair;
mod requester;
mod retained;
mod rows;
mod subscription;
mod subscriptions;
mod table;
mod tail;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use realmstore_core::{ErrorKind, Location, Order, RealmStore};

use crate::cli::{Cli, Command, PageArgs};
pub use crate::engines::{Compaction, Damage, Engines, Writing};
pub use crate::failure::{Failure, Result};
pub use crate::lmdb::{check_lmdb, read_lmdb, skipped_in_lmdb};
use crate::output::{Output, to_stderr, warn};
use crate::rows::Page;

/// A command found what it was to look for.
const FOUND: u8 = 1;

/// A command could not do what it was asked for.
const FAILED: u8 = 2;

/// How a command ended that could do what it was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// Something was found that is not as it should be.
    Found,
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// Does what the command line asks for.
pub fn main<E: Engines>(engines: &E) -> ExitCode {
    let mut output = Output::new();
    let ended = run(engines, Cli::parse().command, &mut output);
    match ended.and_then(|outcome| output.flush().map(|()| outcome)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(FOUND),
        // Whoever read along has seen enough.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // What was read before it failed is worth having, and comes before the message.
            let _ = output.flush();
            to_stderr(format_args!("{}\n", failure.report()));
            ExitCode::from(FAILED)
        }
    }
}

fn run<E: Engines>(engines: &E, command: Command, output: &mut Output) -> Result<Outcome> {
    let open = |store: &cli::Store| -> Result<RealmStore<E::Reading>> {
        Ok(RealmStore::attach(engines.read(&store.location)?)?)
    };
    let done = match command {
        Command::Verify { store, format } => {
            return verify::run(engines, &store.location, format.json, output);
        }
        Command::Repair {
            store,
            writing,
            format,
        } => {
            return repair::run(
                engines,
                &store.location,
                writing.into(),
                format.json,
                output,
            );
        }
        Command::Purge {
            store,
            wanted,
            writing,
            format,
        } => {
            return purge::run(
                engines,
                &store.location,
                &wanted,
                writing,
                format.json,
                output,
            );
        }
        Command::Quarantine { store, format } => {
            quarantine::run(&engines.read(&store.location)?, format.json, output)
        }
        Command::Demo { store } => demo::run(engines, store.as_ref(), output),
        Command::Info { store, format } => info::run(&open(&store)?, format.json, output),
        Command::Sessions {
            store,
            authid,
            session,
            open,
            present_at,
            page,
            format,
        } => {
            let wanted = lists::WantedSessions {
                authid: authid.as_deref(),
                session,
                open,
                present_at,
            };
            return past_damage(engines, &store.location, |store| {
                lists::sessions(store, wanted, page.into(), format.json, output)
            });
        }
        Command::Publications {
            store,
            topic,
            page,
            format,
        } => {
            return past_damage(engines, &store.location, |store| {
                lists::publications(store, topic.as_deref(), page.into(), format.json, output)
            });
        }
        Command::Events {
            store,
            subscription,
            page,
            format,
        } => {
            return past_damage(engines, &store.location, |store| {
                lists::events(store, subscription, page.into(), format.json, output)
            });
        }
        Command::Subscriptions { store, format } => {
            subscriptions::run(&open(&store)?, format.json, output)
        }
        Command::History {
            store,
            wanted,
            format,
        } => history::run(&open(&store)?, *wanted, format.json, output),
        Command::Retained {
            store,
            wanted,
            format,
        } => retained::run(&open(&store)?, &wanted, format.json, output),
        Command::Get { store, table, key } => get::run(&open(&store)?, table, &key, output),
        #[cfg(feature = "parquet")]
        Command::Export {
            store,
            parquet: Some(directory),
        } => {
            return past_damage(engines, &store.location, |store| {
                export::parquet::run(store, &directory, output)
            });
        }
        Command::Export { store, .. } => {
            return past_damage(engines, &store.location, |store| export::run(store, output));
        }
        Command::Import {
            store,
            from,
            replace,
            writing,
        } => {
            return import::run(engines, &store.location, &from, replace, writing, output);
        }
        Command::Adopt { store, writing } => {
            adopt::run(&open_to_write(engines, &store.location, writing)?, output)
        }
        Command::Tail {
            store,
            from_time,
            format,
        } => tail::run(engines, &store.location, from_time, format.json, output),
        Command::Backup { store, to } => {
            return backup::backup(engines, &store.location, &to, output);
        }
        Command::Restore {
            backup: from,
            to,
            replace,
        } => return backup::restore(engines, &from, &to, replace, output),
        Command::Compact { store } => compact::run(engines, &store.location, output),
        Command::Copy { from, to } => copy::run(engines, &from, &to, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "realmstore", &mut script);
            output.bytes(&script)
        }
    };
    done.map(Outcome::from)
}

/// Reads a store as far as its file can be read, and names what cannot.
fn past_damage<E: Engines>(
    engines: &E,
    location: &Location,
    read: impl FnOnce(&RealmStore<E::Reading>) -> Result<()>,
) -> Result<Outcome> {
    let store = RealmStore::attach(engines.read_past_damage(location)?)?;
    let done = read(&store);
    let skipped = engines.skipped(store.db());
    for Damage { place, problem } in &skipped {
        warn(format_args!(
            "{location}: what stood at {place} is left out: it {problem}"
        ));
    }
    done?;
    Ok(if skipped.is_empty() {
        Outcome::Done
    } else {
        Outcome::Found
    })
}

/// Opens a store that is there, to write to it.
fn open_to_write<E: Engines>(
    engines: &E,
    location: &Location,
    writing: cli::WriteArgs,
) -> Result<RealmStore<E::Writing>> {
    engines.will_write(location)?;
    // Attaching to write makes the tables of a realm store in whatever is there; this refuses what is none.
    drop(RealmStore::attach(engines.read_in_place(location)?)?);
    Ok(RealmStore::attach(
        engines.write(location, writing.into())?,
    )?)
}

impl From<cli::WriteArgs> for Writing {
    fn from(writing: cli::WriteArgs) -> Self {
        Self {
            create: false,
            size_limit: writing.size_limit.map(|limit| limit.0),
        }
    }
}

/// Opens a store to write to it, and makes it where there is none.
fn open_or_make<E: Engines>(
    engines: &E,
    location: &Location,
    writing: cli::WriteArgs,
) -> Result<RealmStore<E::Writing>> {
    match open_to_write(engines, location, writing) {
        Err(failure) if failure.is(ErrorKind::NotFound) => {
            let writing = Writing {
                create: true,
                ..writing.into()
            };
            Ok(RealmStore::attach(engines.write(location, writing)?)?)
        }
        opened => opened,
    }
}

impl From<PageArgs> for Page {
    fn from(PageArgs { limit, reverse }: PageArgs) -> Self {
        Self {
            order: if reverse {
                Order::Descending
            } else {
                Order::Ascending
            },
            limit,
        }
    }
}
