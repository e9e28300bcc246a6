//! `demo`: what the store does, shown on the recording of a real router.

use std::fs;
use std::time::{Duration, Instant};

use realmstore_core::store::EventKey;
use realmstore_core::{
    Backend, Engine, ErrorKind, Event, HistoryQuery, Location, Order, Publication, ReadTxn,
    RealmStore, Session, SubscriptionId, WriteTxn,
};

use crate::engines::{Engines, Writing};
use crate::failure::{Failure, Result};
use crate::history;
use crate::json::Object;
use crate::lists::{SESSION_COLUMNS, session_cells};
use crate::output::Output;
use crate::rows::{self, Page};
use crate::table::{List, bytes, grouped};

/// What a Crossbar.io router wrote while three WAMP clients published and subscribed: a file of LMDB 0.9.
const RECORDING: &[u8] = include_bytes!("../recording/data.mdb");

/// How much of the history is shown.
const SHOWN: usize = 10;

/// Stores the recording at `location`, or in a store that does not outlive the demonstration.
pub(crate) fn run<E: Engines>(
    engines: &E,
    location: Option<&Location>,
    output: &mut Output,
) -> Result<()> {
    let directory = tempfile::tempdir().map_err(|error| {
        Failure::Other(
            "no temporary directory can be made for the recording".to_owned(),
            Some(error),
        )
    })?;
    if let Some(location) = location {
        engines.will_write(location)?;
        // Looked at first: opening to write would change a store that is not ours to fill.
        match engines.read(location) {
            Ok(store) => refuse_records(&RealmStore::attach(store)?, location)?,
            Err(error) if error.is(ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let recording = unpack(engines, &directory)?;
    let temporary = Location::new(Engine::Lmdb, directory.path().join("store"));
    let writing = Writing {
        create: true,
        ..Writing::default()
    };
    let store = engines.write(location.unwrap_or(&temporary), writing)?;
    show(&recording, &RealmStore::attach(store)?, location, output)
}

fn unpack<E: Engines>(
    engines: &E,
    directory: &tempfile::TempDir,
) -> Result<RealmStore<E::Reading>> {
    let path = directory.path().join("recording");
    fs::create_dir(&path)
        .and_then(|()| fs::write(path.join("data.mdb"), RECORDING))
        .map_err(|error| Failure::at(&path, "cannot be written", error))?;
    let recording = engines.read(&Location::new(Engine::Lmdb, path))?;
    Ok(RealmStore::attach(recording)?)
}

fn refuse_records<B: Backend>(store: &RealmStore<B>, location: &Location) -> Result<()> {
    let txn = store.begin_read()?;
    let is_empty = store
        .sessions()
        .range(&txn, .., Order::Ascending)?
        .next()?
        .is_none()
        && store
            .publications()
            .range(&txn, .., Order::Ascending)?
            .next()?
            .is_none()
        && store.subscriptions_with_history(&txn)?.is_empty();
    if is_empty {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{location} holds records already; the demonstration wants a store of its own"
    )))
}

/// All that the recording holds.
#[derive(Default)]
struct Records {
    sessions: Vec<Session>,
    publications: Vec<Publication>,
    events: Vec<Event>,
}

impl Records {
    fn read<B: Backend>(store: &RealmStore<B>) -> Result<Self> {
        let txn = store.begin_read()?;
        let mut records = Self::default();
        rows::sessions(
            store,
            &txn,
            Page::ALL,
            |_| Ok(true),
            |found| {
                records.sessions.push(found.record);
                Ok(())
            },
        )?;
        rows::publications(
            store,
            &txn,
            Page::ALL,
            |_| Ok(true),
            |found| {
                records.publications.push(found.record);
                Ok(())
            },
        )?;
        rows::events(store, &txn, None, Page::ALL, |found| {
            records.events.push(found.record);
            Ok(())
        })?;
        // All receivers of a publication one after the other.
        records
            .events
            .sort_unstable_by_key(|event| EventKey::from(event));
        Ok(records)
    }

    fn store<B: Backend>(&self, store: &RealmStore<B>) -> Result<()> {
        let mut txn = store.begin_write()?;
        for session in &self.sessions {
            store.session_joined(&mut txn, session)?;
        }
        for publication in &self.publications {
            store.store_publication(&mut txn, publication)?;
        }
        store.store_events(&mut txn, &self.events)?;
        Ok(txn.commit()?)
    }

    fn len(&self) -> usize {
        self.sessions.len() + self.publications.len() + self.events.len()
    }
}

fn show<R: Backend, B: Backend>(
    recording: &RealmStore<R>,
    store: &RealmStore<B>,
    location: Option<&Location>,
    output: &mut Output,
) -> Result<()> {
    let (records, reading) = timed(|| Records::read(recording))?;
    let ((), storing) = timed(|| records.store(store))?;
    output
        .line("A Crossbar.io router was recorded while its clients published and subscribed.\n")?;
    output.line(format_args!(
        "  read    {}",
        pace(
            records.len(),
            "records out of the router's own file",
            reading
        )
    ))?;
    output.line(format_args!(
        "  stored  {}",
        pace(
            records.len(),
            "records in one commit, safe on disk",
            storing
        )
    ))?;

    let txn = store.begin_read()?;
    output.line("\nWho joined:\n")?;
    let mut sessions = List::new(output, false, SESSION_COLUMNS);
    rows::sessions(
        store,
        &txn,
        Page::ALL,
        |_| Ok(true),
        |found| sessions.add(Object::new, || session_cells(&found.record)),
    )?;
    sessions.finish("sessions")?;

    let subscription = longest_history(store, &txn)?;
    if let Some(subscription) = subscription {
        show_history(store, &txn, subscription, output)?;
    }
    show_contents(store, &txn, output)?;
    suggest(location, subscription, output)
}

fn longest_history<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
) -> Result<Option<SubscriptionId>> {
    let mut longest = None;
    for subscription in store.subscriptions_with_history(txn)? {
        let length = store
            .history(txn, subscription, HistoryQuery::default())?
            .count();
        longest = longest.max(Some((length, subscription)));
    }
    Ok(longest.map(|(_, subscription)| subscription))
}

fn show_history<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    subscription: SubscriptionId,
    output: &mut Output,
) -> Result<()> {
    let (rows, took) = timed(|| {
        let query = HistoryQuery {
            order: Order::Descending,
            ..HistoryQuery::default()
        };
        let mut rows = Vec::new();
        for entry in store.history(txn, subscription, query)? {
            let entry = entry?;
            rows.push((entry, history::publication(store, txn, &entry)?));
        }
        Ok(rows)
    })?;
    output.line(format_args!(
        "\nThe history of subscription {subscription}, newest first:\n"
    ))?;
    let mut list = List::new(output, false, history::COLUMNS);
    for (entry, publication) in rows.iter().take(SHOWN) {
        let publication = publication.as_ref().map(|found| &found.record);
        list.add(Object::new, || history::cells(entry, publication))?;
    }
    list.finish("history")?;
    if rows.len() > SHOWN {
        output.line(format_args!("… {} more", grouped(rows.len() - SHOWN)))?;
    }
    output.line(format_args!(
        "\n  read    {}",
        pace(rows.len(), "rows of history", took)
    ))
}

fn show_contents<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    output: &mut Output,
) -> Result<()> {
    let counts = [
        ("sessions", store.sessions().count(txn)?),
        ("publications", store.publications().count(txn)?),
        ("events", store.events().count(txn)?),
        (
            "subscriptions",
            store.subscriptions_with_history(txn)?.len() as u64,
        ),
    ];
    output.line("\nThe store now holds:\n")?;
    for (what, count) in counts {
        output.line(format_args!("  {:>7} {what}", grouped(count)))?;
    }
    output.line(format_args!(
        "  {:>7} on disk",
        bytes(store.db().info()?.size_on_disk)
    ))
}

fn suggest(
    location: Option<&Location>,
    subscription: Option<SubscriptionId>,
    output: &mut Output,
) -> Result<()> {
    output.line("\nTry next:\n")?;
    if location.is_none() {
        output.line("  realmstore demo ./my-store    # the same, and keep the store")?;
    }
    let store = shell_word(&location.map_or_else(|| "./my-store".to_owned(), Location::to_string));
    if let Some(subscription) = subscription {
        output.line(format_args!(
            "  realmstore history {store} {subscription} --reverse"
        ))?;
    }
    output.line(format_args!("  realmstore info {store}"))
}

/// A text as one word for a shell, in quotes where it needs them.
fn shell_word(text: &str) -> String {
    let is_plain =
        |character: char| character.is_alphanumeric() || "./:_-+=@%,".contains(character);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed()))
}

/// How much was done in which time: `397 records in 1.52 ms (261,184 per second)`.
fn pace(amount: usize, what: &str, took: Duration) -> String {
    let milliseconds = took.as_secs_f64() * 1e3;
    let rate = (amount as f64 / took.as_secs_f64().max(1e-9)) as u64;
    format!(
        "{} {what} in {milliseconds:.2} ms ({} per second)",
        grouped(amount),
        grouped(rate)
    )
}
