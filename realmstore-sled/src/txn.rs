//! Snapshots and the write transaction.

use std::fmt;

use realmstore_core::overlay::Overlay;
use realmstore_core::writer_lock::Writer;
use realmstore_core::{KeyRange, Order, ReadTxn, Result, Scan, WriteTxn, check_key};
use sled::{IVec, Tree};

use crate::key::{decode, encode};
use crate::snapshots::Snapshot;
use crate::{ENGINE, SledBackend, SledScan, error, scan};

/// A value, of which sled and its readers share one copy.
pub struct SledValue<'t>(Held<'t>);

enum Held<'t> {
    Shared(IVec),
    /// By the write transaction that has put it.
    Lent(&'t [u8]),
}

impl AsRef<[u8]> for SledValue<'_> {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Held::Shared(value) => value,
            Held::Lent(value) => value,
        }
    }
}

impl fmt::Debug for SledValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// A snapshot. It can be sent to another thread, and a thread may hold many.
///
/// While it lives, the values that later commits replace stay in memory.
pub struct SledReadTxn<'b> {
    tree: &'b Tree,
    snapshot: Snapshot<'b>,
}

impl<'b> SledReadTxn<'b> {
    pub(crate) fn new(tree: &'b Tree, snapshot: Snapshot<'b>) -> Self {
        Self { tree, snapshot }
    }
}

impl ReadTxn for SledReadTxn<'_> {
    type Value<'t>
        = SledValue<'t>
    where
        Self: 't;
    type Scan<'t>
        = SledScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<SledValue<'_>>> {
        // First the tree, then the images: see the module of the snapshots.
        let key = encode(key);
        let newest = get(self.tree, &key)?;
        let value = self.snapshot.image(&key).unwrap_or(newest);
        Ok(value.map(|value| SledValue(Held::Shared(value))))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<SledScan<'_>> {
        Ok(SledScan::of_snapshot(
            self.tree,
            &self.snapshot,
            range,
            order,
        ))
    }

    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        // As everywhere: first the tree, and then whether it is what the snapshot sees.
        let newest = scan::last(self.tree, range)?;
        if self.snapshot.is_newest() {
            let mut memory = Vec::new();
            return Ok(newest.map(|(key, value)| read(decode(&key, &mut memory), &value)));
        }
        let mut scan = self.scan(range, Order::Descending)?;
        Ok(scan.next()?.map(|(key, value)| read(key, value)))
    }
}

impl fmt::Debug for SledReadTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledReadTxn").finish_non_exhaustive()
    }
}

/// The write transaction: changes gather in memory, and are given to sled as
/// one batch.
///
/// It stays on the thread that began it:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn send_transaction(transaction: realmstore_sled::SledWriteTxn<'_>) {
///     send(transaction);
/// }
/// ```
pub struct SledWriteTxn<'b> {
    backend: &'b SledBackend,
    changes: Writer<'b, Overlay>,
}

impl<'b> SledWriteTxn<'b> {
    pub(crate) fn new(backend: &'b SledBackend, changes: Writer<'b, Overlay>) -> Self {
        Self { backend, changes }
    }
}

impl ReadTxn for SledWriteTxn<'_> {
    type Value<'t>
        = SledValue<'t>
    where
        Self: 't;
    type Scan<'t>
        = SledScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<SledValue<'_>>> {
        Ok(match self.changes.get(key) {
            Some(changed) => changed.map(Held::Lent),
            None => get(self.backend.tree(), &encode(key))?.map(Held::Shared),
        }
        .map(SledValue))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<SledScan<'_>> {
        Ok(SledScan::of_writer(
            self.backend.tree(),
            &self.changes,
            range,
            order,
        ))
    }
}

impl WriteTxn for SledWriteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key).map_err(|error| error.engine(ENGINE))?;
        self.changes.put(key, value);
        Ok(())
    }

    fn put_new(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key).map_err(|error| error.engine(ENGINE))?;
        self.changes.put_new(key, value);
        Ok(())
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let is_new = self.get(key)?.is_none();
        if is_new {
            // One that was deleted in this transaction is known to have been there.
            self.put_new(key, value)?;
        }
        Ok(is_new)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        let there = self.get(key)?.is_some();
        if there {
            self.changes.delete(key);
        }
        Ok(there)
    }

    /// Makes all changes visible and durable at once.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownOutcome`](realmstore_core::ErrorKind::UnknownOutcome)
    /// when sled failed while it made the changes or waited for the disk. The
    /// store takes no writers then until it was opened again; snapshots see
    /// what was there before. After any other error nothing was committed.
    fn commit(self) -> Result<()> {
        self.backend.commit(&self.changes)
    }
}

impl fmt::Debug for SledWriteTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledWriteTxn").finish_non_exhaustive()
    }
}

/// By the stored form of a key.
fn get(tree: &Tree, key: &[u8]) -> Result<Option<IVec>> {
    tree.get(key).map_err(|error| error::engine(error, "get"))
}
