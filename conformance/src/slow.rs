//! A backend on a disk that takes its time, counts what it flushes, and does
//! whatever else a test wants of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use realmstore_core::{Backend, BackendInfo, KeyRange, Order, ReadTxn, Result, WriteTxn};

/// What a disk does beside its work. An error is the operation's, which is
/// then not done; a panic is the caller's.
pub type Hook<A> = Option<Box<dyn Fn(A) -> Result<()> + Send + Sync>>;

/// What a disk does with a key and a value that are put.
pub type PutHook = Box<dyn Fn(&[u8], &[u8]) -> Result<()> + Send + Sync>;

/// A disk, for a test to share with the backend on it.
#[derive(Default)]
pub struct Disk {
    /// What each commit takes.
    pub flush: Duration,
    /// While it is set, no commit ends.
    pub is_stuck: AtomicBool,
    /// Whether what follows is called: once the store is attached, which writes by itself.
    pub is_armed: AtomicBool,
    /// Called at the beginning of each snapshot.
    pub on_read: Hook<()>,
    /// Called with the key and the value of each put.
    pub on_put: Option<PutHook>,
    /// Called at each commit, with the puts of its transaction.
    pub on_commit: Hook<u64>,
    /// How many commits there were.
    pub commits: AtomicU64,
}

impl Disk {
    /// A disk on which each commit takes that long.
    pub fn with_flush(flush: Duration) -> Self {
        Self {
            flush,
            ..Self::default()
        }
    }

    fn armed<'h, H: ?Sized>(&self, hook: &'h Option<Box<H>>) -> Option<&'h H> {
        hook.as_deref()
            .filter(|_| self.is_armed.load(Ordering::Relaxed))
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// An engine on such a disk.
pub struct Slow<B> {
    inner: B,
    disk: Arc<Disk>,
}

impl<B> Slow<B> {
    pub fn new(inner: B, disk: Arc<Disk>) -> Self {
        Self { inner, disk }
    }
}

impl<B: Backend> Backend for Slow<B> {
    type ReadTxn<'b>
        = B::ReadTxn<'b>
    where
        Self: 'b;
    type WriteTxn<'b>
        = SlowWriteTxn<'b, B::WriteTxn<'b>>
    where
        Self: 'b;

    fn begin_read(&self) -> Result<Self::ReadTxn<'_>> {
        if let Some(on_read) = self.disk.armed(&self.disk.on_read) {
            on_read(())?;
        }
        self.inner.begin_read()
    }

    fn begin_write(&self) -> Result<Self::WriteTxn<'_>> {
        Ok(SlowWriteTxn {
            inner: self.inner.begin_write()?,
            disk: &self.disk,
            puts: 0,
        })
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn info(&self) -> Result<BackendInfo> {
        self.inner.info()
    }
}

/// The write transaction of an engine on such a disk.
pub struct SlowWriteTxn<'b, X> {
    inner: X,
    disk: &'b Disk,
    puts: u64,
}

impl<X: ReadTxn> ReadTxn for SlowWriteTxn<'_, X> {
    type Value<'t>
        = X::Value<'t>
    where
        Self: 't;
    type Scan<'t>
        = X::Scan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Value<'_>>> {
        self.inner.get(key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>> {
        self.inner.scan(range, order)
    }

    fn commit_number(&self) -> Option<u64> {
        self.inner.commit_number()
    }
}

impl<X: WriteTxn> WriteTxn for SlowWriteTxn<'_, X> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.puts += 1;
        if let Some(on_put) = self.disk.armed(&self.disk.on_put) {
            on_put(key, value)?;
        }
        self.inner.put(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.inner.delete(key)
    }

    fn commit(self) -> Result<()> {
        thread::sleep(self.disk.flush);
        while self.disk.is_stuck.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(on_commit) = self.disk.armed(&self.disk.on_commit) {
            on_commit(self.puts)?;
        }
        self.inner.commit()?;
        self.disk.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
