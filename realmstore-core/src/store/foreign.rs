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
        let Ok(&[s0, s1, s2, s3, s4, s5, s6, s7, ref time @ ..]) = <&[u8; 16]>::try_from(key)
        else {
            return Err(self.space.damaged("the key has not 16 bytes").key(key));
        };
        let subscription = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let (mut event, damage) = Event::view(value)
            .map_err(|error| error.table(NAME).key(key))?
            .salvage();
        if let Some(damage) = damage.first().filter(|_| event.publication.is_unset()) {
            return Err(Error::from(*damage).table(NAME).key(key));
        }
        let place = (
            SubscriptionId::from_stored(subscription),
            Timestamp::from_nanos(u64::from_le_bytes(*time)),
        );
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
