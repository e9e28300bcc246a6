//! Snapshots and the write transaction.

use std::fmt;

use heed::{MdbError, PutFlags, RoTxn, RwTxn, WithoutTls};
use realmstore_core::writer_lock::Writer;
use realmstore_core::{
    Error, ErrorKind, KeyRange, MAX_KEY_LEN, Order, ReadTxn, Result, WriteTxn, check_key,
};

use crate::gate::Pass;
use crate::redo::RedoLog;
use crate::scan::last;
use crate::{ENGINE, Entries, LmdbBackend, LmdbScan, error};

/// The longest value that LMDB stores, in bytes.
const MAX_VALUE_LEN: usize = u32::MAX as usize;

/// A snapshot. It can be sent to another thread, and a thread may hold many.
pub struct LmdbReadTxn<'b> {
    entries: Entries,
    // Before the pass, so that it ends before the pass is given back.
    txn: RoTxn<'b, WithoutTls>,
    _pass: Pass<'b>,
}

impl<'b> LmdbReadTxn<'b> {
    pub(crate) fn new(entries: Entries, txn: RoTxn<'b, WithoutTls>, pass: Pass<'b>) -> Self {
        Self {
            entries,
            txn,
            _pass: pass,
        }
    }
}

impl ReadTxn for LmdbReadTxn<'_> {
    type Value<'t>
        = &'t [u8]
    where
        Self: 't;
    type Scan<'t>
        = LmdbScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        get(self.entries, &self.txn, key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<LmdbScan<'_>> {
        LmdbScan::begin(self.entries, &self.txn, range, order)
    }

    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        last(self.entries, &self.txn, range, read)
    }

    fn commit_number(&self) -> Option<u64> {
        Some(self.txn.id() as u64)
    }
}

impl fmt::Debug for LmdbReadTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LmdbReadTxn")
            .field("commit_number", &self.commit_number())
            .finish_non_exhaustive()
    }
}

/// The write transaction. It stays on the thread that began it, because
/// LMDB's writer lock belongs to that thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
#[doc = concat!("use ", env!("CARGO_CRATE_NAME"), "::LmdbWriteTxn;")]
/// fn send_transaction(transaction: LmdbWriteTxn<'_>) {
///     send(transaction);
/// }
/// ```
///
/// # When the map is full
///
/// In a store whose map grows by itself (see
/// [`LmdbOptions::map_size`](crate::LmdbOptions::map_size)) the transaction is
/// taken up again in a larger map, and nobody notices but by the time it
/// takes. For this no other transaction of the process may be alive for a
/// moment; where one is, longer than
/// [`LmdbOptions::grow_timeout`](crate::LmdbOptions::grow_timeout), the call
/// fails with [`ErrorKind::Busy`]. Where another process has committed in
/// between, it fails with [`ErrorKind::Conflict`].
///
/// Where the map may not grow, or not any further, the call fails with
/// [`ErrorKind::Full`].
///
/// # After an error
///
/// When the engine fails in a change, the transaction is over, and each
/// further call fails with an error of the same kind. What the caller did
/// wrong, a key that is too long for instance, ends nothing.
pub struct LmdbWriteTxn<'b> {
    backend: &'b LmdbBackend,
    // In the order in which they must go: the transaction, the right to use
    // the map, the right to write.
    txn: Option<RwTxn<'b>>,
    pass: Option<Pass<'b>>,
    writer: Writer<'b, RedoLog>,
    /// LMDB's number of this transaction, one more than that of the last commit.
    number: usize,
    failure: ErrorKind,
}

impl<'b> LmdbWriteTxn<'b> {
    pub(crate) fn begin(backend: &'b LmdbBackend, writer: Writer<'b, RedoLog>) -> Result<Self> {
        let (txn, pass) = backend.begin_heed_write()?;
        Ok(Self {
            backend,
            number: txn.id(),
            txn: Some(txn),
            pass: Some(pass),
            writer,
            failure: ErrorKind::Engine,
        })
    }

    fn txn(&self) -> Result<&RwTxn<'b>> {
        self.txn.as_ref().ok_or_else(|| over(self.failure))
    }

    /// Makes one change, again in a larger map if need be. `room` is about
    /// how many bytes it needs.
    fn change<T>(
        &mut self,
        operation: &'static str,
        room: usize,
        change: impl Fn(Entries, &mut RwTxn<'_>) -> heed::Result<T>,
    ) -> Result<T> {
        loop {
            let txn = self.txn.as_mut().ok_or_else(|| over(self.failure))?;
            match change(self.backend.entries(), txn) {
                Ok(result) => return Ok(result),
                Err(error) => self.recover(error, operation, room)?,
            }
        }
    }

    /// Takes the transaction up again where a larger map can help, or else
    /// ends it.
    fn recover(&mut self, error: heed::Error, operation: &'static str, room: usize) -> Result<()> {
        let map_full = matches!(error, heed::Error::Mdb(MdbError::MapFull));
        let recovered = if !map_full {
            Err(error::engine(error, operation))
        } else if self.backend.map_grows() {
            self.grow_and_replay(room)
        } else {
            Err(self.backend.full())
        };
        recovered.map_err(|error| {
            self.end();
            self.failure = error.kind();
            error.operation(operation)
        })
    }

    fn grow_and_replay(&mut self, room: usize) -> Result<()> {
        loop {
            self.end();
            self.backend.grow(room)?;
            let (mut txn, pass) = self.backend.begin_heed_write()?;
            if txn.id() != self.number {
                return Err(error::plain(
                    ErrorKind::Conflict,
                    "another process committed while the memory map was being enlarged",
                ));
            }
            match self.writer.replay(self.backend.entries(), &mut txn) {
                Ok(()) => {
                    (self.txn, self.pass) = (Some(txn), Some(pass));
                    return Ok(());
                }
                Err(heed::Error::Mdb(MdbError::MapFull)) => {
                    drop(txn);
                    drop(pass);
                }
                Err(error) => {
                    drop(txn);
                    return Err(error::engine(error, "grow the map"));
                }
            }
        }
    }

    fn end(&mut self) {
        self.txn = None;
        self.pass = None;
    }
}

impl ReadTxn for LmdbWriteTxn<'_> {
    type Value<'t>
        = &'t [u8]
    where
        Self: 't;
    type Scan<'t>
        = LmdbScan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        get(self.backend.entries(), self.txn()?, key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<LmdbScan<'_>> {
        LmdbScan::begin(self.backend.entries(), self.txn()?, range, order)
    }

    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        last(self.backend.entries(), self.txn()?, range, read)
    }

    fn commit_number(&self) -> Option<u64> {
        Some(self.number.saturating_sub(1) as u64)
    }
}

impl WriteTxn for LmdbWriteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check(key, value)?;
        self.change("put", value.len(), |entries, txn| {
            entries.put(txn, key, value)
        })?;
        if self.backend.map_grows() {
            self.writer.put(key, value);
        }
        Ok(())
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        check(key, value)?;
        let inserted = self.change("insert", value.len(), |entries, txn| {
            match entries.put_with_flags(txn, PutFlags::NO_OVERWRITE, key, value) {
                Ok(()) => Ok(true),
                Err(heed::Error::Mdb(MdbError::KeyExist)) => Ok(false),
                Err(error) => Err(error),
            }
        })?;
        if inserted && self.backend.map_grows() {
            self.writer.put(key, value);
        }
        Ok(inserted)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.txn()?;
        if !could_be_stored(key) {
            return Ok(false);
        }
        let deleted = self.change("delete", 0, |entries, txn| entries.delete(txn, key))?;
        if deleted && self.backend.map_grows() {
            self.writer.delete(key);
        }
        Ok(deleted)
    }

    /// Makes all changes visible and durable at once.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownOutcome`] when the disk failed just as the commit
    /// was being entered in the file's header; the store must then be closed
    /// and opened again. After any other error nothing was committed.
    fn commit(mut self) -> Result<()> {
        loop {
            let txn = self.txn.take().ok_or_else(|| over(self.failure))?;
            let Err(error) = txn.commit() else {
                return Ok(());
            };
            if matches!(error, heed::Error::Io(_)) && self.backend.has_failed_for_good() {
                return Err(error::plain(
                    ErrorKind::UnknownOutcome,
                    "the disk failed while the file's header was being written; open the store \
                     again to see whether this commit is in it",
                )
                .operation("commit")
                .source(error));
            }
            self.recover(error, "commit", 0)?;
        }
    }
}

impl fmt::Debug for LmdbWriteTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LmdbWriteTxn")
            .field("commit_number", &self.commit_number())
            .field("over", &self.txn.is_none())
            .finish_non_exhaustive()
    }
}

fn get<'t>(entries: Entries, txn: &'t RoTxn<'_>, key: &[u8]) -> Result<Option<&'t [u8]>> {
    if !could_be_stored(key) {
        return Ok(None);
    }
    entries
        .get(txn, key)
        .map_err(|error| error::engine(error, "get"))
}

fn could_be_stored(key: &[u8]) -> bool {
    (1..=MAX_KEY_LEN).contains(&key.len())
}

fn check(key: &[u8], value: &[u8]) -> Result<()> {
    check_key(key).map_err(|error| error.engine(ENGINE))?;
    if value.len() > MAX_VALUE_LEN {
        return Err(error::plain(
            ErrorKind::InvalidInput,
            format!(
                "a value of {} bytes is longer than the 4 GiB that LMDB stores",
                value.len()
            ),
        ));
    }
    Ok(())
}

fn over(kind: ErrorKind) -> Error {
    error::plain(
        kind,
        "the transaction ended with an earlier error and can only be dropped",
    )
}
