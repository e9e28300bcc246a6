//! What the writer knows from the commits before: where histories end, and what
//! subscription IDs stand for. Recording asks for both each time.
//!
//! It is kept right by looking at every row that is written, and is given up
//! when anybody else has written, or a transaction was not committed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::history::HistoryEntry;
use crate::key::Key;
use crate::table::Slot;
use crate::{SubscriptionId, Timestamp};

/// The subscriptions that are known at most; some 4 MiB.
const KNOWN: usize = 1 << 16;

/// Where a history ends: the time and the ordinal of its last entry.
pub(super) type End = (Timestamp, u32);

/// What is known of the newest state.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The number of the commit that it is the state of, for engines whose
    /// files others may write to.
    commit: Option<u64>,
    /// `None` where a history has no entry.
    ends: HashMap<SubscriptionId, Option<End>>,
    stand_for: HashMap<SubscriptionId, SubscriptionId>,
}

impl Recent {
    /// Where a history ends, if it has an entry; `None` when that is not known.
    pub(super) fn end(&self, subscription: SubscriptionId) -> Option<Option<End>> {
        self.ends.get(&subscription).copied()
    }

    pub(super) fn note_end(&mut self, subscription: SubscriptionId, end: Option<End>) {
        if self.ends.len() == KNOWN {
            self.ends.clear();
        }
        self.ends.insert(subscription, end);
    }

    /// The subscription that an ID stands for; `None` when that is not known.
    pub(super) fn stands_for(&self, id: SubscriptionId) -> Option<SubscriptionId> {
        self.stand_for.get(&id).copied()
    }

    pub(super) fn note_stands_for(&mut self, id: SubscriptionId, subscription: SubscriptionId) {
        if self.stand_for.len() == KNOWN {
            self.stand_for.clear();
        }
        self.stand_for.insert(id, subscription);
    }
}

/// What is known between two transactions, and in which rows it stands.
#[derive(Debug)]
pub(super) struct RecentState {
    history: Option<Slot>,
    subscriptions: Option<Slot>,
    known: Mutex<Recent>,
}

impl RecentState {
    pub(super) fn new(history: Option<Slot>, subscriptions: Option<Slot>) -> Self {
        Self {
            history,
            subscriptions,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Recent> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a transaction begins with that sees the commit of this number. It
    /// is given back by [`committed`](Self::committed), or not at all.
    pub(super) fn begin(&self, commit: Option<u64>) -> Recent {
        let known = std::mem::take(&mut *self.known());
        if known.commit == commit {
            return known;
        }
        Recent {
            commit,
            ..Recent::default()
        }
    }

    /// Takes what is known after a transaction that has committed something, or not.
    pub(super) fn committed(&self, mut recent: Recent, is_new: bool) {
        if is_new {
            recent.commit = recent.commit.map(|number| number + 1);
        }
        *self.known() = recent;
    }

    /// Takes note of a row that comes or goes.
    pub(super) fn note(&self, recent: &mut Recent, key: &[u8], comes: bool) {
        let Some((slot, mut key)) = key.split_first_chunk() else {
            return;
        };
        let slot = Some(Slot::from_be_bytes(*slot));
        if slot == self.history {
            let Ok(entry) = HistoryEntry::decode(&mut key) else {
                return;
            };
            let place = Some((entry.timestamp, entry.ordinal));
            match recent.ends.get_mut(&entry.subscription) {
                Some(end) if comes => *end = (*end).max(place),
                // What is the last one now is not known.
                Some(end) if *end <= place => drop(recent.ends.remove(&entry.subscription)),
                _ => {}
            }
        } else if slot == self.subscriptions
            && let Ok(id) = SubscriptionId::decode(&mut key)
        {
            recent.stand_for.remove(&id);
        }
    }
}
