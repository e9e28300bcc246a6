//! Retention: what is taken off a store again, because there is too much of it,
//! because it is too old, or because somebody is to be forgotten.
//!
//! * [`Retention`] keeps the limits of subscriptions while a store is written to;
//! * [`RealmStore::purge`] keeps them once, or others;
//! * [`RealmStore::forget_authid`] removes what there is of somebody.
//!
//! All of it works in steps of bounded cost, between which every answer is
//! right and nothing is to be [verified](super::verify) that was not before.

mod forget;
mod purge;
mod running;
mod sweep;

use std::ops::AddAssign;
use std::time::Duration;

pub use self::forget::Forgotten;
pub use self::purge::{Purge, Purged};
pub use self::running::{Retention, Step};
use super::{RealmStore, StoreWrite};
use crate::backend::{Backend, ReadTxn};
use crate::record::{Subscription, SubscriptionView};
use crate::{Error, ErrorKind, HistoryEntry, Result, Timestamp};

/// How much of a subscription's history is kept. What is not set is not limited.
/// What is too much goes from the old end.
///
/// ```
/// use realmstore_core::{Limits, Subscription};
///
/// let mut subscription = Subscription::default();
/// let limits = Limits { max_count: Some(1000), ..Limits::default() };
/// limits.set_on(&mut subscription);
/// assert_eq!(Limits::from(&subscription), limits);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How many publications at most.
    pub max_count: Option<u64>,
    /// For how long a publication is kept, from its first event under the
    /// subscription on. Stored in nanoseconds, so the longest is 584 years.
    pub max_age: Option<Duration>,
    /// How many bytes the records of the publications may have together, as
    /// stored. What an engine adds to that, and events, are not counted.
    pub max_bytes: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the limits into the record of a subscription, which is then to be stored.
    pub fn set_on(&self, subscription: &mut Subscription) {
        subscription.max_count = self.max_count;
        subscription.max_age = self
            .max_age
            .map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        subscription.max_bytes = self.max_bytes;
    }

    /// The limits that stand in a record.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub fn of(subscription: &SubscriptionView<'_>) -> Result<Self> {
        Ok(Self {
            max_count: subscription.max_count()?,
            max_age: subscription.max_age()?.map(Duration::from_nanos),
            max_bytes: subscription.max_bytes()?,
        })
    }

    /// The earliest time that is not too old.
    fn earliest(&self, now: Timestamp) -> Option<Timestamp> {
        let age = u64::try_from(self.max_age?.as_nanos()).unwrap_or(u64::MAX);
        Some(Timestamp::from_nanos(now.as_nanos().saturating_sub(age)))
    }

    /// When something of a time becomes too old; `None` when that never comes.
    fn too_old_at(&self, time: Timestamp) -> Option<Timestamp> {
        let age = u64::try_from(self.max_age?.as_nanos()).ok()?;
        let last = time.as_nanos().checked_add(age)?;
        last.checked_add(1).map(Timestamp::from_nanos)
    }

    /// Whether anything is limited that must be counted.
    fn must_count(&self) -> bool {
        self.max_count.is_some() || self.max_bytes.is_some()
    }

    /// Whether a history is too long, and its oldest entry has to go.
    fn is_too_much(&self, entries: u64, bytes: u64) -> bool {
        self.max_count.is_some_and(|max| entries > max)
            || self.max_bytes.is_some_and(|max| bytes > max)
    }
}

impl From<&Subscription> for Limits {
    fn from(subscription: &Subscription) -> Self {
        Self {
            max_count: subscription.max_count,
            max_age: subscription.max_age.map(Duration::from_nanos),
            max_bytes: subscription.max_bytes,
        }
    }
}

/// What was removed, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Removed {
    /// Publications that went from the history of a subscription.
    pub entries: u64,
    /// Events.
    pub events: u64,
    /// Publications that nothing referred to any more, and that went wholly.
    pub publications: u64,
    /// The bytes that were stored of these.
    pub bytes: u64,
}

impl Removed {
    /// Counts a publication, if it went, by the bytes that were stored of it.
    fn count_publication(&mut self, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.publications += 1;
            self.bytes += bytes;
        }
    }
}

impl AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.events = self.events.saturating_add(other.events);
        self.publications = self.publications.saturating_add(other.publications);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// How many rows may still be looked at and changed.
#[derive(Debug)]
struct Budget(u64);

impl Budget {
    fn spend(&mut self, rows: u64) {
        self.0 = self.0.saturating_sub(rows);
    }

    fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// Takes a part of it; what is left of that is to be [put back](Self::put_back).
    fn take(&mut self, rows: u64) -> Self {
        let part = rows.min(self.0);
        self.0 -= part;
        Self(part)
    }

    fn put_back(&mut self, part: Self) {
        self.0 += part.0;
    }
}

/// What removing an entry costs, in rows, without its events.
pub(super) const ROWS_OF_AN_ENTRY: u64 = 8;

/// How many rows one commit of a purge looks at and changes, about.
const BATCH: u64 = 10_000;

impl<B: Backend> RealmStore<B> {
    /// Begins a write transaction to remove something in.
    fn begin_removal(&self) -> Result<StoreWrite<'_, B>> {
        let txn = self.begin_write()?;
        require_complete(txn.is_complete())?;
        Ok(txn)
    }

    /// Refuses to say what would be removed where that could not be done.
    fn require_adopted<X: ReadTxn>(&self, txn: &X) -> Result<()> {
        require_complete(self.is_adopted(txn)?)
    }

    /// The bytes that an entry counts for: those of its publication.
    fn bytes_of_entry<X: ReadTxn>(&self, txn: &X, entry: &HistoryEntry) -> Result<u64> {
        let bytes = self.stored_bytes(txn, entry.publication)?;
        Ok(bytes.unwrap_or_default())
    }
}

/// Nothing is removed where events may refer to it that our tables do not know of.
fn require_complete(is_complete: bool) -> Result<()> {
    if is_complete {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "the store is not adopted: Crossbar.io's own events may stand in it, whose publications \
         must not go; `realmstore adopt` makes them part of the history first (and \
         `realmstore verify` says what keeps it from that, if it was run already)",
    ))
}
