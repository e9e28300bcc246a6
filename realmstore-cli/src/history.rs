//! `history`: the publications of a subscription, each once.

use std::ops::Bound;

use realmstore_core::key::{Key, KeyBuf};
use realmstore_core::{
    Backend, ErrorKind, HistoryEntry, HistoryQuery, Publication, ReadTxn, RealmStore,
    SubscriptionId, Timestamp,
};

use crate::failure::Result;
use crate::json::{Object, ToJson};
use crate::lists::{arguments, mark};
use crate::output::{Output, warn};
use crate::rows::{self, Found, Page};
use crate::table::{Column, List, excerpts, numbers, text, texts, times};

/// The columns of a table of history.
pub(crate) const COLUMNS: &[Column] = &[
    times("TIME"),
    numbers("PUBLICATION"),
    texts("TOPIC"),
    excerpts("ARGS"),
];

/// The query for a range of time, both ends included.
pub(crate) fn query(from: Option<Timestamp>, until: Option<Timestamp>, page: Page) -> HistoryQuery {
    HistoryQuery {
        from: from.map_or(Bound::Unbounded, Bound::Included),
        until: until.map_or(Bound::Unbounded, Bound::Included),
        order: page.order,
        limit: page.limit,
    }
}

/// Prints the history of a subscription.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    subscription: SubscriptionId,
    query: HistoryQuery,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, COLUMNS);
    for entry in store.history(&txn, subscription, query)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.kind() == ErrorKind::Damaged => {
                warn(format_args!(
                    "history of subscription {subscription}: {error}"
                ));
                if json {
                    list.add(|| unreadable(subscription), Vec::new)?;
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let found = publication(store, &txn, &entry)?;
        let damaged = found.as_ref().is_some_and(Found::warn_of_damage);
        let publication = found.map(|found| found.record);
        list.add(
            || row(&entry, publication.as_ref(), damaged),
            || cells(&entry, publication.as_ref()),
        )?;
    }
    list.finish(&format!("history of subscription {subscription}"))
}

/// The publication of an entry; when it is gone, that is said on standard error.
pub(crate) fn publication<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    entry: &HistoryEntry,
) -> Result<Option<Found<Publication>>> {
    let Some(publication) = store.publications().get(txn, &entry.publication)? else {
        warn(format_args!(
            "history of subscription {} at {}: there is no publication {}",
            entry.subscription, entry.timestamp, entry.publication
        ));
        return Ok(None);
    };
    let mut key = KeyBuf::new();
    entry.publication.encode(&mut key);
    Ok(Some(rows::read(&key, publication.bytes())))
}

/// The cells of an entry, by [`COLUMNS`].
pub(crate) fn cells(entry: &HistoryEntry, publication: Option<&Publication>) -> Vec<String> {
    vec![
        entry.timestamp.to_string(),
        entry.publication.to_string(),
        publication.map_or_else(
            || "(missing)".to_owned(),
            |publication| text(&publication.topic),
        ),
        publication.map_or_else(String::new, |publication| arguments(&publication.to_json())),
    ]
}

/// An entry as JSON, in the shape of a row of WAMP's `wamp.subscription.get_events`.
fn row(entry: &HistoryEntry, publication: Option<&Publication>, damaged: bool) -> Object {
    let mut details = Object::new();
    let mut carried = Object::new();
    for (field, value) in publication.map(ToJson::to_json).unwrap_or_default() {
        match field.as_str() {
            // The row has them already, the time being that of the first event.
            "timestamp" | "publication" => {}
            "args" | "kwargs" | "payload" => drop(carried.insert(field, value)),
            _ => drop(details.insert(field, value)),
        }
    }
    let mut row = Object::new();
    row.insert("timestamp".to_owned(), entry.timestamp.to_string().into());
    row.insert("subscription".to_owned(), entry.subscription.get().into());
    row.insert("publication".to_owned(), entry.publication.get().into());
    row.insert("details".to_owned(), details.into());
    row.extend(carried);
    mark(&mut row, damaged);
    row
}

/// What is left of an entry that cannot be read.
fn unreadable(subscription: SubscriptionId) -> Object {
    let mut row = Object::new();
    row.insert("subscription".to_owned(), subscription.get().into());
    mark(&mut row, true);
    row
}
