//! Snapshots and the write transaction.

use std::fmt;

use realmstore_core::overlay::{Overlay, OverlayScan};
use realmstore_core::writer_lock::Writer;
use realmstore_core::{ErrorKind, KeyRange, Order, ReadTxn, Result, WriteTxn, check_key};
use rocksdb::{DB, DBPinnableSlice, ReadOptions, Snapshot, WriteBatch};

use crate::{ENGINE, RocksBackend, RocksScan, error, scan};

/// The longest value that RocksDB stores, in bytes.
const MAX_VALUE_LEN: usize = u32::MAX as usize;

/// What RocksDB adds to an entry of a batch, at most.
const BATCH_OVERHEAD: usize = 1 + 5 + 5;

/// A value, lent by RocksDB's cache or by the write transaction.
pub struct RocksValue<'t>(Lent<'t>);

enum Lent<'t> {
    Pinned(DBPinnableSlice<'t>),
    Changed(&'t [u8]),
}

impl AsRef<[u8]> for RocksValue<'_> {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Lent::Pinned(value) => value,
            Lent::Changed(value) => value,
        }
    }
}

impl fmt::Debug for RocksValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksValue").field(&self.as_ref()).finish()
    }
}

fn get<'t>(db: &'t DB, options: &ReadOptions, key: &[u8]) -> Result<Option<RocksValue<'t>>> {
    let value = db
        .get_pinned_opt(key, options)
        .map_err(|error| error::engine(error, "get"))?;
    Ok(value.map(|value| RocksValue(Lent::Pinned(value))))
}

/// A snapshot. It can be sent to another thread, and a thread may hold many.
pub struct RocksReadTxn<'b> {
    db: &'b DB,
    // Before the snapshot that it names.
    options: ReadOptions,
    snapshot: Snapshot<'b>,
}

impl<'b> RocksReadTxn<'b> {
    pub(crate) fn new(db: &'b DB) -> Self {
        let snapshot = db.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        Self {
            db,
            options,
            snapshot,
        }
    }
}

impl ReadTxn for RocksReadTxn<'_> {
    type Value<'t>
        = RocksValue<'t>
    where
        Self: 't;
    type Scan<'t>
        = RocksScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<RocksValue<'_>>> {
        get(self.db, &self.options, key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<RocksScan<'_>> {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        Ok(RocksScan::new(self.db, options, range, order))
    }

    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        scan::last(self.db, options, range, read)
    }
}

impl fmt::Debug for RocksReadTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksReadTxn")
            .field("sequence_number", &self.snapshot.sequence_number())
            .finish_non_exhaustive()
    }
}

/// The write transaction. Its changes are kept in memory and laid over what is
/// committed; a commit writes them as one batch. It stays on the thread that
/// began it:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn send_transaction(transaction: realmstore_rocks::RocksWriteTxn<'_>) {
///     send(transaction);
/// }
/// ```
pub struct RocksWriteTxn<'b> {
    backend: &'b RocksBackend,
    changes: Writer<'b, Overlay>,
    // Nobody else writes, so that what is committed stays as it is.
    options: ReadOptions,
}

impl<'b> RocksWriteTxn<'b> {
    pub(crate) fn new(backend: &'b RocksBackend, changes: Writer<'b, Overlay>) -> Self {
        Self {
            backend,
            changes,
            options: ReadOptions::default(),
        }
    }
}

impl ReadTxn for RocksWriteTxn<'_> {
    type Value<'t>
        = RocksValue<'t>
    where
        Self: 't;
    type Scan<'t>
        = OverlayScan<'t, RocksScan<'t>>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<RocksValue<'_>>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.map(|value| RocksValue(Lent::Changed(value)))),
            None => get(self.backend.db(), &self.options, key),
        }
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>> {
        let committed = RocksScan::new(self.backend.db(), ReadOptions::default(), range, order);
        Ok(self.changes.scan(range, order, committed))
    }
}

impl WriteTxn for RocksWriteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key).map_err(|error| error.engine(ENGINE))?;
        if value.len() > MAX_VALUE_LEN {
            return Err(error::plain(
                ErrorKind::InvalidInput,
                format!(
                    "a value of {} bytes is longer than the 4 GiB that RocksDB stores",
                    value.len()
                ),
            ));
        }
        self.changes.put(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        let found = self.get(key)?.is_some();
        if found {
            self.changes.delete(key);
        }
        Ok(found)
    }

    /// Makes all changes visible and durable at once.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownOutcome`] when the disk failed while the changes
    /// were being written; the store must then be closed and opened again.
    /// After any other error nothing was committed.
    fn commit(self) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let size = self.changes.weight() + self.changes.len() * BATCH_OVERHEAD;
        let mut batch = WriteBatch::with_capacity_bytes(size);
        for change in self.changes.iter() {
            match change.value {
                Some(value) => batch.put(change.key, value),
                None => batch.delete(change.key),
            }
        }
        self.backend.write(batch)
    }
}

impl fmt::Debug for RocksWriteTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksWriteTxn").finish_non_exhaustive()
    }
}
