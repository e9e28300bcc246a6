//! A storage engine in memory.
//!
//! For the store of a realm that need not outlive its router, and for tests.
//!
//! ```
//! use realmstore_core::memory::MemoryBackend;
//! use realmstore_core::{Backend, ReadTxn, WriteTxn};
//!
//! # fn main() -> realmstore_core::Result<()> {
//! let store = MemoryBackend::new();
//!
//! let mut transaction = store.begin_write()?;
//! transaction.put(b"key", b"value")?;
//! let before = store.begin_read()?;
//! transaction.commit()?;
//!
//! assert_eq!(before.get(b"key")?, None);
//! assert_eq!(store.begin_read()?.get(b"key")?, Some(&b"value"[..]));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use rpds::RedBlackTreeMapSync;

use crate::backend::is_empty_range;
use crate::writer_lock::{Writer, WriterLock};
use crate::{Backend, BackendInfo, KeyRange, Order, ReadTxn, Result, Scan, WriteTxn, check_key};

/// The engine's name in errors and in the backend's facts.
const ENGINE: &str = "memory";

/// A map whose copies share what they have in common, so that a snapshot is a
/// copy of its root.
type Entries = RedBlackTreeMapSync<Box<[u8]>, Box<[u8]>>;

type Bounds = (Bound<Box<[u8]>>, Bound<Box<[u8]>>);

/// A realm store in memory, gone when it is dropped.
#[derive(Default)]
pub struct MemoryBackend {
    committed: RwLock<Entries>,
    writer: WriterLock,
}

impl MemoryBackend {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn committed(&self) -> Entries {
        self.committed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Backend for MemoryBackend {
    type ReadTxn<'b> = MemoryReadTxn<'b>;
    type WriteTxn<'b> = MemoryWriteTxn<'b>;

    fn begin_read(&self) -> Result<MemoryReadTxn<'_>> {
        Ok(MemoryReadTxn {
            entries: self.committed(),
            backend: PhantomData,
        })
    }

    fn begin_write(&self) -> Result<MemoryWriteTxn<'_>> {
        let writer = self
            .writer
            .acquire()
            .map_err(|error| error.engine(ENGINE))?;
        Ok(MemoryWriteTxn {
            entries: self.committed(),
            backend: self,
            _writer: writer,
        })
    }

    /// Does nothing: there is no disk.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn info(&self) -> Result<BackendInfo> {
        Ok(BackendInfo::new(ENGINE, "in memory"))
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend")
            .field("entries", &self.committed().size())
            .finish_non_exhaustive()
    }
}

/// A snapshot.
pub struct MemoryReadTxn<'b> {
    entries: Entries,
    // It could outlive its store, but no engine's snapshot may.
    backend: PhantomData<&'b MemoryBackend>,
}

impl ReadTxn for MemoryReadTxn<'_> {
    type Value<'t>
        = &'t [u8]
    where
        Self: 't;
    type Scan<'t>
        = MemoryScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        Ok(self.entries.get(key).map(AsRef::as_ref))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<MemoryScan<'_>> {
        Ok(MemoryScan::begin(&self.entries, range, order))
    }
}

impl fmt::Debug for MemoryReadTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReadTxn")
            .field("entries", &self.entries.size())
            .finish_non_exhaustive()
    }
}

/// The write transaction: a copy of the map, which takes the place of the
/// committed one.
pub struct MemoryWriteTxn<'b> {
    entries: Entries,
    backend: &'b MemoryBackend,
    _writer: Writer<'b>,
}

impl ReadTxn for MemoryWriteTxn<'_> {
    type Value<'t>
        = &'t [u8]
    where
        Self: 't;
    type Scan<'t>
        = MemoryScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        Ok(self.entries.get(key).map(AsRef::as_ref))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<MemoryScan<'_>> {
        Ok(MemoryScan::begin(&self.entries, range, order))
    }
}

impl WriteTxn for MemoryWriteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key).map_err(|error| error.engine(ENGINE))?;
        self.entries.insert_mut(key.into(), value.into());
        Ok(())
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let free = !self.entries.contains_key(key);
        if free {
            self.put(key, value)?;
        }
        Ok(free)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        // Looking first keeps the removal of nothing from copying the path.
        Ok(self.entries.contains_key(key) && self.entries.remove_mut(key))
    }

    fn commit(self) -> Result<()> {
        let mut committed = self
            .backend
            .committed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *committed, self.entries);
        // Freeing a large map takes time, which no reader should wait for.
        drop(committed);
        drop(before);
        Ok(())
    }
}

impl fmt::Debug for MemoryWriteTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWriteTxn")
            .field("entries", &self.entries.size())
            .finish_non_exhaustive()
    }
}

/// A scan in progress; its entries are lent from the snapshot.
pub struct MemoryScan<'t> {
    /// `None` where the range is empty whatever is stored.
    entries: Option<Range<'t>>,
    order: Order,
}

type Range<'t> = rpds::map::red_black_tree_map::RangeIter<
    't,
    Box<[u8]>,
    Box<[u8]>,
    Bounds,
    Box<[u8]>,
    archery::ArcTK,
>;

impl<'t> MemoryScan<'t> {
    fn begin(entries: &'t Entries, range: KeyRange<'_>, order: Order) -> Self {
        let entries = (!is_empty_range(range)).then(|| {
            let bounds: Bounds = (range.0.map(Box::from), range.1.map(Box::from));
            entries.range(bounds)
        });
        Self { entries, order }
    }
}

impl Scan for MemoryScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let entry = self.entries.as_mut().and_then(|entries| match self.order {
            Order::Ascending => entries.next(),
            Order::Descending => entries.next_back(),
        });
        Ok(entry.map(|(key, value)| (key.as_ref(), value.as_ref())))
    }
}

impl fmt::Debug for MemoryScan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryScan")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}
