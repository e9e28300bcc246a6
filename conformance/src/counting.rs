//! A backend that counts what is asked of it, and fails when it is told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use realmstore_core::{
    Backend, BackendInfo, Error, ErrorKind, KeyRange, Order, ReadTxn, Result, Scan, WriteTxn,
};

/// How often each of an engine's methods was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub get: u64,
    pub scan: u64,
    pub next: u64,
    pub last: u64,
    pub put: u64,
    pub put_new: u64,
    pub insert: u64,
    pub delete: u64,
}

impl Counts {
    /// All calls together.
    pub fn total(&self) -> u64 {
        let Self {
            get,
            scan,
            next,
            last,
            put,
            put_new,
            insert,
            delete,
        } = self;
        get + scan + next + last + put + put_new + insert + delete
    }
}

/// The calls of an engine's methods.
#[derive(Debug, Default)]
pub struct Calls {
    counts: Mutex<Counts>,
    /// Whether puts fail, as on a disk that does.
    pub puts_fail: AtomicBool,
}

impl Calls {
    /// The calls since this was last asked.
    pub fn take(&self) -> Counts {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *counts)
    }

    fn note(&self, method: impl FnOnce(&mut Counts) -> &mut u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *method(&mut counts) += 1;
    }

    fn note_put(&self, method: impl FnOnce(&mut Counts) -> &mut u64) -> Result<()> {
        self.note(method);
        if self.puts_fail.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "told to fail"));
        }
        Ok(())
    }
}

/// An engine, and the count of calls to it.
pub struct Counting<B> {
    pub inner: B,
    pub calls: Calls,
}

impl<B> Counting<B> {
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            calls: Calls::default(),
        }
    }
}

pub struct CountingTxn<'b, X> {
    inner: X,
    calls: &'b Calls,
}

pub struct CountingScan<'b, S> {
    inner: S,
    calls: &'b Calls,
}

impl<B: Backend> Backend for Counting<B> {
    type ReadTxn<'b>
        = CountingTxn<'b, B::ReadTxn<'b>>
    where
        Self: 'b;
    type WriteTxn<'b>
        = CountingTxn<'b, B::WriteTxn<'b>>
    where
        Self: 'b;

    fn begin_read(&self) -> Result<Self::ReadTxn<'_>> {
        Ok(CountingTxn {
            inner: self.inner.begin_read()?,
            calls: &self.calls,
        })
    }

    fn begin_write(&self) -> Result<Self::WriteTxn<'_>> {
        Ok(CountingTxn {
            inner: self.inner.begin_write()?,
            calls: &self.calls,
        })
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn info(&self) -> Result<BackendInfo> {
        self.inner.info()
    }
}

impl<'b, X: ReadTxn> ReadTxn for CountingTxn<'b, X> {
    type Value<'t>
        = X::Value<'t>
    where
        Self: 't;
    type Scan<'t>
        = CountingScan<'b, X::Scan<'t>>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Value<'_>>> {
        self.calls.note(|counts| &mut counts.get);
        self.inner.get(key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>> {
        self.calls.note(|counts| &mut counts.scan);
        Ok(CountingScan {
            inner: self.inner.scan(range, order)?,
            calls: self.calls,
        })
    }

    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        self.calls.note(|counts| &mut counts.last);
        self.inner.last(range, read)
    }

    fn commit_number(&self) -> Option<u64> {
        self.inner.commit_number()
    }
}

impl<S: Scan> Scan for CountingScan<'_, S> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.calls.note(|counts| &mut counts.next);
        self.inner.next()
    }
}

impl<X: WriteTxn> WriteTxn for CountingTxn<'_, X> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.calls.note_put(|counts| &mut counts.put)?;
        self.inner.put(key, value)
    }

    fn put_new(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.calls.note_put(|counts| &mut counts.put_new)?;
        self.inner.put_new(key, value)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.calls.note(|counts| &mut counts.insert);
        self.inner.insert(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.calls.note(|counts| &mut counts.delete);
        self.inner.delete(key)
    }

    fn commit(self) -> Result<()> {
        self.inner.commit()
    }
}
