//! `tail`: records as they are committed.
//!
//! Nothing in a store says what is new in it: publications and sessions have
//! random keys, and the clocks of routers jump. So the keys that were there
//! are kept, and compared with those that are there once somebody has
//! committed. That is exact, takes no index, and never holds a snapshot of a
//! running router for longer than one look at the keys.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use realmstore_core::directory::Directory;
use realmstore_core::key::Key;
use realmstore_core::record::Retained;
use realmstore_core::store::{CROSSBAR_EVENTS_OID, CrossbarEventKey, EventKey};
use realmstore_core::table::Slot;
use realmstore_core::{
    Backend, ErrorKind, Event, Location, Publication, ReadTxn, RealmStore, Session, Subscription,
    Timestamp,
};

use crate::engines::Engines;
use crate::export;
use crate::failure::Result;
use crate::json::ToJson;
use crate::lists::arguments;
use crate::output::Output;
use crate::rows::{self, Found, Stored};
use crate::subscription::subscribed_to;
use crate::table::{excerpt, optional, text};

/// How often the store is looked at. Crossbar.io commits every 200 ms.
const INTERVAL: Duration = Duration::from_millis(200);

/// How often it is where only a walk over all keys tells whether there was a commit.
const INTERVAL_WITHOUT_NUMBERS: Duration = Duration::from_secs(2);

/// Prints what is committed from now on, or what is there from a time on and
/// then what follows. Ends when it is stopped.
pub(crate) fn run<E: Engines>(
    engines: &E,
    location: &Location,
    from_time: Option<Timestamp>,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let store = RealmStore::attach(engines.read(location)?)?;
    let txn = store.begin_read()?;
    let mut seen = Seen::of(&store, &txn)?;
    let mut last = txn.commit_number();
    if let Some(from) = from_time {
        for news in seen.news_since(&Seen::default(), &store, &txn, from)? {
            news.print(json, output)?;
        }
    }
    drop(txn);
    drop(store);
    output.flush()?;
    loop {
        output.wait(match last {
            Some(_) => INTERVAL,
            None => INTERVAL_WITHOUT_NUMBERS,
        })?;
        let in_place = engines.read_in_place(location);
        let looked = match in_place.and_then(|store| look(store, last, &seen)) {
            // Commits come faster than all keys can be walked in place.
            Err(failure) if failure.is(ErrorKind::Conflict) => engines
                .read(location)
                .and_then(|store| look(store, last, &seen)),
            looked => looked,
        };
        let look = match looked {
            Ok(Some(look)) => look,
            Ok(None) => continue,
            // Nothing is lost by looking again later.
            Err(failure) if failure.is(ErrorKind::Conflict) || failure.is(ErrorKind::Busy) => {
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // Printing may take as long as whoever reads along likes: the snapshot has ended.
        for news in look.news {
            news.print(json, output)?;
        }
        output.flush()?;
        (seen, last) = (look.seen, look.number);
    }
}

/// What a look at the store found.
struct Look {
    number: Option<u64>,
    seen: Seen,
    news: Vec<News>,
}

/// Looks at the store, if there was a commit after the one numbered `last`.
fn look<B: Backend>(db: B, last: Option<u64>, before: &Seen) -> Result<Option<Look>> {
    let store = RealmStore::attach(db)?;
    let txn = store.begin_read()?;
    let number = txn.commit_number();
    if number.is_some() && number == last {
        return Ok(None);
    }
    let seen = Seen::of(&store, &txn)?;
    let news = seen.news_since(before, &store, &txn, Timestamp::default())?;
    Ok(Some(Look { number, seen, news }))
}

/// The keys that a look found, in order.
#[derive(Default)]
struct Seen {
    /// The OID, and when the session left: then it keeps its key.
    sessions: Vec<[u8; 24]>,
    publications: Vec<[u8; 8]>,
    events: Vec<[u8; 32]>,
    foreign_slot: Option<Slot>,
    foreign_events: Vec<[u8; 16]>,
    /// Keys, and hashes of what stands there: that may change.
    subscriptions: Vec<(Box<[u8]>, u64)>,
    retained: Vec<(Box<[u8]>, u64)>,
}

impl Seen {
    fn of<B: Backend, X: ReadTxn>(store: &RealmStore<B>, txn: &X) -> Result<Self> {
        let foreign_slot = Directory::read(txn)?.slot(CROSSBAR_EVENTS_OID);
        Ok(Self {
            sessions: keys(txn, store.sessions().slot(), |key, value| {
                let left_at = rows::read::<Session>(key, value).record.left_at;
                let left_at = left_at.unwrap_or_default().as_nanos().to_be_bytes();
                [key, &left_at].concat().try_into().ok()
            })?,
            publications: keys(txn, store.publications().slot(), |key, _| {
                key.try_into().ok()
            })?,
            events: keys(txn, store.events().slot(), |key, _| key.try_into().ok())?,
            foreign_slot,
            foreign_events: keys(txn, foreign_slot, |key, _| key.try_into().ok())?,
            subscriptions: keys(txn, store.subscriptions().slot(), key_and_hash)?,
            retained: keys(txn, store.retained().slot(), key_and_hash)?,
        })
    }

    /// The records that are here and were not there before, by time, of a time on.
    fn news_since<B: Backend, X: ReadTxn>(
        &self,
        before: &Self,
        store: &RealmStore<B>,
        txn: &X,
        from: Timestamp,
    ) -> Result<Vec<News>> {
        let mut all = Vec::new();
        let mut note = |news: Option<News>| all.extend(news.filter(|news| news.time() >= from));
        for key in added(&before.sessions, &self.sessions) {
            let (oid, _) = key.split_at(16);
            note(get(txn, store.sessions().slot(), oid)?.map(News::Session));
        }
        for key in added(&before.publications, &self.publications) {
            note(get(txn, store.publications().slot(), key)?.map(News::Publication));
        }
        for key in added(&before.events, &self.events) {
            // One that has been adopted is there no longer, and not new.
            if !before.has_foreign(key) || self.has_foreign(key) {
                note(get(txn, store.events().slot(), key)?.map(News::Event));
            }
        }
        for key in added(&before.foreign_events, &self.foreign_events) {
            note(get(txn, self.foreign_slot, key)?.map(News::Event));
        }
        for (key, _) in added(&before.subscriptions, &self.subscriptions) {
            note(get(txn, store.subscriptions().slot(), key)?.map(News::Subscription));
        }
        for (key, _) in added(&before.retained, &self.retained) {
            note(get(txn, store.retained().slot(), key)?.map(News::Retained));
        }
        all.sort_by_key(News::time);
        Ok(all)
    }

    /// Whether an event of ours was one of Crossbar.io's.
    fn has_foreign(&self, key: &[u8; 32]) -> bool {
        let place = EventKey::from_bytes(key).unwrap_or_default();
        let foreign = CrossbarEventKey::from(&place).to_bytes();
        self.foreign_events.binary_search(&foreign).is_ok()
    }
}

/// What is kept of each record of a table. A record under a key that is none
/// cannot be followed; `verify` names it.
fn keys<X: ReadTxn, K>(
    txn: &X,
    slot: Option<Slot>,
    kept: impl Fn(&[u8], &[u8]) -> Option<K>,
) -> Result<Vec<K>> {
    let Some(slot) = slot else {
        return Ok(Vec::new());
    };
    let mut keys = Vec::new();
    rows::each_under(txn, slot, &[], |key, value| keys.extend(kept(key, value)))?;
    Ok(keys)
}

fn key_and_hash(key: &[u8], value: &[u8]) -> Option<(Box<[u8]>, u64)> {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    Some((key.into(), hasher.finish()))
}

/// What is among the keys now and was not before. Both are in order.
fn added<'k, K: Ord>(before: &'k [K], now: &'k [K]) -> impl Iterator<Item = &'k K> {
    let mut before = before.iter().peekable();
    now.iter().filter(move |key| {
        while before.next_if(|old| *old < *key).is_some() {}
        before.next_if(|old| *old == *key).is_none()
    })
}

fn get<R: Stored, X: ReadTxn>(txn: &X, slot: Option<Slot>, key: &[u8]) -> Result<Option<Found<R>>> {
    let value = txn.get(&rows::full_key(slot.unwrap_or_default(), key))?;
    Ok(value.map(|value| rows::read(key, value.as_ref())))
}

/// A record that is new, a session that has left, or a subscription of which
/// something else is known.
enum News {
    Session(Found<Session>),
    Publication(Found<Publication>),
    Event(Found<Event>),
    Subscription(Found<Subscription>),
    Retained(Found<Retained>),
}

impl News {
    fn time(&self) -> Timestamp {
        match self {
            Self::Session(found) => found
                .record
                .left_at
                .or(found.record.joined_at)
                .unwrap_or_default(),
            Self::Publication(found) => found.record.timestamp,
            Self::Event(found) => found.record.timestamp,
            Self::Subscription(found) => found.record.created_at.unwrap_or_default(),
            Self::Retained(found) => found.record.retained_at,
        }
    }

    fn print(&self, json: bool, output: &mut Output) -> Result<()> {
        if json {
            return match self {
                Self::Session(found) => export::print(output, found),
                Self::Publication(found) => export::print(output, found),
                Self::Event(found) => export::print(output, found),
                Self::Subscription(found) => export::print(output, found),
                Self::Retained(found) => export::print(output, found),
            };
        }
        let time = self.time();
        match self {
            Self::Session(found) => {
                found.warn_of_damage();
                let session = &found.record;
                output.line(format_args!(
                    "{time}  {}  session {}, authid {}, authrole {}",
                    if session.left_at.is_some() {
                        "left      "
                    } else {
                        "joined    "
                    },
                    session.session,
                    optional(session.authid.as_ref()),
                    optional(session.authrole.as_ref())
                ))
            }
            Self::Publication(found) => {
                found.warn_of_damage();
                let publication = &found.record;
                output.line(format_args!(
                    "{time}  published   {} to {} {}",
                    publication.publication,
                    text(&publication.topic),
                    excerpt(arguments(&publication.to_json()))
                ))
            }
            Self::Event(found) => {
                found.warn_of_damage();
                let event = &found.record;
                output.line(format_args!(
                    "{time}  dispatched  {} to session {} under subscription {}",
                    event.publication,
                    optional(event.receiver),
                    event.subscription
                ))
            }
            Self::Subscription(found) => {
                found.warn_of_damage();
                let subscription = &found.record;
                let stands_for = match subscription.alias_of {
                    Some(own) => format!("stands for subscription {own}"),
                    None => format!("is to {}", text(&subscribed_to(subscription))),
                };
                output.line(format_args!(
                    "{:30}  known       subscription {} {stands_for}",
                    optional(subscription.created_at),
                    subscription.subscription
                ))
            }
            Self::Retained(found) => {
                found.warn_of_damage();
                let row = &found.record;
                output.line(format_args!(
                    "{time}  retained    {} for {}, until {}",
                    row.publication,
                    text(&row.topic),
                    optional(row.expires_at)
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_found_wherever_it_stands() {
        let keys = |keys: &[u8]| keys.iter().map(|&key| [key]).collect::<Vec<_>>();
        for (before, now, new) in [
            (&[][..], &[][..], &[][..]),
            (&[], &[1, 2], &[1, 2]),
            (&[1, 2], &[1, 2], &[]),
            (&[1, 2], &[], &[]),
            (&[2, 5, 9], &[1, 2, 3, 9, 10], &[1, 3, 10]),
        ] {
            let (before, now) = (keys(before), keys(now));
            let found: Vec<_> = added(&before, &now).copied().collect();
            assert_eq!(found, keys(new));
        }
    }
}
