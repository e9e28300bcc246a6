//! Purging: keeping limits once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::super::history::HistoryEntry;
use super::super::{RealmStore, StoreWrite};
use super::running::limits_of;
use super::sweep::{OldEnd, Sweep};
use super::{BATCH, Budget, Limits, ROWS_OF_AN_ENTRY, Removed};
use crate::backend::{Backend, ReadTxn, WriteTxn};
use crate::key::{Key, KeyBuf};
use crate::record::{Publication, Record};
use crate::table::successor;
use crate::{PublicationId, Result, SubscriptionId, Timestamp};

/// How many entries are taken in hand together.
const ENTRIES: usize = 1024;

/// What is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purge {
    /// Only this subscription, or what it is an alias of. Without it also
    /// retained publications go that have expired, and, where the limits have
    /// an age, publications of that age that nothing refers to.
    pub subscription: Option<SubscriptionId>,
    /// The limits of each subscription; without them those that stand in the store.
    pub limits: Option<Limits>,
    /// The time by which something is too old, or has expired.
    pub now: Timestamp,
}

/// What a purge has removed so far, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Purged {
    /// What went from the history of each subscription of which something did.
    pub subscriptions: BTreeMap<SubscriptionId, Removed>,
    /// Retained publications that had expired.
    pub expired: u64,
    /// Publications that went because of that.
    pub retained: Removed,
    /// Publications that nothing had referred to.
    pub unreferenced: Removed,
    /// Whether it came to its end.
    pub complete: bool,
}

impl Purged {
    /// All of it.
    pub fn total(&self) -> Removed {
        let mut total = self.retained;
        total += self.unreferenced;
        for removed in self.subscriptions.values() {
            total += *removed;
        }
        total
    }
}

/// The last entry of each history that goes.
type Ends = BTreeMap<SubscriptionId, HistoryEntry>;

impl<B: Backend> RealmStore<B> {
    /// Removes what is too much, too old, or expired; and tells `on_batch`
    /// after each commit of some thousand rows what went so far, which may stop
    /// it. Whatever stops it, the next call goes on.
    ///
    /// What is recorded meanwhile is not looked at. It is told which entries go
    /// by one walk over each history before anything is removed.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) in a store that
    /// is not [adopted](Self::is_adopted), which is then left as it is.
    pub fn purge(
        &self,
        purge: &Purge,
        mut on_batch: impl FnMut(&Purged) -> ControlFlow<()>,
    ) -> Result<Purged> {
        // Catches up with what others wrote, before it is looked at.
        self.begin_removal()?.commit()?;
        let ends = {
            let txn = self.begin_read()?;
            self.ends(&txn, purge)?
        };
        let mut purged = Purged::default();
        if purge.subscription.is_none() {
            let mut next = KeyBuf::new();
            loop {
                let mut txn = self.begin_removal()?;
                let piece = self.expired_rows(&txn, &next, purge.now, BATCH)?;
                for (key, publication) in &piece.expired {
                    purged.expired += 1;
                    let released = self.drop_retained(&mut txn, key, *publication)?;
                    purged.retained.count_publication(released);
                }
                txn.commit()?;
                if on_batch(&purged).is_break() {
                    return Ok(purged);
                }
                if piece.is_last {
                    break;
                }
                next = piece.next;
            }
        }
        for (subscription, last) in ends {
            let mut sweep = Sweep::new(subscription);
            let mut behind = None;
            loop {
                let mut txn = self.begin_removal()?;
                let removed = purged.subscriptions.entry(subscription).or_default();
                let is_done = self.sweep_to(&mut txn, &mut sweep, &mut behind, last, removed)?;
                txn.commit()?;
                if on_batch(&purged).is_break() {
                    return Ok(purged);
                }
                if is_done {
                    break;
                }
            }
        }
        if let Some(earliest) = purge.earliest_unreferenced() {
            let mut next = KeyBuf::new();
            loop {
                let mut txn = self.begin_removal()?;
                let piece = self.older_publications(&txn, &next, earliest)?;
                for publication in &piece.found {
                    let released = self.release(&mut txn, *publication)?;
                    purged.unreferenced.count_publication(released);
                }
                txn.commit()?;
                if on_batch(&purged).is_break() {
                    return Ok(purged);
                }
                if piece.is_last {
                    break;
                }
                next = piece.next;
            }
        }
        purged.complete = true;
        Ok(purged)
    }

    /// Says what [`purge`](Self::purge) would remove from the store as a
    /// transaction sees it. Of a history that is damaged that is what it says
    /// of itself.
    ///
    /// # Errors
    /// As [`purge`](Self::purge).
    pub fn plan_purge<X: ReadTxn>(&self, txn: &X, purge: &Purge) -> Result<Purged> {
        self.require_adopted(txn)?;
        let ends = self.ends(txn, purge)?;
        let mut purged = Purged::default();
        let is_for_all = purge.subscription.is_none();
        let expired_by = is_for_all.then_some(purge.now);
        if is_for_all {
            self.plan_retained(txn, purge.now, &mut purged)?;
        }
        for (&subscription, &last) in &ends {
            let removed = purged.subscriptions.entry(subscription).or_default();
            let mut budget = Budget(u64::MAX);
            let mut entries = OldEnd::new(self, txn, subscription, None)?;
            while let Some(entry) = entries.next(&mut budget)?
                && entry <= last
            {
                self.plan_entry(txn, &entry, &ends, expired_by, removed)?;
            }
        }
        if let Some(earliest) = purge.earliest_unreferenced() {
            let mut next = KeyBuf::new();
            loop {
                let piece = self.older_publications(txn, &next, earliest)?;
                for publication in piece.found {
                    if self.retained_rows_of(txn, publication)?.is_empty() {
                        let bytes = self.stored_bytes(txn, publication)?;
                        purged.unreferenced.count_publication(bytes);
                    }
                }
                if piece.is_last {
                    break;
                }
                next = piece.next;
            }
        }
        purged.complete = true;
        Ok(purged)
    }

    fn plan_retained<X: ReadTxn>(
        &self,
        txn: &X,
        now: Timestamp,
        purged: &mut Purged,
    ) -> Result<()> {
        let (history,) = self.events().companions();
        let mut next = KeyBuf::new();
        loop {
            let piece = self.expired_rows(txn, &next, now, BATCH)?;
            for (key, publication) in piece.expired {
                purged.expired += 1;
                let rows = self.retained_rows_of(txn, publication)?;
                // It goes with the last of its rows, where all of them go.
                let is_last = rows.iter().all(|(other, row)| {
                    *other <= key && row.expires_at.is_some_and(|at| at <= now)
                });
                if is_last && !history.lists(txn, publication)? {
                    let bytes = self.stored_bytes(txn, publication)?;
                    purged.retained.count_publication(bytes);
                }
            }
            if piece.is_last {
                return Ok(());
            }
            next = piece.next;
        }
    }

    /// Counts an entry that goes, and its publication where it is the last one of that.
    fn plan_entry<X: ReadTxn>(
        &self,
        txn: &X,
        entry: &HistoryEntry,
        ends: &Ends,
        expired_by: Option<Timestamp>,
        removed: &mut Removed,
    ) -> Result<()> {
        let (history,) = self.events().companions();
        let own = history.readable_position(txn, entry.subscription, entry.publication)?;
        if let Some(position) = own {
            let place = position.entry(entry.subscription, entry.publication);
            if place != *entry && history.has(txn, &place)? {
                return Ok(());
            }
            removed.events = removed.events.saturating_add(position.events);
        }
        removed.entries += 1;
        for (subscription, position) in history.positions_of(txn, entry.publication)? {
            let goes_before = subscription <= entry.subscription
                && position.is_none_or(|position| {
                    let place = position.entry(subscription, entry.publication);
                    ends.get(&subscription).is_some_and(|last| place <= *last)
                });
            if subscription != entry.subscription && !goes_before {
                return Ok(());
            }
        }
        let rows = self.retained_rows_of(txn, entry.publication)?;
        let is_retained = rows.iter().any(|(_, row)| {
            let is_expired =
                matches!((row.expires_at, expired_by), (Some(at), Some(now)) if at <= now);
            !is_expired
        });
        if !is_retained {
            removed.count_publication(self.stored_bytes(txn, entry.publication)?);
        }
        Ok(())
    }

    /// Takes some entries off, up to the last one that goes. Says whether none is left.
    fn sweep_to(
        &self,
        txn: &mut StoreWrite<'_, B>,
        sweep: &mut Sweep,
        behind: &mut Option<HistoryEntry>,
        last: HistoryEntry,
        removed: &mut Removed,
    ) -> Result<bool> {
        let mut budget = Budget(BATCH);
        let mut entries = Vec::new();
        let mut is_last = false;
        let mut rows = OldEnd::new(self, txn, last.subscription, *behind)?;
        while entries.len() < ENTRIES && !is_last {
            match rows.next(&mut budget)? {
                Some(entry) if entry <= last => entries.push(entry),
                _ => is_last = true,
            }
        }
        drop(rows);
        let taken = sweep.take_off(self, txn, &entries, &mut budget, removed)?;
        if let Some(entry) = taken.checked_sub(1).and_then(|last| entries.get(last)) {
            *behind = Some(*entry);
        }
        if !is_last || taken < entries.len() {
            return Ok(false);
        }
        sweep.go_on(self, txn, &mut budget, removed)?;
        Ok(sweep.is_done())
    }

    /// The last entry of each history that is to go.
    fn ends<X: ReadTxn>(&self, txn: &X, purge: &Purge) -> Result<Ends> {
        let subscriptions = match purge.subscription {
            Some(subscription) => vec![self.resolve_subscription(txn, subscription)?],
            None => self.subscriptions_with_history(txn)?,
        };
        let mut ends = Ends::new();
        for subscription in subscriptions {
            let limits = match purge.limits {
                Some(limits) => limits,
                None => limits_of(self, txn, subscription)?,
            };
            if let Some(end) = self.end(txn, subscription, &limits, purge.now)? {
                ends.insert(subscription, end);
            }
        }
        Ok(ends)
    }

    fn end<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Option<HistoryEntry>> {
        let mut budget = Budget(u64::MAX);
        let bytes_of = |entry: &HistoryEntry| {
            if limits.max_bytes.is_some() {
                self.bytes_of_entry(txn, entry)
            } else {
                Ok(0)
            }
        };
        let (mut entries, mut bytes) = (0u64, 0u64);
        if limits.must_count() {
            let mut rows = OldEnd::new(self, txn, subscription, None)?;
            while let Some(entry) = rows.next(&mut budget)? {
                entries += 1;
                bytes += bytes_of(&entry)?;
            }
        }
        let earliest = limits.earliest(now);
        let mut last = None;
        let mut rows = OldEnd::new(self, txn, subscription, None)?;
        while let Some(entry) = rows.next(&mut budget)?
            && (limits.is_too_much(entries, bytes)
                || earliest.is_some_and(|earliest| entry.timestamp < earliest))
        {
            entries = entries.saturating_sub(1);
            bytes = bytes.saturating_sub(bytes_of(&entry)?);
            last = Some(entry);
        }
        Ok(last)
    }

    /// Publications from a key on that are older than a time, and in no history.
    fn older_publications<X: ReadTxn>(
        &self,
        txn: &X,
        from: &[u8],
        earliest: Timestamp,
    ) -> Result<OlderPublications> {
        let (history,) = self.events().companions();
        let mut piece = OlderPublications {
            found: Vec::new(),
            next: KeyBuf::from_slice(from),
            is_last: false,
        };
        let mut scan = self.publications().space().scan_from(txn, from)?;
        let mut cost = 0;
        while cost < BATCH {
            let Some((key, value)) = scan.next()? else {
                piece.is_last = true;
                break;
            };
            cost += 1;
            piece.next = successor(key);
            let time = Publication::view(value).and_then(|view| Ok(view.timestamp()?));
            let Ok(publication) = PublicationId::from_bytes(key) else {
                continue;
            };
            // When one was published that cannot be read nobody knows.
            if time.is_ok_and(|time| time < earliest) && !history.lists(txn, publication)? {
                cost += ROWS_OF_AN_ENTRY;
                piece.found.push(publication);
            }
        }
        Ok(piece)
    }
}

struct OlderPublications {
    found: Vec<PublicationId>,
    next: KeyBuf,
    is_last: bool,
}

impl Purge {
    /// From when on publications stay that nothing refers to; `None` when all do.
    fn earliest_unreferenced(&self) -> Option<Timestamp> {
        match self.subscription {
            Some(_) => None,
            None => self.limits?.earliest(self.now),
        }
    }
}
