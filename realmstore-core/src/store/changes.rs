//! What transactions change in histories, told to whoever keeps count of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::history::HistoryEntry;
use crate::SubscriptionId;
use crate::key::Key;
use crate::table::Slot;

/// What was changed, by subscription.
pub(super) type Changes = HashMap<SubscriptionId, Change>;

/// What was changed in the history of a subscription, or in what is known of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    /// The first one of the entries that came.
    pub(super) first_added: Option<HistoryEntry>,
    /// Whether an entry went.
    pub(super) is_removed: bool,
}

impl Change {
    pub(super) fn add(&mut self, other: Self) {
        let both = [self.first_added, other.first_added];
        self.first_added = both.into_iter().flatten().min();
        self.is_removed |= other.is_removed;
    }
}

/// What committed transactions have changed.
pub(super) struct HistoryChanges {
    history: Option<Slot>,
    subscriptions: Option<Slot>,
    /// `None` while nobody wants to know.
    committed: Mutex<Option<Changes>>,
}

impl HistoryChanges {
    pub(super) fn new(history: Option<Slot>, subscriptions: Option<Slot>) -> Self {
        Self {
            history,
            subscriptions,
            committed: Mutex::new(None),
        }
    }

    pub(super) fn is_anybody_listening(&self) -> bool {
        self.committed().is_some()
    }

    /// What was committed since this was last asked; from the first time on
    /// transactions tell of it.
    pub(super) fn take(&self) -> Changes {
        self.committed()
            .replace(Changes::default())
            .unwrap_or_default()
    }

    /// Adds what a transaction has changed that is committed.
    pub(super) fn add(&self, changes: Changes) {
        if let Some(committed) = self.committed().as_mut() {
            for (subscription, change) in changes {
                committed.entry(subscription).or_default().add(change);
            }
        }
    }

    /// Takes note of a row that came.
    pub(super) fn note_put(&self, changes: &mut Changes, key: &[u8]) {
        if let Some(change) = self.change(key) {
            let (subscription, added) = change;
            let change = Change {
                first_added: added,
                is_removed: false,
            };
            changes.entry(subscription).or_default().add(change);
        }
    }

    /// Takes note of a row that went.
    pub(super) fn note_delete(&self, changes: &mut Changes, key: &[u8]) {
        if let Some((subscription, removed)) = self.change(key) {
            changes.entry(subscription).or_default().is_removed |= removed.is_some();
        }
    }

    /// The subscription that a row is about, and the entry of its history that it is.
    fn change(&self, key: &[u8]) -> Option<(SubscriptionId, Option<HistoryEntry>)> {
        let (slot, key) = key.split_first_chunk()?;
        let slot = Some(Slot::from_be_bytes(*slot));
        if slot == self.history {
            let entry = HistoryEntry::from_bytes(key).ok()?;
            Some((entry.subscription, Some(entry)))
        } else if slot == self.subscriptions {
            Some((SubscriptionId::from_bytes(key).ok()?, None))
        } else {
            None
        }
    }

    fn committed(&self) -> MutexGuard<'_, Option<Changes>> {
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
