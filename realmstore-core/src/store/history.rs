//! The history of subscriptions: which publications were dispatched under
//! each, once however many receivers they had, in the order of their first event.
//!
//! It follows from the events, and is kept beside them so that reading it costs
//! what is read and not what is stored:
//!
//! * `realmstore.history`: (subscription, first time, ordinal, publication) →
//!   nothing. The history itself, in order. The ordinal counts what came at the
//!   same time, in the order in which it came, where that was
//!   [recorded](crate::RealmStore::record); else it is 0.
//! * `realmstore.history_positions`: (publication, subscription) → first time,
//!   ordinal, and number of events. Where a publication stands in it, and in
//!   which histories a publication stands.

use uuid::Uuid;

use super::tables::{EventKey, Events};
use crate::backend::{Order, ReadTxn, WriteTxn};
use crate::directory::Slots;
use crate::key::{Key, KeyBuf, KeyError};
use crate::record::EventView;
use crate::table::{Before, Companion, Space, Table};
use crate::{ErrorKind, PublicationId, Result, SubscriptionId, Timestamp};

pub(super) const HISTORY_OID: Uuid = Uuid::from_u128(0xea38fb0f_2282_41f9_b952_21875eb54712);
pub(super) const HISTORY_NAME: &str = "realmstore.history";
pub(super) const POSITIONS_OID: Uuid = Uuid::from_u128(0x59a03ad4_fe8a_4950_8928_b888f11d6886);
pub(super) const POSITIONS_NAME: &str = "realmstore.history_positions";
pub(super) const VERSION: Option<u32> = Some(2);

/// A publication in the history of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryEntry {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// When the publication was first dispatched under it.
    pub timestamp: Timestamp,
    /// Its number among those that were first dispatched at that time.
    pub ordinal: u32,
    /// The publication.
    pub publication: PublicationId,
}

impl Key for HistoryEntry {
    fn encode(&self, out: &mut KeyBuf) {
        (
            self.subscription,
            self.timestamp,
            self.ordinal,
            self.publication,
        )
            .encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        let (subscription, timestamp, ordinal, publication) = Key::decode(bytes)?;
        Ok(Self {
            subscription,
            timestamp,
            ordinal,
            publication,
        })
    }
}

/// Where a publication stands in the history of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) first: Timestamp,
    /// The number among those that begin at that time.
    pub(super) ordinal: u32,
    /// How many events of it there are: at 0 it leaves the history.
    pub(super) events: u64,
}

impl Position {
    /// Where it stands in the history.
    pub(super) fn entry(
        self,
        subscription: SubscriptionId,
        publication: PublicationId,
    ) -> HistoryEntry {
        HistoryEntry {
            subscription,
            timestamp: self.first,
            ordinal: self.ordinal,
            publication,
        }
    }
}

impl Key for Position {
    fn encode(&self, out: &mut KeyBuf) {
        (self.first, self.ordinal, self.events).encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        let (first, ordinal, events) = Key::decode(bytes)?;
        Ok(Self {
            first,
            ordinal,
            events,
        })
    }
}

/// The history that follows the table of [`Events`].
#[derive(Debug, Clone, Copy)]
pub struct History {
    history: Space,
    positions: Space,
    events: Space,
}

impl History {
    pub(super) fn history(&self) -> &Space {
        &self.history
    }

    /// The table of events that it follows.
    pub(super) fn events(&self) -> &Space {
        &self.events
    }

    /// Whether a publication has another event at the time of one.
    pub(super) fn has_other_event_at<X: ReadTxn>(&self, txn: &X, event: &EventKey) -> Result<bool> {
        let place = (event.subscription, event.timestamp, event.publication);
        let mut scan = self
            .events
            .scan_prefix(txn, |out| place.encode(out), Order::Ascending)?;
        while let Some((key, _)) = scan.next()? {
            if EventKey::from_bytes(key).is_ok_and(|key| key != *event) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where a publication stands, in each history that it stands in. What
    /// cannot be read is `None`.
    pub(super) fn positions_of<X: ReadTxn>(
        &self,
        txn: &X,
        publication: PublicationId,
    ) -> Result<Vec<(SubscriptionId, Option<Position>)>> {
        let mut found = Vec::new();
        let mut scan =
            self.positions
                .scan_prefix(txn, |out| publication.encode(out), Order::Ascending)?;
        while let Some((key, value)) = scan.next()? {
            if let Ok((_, subscription)) = <(PublicationId, SubscriptionId)>::from_bytes(key) {
                found.push((subscription, Position::from_bytes(value).ok()));
            }
        }
        Ok(found)
    }

    /// The position of an entry, and `None` where it is missing or cannot be read.
    pub(super) fn readable_position<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        publication: PublicationId,
    ) -> Result<Option<Position>> {
        match self.position(txn, subscription, publication) {
            Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
            position => position,
        }
    }

    /// Whether the history has an entry.
    pub(super) fn has<X: ReadTxn>(&self, txn: &X, entry: &HistoryEntry) -> Result<bool> {
        Ok(self.history.get(txn, |out| entry.encode(out))?.is_some())
    }

    /// Sets how many events of a publication there are left.
    pub(super) fn set_events<X: WriteTxn>(
        &self,
        txn: &mut X,
        entry: &HistoryEntry,
        events: u64,
    ) -> Result<()> {
        let key = EventKey {
            subscription: entry.subscription,
            timestamp: entry.timestamp,
            publication: entry.publication,
            receiver: Default::default(),
        };
        let position = Position {
            first: entry.timestamp,
            ordinal: entry.ordinal,
            events,
        };
        self.set_position(txn, &key, position)
    }

    /// Takes an entry off the history.
    pub(super) fn take_off<X: WriteTxn>(&self, txn: &mut X, entry: &HistoryEntry) -> Result<()> {
        self.history.delete(txn, |out| entry.encode(out)).map(drop)
    }

    /// Removes the position of an entry.
    pub(super) fn forget_position<X: WriteTxn>(
        &self,
        txn: &mut X,
        entry: &HistoryEntry,
    ) -> Result<()> {
        let place = (entry.publication, entry.subscription);
        self.positions
            .delete(txn, |out| place.encode(out))
            .map(drop)
    }

    pub(super) fn position<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        publication: PublicationId,
    ) -> Result<Option<Position>> {
        let value = self
            .positions
            .get(txn, |out| (publication, subscription).encode(out))?;
        value
            .map(|value| {
                Position::from_bytes(value.as_ref()).map_err(|error| self.positions.damaged(error))
            })
            .transpose()
    }

    /// Whether a publication stands in any history.
    pub(super) fn lists<X: ReadTxn>(&self, txn: &X, publication: PublicationId) -> Result<bool> {
        self.positions
            .has_prefix(txn, |out| publication.encode(out))
    }

    fn set_position<X: WriteTxn>(
        &self,
        txn: &mut X,
        key: &EventKey,
        position: Position,
    ) -> Result<()> {
        let mut value = KeyBuf::new();
        position.encode(&mut value);
        self.positions.put(
            txn,
            |out| (key.publication, key.subscription).encode(out),
            &value,
        )
    }

    fn list<X: WriteTxn>(&self, txn: &mut X, key: &EventKey, position: Position) -> Result<()> {
        let entry = position.entry(key.subscription, key.publication);
        self.history.put(txn, |out| entry.encode(out), &[])
    }

    fn unlist<X: WriteTxn>(&self, txn: &mut X, key: &EventKey, position: Position) -> Result<()> {
        let entry = position.entry(key.subscription, key.publication);
        self.history.delete(txn, |out| entry.encode(out)).map(drop)
    }

    /// Takes a publication off the history at a time, whatever its ordinal.
    fn unlist_at<X: WriteTxn>(&self, txn: &mut X, key: &EventKey, time: Timestamp) -> Result<()> {
        let mut found = Vec::new();
        let mut scan = self.history.scan_prefix(
            txn,
            |out| (key.subscription, time).encode(out),
            Order::Ascending,
        )?;
        while let Some((row, _)) = scan.next()? {
            match HistoryEntry::from_bytes(row) {
                Ok(entry) if entry.publication == key.publication => found.push(entry),
                _ => {}
            }
        }
        drop(scan);
        for entry in found {
            self.history.delete(txn, |out| entry.encode(out))?;
        }
        Ok(())
    }

    /// The last entry of a subscription's history.
    pub(super) fn last<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
    ) -> Result<Option<HistoryEntry>> {
        let of_subscription = |out: &mut KeyBuf| subscription.encode(out);
        let last = self
            .history
            .last_with_prefix(txn, of_subscription, |key, _| HistoryEntry::from_bytes(key))?;
        match last {
            Some(Ok(entry)) => return Ok(Some(entry)),
            // A damaged key is no entry: the last one stands before it.
            Some(Err(_)) => {}
            None => return Ok(None),
        }
        let mut scan = self
            .history
            .scan_prefix(txn, of_subscription, Order::Descending)?;
        while let Some((key, _)) = scan.next()? {
            if let Ok(entry) = HistoryEntry::from_bytes(key) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Counts a position anew, where the one that is stored cannot be read.
    fn recount<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        publication: PublicationId,
        mut on_event: impl FnMut(Timestamp),
    ) -> Result<Option<Position>> {
        let mut scan =
            self.events
                .scan_prefix(txn, |out| subscription.encode(out), Order::Ascending)?;
        let mut position: Option<Position> = None;
        while let Some((key, _)) = scan.next()? {
            match EventKey::from_bytes(key) {
                Ok(key) if key.publication == publication => {
                    let counted = position.get_or_insert(Position {
                        first: key.timestamp,
                        ordinal: 0,
                        events: 0,
                    });
                    counted.events += 1;
                    on_event(key.timestamp);
                }
                _ => {}
            }
        }
        Ok(position)
    }

    /// Takes note of `new` events of one publication under one subscription,
    /// the first of which stands at `first`.
    pub(super) fn add<X: WriteTxn>(
        &self,
        txn: &mut X,
        first: &EventKey,
        new: u64,
        place: Place,
    ) -> Result<()> {
        match self.position(txn, first.subscription, first.publication) {
            Ok(stored) => {
                let is_behind = place == Place::Behind
                    && stored.is_none_or(|stored| first.timestamp < stored.first);
                let ordinal = if is_behind {
                    self.ordinal_behind(txn, first)?
                } else {
                    0
                };
                self.add_to(txn, stored, first, ordinal, new)
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                // The new events are among those that are counted. Where the
                // publication was listed is not known: at the time of one of them.
                let mut times = Vec::new();
                let counted = self.recount(txn, first.subscription, first.publication, |time| {
                    times.push(time)
                })?;
                for time in times {
                    self.unlist_at(txn, first, time)?;
                }
                if let Some(position) = counted {
                    self.list(txn, first, position)?;
                    self.set_position(txn, first, position)?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Begins the history of a publication that has none yet, and says whether
    /// it did. No event of it is then stored.
    pub(super) fn begin<X: WriteTxn>(
        &self,
        txn: &mut X,
        entry: &HistoryEntry,
        events: u64,
    ) -> Result<bool> {
        let position = Position {
            first: entry.timestamp,
            ordinal: entry.ordinal,
            events,
        };
        let mut value = KeyBuf::new();
        position.encode(&mut value);
        let place = (entry.publication, entry.subscription);
        let is_new = self
            .positions
            .insert(txn, |out| place.encode(out), &value)?;
        if is_new {
            self.history.put_new(txn, |out| entry.encode(out), &[])?;
        }
        Ok(is_new)
    }

    /// The ordinal behind all that stand at a time.
    fn ordinal_behind<X: ReadTxn>(&self, txn: &X, key: &EventKey) -> Result<u32> {
        let mut scan = self.history.scan_prefix(
            txn,
            |out| (key.subscription, key.timestamp).encode(out),
            Order::Descending,
        )?;
        while let Some((row, _)) = scan.next()? {
            if let Ok(entry) = HistoryEntry::from_bytes(row) {
                return Ok(entry.ordinal.saturating_add(1));
            }
        }
        Ok(0)
    }

    /// As [`add`](Self::add), to a position that was read already. `ordinal` is
    /// for a publication that is new to the history, or to that time in it.
    pub(super) fn add_to<X: WriteTxn>(
        &self,
        txn: &mut X,
        stored: Option<Position>,
        first: &EventKey,
        ordinal: u32,
        new: u64,
    ) -> Result<()> {
        let position = match stored {
            None => {
                let position = Position {
                    first: first.timestamp,
                    ordinal,
                    events: new,
                };
                self.list(txn, first, position)?;
                position
            }
            Some(old) => {
                let events = old.events.saturating_add(new);
                if first.timestamp < old.first {
                    let earlier = Position {
                        first: first.timestamp,
                        ordinal,
                        events,
                    };
                    self.unlist(txn, first, old)?;
                    self.list(txn, first, earlier)?;
                    earlier
                } else {
                    Position { events, ..old }
                }
            }
        };
        self.set_position(txn, first, position)
    }

    /// Takes note that the event at `key` is gone.
    fn remove<X: WriteTxn>(&self, txn: &mut X, key: &EventKey) -> Result<()> {
        let old = match self.position(txn, key.subscription, key.publication) {
            Ok(Some(old)) => old,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                // The event is gone already; count it, for it to be taken off below.
                let left = self.recount(txn, key.subscription, key.publication, |_| ())?;
                self.unlist_at(txn, key, key.timestamp)?;
                if let Some(left) = left {
                    self.unlist_at(txn, key, left.first)?;
                    self.list(txn, key, left)?;
                    return self.set_position(txn, key, left);
                }
                return self.forget(txn, key);
            }
            Err(error) => return Err(error),
        };
        let events = old.events.saturating_sub(1);
        if events > 0 && key.timestamp > old.first {
            return self.set_position(txn, key, Position { events, ..old });
        }
        let first = if events == 0 {
            None
        } else {
            self.next_event(txn, key)?
        };
        let Some(first) = first else {
            self.unlist(txn, key, old)?;
            return self.forget(txn, key);
        };
        if first == old.first {
            return self.set_position(txn, key, Position { events, ..old });
        }
        let later = Position {
            first,
            ordinal: 0,
            events,
        };
        self.unlist(txn, key, old)?;
        self.list(txn, key, later)?;
        self.set_position(txn, key, later)
    }

    fn forget<X: WriteTxn>(&self, txn: &mut X, key: &EventKey) -> Result<()> {
        self.positions
            .delete(txn, |out| (key.publication, key.subscription).encode(out))
            .map(drop)
    }

    /// The time of the publication's first event from `from` on. Most often it
    /// is near: a publication goes to its receivers at about the same time.
    fn next_event<X: ReadTxn>(&self, txn: &X, from: &EventKey) -> Result<Option<Timestamp>> {
        let mut next = KeyBuf::new();
        (from.subscription, from.timestamp).encode(&mut next);
        let mut scan = self.events.scan_from(txn, &next)?;
        while let Some((key, _)) = scan.next()? {
            // A damaged key is no event of any publication.
            let Ok(key) = EventKey::from_bytes(key) else {
                continue;
            };
            if key.subscription != from.subscription {
                break;
            }
            if key.publication == from.publication {
                return Ok(Some(key.timestamp));
            }
        }
        Ok(None)
    }
}

/// Where a publication goes that is new to a history, among those at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that nobody has put in an order: by its ID.
    First,
    /// Behind all that are there.
    Behind,
}

/// An event that came or went. One that only changed stays where it is.
#[derive(Debug, Clone, Copy)]
pub enum EventChange {
    /// The event is new.
    Added,
    /// The event is gone.
    Removed,
    /// The event was there and is there.
    Kept,
}

impl Companion<Events> for History {
    type Plan = EventChange;

    fn attach(slots: &mut dyn Slots) -> Result<Self> {
        let history = Space::new(
            slots.slot(HISTORY_OID, HISTORY_NAME, VERSION)?,
            HISTORY_NAME,
        );
        let positions = Space::new(
            slots.slot(POSITIONS_OID, POSITIONS_NAME, VERSION)?,
            POSITIONS_NAME,
        );
        let events = Space::new(
            slots.slot(Events::OID, Events::NAME, Events::SCHEMA_VERSION)?,
            Events::NAME,
        );
        Ok(Self {
            history,
            positions,
            events,
        })
    }

    fn plan(
        &self,
        _key: &EventKey,
        old: Before<'_, EventView<'_>>,
        new: Option<&EventView<'_>>,
    ) -> Result<EventChange> {
        Ok(match (old, new) {
            (Before::Nothing, Some(_)) => EventChange::Added,
            (Before::Record(_) | Before::Unreadable, None) => EventChange::Removed,
            _ => EventChange::Kept,
        })
    }

    fn check<X: ReadTxn>(&self, _txn: &X, _key: &EventKey, _plan: &EventChange) -> Result<()> {
        Ok(())
    }

    fn apply<X: WriteTxn>(&self, txn: &mut X, key: &EventKey, plan: EventChange) -> Result<()> {
        match plan {
            EventChange::Added => self.add(txn, key, 1, Place::First),
            EventChange::Removed => self.remove(txn, key),
            EventChange::Kept => Ok(()),
        }
    }
}
