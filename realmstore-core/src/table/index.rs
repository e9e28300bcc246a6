//! Indexes: other ways to find the records of a table.

use std::marker::PhantomData;
use std::ops::RangeBounds;

use uuid::Uuid;

use super::companion::{Before, Companion};
use super::space::{Space, SpaceScan, successor};
use super::{Slot, Table, TableHandle, ViewOf};
use crate::backend::{Order, ReadTxn, WriteTxn, check_key};
use crate::directory::Slots;
use crate::key::{Key, KeyBuf};
use crate::record::Record;
use crate::{Error, ErrorKind, Result};

/// The definition of an index: another way to find the records of a table.
pub trait Index: Sized + 'static {
    /// What the index is known by, for all time.
    const OID: Uuid;

    /// A name for people.
    const NAME: &'static str;

    /// As for a [`Table`].
    const SCHEMA_VERSION: Option<u32>;

    /// Whether a key may have one record only. The rows of a unique index are
    /// `key → primary key`; those of another one `key, primary key → nothing`.
    const UNIQUE: bool;

    /// The table whose records are found.
    type Table: Table;

    /// What they are found by.
    type Key: Key;

    /// The key under which a record is found; `None` when it is not in the index.
    ///
    /// # Errors
    /// When the record is damaged where the key comes from.
    fn key(record: &ViewOf<'_, Self::Table>) -> Result<Option<Self::Key>>;
}

/// Rows that are read before as many are written: no scan can be open while
/// the transaction changes.
const BATCH: usize = 1024;

/// An index attached to a store.
pub struct IndexHandle<I: Index> {
    space: Space,
    table: Space,
    index: PhantomData<fn() -> I>,
}

type PrimaryKey<I> = <<I as Index>::Table as Table>::Key;

impl<I: Index> IndexHandle<I> {
    /// The slot in which the index lives; as [`TableHandle::slot`].
    pub fn slot(&self) -> Option<Slot> {
        self.space.slot()
    }

    /// The primary key that a unique index has for a key.
    ///
    /// In an index that is not unique, the first one.
    pub fn get<X: ReadTxn>(&self, txn: &X, key: &I::Key) -> Result<Option<PrimaryKey<I>>> {
        if !I::UNIQUE {
            return Ok(self
                .prefix(txn, key, Order::Ascending)?
                .next()?
                .map(|(_, primary)| primary));
        }
        let value = self.space.get(txn, |out| key.encode(out))?;
        value
            .map(|value| Key::from_bytes(value.as_ref()).map_err(|error| self.space.damaged(error)))
            .transpose()
    }

    /// Walks the index between two keys.
    pub fn range<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        range: impl RangeBounds<I::Key>,
        order: Order,
    ) -> Result<IndexScan<'t, X, I>> {
        let scan = self.space.scan(
            txn,
            range
                .start_bound()
                .map(|key| |out: &mut KeyBuf| key.encode(out)),
            range
                .end_bound()
                .map(|key| |out: &mut KeyBuf| key.encode(out)),
            order,
        )?;
        Ok(IndexScan {
            scan,
            space: self.space,
            index: PhantomData,
        })
    }

    /// The last row between two keys: as the first of [`range`](Self::range) in
    /// descending order, and faster where an engine can do better than begin a walk.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when it is no row of this index.
    #[allow(clippy::type_complexity, reason = "a row, as everywhere")]
    pub fn last<X: ReadTxn>(
        &self,
        txn: &X,
        range: impl RangeBounds<I::Key>,
    ) -> Result<Option<(I::Key, PrimaryKey<I>)>> {
        let start = range.start_bound();
        let end = range.end_bound();
        self.space
            .last(
                txn,
                start.map(|key| |out: &mut KeyBuf| key.encode(out)),
                end.map(|key| |out: &mut KeyBuf| key.encode(out)),
                |key, value| read_row::<I>(&self.space, key, value),
            )?
            .transpose()
    }

    /// Walks the rows whose keys begin with a part, such as the first of a tuple.
    pub fn prefix<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        part: &impl Key,
        order: Order,
    ) -> Result<IndexScan<'t, X, I>> {
        let scan = self.space.scan_prefix(txn, |out| part.encode(out), order)?;
        Ok(IndexScan {
            scan,
            space: self.space,
            index: PhantomData,
        })
    }

    /// Counts the rows, by walking them.
    pub fn count<X: ReadTxn>(&self, txn: &X) -> Result<u64> {
        self.space.count(txn)
    }

    /// Makes the index anew from the table, whatever it holds now; returns
    /// the number of rows. Records that are damaged where the key comes from
    /// are left out, and given to `on_damage` with their primary key.
    ///
    /// # Errors
    /// [`ErrorKind::Duplicate`] when the index is unique and two records have
    /// the same key. The transaction must then be dropped.
    pub fn rebuild<X: WriteTxn>(
        &self,
        txn: &mut X,
        table: &TableHandle<I::Table>,
        on_damage: impl FnMut(&[u8], Error),
    ) -> Result<u64> {
        let slot = self.space.writable_slot()?;
        let mut keys: Vec<KeyBuf> = Vec::with_capacity(BATCH);
        loop {
            let mut scan = self.space.scan_all(txn, Order::Ascending)?;
            while keys.len() < BATCH
                && let Some((key, _)) = scan.next()?
            {
                keys.push(Space::full_key(slot, |out| out.extend_from_slice(key)));
            }
            drop(scan);
            if keys.is_empty() {
                break;
            }
            for key in keys.drain(..) {
                txn.delete(&key)?;
            }
        }
        self.add_missing(txn, table, on_damage)
    }

    /// Adds the rows of all records to an index that has some of them; as
    /// [`rebuild`](Self::rebuild). For an index that is not unique: what is
    /// there already is left as it is. Returns how many records are in it.
    pub(crate) fn add_missing<X: WriteTxn>(
        &self,
        txn: &mut X,
        table: &TableHandle<I::Table>,
        mut on_damage: impl FnMut(&[u8], Error),
    ) -> Result<u64> {
        let slot = self.space.writable_slot()?;
        let mut rows = 0;
        let mut next = KeyBuf::new();
        let mut changes: Vec<(KeyBuf, KeyBuf)> = Vec::with_capacity(BATCH);
        loop {
            let mut scan = table.space.scan_from(txn, &next)?;
            let mut read = 0;
            while read < BATCH
                && let Some((primary, value)) = scan.next()?
            {
                read += 1;
                next = successor(primary);
                match <I::Table as Table>::Record::view(value).and_then(|view| I::key(&view)) {
                    Ok(Some(key)) => {
                        changes.push((Self::row(slot, &key, primary), KeyBuf::from_slice(primary)));
                    }
                    Ok(None) => {}
                    Err(error) => on_damage(primary, error.table(<I::Table as Table>::NAME)),
                }
            }
            drop(scan);
            for (row, primary) in changes.drain(..) {
                let value: &[u8] = if I::UNIQUE { &primary } else { &[] };
                if !txn
                    .insert(&row, value)
                    .map_err(|error| error.table(I::NAME))?
                    && I::UNIQUE
                {
                    return Err(self.duplicate());
                }
                rows += 1;
            }
            if read == 0 {
                return Ok(rows);
            }
        }
    }

    /// Removes rows that lead nowhere, from an index that is not unique.
    pub(crate) fn remove_rows<X: WriteTxn>(
        &self,
        txn: &mut X,
        rows: &[(I::Key, PrimaryKey<I>)],
    ) -> Result<()> {
        for (key, primary) in rows {
            self.space.delete(txn, |out| {
                key.encode(out);
                primary.encode(out);
            })?;
        }
        Ok(())
    }

    /// The key of the row by which a key leads to a record.
    pub(crate) fn row(slot: Slot, key: &I::Key, primary: &[u8]) -> KeyBuf {
        Space::full_key(slot, |out| {
            key.encode(out);
            if !I::UNIQUE {
                out.extend_from_slice(primary);
            }
        })
    }

    /// The primary key that the row of a unique index has.
    fn owner<X: ReadTxn>(&self, txn: &X, row: &[u8]) -> Result<Option<KeyBuf>> {
        let value = txn.get(row).map_err(|error| error.table(I::NAME))?;
        Ok(value.map(|value| KeyBuf::from_slice(value.as_ref())))
    }

    fn duplicate(&self) -> Error {
        Error::new(
            ErrorKind::Duplicate,
            "another record has this key, which must be unique",
        )
        .table(I::NAME)
    }
}

/// What a change of a record means for an index: the keys of the rows that go
/// and come, and the record's primary key.
#[derive(Debug)]
pub struct IndexChange {
    remove: Option<KeyBuf>,
    add: Option<KeyBuf>,
    primary: KeyBuf,
}

impl<I: Index> Companion<I::Table> for IndexHandle<I> {
    type Plan = IndexChange;

    fn attach(slots: &mut dyn Slots) -> Result<Self> {
        let space = Space::new(slots.slot(I::OID, I::NAME, I::SCHEMA_VERSION)?, I::NAME);
        let (oid, name) = (<I::Table as Table>::OID, <I::Table as Table>::NAME);
        let slot = slots.slot(oid, name, <I::Table as Table>::SCHEMA_VERSION)?;
        Ok(Self {
            space,
            table: Space::new(slot, name),
            index: PhantomData,
        })
    }

    fn plan(
        &self,
        key: &PrimaryKey<I>,
        old: Before<'_, ViewOf<'_, I::Table>>,
        new: Option<&ViewOf<'_, I::Table>>,
    ) -> Result<IndexChange> {
        let slot = self.space.writable_slot()?;
        let mut primary = KeyBuf::new();
        key.encode(&mut primary);
        let row_key = |view: &ViewOf<'_, I::Table>| -> Result<Option<KeyBuf>> {
            let key = I::key(view).map_err(|error| error.table(I::NAME))?;
            Ok(key.map(|key| Self::row(slot, &key, &primary)))
        };
        let remove = match old {
            // Where the old key cannot be told, its row stays and leads nowhere.
            Before::Record(view) => row_key(view).unwrap_or_default(),
            Before::Nothing | Before::Unreadable => None,
        };
        let add = new.map(row_key).transpose()?.flatten();
        if let Some(key) = &add {
            check_key(key).map_err(|error| error.table(I::NAME))?;
        }
        if remove == add {
            return Ok(IndexChange {
                remove: None,
                add: None,
                primary,
            });
        }
        Ok(IndexChange {
            remove,
            add,
            primary,
        })
    }

    fn check<X: ReadTxn>(&self, txn: &X, _key: &PrimaryKey<I>, plan: &IndexChange) -> Result<()> {
        let Some(add) = plan.add.as_ref().filter(|_| I::UNIQUE) else {
            return Ok(());
        };
        let Some(owner) = self.owner(txn, add)?.filter(|owner| *owner != plan.primary) else {
            return Ok(());
        };
        let Some(record) = self.table.get(txn, |out| out.extend_from_slice(&owner))? else {
            // A row that leads nowhere owns nothing,
            return Ok(());
        };
        let slot = self.space.writable_slot()?;
        let key = <I::Table as Table>::Record::view(record.as_ref()).and_then(|view| I::key(&view));
        match key.map(|key| key.map(|key| Self::row(slot, &key, &owner))) {
            // and neither does one of what a record was before.
            Ok(row) if row.as_ref() != Some(add) => Ok(()),
            _ => Err(self.duplicate()),
        }
    }

    fn apply<X: WriteTxn>(
        &self,
        txn: &mut X,
        _key: &PrimaryKey<I>,
        plan: IndexChange,
    ) -> Result<()> {
        let in_index = |error: Error| error.table(I::NAME);
        if let Some(remove) = plan.remove
            && (!I::UNIQUE || self.owner(txn, &remove)?.as_ref() == Some(&plan.primary))
        {
            txn.delete(&remove).map_err(in_index)?;
        }
        match plan.add {
            Some(add) if I::UNIQUE => txn.put(&add, &plan.primary).map_err(in_index),
            Some(add) => txn.put(&add, &[]).map_err(in_index),
            None => Ok(()),
        }
    }
}

/// A walk over the rows of an index.
pub struct IndexScan<'t, X: ReadTxn + 't, I: Index> {
    scan: SpaceScan<'t, X>,
    space: Space,
    index: PhantomData<fn() -> I>,
}

impl<X: ReadTxn, I: Index> IndexScan<'_, X, I> {
    /// The next row: the index's key, and the primary key of the record. `None` at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] for a row that is no row of this index; the walk can go on after it.
    #[allow(
        clippy::should_implement_trait,
        reason = "parallel to the other scans, and fallible"
    )]
    pub fn next(&mut self) -> Result<Option<(I::Key, PrimaryKey<I>)>> {
        let space = self.space;
        let Some((key, value)) = self.scan.next()? else {
            return Ok(None);
        };
        read_row::<I>(&space, key, value).map(Some)
    }
}

fn read_row<I: Index>(
    space: &Space,
    mut key: &[u8],
    value: &[u8],
) -> Result<(I::Key, PrimaryKey<I>)> {
    let damaged = |error| space.damaged(error);
    let index_key = I::Key::decode(&mut key).map_err(damaged)?;
    let primary = if I::UNIQUE {
        <() as Key>::from_bytes(key).map_err(damaged)?;
        Key::from_bytes(value)
    } else {
        Key::from_bytes(key)
    };
    Ok((index_key, primary.map_err(damaged)?))
}
