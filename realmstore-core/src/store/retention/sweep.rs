//! Taking entries off a history, with all their events.
//!
//! The events of a publication under a subscription begin where the history
//! says, and most stand close together: so those of some entries are found in
//! one scan. But others may come at any time, as when a publication is
//! retained and sent to whoever subscribes later. For these a scan goes on
//! from step to step until all are found; meanwhile the entry stays, with its
//! first event, and counts what is left of it.

use std::collections::HashMap;

use super::super::history::{HistoryEntry, Position};
use super::super::tables::EventKey;
use super::super::{RealmStore, StoreWrite};
use super::{Budget, ROWS_OF_AN_ENTRY, Removed};
use crate::backend::{Backend, Order, ReadTxn};
use crate::key::{Key, KeyBuf};
use crate::table::successor;
use crate::{PublicationId, Result, SubscriptionId};

/// How many rows are scanned for entries beyond twice the events they have.
const SLACK: u64 = 64;

/// What is being taken off the history of a subscription.
#[derive(Debug)]
pub(super) struct Sweep {
    subscription: SubscriptionId,
    /// Entries with events that are not found yet.
    lagging: HashMap<PublicationId, Lagging>,
    /// Where the scan for them goes on.
    scan: Option<Pass>,
    /// From where on the next scan must look, for those that wait for it.
    waiting_from: Option<KeyBuf>,
}

#[derive(Debug)]
struct Pass {
    next: KeyBuf,
    is_ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Lagging {
    entry: HistoryEntry,
    /// The event that stays to the last.
    kept: Option<EventKey>,
    /// Whether nothing that is said of the entry is relied on: all events of
    /// the subscription are looked at.
    is_thorough: bool,
    /// Whether it is looked for in the scan that goes on.
    is_in_scan: bool,
}

/// An entry whose events are looked for.
struct Wanted {
    entry: HistoryEntry,
    events: u64,
    found: Vec<EventKey>,
}

impl Sweep {
    pub(super) fn new(subscription: SubscriptionId) -> Self {
        Self {
            subscription,
            lagging: HashMap::new(),
            scan: None,
            waiting_from: None,
        }
    }

    /// Whether nothing is left to be found.
    pub(super) fn is_done(&self) -> bool {
        self.lagging.is_empty()
    }

    /// Whether an entry is being taken off.
    pub(super) fn has(&self, entry: &HistoryEntry) -> bool {
        let lagging = self.lagging.get(&entry.publication);
        lagging.is_some_and(|lagging| lagging.entry == *entry)
    }

    /// Takes entries off, which are in order. Gives how many of them were
    /// taken in hand: one at least, and as many as the budget is enough for.
    /// Those whose events are not all found are [gone on with](Self::go_on) later.
    pub(super) fn take_off<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        entries: &[HistoryEntry],
        budget: &mut Budget,
        removed: &mut Removed,
    ) -> Result<usize> {
        let (history,) = store.events().companions();
        let mut wanted: HashMap<PublicationId, Wanted> = HashMap::new();
        let mut expected: u64 = 0;
        let mut taken = 0;
        for entry in entries {
            let rows = taken as u64 * ROWS_OF_AN_ENTRY;
            let cost = expected.saturating_mul(2).saturating_add(rows);
            if taken > 0 && cost >= budget.0 {
                break;
            }
            taken += 1;
            let position = history.readable_position(txn, self.subscription, entry.publication)?;
            let is_elsewhere = match position {
                Some(position) => {
                    let place = position.entry(self.subscription, entry.publication);
                    place != *entry && history.has(txn, &place)?
                }
                None => false,
            };
            let is_in_hand = wanted.contains_key(&entry.publication)
                || self.lagging.contains_key(&entry.publication);
            if is_elsewhere || is_in_hand {
                // A row that is too much, and leads nowhere.
                history.take_off(txn, entry)?;
                continue;
            }
            match position {
                Some(position)
                    if position.entry(self.subscription, entry.publication) == *entry =>
                {
                    expected = expected.saturating_add(position.events);
                    let wanting = Wanted {
                        entry: *entry,
                        events: position.events,
                        found: Vec::new(),
                    };
                    wanted.insert(entry.publication, wanting);
                }
                _ => self.lag(*entry, None, None),
            }
        }
        budget.spend(taken as u64 * ROWS_OF_AN_ENTRY);
        let first = wanted.values().map(|wanted| wanted.entry).min();
        if let Some(first) = first {
            let rows = expected.saturating_mul(2).min(budget.0);
            let rows = rows.saturating_add(SLACK);
            let stopped_at = self.find(txn, store, first, rows, expected, &mut wanted, budget)?;
            let mut wanted: Vec<Wanted> = wanted.into_values().collect();
            wanted.sort_unstable_by_key(|wanted| wanted.entry);
            for wanted in wanted {
                self.remove_found(store, txn, wanted, &stopped_at, removed)?;
            }
        }
        Ok(taken)
    }

    /// Finds events of the entries that are wanted, and says where it stopped.
    #[allow(
        clippy::too_many_arguments,
        reason = "one scan, which has its own limits"
    )]
    fn find<B: Backend, X: ReadTxn>(
        &self,
        txn: &X,
        store: &RealmStore<B>,
        first: HistoryEntry,
        rows: u64,
        expected: u64,
        wanted: &mut HashMap<PublicationId, Wanted>,
        budget: &mut Budget,
    ) -> Result<KeyBuf> {
        let (history,) = store.events().companions();
        let mut missing = expected;
        let mut next = KeyBuf::new();
        (self.subscription, first.timestamp).encode(&mut next);
        let mut scan = history.events().scan_from(txn, &next)?;
        for _ in 0..rows {
            let Some((bytes, _)) = scan.next()? else {
                break;
            };
            budget.spend(1);
            let Ok(key) = EventKey::from_bytes(bytes) else {
                next = successor(bytes);
                continue;
            };
            if key.subscription != self.subscription {
                break;
            }
            match wanted.get_mut(&key.publication) {
                Some(wanted) => {
                    if (wanted.found.len() as u64) < wanted.events {
                        missing = missing.saturating_sub(1);
                    }
                    wanted.found.push(key);
                    budget.spend(1);
                }
                // Behind the last one there may be more of it than was counted.
                None if missing == 0 => break,
                None => {}
            }
            next = successor(bytes);
        }
        Ok(next)
    }

    fn remove_found<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        wanted: Wanted,
        stopped_at: &KeyBuf,
        removed: &mut Removed,
    ) -> Result<()> {
        let Wanted {
            entry,
            events,
            found,
        } = wanted;
        if found.len() as u64 > events {
            // There are more than were counted, who knows where.
            remove_events(store, txn, &found, removed)?;
            self.lag(entry, None, None);
            return Ok(());
        }
        if found.len() as u64 == events && events > 0 {
            remove_events(store, txn, &found, removed)?;
            return finish(store, txn, &entry, removed);
        }
        let (history,) = store.events().companions();
        let kept = found.first().copied();
        if let Some(rest) = found.get(1..).filter(|rest| !rest.is_empty()) {
            remove_events(store, txn, rest, removed)?;
            history.set_events(txn, &entry, events - rest.len() as u64)?;
        }
        self.lag(entry, kept, Some(stopped_at));
        Ok(())
    }

    /// Lets an entry wait for a scan: from a key on, or of everything.
    fn lag(&mut self, entry: HistoryEntry, kept: Option<EventKey>, from: Option<&KeyBuf>) {
        let lagging = Lagging {
            entry,
            kept,
            is_thorough: from.is_none(),
            is_in_scan: false,
        };
        self.lagging.insert(entry.publication, lagging);
        let from = from.cloned().unwrap_or_else(|| self.start());
        self.waiting_from = Some(match self.waiting_from.take() {
            Some(waiting) => waiting.min(from),
            None => from,
        });
    }

    fn start(&self) -> KeyBuf {
        let mut start = KeyBuf::new();
        self.subscription.encode(&mut start);
        start
    }

    /// Goes on looking for events of the entries that wait for it.
    pub(super) fn go_on<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        budget: &mut Budget,
        removed: &mut Removed,
    ) -> Result<()> {
        while !self.lagging.is_empty() && !budget.is_spent() {
            let mut pass = match self.scan.take() {
                Some(pass) => pass,
                None => {
                    for lagging in self.lagging.values_mut() {
                        lagging.is_in_scan = true;
                    }
                    Pass {
                        next: self.waiting_from.take().unwrap_or_else(|| self.start()),
                        is_ended: false,
                    }
                }
            };
            if !pass.is_ended {
                self.scan_on(store, txn, &mut pass, budget, removed)?;
            }
            if !pass.is_ended || !self.end_scan(store, txn, budget, removed)? {
                self.scan = Some(pass);
            }
        }
        if self.lagging.is_empty() {
            self.scan = None;
        }
        Ok(())
    }

    fn scan_on<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        pass: &mut Pass,
        budget: &mut Budget,
        removed: &mut Removed,
    ) -> Result<()> {
        let (history,) = store.events().companions();
        let mut found: HashMap<PublicationId, Vec<EventKey>> = HashMap::new();
        let mut scan = history.events().scan_from(txn, &pass.next)?;
        loop {
            if budget.is_spent() {
                break;
            }
            budget.spend(1);
            let Some((bytes, _)) = scan.next()? else {
                pass.is_ended = true;
                break;
            };
            if let Ok(key) = EventKey::from_bytes(bytes) {
                if key.subscription != self.subscription {
                    pass.is_ended = true;
                    break;
                }
                match self.lagging.get_mut(&key.publication) {
                    Some(lagging) if lagging.is_in_scan => {
                        let stays = !lagging.is_thorough && *lagging.kept.get_or_insert(key) == key;
                        if !stays {
                            found.entry(key.publication).or_default().push(key);
                            budget.spend(1);
                        }
                    }
                    _ => {}
                }
            } else if !bytes.starts_with(&self.start()) {
                pass.is_ended = true;
                break;
            }
            pass.next = successor(bytes);
        }
        drop(scan);
        for (publication, found) in found {
            remove_events(store, txn, &found, removed)?;
            let Some(lagging) = self.lagging.get(&publication).copied() else {
                continue;
            };
            if !lagging.is_thorough {
                self.count_down(store, txn, lagging, found.len() as u64, budget, removed)?;
            }
        }
        Ok(())
    }

    /// Takes note of events that are gone, and takes the entry off with its last one.
    fn count_down<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        lagging: Lagging,
        gone: u64,
        budget: &mut Budget,
        removed: &mut Removed,
    ) -> Result<()> {
        let Lagging { entry, kept, .. } = lagging;
        let (history,) = store.events().companions();
        let position = history.readable_position(txn, self.subscription, entry.publication)?;
        let events = match position {
            Some(position @ Position { events, .. })
                if position.entry(self.subscription, entry.publication) == entry =>
            {
                events.saturating_sub(gone)
            }
            // It is taken off at the end of the scan after this one.
            _ => return Ok(()),
        };
        if events > 1 {
            return history.set_events(txn, &entry, events);
        }
        budget.spend(ROWS_OF_AN_ENTRY);
        self.lagging.remove(&entry.publication);
        remove_events(store, txn, kept.as_slice(), removed)?;
        finish(store, txn, &entry, removed)
    }

    /// What a scan to the end has left over: where more was counted than there
    /// is, everything is looked at; where it was, the entry goes. Says whether
    /// that is done with.
    fn end_scan<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        budget: &mut Budget,
        removed: &mut Removed,
    ) -> Result<bool> {
        let mut finished = Vec::new();
        let mut again = None;
        for lagging in self.lagging.values_mut() {
            if !lagging.is_in_scan {
                continue;
            }
            if !lagging.is_thorough {
                lagging.is_thorough = true;
                lagging.is_in_scan = false;
                again = Some(());
            } else {
                finished.push(lagging.entry);
            }
        }
        if again.is_some() {
            self.waiting_from = Some(self.start());
        }
        for entry in finished {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(ROWS_OF_AN_ENTRY);
            self.lagging.remove(&entry.publication);
            finish(store, txn, &entry, removed)?;
        }
        Ok(true)
    }
}

/// Removes events that are no more counted.
fn remove_events<B: Backend>(
    store: &RealmStore<B>,
    txn: &mut StoreWrite<'_, B>,
    keys: &[EventKey],
    removed: &mut Removed,
) -> Result<()> {
    for key in keys {
        if store.events().space().delete(txn, |out| key.encode(out))? {
            removed.events += 1;
        }
    }
    Ok(())
}

/// Takes an entry without events off, and its publication with it, when
/// nothing refers to that any more.
fn finish<B: Backend>(
    store: &RealmStore<B>,
    txn: &mut StoreWrite<'_, B>,
    entry: &HistoryEntry,
    removed: &mut Removed,
) -> Result<()> {
    let (history,) = store.events().companions();
    let position = history.readable_position(txn, entry.subscription, entry.publication)?;
    if let Some(position) = position {
        let place = position.entry(entry.subscription, entry.publication);
        if place != *entry {
            history.take_off(txn, &place)?;
        }
    }
    history.take_off(txn, entry)?;
    history.forget_position(txn, entry)?;
    removed.entries += 1;
    removed.count_publication(store.release(txn, entry.publication)?);
    Ok(())
}

/// The entries of a history behind one, oldest first. Rows that are damaged are left out.
pub(super) struct OldEnd<'t, X: ReadTxn + 't> {
    scan: crate::table::SpaceScan<'t, X>,
}

impl<'t, X: ReadTxn> OldEnd<'t, X> {
    pub(super) fn new<B: Backend>(
        store: &RealmStore<B>,
        txn: &'t X,
        subscription: SubscriptionId,
        behind: Option<HistoryEntry>,
    ) -> Result<Self> {
        let (history,) = store.events().companions();
        let mut span = super::super::query::KeySpan::of(&subscription);
        if let Some(behind) = behind {
            span.begin(std::ops::Bound::Excluded(behind));
        }
        let scan = span.scan(history.history(), txn, Order::Ascending)?;
        Ok(Self { scan })
    }

    pub(super) fn next(&mut self, budget: &mut Budget) -> Result<Option<HistoryEntry>> {
        while let Some((key, _)) = self.scan.next()? {
            budget.spend(1);
            if let Ok(entry) = HistoryEntry::from_bytes(key) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}
