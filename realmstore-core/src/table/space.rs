//! The part of the keyspace that belongs to one table or index.

use std::ops::Bound;

use super::Slot;
use crate::backend::{KeyRange, Order, ReadTxn, Scan, WriteTxn};
use crate::key::{KeyBuf, prefix_end};
use crate::{Error, ErrorKind, Result};

/// The part of the keyspace that belongs to one table or index.
///
/// A table that the store does not have (in a foreign file that was opened
/// read-only) has no slot: it reads as empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    slot: Option<Slot>,
    name: &'static str,
}

impl Space {
    pub(crate) fn new(slot: Option<Slot>, name: &'static str) -> Self {
        Self { slot, name }
    }

    pub(crate) fn slot(&self) -> Option<Slot> {
        self.slot
    }

    pub(super) fn writable_slot(&self) -> Result<Slot> {
        self.slot.ok_or_else(|| {
            Error::new(
                ErrorKind::ReadOnly,
                "the store was opened read-only and does not have this table",
            )
            .table(self.name)
        })
    }

    pub(crate) fn full_key(slot: Slot, encode: impl FnOnce(&mut KeyBuf)) -> KeyBuf {
        let mut bytes = KeyBuf::new();
        bytes.extend_from_slice(&slot.to_be_bytes());
        encode(&mut bytes);
        bytes
    }

    pub(crate) fn get<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        encode: impl FnOnce(&mut KeyBuf),
    ) -> Result<Option<X::Value<'t>>> {
        let Some(slot) = self.slot else {
            return Ok(None);
        };
        txn.get(&Self::full_key(slot, encode))
            .map_err(|error| error.table(self.name))
    }

    pub(crate) fn put<X: WriteTxn>(
        &self,
        txn: &mut X,
        encode: impl FnOnce(&mut KeyBuf),
        value: &[u8],
    ) -> Result<()> {
        let key = Self::full_key(self.writable_slot()?, encode);
        txn.put(&key, value).map_err(|error| error.table(self.name))
    }

    pub(crate) fn put_new<X: WriteTxn>(
        &self,
        txn: &mut X,
        encode: impl FnOnce(&mut KeyBuf),
        value: &[u8],
    ) -> Result<()> {
        let key = Self::full_key(self.writable_slot()?, encode);
        txn.put_new(&key, value)
            .map_err(|error| error.table(self.name))
    }

    pub(crate) fn insert<X: WriteTxn>(
        &self,
        txn: &mut X,
        encode: impl FnOnce(&mut KeyBuf),
        value: &[u8],
    ) -> Result<bool> {
        let key = Self::full_key(self.writable_slot()?, encode);
        txn.insert(&key, value)
            .map_err(|error| error.table(self.name))
    }

    pub(crate) fn delete<X: WriteTxn>(
        &self,
        txn: &mut X,
        encode: impl FnOnce(&mut KeyBuf),
    ) -> Result<bool> {
        let key = Self::full_key(self.writable_slot()?, encode);
        txn.delete(&key).map_err(|error| error.table(self.name))
    }

    /// Where a range of keys begins and ends, given by encodings of keys or of
    /// beginnings of keys; `None` when there is nothing behind its start. An
    /// excluded lower bound and an included upper bound take all keys that begin
    /// with the bound to be it.
    fn range(
        slot: Slot,
        start: Bound<impl FnOnce(&mut KeyBuf)>,
        end: Bound<impl FnOnce(&mut KeyBuf)>,
    ) -> Option<(KeyBuf, Option<KeyBuf>)> {
        let start = match start {
            Bound::Unbounded => Some(Self::full_key(slot, |_| ())),
            Bound::Included(encode) => Some(Self::full_key(slot, encode)),
            Bound::Excluded(encode) => prefix_end(&Self::full_key(slot, encode)),
        };
        let end = match end {
            Bound::Unbounded => prefix_end(&slot.to_be_bytes()),
            Bound::Included(encode) => prefix_end(&Self::full_key(slot, encode)),
            Bound::Excluded(encode) => Some(Self::full_key(slot, encode)),
        };
        Some((start?, end))
    }

    /// Scans the keys of this space in a [range](Self::range).
    pub(crate) fn scan<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        start: Bound<impl FnOnce(&mut KeyBuf)>,
        end: Bound<impl FnOnce(&mut KeyBuf)>,
        order: Order,
    ) -> Result<SpaceScan<'t, X>> {
        let range = self.slot.and_then(|slot| Self::range(slot, start, end));
        let scan = match &range {
            Some((start, end)) => Some(
                txn.scan(as_key_range(start, end), order)
                    .map_err(|error| error.table(self.name))?,
            ),
            None => None,
        };
        Ok(SpaceScan {
            scan,
            name: self.name,
        })
    }

    /// Lends the last entry of a [range](Self::range), its key without the slot.
    pub(crate) fn last<X: ReadTxn, T>(
        &self,
        txn: &X,
        start: Bound<impl FnOnce(&mut KeyBuf)>,
        end: Bound<impl FnOnce(&mut KeyBuf)>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        let Some((start, end)) = self.slot.and_then(|slot| Self::range(slot, start, end)) else {
            return Ok(None);
        };
        txn.last(as_key_range(&start, &end), |key, value| {
            read(without_slot(key), value)
        })
        .map_err(|error| error.table(self.name))
    }

    /// Lends the last of the keys that begin with what `encode` writes, as
    /// [`last`](Self::last).
    pub(crate) fn last_with_prefix<X: ReadTxn, T>(
        &self,
        txn: &X,
        encode: impl Fn(&mut KeyBuf),
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        let bound = Bound::Included(&encode);
        self.last(txn, bound, bound, read)
    }

    /// Whether any key begins with what `encode` writes.
    pub(crate) fn has_prefix<X: ReadTxn>(
        &self,
        txn: &X,
        encode: impl Fn(&mut KeyBuf),
    ) -> Result<bool> {
        let found = self.last_with_prefix(txn, encode, |_, _| ())?;
        Ok(found.is_some())
    }

    /// Scans the keys that begin with what `encode` writes.
    pub(crate) fn scan_prefix<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        encode: impl Fn(&mut KeyBuf),
        order: Order,
    ) -> Result<SpaceScan<'t, X>> {
        self.scan(
            txn,
            Bound::Included(&encode),
            Bound::Included(&encode),
            order,
        )
    }

    pub(crate) fn scan_all<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        order: Order,
    ) -> Result<SpaceScan<'t, X>> {
        self.scan_prefix(txn, |_| (), order)
    }

    /// Counts the keys, by walking them.
    pub(super) fn count<X: ReadTxn>(&self, txn: &X) -> Result<u64> {
        let mut scan = self.scan_all(txn, Order::Ascending)?;
        let mut count = 0;
        while scan.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Scans all keys from one on, which need not be a key of this table.
    pub(crate) fn scan_from<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        start: &[u8],
    ) -> Result<SpaceScan<'t, X>> {
        let end: Bound<fn(&mut KeyBuf)> = Bound::Unbounded;
        self.scan(
            txn,
            Bound::Included(|out: &mut KeyBuf| out.extend_from_slice(start)),
            end,
            Order::Ascending,
        )
    }

    pub(crate) fn damaged(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let error = error.into();
        Error::new(ErrorKind::Damaged, error.to_string()).table(self.name)
    }
}

fn as_key_range<'k>(start: &'k KeyBuf, end: &'k Option<KeyBuf>) -> KeyRange<'k> {
    (
        Bound::Included(start),
        end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
    )
}

fn without_slot(key: &[u8]) -> &[u8] {
    key.get(2..).unwrap_or_default()
}

/// The first byte string after `key`.
pub(crate) fn successor(key: &[u8]) -> KeyBuf {
    let mut next = KeyBuf::from_slice(key);
    next.push(0);
    next
}

/// A scan inside of one table or index: keys come without the slot.
pub(crate) struct SpaceScan<'t, X: ReadTxn + 't> {
    scan: Option<X::Scan<'t>>,
    name: &'static str,
}

impl<X: ReadTxn> SpaceScan<'_, X> {
    /// A scan of nothing.
    pub(crate) fn empty(space: &Space) -> Self {
        Self {
            scan: None,
            name: space.name,
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(scan) = &mut self.scan else {
            return Ok(None);
        };
        let entry = scan.next().map_err(|error| error.table(self.name))?;
        Ok(entry.map(|(key, value)| (without_slot(key), value)))
    }
}
