//! The lock in front of LMDB's own writer lock.
//!
//! LMDB's lock would let a thread wait for itself forever, and would make the
//! wait of other threads look like the work of another process.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use realmstore_core::{ErrorKind, Result};

use crate::error;
use crate::redo::RedoLog;

/// Lets one thread write at a time.
#[derive(Default)]
pub(crate) struct WriterLock {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    owner: Option<ThreadId>,
    redo: RedoLog,
}

/// The right to write, until it is dropped; carries the redo log, whose
/// memory goes from one transaction to the next.
pub(crate) struct Writer<'w> {
    lock: &'w WriterLock,
    pub(crate) redo: RedoLog,
}

impl WriterLock {
    /// Waits for the other writer of this process.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is this thread.
    pub(crate) fn acquire(&self) -> Result<Writer<'_>> {
        let this = thread::current().id();
        let mut state = self.lock();
        if state.owner == Some(this) {
            return Err(error::plain(
                ErrorKind::InvalidInput,
                "this thread already holds a write transaction",
            ));
        }
        while state.owner.is_some() {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.owner = Some(this);
        let redo = std::mem::take(&mut state.redo);
        Ok(Writer { lock: self, redo })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut redo = std::mem::take(&mut self.redo);
        redo.clear();
        let mut state = self.lock.lock();
        state.owner = None;
        state.redo = redo;
        drop(state);
        self.lock.freed.notify_one();
    }
}
