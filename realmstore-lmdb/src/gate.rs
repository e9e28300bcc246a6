//! The gate between transactions and changes of the map.
//!
//! LMDB may be given another map only while no transaction of the process is
//! alive. So each transaction holds a [`Pass`], and whoever wants to resize
//! waits until all are given back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use realmstore_core::{ErrorKind, Result};

use crate::error;

/// How long a transaction is held back in favour of a resize. It must end:
/// its thread may hold the very snapshot that the resize is waiting for.
const HOLD_BACK: Duration = Duration::from_millis(100);

/// Counts the transactions that are alive and knows how large the map is.
///
/// A transaction that comes while nobody wants to resize takes no lock. It adds
/// itself to `alive` and then looks whether the gate is `shut`; whoever resizes
/// shuts it and then looks whether anybody is alive. So one of them sees the other.
pub(crate) struct Gate {
    alive: AtomicUsize,
    /// Whether somebody wants to resize, or the map is lost.
    shut: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    resizers: usize,
    map_size: usize,
    map_lost: bool,
}

/// The right to use the map, until it is dropped.
pub(crate) struct Pass<'g>(&'g Gate);

impl Gate {
    pub(crate) fn new(map_size: usize) -> Self {
        let state = State {
            resizers: 0,
            map_size,
            map_lost: false,
        };
        Self {
            alive: AtomicUsize::new(0),
            shut: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Enters, after a short wait where somebody wants to resize.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Pass<'_>> {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self);
        if !self.shut.load(Ordering::SeqCst) {
            return Ok(pass);
        }
        drop(pass);
        self.enter_when_open()
    }

    #[cold]
    fn enter_when_open(&self) -> Result<Pass<'_>> {
        let mut state = self.lock();
        let deadline = Instant::now() + HOLD_BACK;
        while state.resizers > 0 {
            let Some(left) = time_until(deadline) else {
                break;
            };
            state = self.wait(state, left);
        }
        if state.map_lost {
            return Err(error::plain(
                ErrorKind::Engine,
                "the memory map was lost when it could not be enlarged; close the store and open \
                 it again",
            ));
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Pass(self))
    }

    /// The size of the map, in bytes.
    pub(crate) fn map_size(&self) -> usize {
        self.lock().map_size
    }

    /// Waits until no transaction is alive, then lets `resize` make the map
    /// larger, unless it is no longer of the size `seen`: then somebody else
    /// has done so already. `resize` returns the new size.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when transactions are still alive after `timeout`.
    /// When `resize` fails there is no map any more, and nobody gets in again.
    pub(crate) fn resize(
        &self,
        seen: usize,
        timeout: Duration,
        resize: impl FnOnce() -> Result<usize>,
    ) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        state.resizers += 1;
        self.shut.store(true, Ordering::SeqCst);
        while self.alive() > 0 {
            // A timeout beyond the end of time is none.
            let left = deadline.map_or(Some(HOLD_BACK), time_until);
            let Some(left) = left else { break };
            state = self.wait(state, left);
        }
        state.resizers -= 1;
        let alive = self.alive();
        let result = if alive > 0 {
            Err(error::plain(
                ErrorKind::Busy,
                format!(
                    "the memory map must grow, but transactions of this process ({alive} now) kept it \
                     as it is for {timeout:?}"
                ),
            ))
        } else if state.map_size != seen || state.map_lost {
            Ok(())
        } else {
            // The lock is kept meanwhile, so nobody can enter.
            let resized = resize();
            match resized {
                Ok(size) => state.map_size = size,
                Err(_) => state.map_lost = true,
            }
            resized.map(drop)
        };
        let shut = state.resizers > 0 || state.map_lost;
        self.shut.store(shut, Ordering::SeqCst);
        drop(state);
        self.changed.notify_all();
        result
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>, time: Duration) -> MutexGuard<'g, State> {
        let (state, _) = self
            .changed
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner);
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        let was_last = self.0.alive.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.shut.load(Ordering::SeqCst) {
            // Who has found somebody alive waits before this gets the lock.
            drop(self.0.lock());
            self.0.changed.notify_all();
        }
    }
}

fn time_until(deadline: Instant) -> Option<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use realmstore_core::Error;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_resize_that_failed_shuts_the_gate_for_good() {
        let gate = Gate::new(1);
        let failed = gate.resize(1, SHORT, || Err(Error::new(ErrorKind::Full, "no room")));
        assert_eq!(failed.map_err(|error| error.kind()), Err(ErrorKind::Full));
        assert_eq!(
            gate.enter().map(drop).map_err(|error| error.kind()),
            Err(ErrorKind::Engine)
        );
    }

    #[test]
    fn a_resize_that_somebody_else_has_done_is_not_done_twice() {
        let gate = Gate::new(1);
        gate.resize(1, SHORT, || Ok(2)).unwrap();
        gate.resize(1, SHORT, || Ok(4)).unwrap();
        assert_eq!(gate.map_size(), 2);
    }

    #[test]
    fn who_already_holds_a_pass_gets_another_one_while_a_resize_waits() {
        let gate = Gate::new(1);
        std::thread::scope(|scope| {
            let held = gate.enter().unwrap();
            let resize = scope.spawn(|| gate.resize(1, Duration::from_secs(60), || Ok(2)));
            while gate.lock().resizers == 0 {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            let second = gate.enter().unwrap();
            assert!(begun.elapsed() >= HOLD_BACK);
            drop((held, second));
            resize.join().unwrap().unwrap();
        });
        assert_eq!(gate.map_size(), 2);
    }
}
