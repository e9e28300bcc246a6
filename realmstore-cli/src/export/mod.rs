//! `export`: everything that a realm store holds, as JSON Lines or as Parquet.

#[cfg(feature = "parquet")]
pub(crate) mod parquet;

use realmstore_core::{Backend, RealmStore};

use crate::failure::Result;
use crate::json::Object;
use crate::lists::mark;
use crate::output::Output;
use crate::rows::{self, Found, Page, Stored};

/// Prints all records: sessions, publications, events, subscriptions, and what
/// is retained.
pub(crate) fn run<B: Backend>(store: &RealmStore<B>, output: &mut Output) -> Result<()> {
    let txn = store.begin_read()?;
    rows::sessions(
        store,
        &txn,
        Page::ALL,
        |_| Ok(true),
        |found| print(output, &found),
    )?;
    rows::publications(
        store,
        &txn,
        Page::ALL,
        |_| Ok(true),
        |found| print(output, &found),
    )?;
    rows::events(store, &txn, None, Page::ALL, |found| print(output, &found))?;
    rows::by_key(store.subscriptions(), &txn, |found| print(output, &found))?;
    rows::by_key(store.retained(), &txn, |found| print(output, &found))
}

/// Prints a record as a line of its own, with its table.
pub(crate) fn print<R: Stored>(output: &mut Output, found: &Found<R>) -> Result<()> {
    let mut line = Object::new();
    line.insert("table".to_owned(), R::TABLE.into());
    line.insert("record".to_owned(), found.record.to_json().into());
    mark(&mut line, found.warn_of_damage());
    output.json(&line)
}
