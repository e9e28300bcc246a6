//! Walking the records of a store in their order, the damaged ones included.
//!
//! Whole records are read one at a time; what is sorted is their times and
//! keys. No index is relied on, so none can hide a record.

use std::ops::Bound;

use realmstore_core::backend::Backend;
use realmstore_core::directory::Directory;
use realmstore_core::key::{Key, KeyBuf, prefix_end};
use realmstore_core::record::{EventView, PublicationView, Record, RecordError, SessionView};
use realmstore_core::store::{CROSSBAR_EVENTS_OID, EventKey};
use realmstore_core::table::{Slot, Table, TableHandle};
use realmstore_core::{
    Event, Order, Publication, PublicationId, ReadTxn, RealmStore, Scan, Session, SubscriptionId,
    Timestamp, Uuid,
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
    let mut keyed = R::default();
    if keyed.complete(key) {
        return format!("{} {}", R::TABLE, keyed.key_text());
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

/// The events by subscription and time, those of Crossbar.io's own table among
/// them; those of one subscription, or all.
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
    let mut left = page.limit();
    while left > 0 {
        let next_own = own.next()?.map(|entry| (entry.key_bytes(), entry.bytes()));
        let own_key = next_own.map(|(key, _)| event_key(key).0);
        while left > 0
            && let Some((_, key)) =
                foreign.next_if(|(place, _)| own_key.is_none_or(|own| before(*place, own)))
            && let Some(value) = txn.get(&full_key(foreign_slot.unwrap_or_default(), &key))?
        {
            visit(read(&key, value.as_ref()))?;
            left -= 1;
        }
        let Some((key, value)) = next_own.filter(|_| left > 0) else {
            break;
        };
        let found = read(key, value);
        if found.damage.is_empty() {
            // The same event in both tables is one event.
            foreign.next_if(|(place, _)| Some(*place) == own_key);
        }
        visit(found)?;
        left -= 1;
    }
    Ok(())
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
