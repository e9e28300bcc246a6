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
    /// Which transaction of this store it was given to, by number.
    turn: u64,
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
        let mut known = self.known();
        let turn = known.turn + 1;
        let left = Recent {
            turn,
            ..Recent::default()
        };
        let mut recent = std::mem::replace(&mut *known, left);
        if recent.commit != commit {
            recent = Recent {
                commit,
                ..Recent::default()
            };
        }
        recent.turn = turn;
        recent
    }

    /// Takes what is known after a transaction that has committed something, or
    /// not. It comes when others may write already: where one has begun since,
    /// what that one knows is newer.
    pub(super) fn committed(&self, mut recent: Recent, is_new: bool) {
        if is_new {
            recent.commit = recent.commit.map(|number| number + 1);
        }
        let mut known = self.known();
        if known.turn == recent.turn {
            *known = recent;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_transaction_knows_does_not_take_the_place_of_what_a_newer_one_does() {
        let subscription = SubscriptionId::from_stored(7);
        let end = |nanos| Some((Timestamp::from_nanos(nanos), 0));
        let state = RecentState::new(None, None);
        let mut older = state.begin(None);
        older.note_end(subscription, end(1));
        // The older one has committed, and its thread comes late.
        let mut newer = state.begin(None);
        assert_eq!(newer.end(subscription), None);
        newer.note_end(subscription, end(2));
        state.committed(newer, true);
        state.committed(older, true);
        assert_eq!(state.begin(None).end(subscription), Some(end(2)));
    }

    #[test]
    fn nothing_is_known_where_somebody_else_has_committed() {
        let subscription = SubscriptionId::from_stored(7);
        let state = RecentState::new(None, None);
        let mut recent = state.begin(Some(4));
        recent.note_end(subscription, None);
        state.committed(recent, true);
        let recent = state.begin(Some(5));
        assert_eq!(recent.end(subscription), Some(None));
        state.committed(recent, false);
        assert_eq!(state.begin(Some(6)).end(subscription), None);
    }
}
