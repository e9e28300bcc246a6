//! Keeping the limits of subscriptions while a store is written to.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::changes::Change;
use super::super::history::HistoryEntry;
use super::super::{RealmStore, StoreWrite};
use super::sweep::{OldEnd, Sweep};
use super::{Budget, Limits, Removed, require_complete};
use crate::backend::{Backend, ReadTxn};
use crate::key::{Key, KeyBuf};
use crate::record::{Record, Subscription};
use crate::table::successor;
use crate::{ErrorKind, Result, SubscriptionId, Timestamp};

/// How many entries are taken in hand together.
const ENTRIES: usize = 256;

/// How long it takes until all subscriptions and all that is retained are
/// looked at again, in nanoseconds.
const ROUND: u64 = 60_000_000_000;

/// The smallest budget of a step, in rows: with less it might not get on.
const LEAST_BUDGET: u64 = 4 * ROWS_OF_A_ROUND;

/// How many rows of these a step looks at, once it has seen all of them.
const ROWS_OF_A_ROUND: u64 = 64;

/// Keeps the [`Limits`] of subscriptions, and removes retained publications
/// that have expired, while a store is written to.
///
/// There is one for a store that is open. Whoever writes lets it take a
/// [`step`](Self::step) at the end of each transaction, and in transactions of
/// its own while there is nothing to write. It holds no more than numbers; when
/// the store is opened again it counts anew, some rows at each step, and what is
/// found to be too much by then goes already.
///
/// What it does not see: records that are put in place of others of another
/// length count with the old one, and what another process removes from the
/// middle of a history counts all the same, until the store is opened again.
#[derive(Debug, Default)]
pub struct Retention {
    kept: BTreeMap<SubscriptionId, Kept>,
    /// Subscriptions of which there is more to do, in the order of their turns.
    queue: VecDeque<SubscriptionId>,
    /// What stands in the queue.
    queued: HashSet<SubscriptionId>,
    /// When the oldest entry of a history becomes too old.
    due: BTreeSet<(Timestamp, SubscriptionId)>,
    subscriptions: Round,
    retained: Round,
    /// What the last step was about, and whether it was committed.
    last_step: Option<(Arc<AtomicBool>, BTreeSet<SubscriptionId>)>,
}

/// What one step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Step {
    /// What went.
    pub removed: Removed,
    /// Retained publications that had expired, and are not retained any more.
    pub expired: u64,
    /// Whether the budget is used up and there is more to do at once.
    pub more: bool,
}

/// What is known of a subscription with limits.
#[derive(Debug)]
struct Kept {
    tally: Tally,
    sweep: Sweep,
    /// The last entry that was taken in hand: what stands before it is gone, or going.
    behind: Option<HistoryEntry>,
    due: Option<Timestamp>,
}

/// What a history has, from its old end to the last entry that was counted.
#[derive(Debug, Default)]
struct Tally {
    entries: u64,
    bytes: u64,
    has_bytes: bool,
    first: Option<HistoryEntry>,
    last: Option<HistoryEntry>,
    is_complete: bool,
}

/// A walk over a table, again and again.
#[derive(Debug, Default)]
struct Round {
    next: KeyBuf,
    /// When it may begin anew; unset while it goes on.
    resting_until: Option<Timestamp>,
    /// Whether it came to the end once.
    was_complete: bool,
}

impl Round {
    /// How many rows may be looked at now.
    fn rows(&mut self, now: Timestamp, budget: &Budget) -> u64 {
        if self.resting_until.is_some_and(|until| now < until) {
            return 0;
        }
        self.resting_until = None;
        if self.was_complete {
            budget.0.min(ROWS_OF_A_ROUND)
        } else {
            budget.0
        }
    }

    fn end(&mut self, now: Timestamp) {
        let until = now.as_nanos().saturating_add(ROUND);
        *self = Self {
            next: KeyBuf::new(),
            resting_until: Some(Timestamp::from_nanos(until)),
            was_complete: true,
        };
    }
}

impl Retention {
    /// Begins to keep limits. The first steps count what is there.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does a part of what there is to do, as a part of a transaction: the last
    /// one, behind all that is recorded in it. If the transaction is then
    /// dropped, what the step was about is counted anew.
    ///
    /// A history has no more than its limits when this returns, unless
    /// [`Step::more`] says that the budget was too small for what came. The
    /// budget is a number of rows that are looked at and changed, 256 at least,
    /// which a step goes beyond by no more than some hundred. A publication that goes costs
    /// about eight, and two for each of its events.
    ///
    /// What is limited by age goes when it becomes too old by `now`. Limits
    /// that change count with the next step.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) in a store
    /// that is not [adopted](RealmStore::is_adopted): nothing was then changed,
    /// and the transaction can be committed. After any other error it can only
    /// be dropped.
    pub fn step<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        now: Timestamp,
        budget: u64,
    ) -> Result<Step> {
        require_complete(txn.is_complete())?;
        let budget = Budget(budget.max(LEAST_BUDGET));
        let stepped = self.step_on(store, txn, now, budget);
        if stepped.is_err() {
            txn.break_off();
        }
        stepped
    }

    fn step_on<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        now: Timestamp,
        mut budget: Budget,
    ) -> Result<Step> {
        self.settle();
        self.last_step = Some((txn.commit_flag(), BTreeSet::new()));
        let mut changes = store.changes.take();
        for (subscription, change) in txn.take_changes() {
            changes.entry(subscription).or_default().add(change);
        }
        let mut changed: Vec<SubscriptionId> = Vec::with_capacity(changes.len());
        for (subscription, change) in changes {
            self.note(subscription, change);
            changed.push(subscription);
        }
        let mut step = Step::default();
        // What was written to now comes before what waits, which gets its share all the same.
        let mut most = budget.take(budget.0 - budget.0 / 4);
        for subscription in changed {
            self.take_turn(store, txn, subscription, now, &mut most, &mut step)?;
        }
        budget.put_back(most);
        self.wake(now);
        while !budget.is_spent()
            && let Some(subscription) = self.queue.pop_front()
        {
            self.queued.remove(&subscription);
            self.take_turn(store, txn, subscription, now, &mut budget, &mut step)?;
        }
        self.look_at_subscriptions(store, txn, now, &mut budget, &mut step)?;
        self.look_at_retained(store, txn, now, &mut budget, &mut step)?;
        step.more = !self.queue.is_empty()
            || !self.subscriptions.was_complete
            || !self.retained.was_complete;
        // What went was counted already.
        txn.take_changes();
        Ok(step)
    }

    /// Forgets what it knows because of a step that was not committed.
    fn settle(&mut self) {
        let Some((is_committed, subscriptions)) = self.last_step.take() else {
            return;
        };
        if is_committed.load(Ordering::Acquire) {
            return;
        }
        for subscription in subscriptions {
            self.forget(subscription);
            self.enqueue(subscription);
        }
    }

    fn forget(&mut self, subscription: SubscriptionId) {
        if let Some(kept) = self.kept.remove(&subscription)
            && let Some(due) = kept.due
        {
            self.due.remove(&(due, subscription));
        }
    }

    /// Takes note of what was written to the history of a subscription.
    fn note(&mut self, subscription: SubscriptionId, change: Change) {
        let Some(kept) = self.kept.get_mut(&subscription) else {
            return;
        };
        let first_added = change.first_added;
        let is_within = |counted: Option<HistoryEntry>| matches!((first_added, counted), (Some(added), Some(counted)) if added <= counted);
        if change.is_removed || is_within(kept.tally.last) {
            kept.tally = Tally::default();
        }
        if is_within(kept.behind) {
            kept.behind = None;
        }
        kept.tally.is_complete = false;
    }

    /// Lets those have a turn of whom something became too old.
    fn wake(&mut self, now: Timestamp) {
        while let Some(&(due, subscription)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            if let Some(kept) = self.kept.get_mut(&subscription) {
                kept.due = None;
            }
            self.enqueue(subscription);
        }
    }

    /// Lets a subscription have a turn later.
    fn enqueue(&mut self, subscription: SubscriptionId) {
        if self.queued.insert(subscription) {
            self.queue.push_back(subscription);
        }
    }

    /// Lets a subscription have a part of the budget, or a turn later.
    fn take_turn<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        subscription: SubscriptionId,
        now: Timestamp,
        budget: &mut Budget,
        step: &mut Step,
    ) -> Result<()> {
        if budget.is_spent() {
            self.enqueue(subscription);
            return Ok(());
        }
        let mut part = budget.take((budget.0 / 4).max(ROWS_OF_A_ROUND));
        self.tend(store, txn, subscription, now, &mut part, step)?;
        budget.put_back(part);
        Ok(())
    }

    /// Keeps the limits of a subscription, as far as the budget goes.
    fn tend<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        subscription: SubscriptionId,
        now: Timestamp,
        budget: &mut Budget,
        step: &mut Step,
    ) -> Result<()> {
        budget.spend(1);
        let limits = limits_of(store, txn, subscription)?;
        if limits.is_none()
            && self
                .kept
                .get(&subscription)
                .is_none_or(|kept| kept.sweep.is_done())
        {
            self.forget(subscription);
            return Ok(());
        }
        if let Some((_, subscriptions)) = &mut self.last_step {
            subscriptions.insert(subscription);
        }
        let kept = self.kept.entry(subscription).or_insert_with(|| Kept {
            tally: Tally::default(),
            sweep: Sweep::new(subscription),
            behind: None,
            due: None,
        });
        let is_done = kept.keep(store, txn, subscription, &limits, now, budget, step)?;
        let due = kept
            .tally
            .first
            .and_then(|oldest| limits.too_old_at(oldest.timestamp));
        if let Some(old) = std::mem::replace(&mut kept.due, due) {
            self.due.remove(&(old, subscription));
        }
        if let Some(due) = due {
            self.due.insert((due, subscription));
        }
        if !is_done {
            self.enqueue(subscription);
        }
        Ok(())
    }

    /// Finds subscriptions with limits, and sees that those it knows still have them.
    fn look_at_subscriptions<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        now: Timestamp,
        budget: &mut Budget,
        step: &mut Step,
    ) -> Result<()> {
        let rows = self.subscriptions.rows(now, budget);
        let mut found = Vec::new();
        let mut is_ended = false;
        let mut scan = store
            .subscriptions()
            .space()
            .scan_from(txn, &self.subscriptions.next)?;
        for _ in 0..rows {
            let Some((key, value)) = scan.next()? else {
                is_ended = true;
                break;
            };
            budget.spend(1);
            self.subscriptions.next = successor(key);
            let limits = Subscription::view(value).and_then(|view| Limits::of(&view));
            if let (Ok(id), Ok(limits)) = (SubscriptionId::from_bytes(key), limits)
                && !limits.is_none()
            {
                found.push(id);
            }
        }
        drop(scan);
        if is_ended {
            self.subscriptions.end(now);
        }
        for subscription in found {
            self.take_turn(store, txn, subscription, now, budget, step)?;
        }
        Ok(())
    }

    /// Lets retained publications go that have expired.
    fn look_at_retained<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        now: Timestamp,
        budget: &mut Budget,
        step: &mut Step,
    ) -> Result<()> {
        let rows = self.retained.rows(now, budget);
        if rows == 0 {
            return Ok(());
        }
        let piece = store.expired_rows(txn, &self.retained.next, now, rows)?;
        budget.spend(piece.looked_at);
        for (key, publication) in &piece.expired {
            budget.spend(super::ROWS_OF_AN_ENTRY);
            step.expired += 1;
            let released = store.drop_retained(txn, key, *publication)?;
            step.removed.count_publication(released);
        }
        self.retained.next = piece.next;
        if piece.is_last {
            self.retained.end(now);
        }
        Ok(())
    }
}

impl Kept {
    /// Keeps the limits, as far as the budget goes. Says whether nothing is left to do.
    #[allow(clippy::too_many_arguments, reason = "what a step has at hand")]
    fn keep<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        subscription: SubscriptionId,
        limits: &Limits,
        now: Timestamp,
        budget: &mut Budget,
        step: &mut Step,
    ) -> Result<bool> {
        // What was begun gets its share, however much is written.
        let mut share = budget.take((budget.0 / 4).max(1));
        self.sweep
            .go_on(store, txn, &mut share, &mut step.removed)?;
        budget.put_back(share);
        if self.tally.has_bytes != limits.max_bytes.is_some() {
            self.tally = Tally {
                has_bytes: limits.max_bytes.is_some(),
                ..Tally::default()
            };
        }
        loop {
            if limits.must_count() {
                // What was counted already may be too much.
                let mut half = budget.take(budget.0.div_ceil(2));
                self.count(store, txn, subscription, &mut half)?;
                budget.put_back(half);
            }
            let (entries, is_all) = self.too_much(store, txn, subscription, limits, now, budget)?;
            if entries.is_empty() {
                self.sweep.go_on(store, txn, budget, &mut step.removed)?;
                let is_counted = self.tally.is_complete || !limits.must_count();
                return Ok(is_all && is_counted && self.sweep.is_done());
            }
            let places: Vec<HistoryEntry> = entries.iter().map(|(entry, _)| *entry).collect();
            let taken = self
                .sweep
                .take_off(store, txn, &places, budget, &mut step.removed)?;
            for (entry, bytes) in entries.iter().take(taken) {
                self.behind = Some(*entry);
                self.tally.first = None;
                if self.tally.last.is_some_and(|last| *entry <= last) {
                    self.tally.entries = self.tally.entries.saturating_sub(1);
                    self.tally.bytes = self.tally.bytes.saturating_sub(*bytes);
                }
            }
            if budget.is_spent() {
                return Ok(false);
            }
        }
    }

    /// Counts what was not counted yet.
    fn count<B: Backend, X: ReadTxn>(
        &mut self,
        store: &RealmStore<B>,
        txn: &X,
        subscription: SubscriptionId,
        budget: &mut Budget,
    ) -> Result<()> {
        if self.tally.is_complete {
            return Ok(());
        }
        let from = self.tally.last.max(self.behind);
        let mut rows = OldEnd::new(store, txn, subscription, from)?;
        while !budget.is_spent() {
            let Some(entry) = rows.next(budget)? else {
                self.tally.is_complete = true;
                break;
            };
            if self.sweep.has(&entry) {
                continue;
            }
            if self.tally.has_bytes {
                budget.spend(1);
                self.tally.bytes += store.bytes_of_entry(txn, &entry)?;
            }
            if self.tally.entries == 0 {
                self.tally.first = Some(entry);
            }
            self.tally.entries += 1;
            self.tally.last = Some(entry);
        }
        Ok(())
    }

    /// Entries that are too much, with their bytes, and whether these are all of them.
    fn too_much<B: Backend, X: ReadTxn>(
        &mut self,
        store: &RealmStore<B>,
        txn: &X,
        subscription: SubscriptionId,
        limits: &Limits,
        now: Timestamp,
        budget: &mut Budget,
    ) -> Result<(Vec<(HistoryEntry, u64)>, bool)> {
        let mut found = Vec::new();
        let earliest = limits.earliest(now);
        let (mut entries, mut bytes) = (self.tally.entries, self.tally.bytes);
        let mut rows = OldEnd::new(store, txn, subscription, self.behind)?;
        loop {
            if found.len() == ENTRIES || budget.is_spent() {
                return Ok((found, false));
            }
            let Some(entry) = rows.next(budget)? else {
                if found.is_empty() {
                    self.tally = Tally {
                        has_bytes: self.tally.has_bytes,
                        is_complete: true,
                        ..Tally::default()
                    };
                }
                return Ok((found, true));
            };
            if self.sweep.has(&entry) {
                continue;
            }
            if found.is_empty() {
                if self.tally.first.is_some_and(|first| first != entry) {
                    // Somebody else was at the old end; what was counted is not true any more.
                    self.tally = Tally {
                        has_bytes: self.tally.has_bytes,
                        ..Tally::default()
                    };
                    return Ok((found, false));
                }
                self.tally.first = Some(entry);
            }
            let is_counted = self.tally.last.is_some_and(|last| entry <= last);
            let is_too_old = earliest.is_some_and(|earliest| entry.timestamp < earliest);
            let goes = is_too_old || (is_counted && limits.is_too_much(entries, bytes));
            if !goes {
                return Ok((found, true));
            }
            let own = if self.tally.has_bytes {
                budget.spend(1);
                store.bytes_of_entry(txn, &entry)?
            } else {
                0
            };
            if is_counted {
                entries = entries.saturating_sub(1);
                bytes = bytes.saturating_sub(own);
            }
            found.push((entry, own));
        }
    }
}

/// The limits that stand in the record of a subscription. One that is damaged has none.
pub(super) fn limits_of<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    subscription: SubscriptionId,
) -> Result<Limits> {
    let Some(record) = store.subscriptions().get(txn, &subscription)? else {
        return Ok(Limits::default());
    };
    match record.view().and_then(|view| Limits::of(&view)) {
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(Limits::default()),
        limits => limits,
    }
}
