//! `history`: the publications of a subscription, each once.

use clap::Args;
use realmstore_core::key::{Key, KeyBuf};
use realmstore_core::{
    Backend, Cursor, ErrorKind, GetEvents, HistoryEntry, Publication, PublicationId, ReadTxn,
    RealmStore, SubscriptionId, Timestamp,
};

use crate::cli::PageArgs;
use crate::failure::{Failure, Result};
use crate::json::{Object, ToJson};
use crate::lists::{arguments, mark};
use crate::output::{Output, to_stderr, warn};
use crate::requester::RequesterArgs;
use crate::rows::{self, Found};
use crate::subscription::{self, SubscriptionArgs};
use crate::table::{Column, List, excerpts, numbers, text, texts, times};

/// The columns of a table of history.
pub(crate) const COLUMNS: &[Column] = &[
    times("TIME"),
    numbers("PUBLICATION"),
    texts("TOPIC"),
    excerpts("ARGS"),
];

/// What part of a history is asked for, by the names that WAMP has for it.
#[derive(Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    subscription: SubscriptionArgs,
    #[command(flatten)]
    page: PageArgs,
    /// Nothing earlier than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from_time: Option<Timestamp>,
    /// Only what is later than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    after_time: Option<Timestamp>,
    /// Only what is earlier than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    before_time: Option<Timestamp>,
    /// Nothing later than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until_time: Option<Timestamp>,
    /// Only publications to exactly this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only this publication and what stands behind it
    #[arg(long, value_name = "ID")]
    from_publication: Option<PublicationId>,
    /// Only what stands behind this publication
    #[arg(long, value_name = "ID")]
    after_publication: Option<PublicationId>,
    /// Only what stands before this publication
    #[arg(long, value_name = "ID")]
    before_publication: Option<PublicationId>,
    /// Only this publication and what stands before it
    #[arg(long, value_name = "ID")]
    until_publication: Option<PublicationId>,
    /// Go on from page to page
    ///
    /// When --limit ends a page, prints the cursor of the next one on standard
    /// error; given that CURSOR, begins there. It stays good when what stood
    /// there is gone.
    #[arg(long, value_name = "CURSOR", num_args = 0..=1, require_equals = true)]
    #[allow(
        clippy::option_option,
        reason = "the option may be given without a value"
    )]
    cursor: Option<Option<Cursor>>,
    #[command(flatten)]
    requester: RequesterArgs,
}

/// Prints the history of a subscription.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    wanted: HistoryArgs,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let subscription = subscription::resolve(store, &txn, &wanted.subscription)?;
    let options = GetEvents {
        reverse: wanted.page.reverse,
        limit: wanted.page.limit,
        from_time: wanted.from_time,
        after_time: wanted.after_time,
        before_time: wanted.before_time,
        until_time: wanted.until_time,
        topic: wanted.topic,
        from_publication: wanted.from_publication,
        after_publication: wanted.after_publication,
        before_publication: wanted.before_publication,
        until_publication: wanted.until_publication,
        cursor: wanted.cursor.flatten(),
        requester: wanted.requester.requester(store, &txn)?,
        max_examined: None,
    };
    let Some(entries) = store.history_entries(&txn, subscription, &options)? else {
        return Err(Failure::new(format!(
            "no history is kept of subscription {subscription}"
        )));
    };
    let mut list = List::new(output, json, COLUMNS);
    let (mut rows, mut last, mut next) = (0, options.cursor, None);
    for entry in entries {
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
        if options.limit == Some(rows) {
            next = last;
            break;
        }
        last = Some(entry.into());
        let is_wanted = is_wanted(store, &txn, &entry, &options)?;
        if is_wanted == Some(false) {
            continue;
        }
        let found = publication(store, &txn, &entry)?;
        let damaged = found.as_ref().is_some_and(Found::warn_of_damage);
        if is_wanted.is_none() && options.requester.is_some() {
            // Nobody can tell whom it was meant for.
            continue;
        }
        let publication = found.map(|found| found.record);
        list.add(
            || row(&entry, publication.as_ref(), damaged),
            || cells(&entry, publication.as_ref()),
        )?;
        rows += 1;
    }
    list.finish(&format!(
        "such publications in the history of subscription {subscription}"
    ))?;
    if let Some(next) = next
        && wanted.cursor.is_some()
    {
        output.flush()?;
        to_stderr(format_args!("realmstore: next page: --cursor={next}\n"));
    }
    Ok(())
}

/// Whether an entry is asked for; `None` where its publication is gone or too
/// damaged to tell.
fn is_wanted<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    entry: &HistoryEntry,
    options: &GetEvents,
) -> Result<Option<bool>> {
    if options.topic.is_none() && options.requester.is_none() {
        return Ok(Some(true));
    }
    let publication = store.publications().get(txn, &entry.publication)?;
    Ok(publication.and_then(|publication| {
        let wanted = publication
            .view()
            .and_then(|view| options.lets_through(&view));
        wanted.ok()
    }))
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
    let mut row = Object::new();
    row.insert("timestamp".to_owned(), entry.timestamp.to_string().into());
    row.insert("subscription".to_owned(), entry.subscription.get().into());
    row.insert("publication".to_owned(), entry.publication.get().into());
    // The time of the row is that of the first event.
    add_publication(&mut row, publication, &["timestamp", "publication"]);
    mark(&mut row, damaged);
    row
}

/// Adds to a row what a publication carries, and its other fields as details,
/// but for those that the row has already.
pub(crate) fn add_publication(row: &mut Object, publication: Option<&Publication>, has: &[&str]) {
    let (mut details, mut carried) = (Object::new(), Object::new());
    for (field, value) in publication.map(ToJson::to_json).unwrap_or_default() {
        match field.as_str() {
            field if has.contains(&field) => {}
            "args" | "kwargs" | "payload" => drop(carried.insert(field, value)),
            _ => drop(details.insert(field, value)),
        }
    }
    row.insert("details".to_owned(), details.into());
    row.extend(carried);
}

/// What is left of an entry that cannot be read.
fn unreadable(subscription: SubscriptionId) -> Object {
    let mut row = Object::new();
    row.insert("subscription".to_owned(), subscription.get().into());
    mark(&mut row, true);
    row
}
