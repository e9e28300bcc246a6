//! One writer at a time, for engines.
//!
//! ```
//! use realmstore_core::writer_lock::WriterLock;
//!
//! let lock: WriterLock<Vec<u8>> = WriterLock::default();
//! let mut writer = lock.acquire()?;
//! writer.extend_from_slice(b"what only the writer uses");
//! assert!(lock.acquire().is_err(), "this thread would wait for itself");
//! drop(writer);
//! assert!(lock.acquire()?.is_empty());
//! # Ok::<(), realmstore_core::Error>(())
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::{Error, ErrorKind, Result};

/// Memory that write transactions use one after another.
pub trait Scratch: Default {
    /// Forgets what is in it. Memory may be kept for the next transaction,
    /// but no more than a process can spare for ever.
    fn reset(&mut self);
}

impl Scratch for () {
    fn reset(&mut self) {}
}

impl Scratch for Vec<u8> {
    fn reset(&mut self) {
        /// The memory that is kept, at most.
        const KEPT_CAPACITY: usize = 16 << 20;
        self.clear();
        self.shrink_to(KEPT_CAPACITY);
    }
}

/// Lets one thread write at a time.
///
/// A thread that asks again for what it holds is refused, where a mutex would
/// let it wait for itself for ever.
#[derive(Default)]
pub struct WriterLock<T = ()> {
    state: Mutex<State<T>>,
    freed: Condvar,
}

#[derive(Default)]
struct State<T> {
    owner: Option<ThreadId>,
    scratch: T,
}

/// The right to write, until it is dropped, and the memory to do it with.
///
/// It stays on the thread that asked for it, whose name is on the lock:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn send_writer(writer: realmstore_core::writer_lock::Writer<'_>) {
///     send(writer);
/// }
/// ```
pub struct Writer<'w, T: Scratch = ()> {
    lock: &'w WriterLock<T>,
    scratch: T,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl<T: Scratch> WriterLock<T> {
    /// Waits until no other thread writes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when this thread does.
    pub fn acquire(&self) -> Result<Writer<'_, T>> {
        let this = thread::current().id();
        let mut state = self.lock();
        if state.owner == Some(this) {
            return Err(Error::new(
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
        Ok(Writer {
            lock: self,
            scratch: std::mem::take(&mut state.scratch),
            _stays_on_its_thread: PhantomData,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Scratch> Deref for Writer<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.scratch
    }
}

impl<T: Scratch> DerefMut for Writer<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.scratch
    }
}

impl<T: Scratch> Drop for Writer<'_, T> {
    fn drop(&mut self) {
        self.scratch.reset();
        let mut state = self.lock.lock();
        state.owner = None;
        state.scratch = std::mem::take(&mut self.scratch);
        drop(state);
        self.lock.freed.notify_one();
    }
}

impl<T> fmt::Debug for WriterLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterLock").finish_non_exhaustive()
    }
}

impl<T: Scratch> fmt::Debug for Writer<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_goes_from_one_writer_to_the_next() {
        let lock: WriterLock<Vec<u8>> = WriterLock::default();
        let mut writer = lock.acquire().unwrap();
        writer.reserve(1000);
        writer.push(1);
        let memory = writer.as_ptr();
        drop(writer);
        let writer = lock.acquire().unwrap();
        assert!(writer.is_empty());
        assert_eq!(writer.as_ptr(), memory);
    }

    #[test]
    fn one_thread_writes_at_a_time_and_none_waits_for_itself() {
        let lock: WriterLock = WriterLock::default();
        let inside = Mutex::new(());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _writer = lock.acquire().unwrap();
                        let _alone = inside.try_lock().expect("two writers at once");
                        assert_eq!(lock.acquire().unwrap_err().kind(), ErrorKind::InvalidInput);
                    }
                });
            }
        });
    }

    #[test]
    fn a_writer_that_panics_leaves_the_lock_free() {
        let lock: WriterLock = WriterLock::default();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let _writer = lock.acquire().unwrap();
                panic!("on purpose");
            });
            assert!(writer.join().is_err());
        });
        assert!(lock.acquire().is_ok());
    }
}
