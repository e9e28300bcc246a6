//! The write transaction of a realm store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::changes::{Changes, HistoryChanges};
use super::recent::{Recent, RecentState};
use super::stamp::Stamp;
use crate::backend::{Backend, KeyRange, Order, ReadTxn, WriteTxn};
use crate::table::Space;
use crate::{Error, ErrorKind, Result};

/// The write transaction of a realm store. Dropped, it leaves no trace.
pub struct StoreWrite<'b, B: Backend + 'b> {
    txn: B::WriteTxn<'b>,
    meta: Space,
    stamp: Stamp,
    changed: bool,
    broken_off: bool,
    rows_written: u64,
    /// What is known of the state that this transaction sees.
    recent: Recent,
    /// Where that comes from and goes to.
    recent_state: Option<&'b RecentState>,
    /// Where changes of histories are told, if anybody wants to know.
    told_to: Option<&'b HistoryChanges>,
    changes: Changes,
    /// What is to become true with the commit.
    committed: Vec<Arc<AtomicBool>>,
}

impl<'b, B: Backend> StoreWrite<'b, B> {
    pub(super) fn new(txn: B::WriteTxn<'b>, meta: Space, stamp: Stamp) -> Self {
        Self {
            txn,
            meta,
            stamp,
            changed: false,
            broken_off: false,
            rows_written: 0,
            recent: Recent::default(),
            recent_state: None,
            told_to: None,
            changes: Changes::default(),
            committed: Vec::new(),
        }
    }

    /// Lets it tell what it changes in histories.
    pub(super) fn telling(mut self, changes: &'b HistoryChanges) -> Self {
        self.told_to = changes.is_anybody_listening().then_some(changes);
        self
    }

    /// Lets it begin with what is known from the commit before.
    pub(super) fn knowing(mut self, state: &'b RecentState) -> Self {
        self.recent = state.begin(self.txn.commit_number());
        self.recent_state = Some(state);
        self
    }

    /// What this transaction has changed in histories since this was last asked.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Becomes true when this transaction is committed.
    pub(super) fn commit_flag(&mut self) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        self.committed.push(Arc::clone(&flag));
        flag
    }

    /// How many rows it has written, those of indexes among them. What it has
    /// removed is not counted.
    pub fn rows_written(&self) -> u64 {
        self.rows_written
    }

    /// Takes note that an operation of several steps failed in between.
    pub(super) fn break_off(&mut self) {
        self.broken_off = true;
    }

    /// What is known of the state that this transaction sees.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn recent_mut(&mut self) -> &mut Recent {
        &mut self.recent
    }

    fn note_put(&mut self, key: &[u8]) {
        self.rows_written += 1;
        if let Some(changes) = self.told_to {
            changes.note_put(&mut self.changes, key);
        }
        if let Some(state) = self.recent_state {
            state.note(&mut self.recent, key, true);
        }
    }

    /// Whether somebody else has written since our indexes were complete.
    pub(super) fn is_behind(&self) -> bool {
        self.stamp == Stamp::Stale
    }

    /// Whether nothing stands in this store that our tables do not know of.
    pub(super) fn is_complete(&self) -> bool {
        self.stamp == Stamp::Current
    }

    /// Says that our indexes will not be complete when this is committed, if they were.
    pub(super) fn take_stamp_back(&mut self) {
        if self.stamp == Stamp::Current {
            self.set_stamp(Stamp::Stale);
        }
    }

    /// Says whether our indexes will be complete when this is committed.
    pub(super) fn set_stamp(&mut self, stamp: Stamp) {
        self.stamp = stamp;
        self.changed = true;
    }
}

impl<'b, B: Backend> ReadTxn for StoreWrite<'b, B> {
    type Value<'t>
        = <B::WriteTxn<'b> as ReadTxn>::Value<'t>
    where
        Self: 't;
    type Scan<'t>
        = <B::WriteTxn<'b> as ReadTxn>::Scan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Value<'_>>> {
        self.txn.get(key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>> {
        self.txn.scan(range, order)
    }

    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        self.txn.last(range, read)
    }

    fn commit_number(&self) -> Option<u64> {
        self.txn.commit_number()
    }
}

impl<B: Backend> WriteTxn for StoreWrite<'_, B> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.changed = true;
        self.txn.put(key, value)?;
        self.note_put(key);
        Ok(())
    }

    fn put_new(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.changed = true;
        self.txn.put_new(key, value)?;
        self.note_put(key);
        Ok(())
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.changed = true;
        let is_new = self.txn.insert(key, value)?;
        if is_new {
            self.note_put(key);
        }
        Ok(is_new)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.changed = true;
        let was_there = self.txn.delete(key)?;
        if let Some(changes) = self.told_to.filter(|_| was_there) {
            changes.note_delete(&mut self.changes, key);
        }
        if let Some(state) = self.recent_state {
            state.note(&mut self.recent, key, false);
        }
        Ok(was_there)
    }

    /// # Errors
    /// [`ErrorKind::InvalidInput`] when an operation failed half done and the
    /// transaction could only be dropped; and those of the engine.
    fn commit(mut self) -> Result<()> {
        if self.broken_off {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "an operation of this transaction failed half done; it can only be dropped",
            ));
        }
        if self.changed {
            self.stamp.carry_over(&self.meta, &mut self.txn)?;
            self.txn.commit()?;
        }
        if let Some(state) = self.recent_state {
            state.committed(self.recent, self.changed);
        }
        if let Some(listener) = self.told_to {
            listener.add(self.changes);
        }
        for flag in self.committed {
            flag.store(true, Ordering::Release);
        }
        Ok(())
    }
}
