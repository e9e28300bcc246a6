//! What the queue waits with. The model in `model.rs` puts another module in
//! the place of this one.

use std::sync::PoisonError;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// Locks, whatever a thread that panicked with the lock has left: what is
/// locked here is right after every statement that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits to be woken, or until a time; says whether that time has come.
pub(crate) fn wait<'g, T>(
    condvar: &Condvar,
    _mutex: &'g Mutex<T>,
    guard: MutexGuard<'g, T>,
    until: Option<Instant>,
) -> (MutexGuard<'g, T>, bool) {
    match until {
        None => (
            condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            false,
        ),
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            let (guard, result) = condvar
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner);
            (guard, result.timed_out())
        }
    }
}
