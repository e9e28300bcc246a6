//! Walking the records of a store in their order, the damaged ones included.
//!
//! Whole records are read one at a time; what is sorted is their times and
//! keys. No index is relied on, so none can hide a record.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;

use realmstore_core::backend::Backend;
use realmstore_core::directory::Directory;
use realmstore_core::key::{Key, KeyBuf, prefix_end};
use realmstore_core::record::{
    EventView, PublicationView, Record, RecordError, Retained, RetainedView, SessionView,
    SubscriptionView,
};
use realmstore_core::store::{CROSSBAR_EVENTS_OID, EventKey, TextKey};
use realmstore_core::table::{Slot, Table, TableHandle};
use realmstore_core::{
    ErrorKind, Event, HistoryEntry, HistoryQuery, Order, Publication, PublicationId, ReadTxn,
    RealmStore, Scan, Session, SessionId, Subscription, SubscriptionId, Timestamp, Uuid,
};

use crate::failure::Result;
use crate::json::ToJson;
use crate::output::warn;

/// A record as far as it can be read.
pub(crate) struct Found<R> {
    /// The record. IDs that it lacks come from its key.
    pub(crate) record: R,
    /// What is wrong with it, with the place where it stands.
    pub(crate) damage: Vec<String>,
    /// Whether it has fields that this version does not know, and which are not in `record`.
    pub(crate) has_unknown_fields: bool,
    /// The number of bytes that it is stored in.
    pub(crate) stored_bytes: usize,
}

impl<R> Found<R> {
    /// Names all that is wrong on standard error; says whether anything is.
    pub(crate) fn warn_of_damage(&self) -> bool {
        self.damage.iter().for_each(warn);
        !self.damage.is_empty()
    }
}

/// Which part of the records is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// Oldest first, or newest first.
    pub(crate) order: Order,
    /// How many at most.
    pub(crate) limit: Option<usize>,
}

impl Page {
    /// Everything, oldest first.
    pub(crate) const ALL: Self = Self {
        order: Order::Ascending,
        limit: None,
    };

    fn limit(self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }
}

/// A kind of record that a realm store has.
pub(crate) trait Stored: Record + ToJson + Default {
    /// The records' name in the plural.
    const TABLE: &'static str;

    /// Reads what can be read.
    fn salvage(view: &Self::View<'_>) -> (Self, Vec<RecordError>);

    /// Whether there are fields that this version does not know.
    fn has_unknown_fields(view: &Self::View<'_>) -> bool;

    /// Sets the IDs that the record lacks to those of its key; says whether that is a key at all.
    fn complete(&mut self, key: &[u8]) -> bool;

    /// The key as people write it.
    fn key_text(&self) -> String;

    /// What a key that is one says of the record, as people write it.
    fn place(key: &[u8]) -> Option<String> {
        let mut keyed = Self::default();
        keyed.complete(key).then(|| keyed.key_text())
    }
}

impl Stored for Session {
    const TABLE: &'static str = "sessions";

    fn salvage(view: &SessionView<'_>) -> (Self, Vec<RecordError>) {
        view.salvage()
    }

    fn has_unknown_fields(view: &SessionView<'_>) -> bool {
        view.has_unknown_fields()
    }

    fn complete(&mut self, key: &[u8]) -> bool {
        let Ok(oid) = <Uuid as Key>::from_bytes(key) else {
            return false;
        };
        if self.oid.is_nil() {
            self.oid = oid;
        }
        true
    }

    fn key_text(&self) -> String {
        self.oid.to_string()
    }
}

impl Stored for Publication {
    const TABLE: &'static str = "publications";

    fn salvage(view: &PublicationView<'_>) -> (Self, Vec<RecordError>) {
        view.salvage()
    }

    fn has_unknown_fields(view: &PublicationView<'_>) -> bool {
        view.has_unknown_fields()
    }

    fn complete(&mut self, key: &[u8]) -> bool {
        let Ok(publication) = PublicationId::from_bytes(key) else {
            return false;
        };
        if self.publication.is_unset() {
            self.publication = publication;
        }
        true
    }

    fn key_text(&self) -> String {
        self.publication.to_string()
    }
}

impl Stored for Event {
    const TABLE: &'static str = "events";

    fn salvage(view: &EventView<'_>) -> (Self, Vec<RecordError>) {
        view.salvage()
    }

    fn has_unknown_fields(view: &EventView<'_>) -> bool {
        view.has_unknown_fields()
    }

    fn complete(&mut self, key: &[u8]) -> bool {
        let (place, is_key) = event_key(key);
        if self.subscription.is_unset() {
            self.subscription = place.subscription;
        }
        if self.timestamp.is_unset() {
            self.timestamp = place.timestamp;
        }
        if self.publication.is_unset() {
            self.publication = place.publication;
        }
        if self.receiver.is_none() && !place.receiver.is_unset() {
            self.receiver = Some(place.receiver);
        }
        is_key
    }

    fn key_text(&self) -> String {
        format!("{} at {}", self.subscription, self.timestamp)
    }
}

impl Stored for Subscription {
    const TABLE: &'static str = "subscriptions";

    fn salvage(view: &SubscriptionView<'_>) -> (Self, Vec<RecordError>) {
        view.salvage()
    }

    fn has_unknown_fields(view: &SubscriptionView<'_>) -> bool {
        view.has_unknown_fields()
    }

    fn complete(&mut self, key: &[u8]) -> bool {
        let Ok(subscription) = SubscriptionId::from_bytes(key) else {
            return false;
        };
        if self.subscription.is_unset() {
            self.subscription = subscription;
        }
        true
    }

    fn key_text(&self) -> String {
        self.subscription.to_string()
    }
}

impl Stored for Retained {
    const TABLE: &'static str = "retained";

    fn salvage(view: &RetainedView<'_>) -> (Self, Vec<RecordError>) {
        view.salvage()
    }

    fn has_unknown_fields(view: &RetainedView<'_>) -> bool {
        view.has_unknown_fields()
    }

    fn complete(&mut self, key: &[u8]) -> bool {
        let Ok((topic, _)) = <(TextKey, u64)>::from_bytes(key) else {
            return false;
        };
        if self.topic.is_empty() {
            topic
                .whole()
                .unwrap_or_default()
                .clone_into(&mut self.topic);
        }
        true
    }

    fn key_text(&self) -> String {
        format!("{:?} {}", self.topic, self.publication)
    }

    /// In the key a number takes the place of the publication.
    fn place(key: &[u8]) -> Option<String> {
        let (topic, number) = <(TextKey, u64)>::from_bytes(key).ok()?;
        Some(format!("{topic} number {number}"))
    }
}

/// The place that the key of an event says, as far as it says one, and
/// whether it is a key. Crossbar.io's keys are shorter than ours, and have the
/// time in little-endian order.
fn event_key(key: &[u8]) -> (EventKey, bool) {
    const CROSSBAR_LEN: usize = 16;
    const LEN: usize = 32;
    let mut padded = [0; LEN];
    for (to, from) in padded.iter_mut().zip(key) {
        *to = *from;
    }
    if key.len() <= CROSSBAR_LEN {
        padded[8..CROSSBAR_LEN].reverse();
    }
    let is_key = key.len() == CROSSBAR_LEN || key.len() == LEN;
    (EventKey::from_bytes(&padded).unwrap_or_default(), is_key)
}

/// Reads a record as far as it can be read. `key` comes without the slot.
pub(crate) fn read<R: Stored>(key: &[u8], value: &[u8]) -> Found<R> {
    let mut has_unknown_fields = false;
    let (mut record, mut damage) = match R::view(value) {
        Ok(view) => {
            has_unknown_fields = R::has_unknown_fields(&view);
            let (record, damage) = R::salvage(&view);
            (record, damage.iter().map(ToString::to_string).collect())
        }
        Err(error) => (R::default(), vec![error.to_string()]),
    };
    if !record.complete(key) {
        damage.push("its key is not one of this table".to_owned());
    }
    for line in &mut damage {
        *line = format!("{}: {line}", place::<R>(key));
    }
    Found {
        record,
        damage,
        has_unknown_fields,
        stored_bytes: value.len(),
    }
}

/// A table and a key, as people write them.
pub(crate) fn place<R: Stored>(key: &[u8]) -> String {
    if let Some(place) = R::place(key) {
        return format!("{} {place}", R::TABLE);
    }
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} 0x{digits}", R::TABLE)
}

/// The sessions by the time at which they joined; those whose time is not
/// known come first. What `is_wanted` cannot tell of a session is taken for yes.
pub(crate) fn sessions<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    page: Page,
    is_wanted: impl Fn(&SessionView<'_>) -> Result<bool, RecordError>,
    visit: impl FnMut(Found<Session>) -> Result<()>,
) -> Result<()> {
    let joined_at = |view: &SessionView<'_>| view.joined_at().ok().flatten();
    let places = by_time(store.sessions(), txn, is_wanted, joined_at)?;
    visit_places(txn, store.sessions().slot(), places, page, visit)
}

/// The publications by their time; as [`sessions`].
pub(crate) fn publications<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    page: Page,
    is_wanted: impl Fn(&PublicationView<'_>) -> Result<bool, RecordError>,
    visit: impl FnMut(Found<Publication>) -> Result<()>,
) -> Result<()> {
    let timestamp = |view: &PublicationView<'_>| view.timestamp().ok();
    let places = by_time(store.publications(), txn, is_wanted, timestamp)?;
    visit_places(txn, store.publications().slot(), places, page, visit)
}

/// A time, and the key of the record that has it.
type Place = (Timestamp, Box<[u8]>);

fn by_time<T: Table, X: ReadTxn>(
    table: &TableHandle<T>,
    txn: &X,
    is_wanted: impl Fn(&<T::Record as Record>::View<'_>) -> Result<bool, RecordError>,
    time: impl Fn(&<T::Record as Record>::View<'_>) -> Option<Timestamp>,
) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    let mut scan = table.range(txn, .., Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        let time = match entry.view() {
            Ok(view) if !is_wanted(&view).unwrap_or(true) => continue,
            Ok(view) => time(&view),
            Err(_) => None,
        };
        places.push((time.unwrap_or_default(), entry.key_bytes().into()));
    }
    places.sort_unstable();
    Ok(places)
}

fn visit_places<R: Stored, X: ReadTxn>(
    txn: &X,
    slot: Option<Slot>,
    mut places: Vec<Place>,
    page: Page,
    mut visit: impl FnMut(Found<R>) -> Result<()>,
) -> Result<()> {
    let Some(slot) = slot else { return Ok(()) };
    if page.order == Order::Descending {
        places.reverse();
    }
    for (_, key) in places.into_iter().take(page.limit()) {
        // A snapshot still has what it had a moment ago.
        if let Some(value) = txn.get(&full_key(slot, &key))? {
            visit(read(&key, value.as_ref()))?;
        }
    }
    Ok(())
}

/// The records of a table in the order of its keys.
pub(crate) fn by_key<T: Table<Record: Stored>, X: ReadTxn>(
    table: &TableHandle<T>,
    txn: &X,
    mut visit: impl FnMut(Found<T::Record>) -> Result<()>,
) -> Result<()> {
    let mut scan = table.range(txn, .., Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        visit(read(entry.key_bytes(), entry.bytes()))?;
    }
    Ok(())
}

/// The events by subscription and time, those of Crossbar.io's own table among
/// them; those of one subscription, or all. Those at the same time come in the
/// order of the history, so that it can be told from the events alone.
pub(crate) fn events<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    subscription: Option<SubscriptionId>,
    page: Page,
    mut visit: impl FnMut(Found<Event>) -> Result<()>,
) -> Result<()> {
    let before = |a: EventKey, b: EventKey| {
        if page.order == Order::Ascending {
            a < b
        } else {
            a > b
        }
    };
    let foreign_slot = Directory::read(txn)?.slot(CROSSBAR_EVENTS_OID);
    let mut foreign = foreign_places(txn, foreign_slot, subscription)?;
    if page.order == Order::Descending {
        foreign.reverse();
    }
    let mut foreign = foreign.into_iter().peekable();
    let mut own = match subscription {
        Some(subscription) => store.events().prefix(txn, &subscription, page.order)?,
        None => store.events().range(txn, .., page.order)?,
    };
    let mut ordinals = Ordinals::new(store, txn, page.order);
    // What keys begin with at a time all of whose events have been visited.
    let mut done: Option<KeyBuf> = None;
    let mut left = page.limit();
    while left > 0 {
        let next_own = own.next()?.map(|entry| (entry.key_bytes(), entry.bytes()));
        if let (Some((key, _)), Some(done)) = (next_own, &done)
            && key.starts_with(done)
        {
            continue;
        }
        let own_key = next_own.map(|(key, _)| event_key(key).0);
        let at_once = match next_own {
            Some((key, _)) => ordinals.of_events_beside(key)?,
            None => BTreeMap::new(),
        };
        let next_place = own_key.map(|key| match (at_once.is_empty(), page.order) {
            (true, _) => key,
            (false, Order::Ascending) => first_at(key),
            (false, Order::Descending) => last_at(key),
        });
        while left > 0
            && let Some((_, key)) =
                foreign.next_if(|(place, _)| next_place.is_none_or(|next| before(*place, next)))
            && let Some(value) = txn.get(&full_key(foreign_slot.unwrap_or_default(), &key))?
        {
            visit(read(&key, value.as_ref()))?;
            left -= 1;
        }
        let Some((key, value)) = next_own.filter(|_| left > 0) else {
            break;
        };
        if at_once.is_empty() {
            let found = read(key, value);
            if found.damage.is_empty() {
                // The same event in both tables is one event.
                foreign.next_if(|(place, _)| Some(*place) == own_key);
            }
            visit(found)?;
            left -= 1;
            continue;
        }
        let time = KeyBuf::from_slice(key.get(..TIME_END).unwrap_or_default());
        let own_slot = store.events().slot().unwrap_or_default();
        let mut places = Vec::new();
        each_under(txn, own_slot, &time, |key, _| {
            places.push((event_key(key).0, own_slot, Box::from(key)));
        })?;
        while let Some((place, key)) =
            foreign.next_if(|(place, _)| own_key.is_some_and(|key| is_beside(*place, key)))
        {
            places.push((place, foreign_slot.unwrap_or_default(), key));
        }
        places.sort_by(|(a, a_slot, _), (b, b_slot, _)| {
            let ordinal = |place: &EventKey| at_once.get(&place.publication).copied();
            let order = (ordinal(a), a).cmp(&(ordinal(b), b));
            let order = match page.order {
                Order::Ascending => order,
                Order::Descending => order.reverse(),
            };
            // Of the same event in both tables, ours comes first.
            order.then((*b_slot == own_slot).cmp(&(*a_slot == own_slot)))
        });
        let mut sound = None;
        for (place, slot, key) in places {
            if left == 0 {
                break;
            }
            if slot != own_slot && sound == Some(place) {
                continue;
            }
            if let Some(value) = txn.get(&full_key(slot, &key))? {
                let found = read(&key, value.as_ref());
                if found.damage.is_empty() {
                    sound = Some(place);
                }
                visit(found)?;
                left -= 1;
            }
        }
        done = Some(time);
    }
    Ok(())
}

/// Where the subscription and the time end in the key of an event.
const TIME_END: usize = 16;

/// The first place that an event can have beside another, at the same time.
fn first_at(place: EventKey) -> EventKey {
    EventKey {
        publication: PublicationId::default(),
        receiver: SessionId::default(),
        ..place
    }
}

/// Whether two events are of the same subscription and time.
fn is_beside(place: EventKey, other: EventKey) -> bool {
    (place.subscription, place.timestamp) == (other.subscription, other.timestamp)
}

/// The last place that an event can have beside another, at the same time.
fn last_at(place: EventKey) -> EventKey {
    EventKey {
        publication: PublicationId::from_stored(u64::MAX),
        receiver: SessionId::from_stored(u64::MAX),
        ..place
    }
}

type Entries<'t> = Peekable<Box<dyn Iterator<Item = realmstore_core::Result<HistoryEntry>> + 't>>;

/// The histories, read beside the events that they follow from.
struct Ordinals<'t, B, X> {
    store: &'t RealmStore<B>,
    txn: &'t X,
    order: Order,
    history: Option<(SubscriptionId, Entries<'t>)>,
    /// The time that was asked for last.
    last: Option<KeyBuf>,
}

impl<'t, B: Backend, X: ReadTxn> Ordinals<'t, B, X> {
    fn new(store: &'t RealmStore<B>, txn: &'t X, order: Order) -> Self {
        Self {
            store,
            txn,
            order,
            history: None,
            last: None,
        }
    }

    /// The ordinals of the publications that begin under the subscription and
    /// at the time of an event, given by its key, when they are in another
    /// order than that of their IDs; and only for the first event that is there.
    fn of_events_beside(&mut self, key: &[u8]) -> Result<BTreeMap<PublicationId, u32>> {
        let mut ordinals = BTreeMap::new();
        let time = KeyBuf::from_slice(key.get(..TIME_END).unwrap_or_default());
        // The key of an event has more behind the time.
        if key.len() <= TIME_END || self.last.as_ref() == Some(&time) {
            return Ok(ordinals);
        }
        self.last = Some(time);
        let place = event_key(key).0;
        let (store, txn, order) = (self.store, self.txn, self.order);
        let (_, entries) = match &mut self.history {
            Some(history) if history.0 == place.subscription => history,
            history => {
                let query = HistoryQuery {
                    order,
                    ..HistoryQuery::default()
                };
                let entries: Box<dyn Iterator<Item = _>> =
                    Box::new(store.history(txn, place.subscription, query)?);
                history.insert((place.subscription, entries.peekable()))
            }
        };
        let is_not_behind = |entry: &HistoryEntry| match order {
            Order::Ascending => entry.timestamp <= place.timestamp,
            Order::Descending => entry.timestamp >= place.timestamp,
        };
        while let Some(entry) = entries.next_if(|entry| entry.as_ref().map_or(true, is_not_behind))
        {
            match entry {
                Ok(entry) if entry.timestamp == place.timestamp => {
                    ordinals.insert(entry.publication, entry.ordinal);
                }
                Ok(_) => {}
                // The events are what is read here.
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error.into()),
            }
        }
        if ordinals.values().all(|ordinal| *ordinal == 0) {
            ordinals.clear();
        }
        Ok(ordinals)
    }
}

/// Where the events of Crossbar.io's own table would stand in ours.
fn foreign_places<X: ReadTxn>(
    txn: &X,
    slot: Option<Slot>,
    subscription: Option<SubscriptionId>,
) -> Result<Vec<(EventKey, Box<[u8]>)>> {
    let Some(slot) = slot else {
        return Ok(Vec::new());
    };
    let mut prefix = KeyBuf::new();
    if let Some(subscription) = subscription {
        subscription.encode(&mut prefix);
    }
    let mut places = Vec::new();
    each_under(txn, slot, &prefix, |key, value| {
        let place = EventKey::from(&read::<Event>(key, value).record);
        places.push((place, Box::from(key)));
    })?;
    places.sort_unstable();
    Ok(places)
}

/// Walks the rows of a slot whose keys begin with a prefix. Keys come without
/// the slot.
pub(crate) fn each_under<X: ReadTxn>(
    txn: &X,
    slot: Slot,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
    let prefix = full_key(slot, prefix);
    let end = prefix_end(&prefix);
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut scan = txn.scan((Bound::Included(&prefix), end), Order::Ascending)?;
    while let Some((key, value)) = scan.next()? {
        visit(key.get(size_of::<Slot>()..).unwrap_or_default(), value);
    }
    Ok(())
}

/// A table's key in the keyspace.
pub(crate) fn full_key(slot: Slot, key: &[u8]) -> KeyBuf {
    let mut full = KeyBuf::from_slice(&slot.to_be_bytes());
    full.extend_from_slice(key);
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_lacks_nothing_that_its_key_says() {
        let (subscription, time) = (7u64, 1_795_332_972_661_849_558u64);
        let crossbar = [subscription.to_be_bytes(), time.to_le_bytes()].concat();
        let own = [7u64, time, 8, 9].map(u64::to_be_bytes).concat();
        for (key, publication) in [(crossbar, 0), (own, 8)] {
            let found: Found<Event> = read(&key, b"no record");
            assert_eq!(found.record.subscription.get(), subscription);
            assert_eq!(found.record.timestamp.as_nanos(), time);
            assert_eq!(found.record.publication.get(), publication);
            assert_eq!(found.damage.len(), 1);
            assert!(
                found.damage[0].starts_with("events 7 at 2026-11-22T07:36:12.661849558Z: "),
                "{:?}",
                found.damage
            );
        }
    }

    #[test]
    fn a_record_under_a_key_of_another_length_is_named_by_its_bytes() {
        let bytes = Publication {
            topic: "a".to_owned(),
            ..Publication::default()
        }
        .to_bytes()
        .unwrap();
        let found: Found<Publication> = read(&[1, 255], &bytes);
        assert_eq!(found.record.topic, "a");
        assert_eq!(
            found.damage,
            ["publications 0x01ff: its key is not one of this table"]
        );
    }
}
