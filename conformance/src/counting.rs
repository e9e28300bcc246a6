//! A backend that counts what is asked of it, and fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use realmstore_core::{
    Backend, BackendInfo, Error, ErrorKind, KeyRange, Order, ReadTxn, Result, Scan, WriteTxn,
};

/// How often each of an engine's methods was called.
#[derive(Debug, Default)]
pub struct Calls {
    pub get: AtomicU64,
    pub scan: AtomicU64,
    pub next: AtomicU64,
    pub put: AtomicU64,
    pub insert: AtomicU64,
    pub delete: AtomicU64,
    /// Whether puts fail, as on a disk that does.
    pub puts_fail: AtomicBool,
}

impl Calls {
    /// The counts since the last call, as get, scan, next, put, insert, delete.
    pub fn take(&self) -> [u64; 6] {
        [
            &self.get,
            &self.scan,
            &self.next,
            &self.put,
            &self.insert,
            &self.delete,
        ]
        .map(|count| count.swap(0, Ordering::Relaxed))
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

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
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
        count(&self.calls.get);
        self.inner.get(key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>> {
        count(&self.calls.scan);
        Ok(CountingScan {
            inner: self.inner.scan(range, order)?,
            calls: self.calls,
        })
    }

    fn commit_number(&self) -> Option<u64> {
        self.inner.commit_number()
    }
}

impl<S: Scan> Scan for CountingScan<'_, S> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        count(&self.calls.next);
        self.inner.next()
    }
}

impl<X: WriteTxn> WriteTxn for CountingTxn<'_, X> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        count(&self.calls.put);
        if self.calls.puts_fail.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "told to fail"));
        }
        self.inner.put(key, value)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        count(&self.calls.insert);
        self.inner.insert(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        count(&self.calls.delete);
        self.inner.delete(key)
    }

    fn commit(self) -> Result<()> {
        self.inner.commit()
    }
}
