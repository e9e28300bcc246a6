//! The command-line tool of realmstore: look into realm stores, those of
//! Crossbar.io included.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod adopt;
mod cli;
mod copy;
mod demo;
mod export;
mod failure;
mod get;
mod history;
mod info;
mod json;
mod lists;
mod output;
mod rows;
mod subscriptions;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use realmstore::{Order, open_read_only};

use crate::cli::{Cli, Command, PageArgs};
use crate::failure::Result;
use crate::output::{Output, to_stderr};
use crate::rows::Page;

/// A command could not do what it was asked for.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let mut output = Output::new();
    match run(Cli::parse().command, &mut output).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
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

fn run(command: Command, output: &mut Output) -> Result<()> {
    match command {
        Command::Demo { store } => demo::run(store.as_deref(), output),
        Command::Info { store, format } => {
            info::run(&open_read_only(&store.location)?, format.json, output)
        }
        Command::Sessions {
            store,
            authid,
            session,
            page,
            format,
        } => {
            let wanted = lists::WantedSessions {
                authid: authid.as_deref(),
                session,
            };
            lists::sessions(
                &open_read_only(&store.location)?,
                wanted,
                page.into(),
                format.json,
                output,
            )
        }
        Command::Publications {
            store,
            topic,
            page,
            format,
        } => {
            let store = open_read_only(&store.location)?;
            lists::publications(&store, topic.as_deref(), page.into(), format.json, output)
        }
        Command::Events {
            store,
            subscription,
            page,
            format,
        } => {
            let store = open_read_only(&store.location)?;
            lists::events(&store, subscription, page.into(), format.json, output)
        }
        Command::Subscriptions { store, format } => {
            subscriptions::run(&open_read_only(&store.location)?, format.json, output)
        }
        Command::History {
            store,
            subscription,
            from_time,
            until_time,
            page,
            format,
        } => {
            let query = history::query(from_time, until_time, page.into());
            history::run(
                &open_read_only(&store.location)?,
                subscription,
                query,
                format.json,
                output,
            )
        }
        Command::Get { store, table, key } => {
            get::run(&open_read_only(&store.location)?, table, &key, output)
        }
        Command::Export { store } => export::run(&open_read_only(&store.location)?, output),
        Command::Adopt { store } => {
            // Opening to write would make a store where there is none.
            drop(open_read_only(&store.location)?);
            adopt::run(&realmstore::open(&store.location)?, output)
        }
        Command::Copy { from, to } => copy::run(&from, &to, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "realmstore", &mut script);
            output.bytes(&script)
        }
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
