//! The events that Crossbar.io wrote itself.
//!
//! Its table `cfxdb.realmstore._event.Events` has the key subscription
//! (`u64`, big-endian), then time (`i64`, *little*-endian): within a
//! subscription the keys are in no order of time, so its events are read
//! whole and sorted.

use uuid::Uuid;

use super::tables::EventKey;
use crate::backend::{Order, ReadTxn};
use crate::directory::Directory;
use crate::key::{Key, KeyBuf, prefix_end};
use crate::record::{Event, Record, RecordError};
use crate::table::{Slot, Space, successor};
use crate::{Error, Result, SubscriptionId, Timestamp};

/// The OID of Crossbar.io's own table of events.
pub const CROSSBAR_EVENTS_OID: Uuid = Uuid::from_u128(0x40a9df31_6065_496f_809f_027a1879654c);
pub(super) const NAME: &str = "cfxdb.realmstore._event.Events";

/// A key of Crossbar.io's own table of events. As bytes it is in no order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CrossbarEventKey {
    /// The event's subscription.
    pub subscription: SubscriptionId,
    /// Its time.
    pub timestamp: Timestamp,
}

impl CrossbarEventKey {
    /// Reads a key, without the slot; `None` when it has not 16 bytes.
    pub fn from_bytes(key: &[u8]) -> Option<Self> {
        let (subscription, time) = key.split_first_chunk()?;
        Some(Self {
            subscription: SubscriptionId::from_stored(u64::from_be_bytes(*subscription)),
            timestamp: Timestamp::from_nanos(u64::from_le_bytes(time.try_into().ok()?)),
        })
    }

    /// The key, without the slot.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (subscription, time) = bytes.split_at_mut(8);
        subscription.copy_from_slice(&self.subscription.get().to_be_bytes());
        time.copy_from_slice(&self.timestamp.as_nanos().to_le_bytes());
        bytes
    }
}

impl From<&EventKey> for CrossbarEventKey {
    fn from(key: &EventKey) -> Self {
        Self {
            subscription: key.subscription,
            timestamp: key.timestamp,
        }
    }
}

/// Crossbar.io's table of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForeignEvents {
    space: Space,
}

/// What a row of it holds.
pub(super) struct ForeignEvent {
    pub(super) event: Event,
    /// What of the record cannot be read.
    pub(super) damage: Vec<RecordError>,
    /// Whether the record's bytes say just what the event says.
    pub(super) is_verbatim: bool,
}

impl ForeignEvents {
    /// # Errors
    /// When the directory is damaged where the table may be.
    pub(super) fn find(directory: &Directory) -> Result<Self> {
        let slot = directory.find(CROSSBAR_EVENTS_OID, NAME)?;
        Ok(Self {
            space: Space::new(slot, NAME),
        })
    }

    pub(super) fn slot(&self) -> Option<Slot> {
        self.space.slot()
    }

    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    /// Reads a row, as far as it can be read. The key says where the event
    /// belongs; what the record says of that gives way to it.
    ///
    /// # Errors
    /// When not even the publication can be read, or the key is none.
    pub(super) fn read_row(&self, key: &[u8], value: &[u8]) -> Result<ForeignEvent> {
        let Some(place) = CrossbarEventKey::from_bytes(key) else {
            return Err(self.space.damaged("the key has not 16 bytes").key(key));
        };
        let (mut event, damage) = Event::view(value)
            .map_err(|error| error.table(NAME).key(key))?
            .salvage();
        if let Some(damage) = damage.first().filter(|_| event.publication.is_unset()) {
            return Err(Error::from(*damage).table(NAME).key(key));
        }
        let place = (place.subscription, place.timestamp);
        let is_verbatim = damage.is_empty() && place == (event.subscription, event.timestamp);
        (event.subscription, event.timestamp) = place;
        Ok(ForeignEvent {
            event,
            damage,
            is_verbatim,
        })
    }

    /// All events of a subscription, in the order of their keys in our own
    /// table; and an error for each that cannot be read.
    pub(super) fn of_subscription<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
    ) -> Result<(Vec<Event>, Vec<Error>)> {
        let mut scan =
            self.space
                .scan_prefix(txn, |out| subscription.encode(out), Order::Ascending)?;
        let (mut events, mut damage) = (Vec::new(), Vec::new());
        while let Some((key, value)) = scan.next()? {
            match self.read_row(key, value) {
                Ok(row) => events.push(row.event),
                Err(error) => damage.push(error),
            }
        }
        events.sort_unstable_by_key(|event| EventKey::from(event));
        Ok((events, damage))
    }
}

/// The subscriptions that a space with keys of (subscription, …) has rows of:
/// one step for each, whatever number of rows it has. A damaged key, too short
/// to name one, belongs to none.
pub(super) fn subscriptions<X: ReadTxn>(space: &Space, txn: &X) -> Result<Vec<SubscriptionId>> {
    let mut found = Vec::new();
    let mut next = Some(KeyBuf::new());
    while let Some(start) = next {
        let mut scan = space.scan_from(txn, &start)?;
        let Some((mut key, _)) = scan.next()? else {
            break;
        };
        let Ok(subscription) = SubscriptionId::decode(&mut key) else {
            next = Some(successor(key));
            continue;
        };
        found.push(subscription);
        let mut prefix = KeyBuf::new();
        subscription.encode(&mut prefix);
        next = prefix_end(&prefix);
    }
    Ok(found)
}
