//! Tables and indexes: what lives in a slot of the keyspace, typed.
//!
//! All tables of a store share one ordered keyspace; a key begins with the
//! table's slot (`u16`, big-endian). Which slot a table has is written in the
//! [directory](crate::directory); a table is known by its OID.
//!
//! A table is defined by implementing [`Table`] for a marker type, an index by
//! implementing [`Index`]. Attached to a store they become a [`TableHandle`]
//! and an [`IndexHandle`], which do all of the work on any engine's
//! transactions.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use uuid::Uuid;

use crate::backend::{KeyRange, Order, ReadTxn, Scan, WriteTxn, check_key};
use crate::directory::Slots;
use crate::key::{Key, KeyBuf, prefix_end};
use crate::record::Record;
use crate::{Error, ErrorKind, Result};

/// The number under which a table's keys stand in the keyspace; 0 is the directory's.
pub type Slot = u16;

/// The definition of a table.
///
/// ```
/// use realmstore_core::table::Table;
/// use uuid::Uuid;
///
/// /// What a node of the router was configured with, by the node's name.
/// struct Configurations;
///
/// impl Table for Configurations {
///     const OID: Uuid = Uuid::from_u128(0x6d4ad0a6_2b0e_4d31_9a2c_3c3f65a1a9a1);
///     const NAME: &'static str = "example.configurations";
///     const SCHEMA_VERSION: Option<u32> = Some(1);
///     type Key = String;
///     type Record = Vec<u8>;
///     type Companions = ();
/// }
/// ```
pub trait Table: Sized + 'static {
    /// What the table is known by, for all time.
    const OID: Uuid;

    /// A name for people.
    const NAME: &'static str;

    /// The newest version of the table's layout that this definition knows.
    /// A store that holds a newer one is refused. `None` for tables whose
    /// layout is somebody else's, and has no version.
    const SCHEMA_VERSION: Option<u32>;

    /// The primary key.
    type Key: Key;

    /// What is stored under it.
    type Record: Record;

    /// What is kept right with every put and delete: the table's indexes, as
    /// a tuple of [`IndexHandle`]s.
    type Companions: Companion<Self>;
}

/// A view of a table's record.
pub type ViewOf<'a, T> = <<T as Table>::Record as Record>::View<'a>;

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

/// What was under a key before a change.
#[derive(Debug)]
pub enum Before<'v, V> {
    /// Nothing.
    Nothing,
    /// A record.
    Record(&'v V),
    /// A record that cannot be read at all. It can still be replaced and
    /// removed; the rows that led to it, whichever they are, stay. Whoever
    /// follows a row compares it with the record that it leads to.
    Unreadable,
}

impl<V> Clone for Before<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Before<'_, V> {}

/// What follows every change of a table: an index, several of them (a tuple),
/// or something that is derived from the table in another way.
///
/// A change is followed in three steps, so that nothing is written before all
/// that could refuse it was asked: [`plan`](Self::plan) looks at the records,
/// [`check`](Self::check) at the store, [`apply`](Self::apply) writes.
pub trait Companion<T: Table>: Sized {
    /// Whether there is nothing to follow: a put need then not look for what was there before.
    const NOTHING: bool = false;

    /// What a change of a record means for this companion.
    type Plan;

    /// Finds its own slots.
    fn attach(slots: &mut dyn Slots) -> Result<Self>;

    /// What to do when the record under `key` changes from `old` to `new`.
    fn plan(
        &self,
        key: &T::Key,
        old: Before<'_, ViewOf<'_, T>>,
        new: Option<&ViewOf<'_, T>>,
    ) -> Result<Self::Plan>;

    /// Refuses a change that must not be.
    fn check<X: ReadTxn>(&self, txn: &X, key: &T::Key, plan: &Self::Plan) -> Result<()>;

    /// Does it.
    fn apply<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, plan: Self::Plan) -> Result<()>;
}

impl<T: Table> Companion<T> for () {
    const NOTHING: bool = true;
    type Plan = ();

    fn attach(_slots: &mut dyn Slots) -> Result<Self> {
        Ok(())
    }

    fn plan(
        &self,
        _key: &T::Key,
        _old: Before<'_, ViewOf<'_, T>>,
        _new: Option<&ViewOf<'_, T>>,
    ) -> Result<()> {
        Ok(())
    }

    fn check<X: ReadTxn>(&self, _txn: &X, _key: &T::Key, _plan: &()) -> Result<()> {
        Ok(())
    }

    fn apply<X: WriteTxn>(&self, _txn: &mut X, _key: &T::Key, _plan: ()) -> Result<()> {
        Ok(())
    }
}

macro_rules! companions {
    ($($part:ident $number:tt),*) => {
        impl<T: Table, $($part: Companion<T>),*> Companion<T> for ($($part,)*) {
            type Plan = ($($part::Plan,)*);

            fn attach(slots: &mut dyn Slots) -> Result<Self> {
                Ok(($($part::attach(slots)?,)*))
            }

            fn plan(
                &self,
                key: &T::Key,
                old: Before<'_, ViewOf<'_, T>>,
                new: Option<&ViewOf<'_, T>>,
            ) -> Result<Self::Plan> {
                Ok(($(self.$number.plan(key, old, new)?,)*))
            }

            fn check<X: ReadTxn>(&self, txn: &X, key: &T::Key, plan: &Self::Plan) -> Result<()> {
                $(self.$number.check(txn, key, &plan.$number)?;)*
                Ok(())
            }

            fn apply<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, plan: Self::Plan) -> Result<()> {
                $(self.$number.apply(txn, key, plan.$number)?;)*
                Ok(())
            }
        }
    };
}

companions!(A 0);
companions!(A 0, B 1);
companions!(A 0, B 1, C 2);

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

    fn writable_slot(&self) -> Result<Slot> {
        self.slot.ok_or_else(|| {
            Error::new(
                ErrorKind::ReadOnly,
                "the store was opened read-only and does not have this table",
            )
            .table(self.name)
        })
    }

    fn full_key(slot: Slot, encode: impl FnOnce(&mut KeyBuf)) -> KeyBuf {
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

    /// Scans the keys of this space between two bounds, which are encodings
    /// of keys or of beginnings of keys. An excluded lower bound and an
    /// included upper bound take all keys that begin with the bound to be it.
    pub(crate) fn scan<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        start: Bound<impl FnOnce(&mut KeyBuf)>,
        end: Bound<impl FnOnce(&mut KeyBuf)>,
        order: Order,
    ) -> Result<SpaceScan<'t, X>> {
        let Some(slot) = self.slot else {
            return Ok(SpaceScan {
                scan: None,
                name: self.name,
            });
        };
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
        // Only where all bytes are 255 is there nothing behind the start.
        let Some(start) = start else {
            return Ok(SpaceScan {
                scan: None,
                name: self.name,
            });
        };
        let range: KeyRange<'_> = (
            Bound::Included(&start),
            end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        );
        let scan = txn
            .scan(range, order)
            .map_err(|error| error.table(self.name))?;
        Ok(SpaceScan {
            scan: Some(scan),
            name: self.name,
        })
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
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(scan) = &mut self.scan else {
            return Ok(None);
        };
        let entry = scan.next().map_err(|error| error.table(self.name))?;
        Ok(entry.map(|(key, value)| (key.get(2..).unwrap_or_default(), value)))
    }
}

/// A value as the engine lends it, known to be bytes of a record.
#[derive(Debug)]
pub struct Guard<V, R> {
    value: V,
    table: &'static str,
    record: PhantomData<fn() -> R>,
}

impl<V: AsRef<[u8]>, R: Record> Guard<V, R> {
    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        self.value.as_ref()
    }

    /// Reads the record in place.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when not even the places of its fields can be found.
    pub fn view(&self) -> Result<R::View<'_>> {
        R::view(self.bytes()).map_err(|error| error.table(self.table))
    }

    /// Decodes the whole record.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] at the first field that cannot be read.
    pub fn to_owned(&self) -> Result<R> {
        R::decode(self.bytes()).map_err(|error| error.table(self.table))
    }
}

/// A table attached to a store. It holds no transaction and no data: every
/// method takes the transaction to work in.
pub struct TableHandle<T: Table> {
    space: Space,
    companions: T::Companions,
}

impl<T: Table> TableHandle<T> {
    pub(crate) fn attach(slots: &mut dyn Slots) -> Result<Self> {
        let slot = slots.slot(T::OID, T::NAME, T::SCHEMA_VERSION)?;
        Ok(Self {
            space: Space::new(slot, T::NAME),
            companions: T::Companions::attach(slots)?,
        })
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    /// The slot in which the table lives; `None` when the store does not have
    /// it and was opened read-only. It then reads as empty.
    pub fn slot(&self) -> Option<Slot> {
        self.space.slot()
    }

    /// What follows the table's changes: its indexes.
    pub fn companions(&self) -> &T::Companions {
        &self.companions
    }

    /// The record under a key.
    pub fn get<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        key: &T::Key,
    ) -> Result<Option<Guard<X::Value<'t>, T::Record>>> {
        let value = self.space.get(txn, |out| key.encode(out))?;
        Ok(value.map(|value| Guard {
            value,
            table: T::NAME,
            record: PhantomData,
        }))
    }

    /// Walks all records between two keys.
    pub fn range<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        range: impl RangeBounds<T::Key>,
        order: Order,
    ) -> Result<TableScan<'t, X, T>> {
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
        Ok(TableScan {
            scan,
            space: self.space,
            table: PhantomData,
        })
    }

    /// Walks all records whose keys begin with a part, such as the first of a tuple.
    pub fn prefix<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        part: &impl Key,
        order: Order,
    ) -> Result<TableScan<'t, X, T>> {
        let scan = self.space.scan_prefix(txn, |out| part.encode(out), order)?;
        Ok(TableScan {
            scan,
            space: self.space,
            table: PhantomData,
        })
    }

    /// Counts the records, by walking them.
    pub fn count<X: ReadTxn>(&self, txn: &X) -> Result<u64> {
        let mut scan = self.space.scan_all(txn, Order::Ascending)?;
        let mut count = 0;
        while scan.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Stores a record under a key, in place of what was there, and keeps
    /// every index right.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a record that contradicts itself or a
    /// key that is too long, [`ErrorKind::Duplicate`] when a unique index has
    /// another owner: the transaction is then as it was before.
    pub fn put<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, record: &T::Record) -> Result<()> {
        record
            .with_bytes(|bytes| self.put_bytes(txn, key, bytes))
            .map_err(|error| error.table(T::NAME))
    }

    /// Stores a record whose bytes are at hand.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`ErrorKind::Damaged`] when the bytes are no
    /// record, or are damaged where an index needs them.
    pub fn put_bytes<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, bytes: &[u8]) -> Result<()> {
        let new = T::Record::view(bytes).map_err(|error| error.table(T::NAME))?;
        let encode = |out: &mut KeyBuf| key.encode(out);
        if T::Companions::NOTHING {
            return self.space.put(txn, encode, bytes);
        }
        let plan = self.companions.plan(key, Before::Nothing, Some(&new))?;
        self.companions.check(txn, key, &plan)?;
        if self.space.insert(txn, encode, bytes)? {
            return self.companions.apply(txn, key, plan);
        }
        let Some(old) = self.space.get(txn, encode)? else {
            return Err(self.space.damaged("a key that is taken has no value"));
        };
        if old.as_ref() == bytes {
            return Ok(());
        }
        let plan = self.plan_after(key, old.as_ref(), Some(&new))?;
        drop(old);
        self.space.put(txn, encode, bytes)?;
        self.companions.apply(txn, key, plan)
    }

    /// Removes the record under a key, and its rows in every index; says
    /// whether there was one. A record that is damaged can be removed as any
    /// other; a row of an index may then be left that leads nowhere.
    pub fn delete<X: WriteTxn>(&self, txn: &mut X, key: &T::Key) -> Result<bool> {
        let encode = |out: &mut KeyBuf| key.encode(out);
        if T::Companions::NOTHING {
            return self.space.delete(txn, encode);
        }
        let Some(old) = self.space.get(txn, encode)? else {
            return Ok(false);
        };
        let plan = self.plan_after(key, old.as_ref(), None)?;
        drop(old);
        self.companions.check(txn, key, &plan)?;
        self.space.delete(txn, encode)?;
        self.companions.apply(txn, key, plan)?;
        Ok(true)
    }

    fn plan_after(
        &self,
        key: &T::Key,
        old: &[u8],
        new: Option<&ViewOf<'_, T>>,
    ) -> Result<<T::Companions as Companion<T>>::Plan> {
        match T::Record::view(old) {
            Ok(old) => self.companions.plan(key, Before::Record(&old), new),
            Err(_) => self.companions.plan(key, Before::Unreadable, new),
        }
    }
}

/// A walk over a table's records. Each is lent until the next is asked for.
pub struct TableScan<'t, X: ReadTxn + 't, T: Table> {
    scan: SpaceScan<'t, X>,
    space: Space,
    table: PhantomData<fn() -> T>,
}

impl<X: ReadTxn, T: Table> TableScan<'_, X, T> {
    /// The next record, or `None` at the end.
    #[allow(
        clippy::should_implement_trait,
        reason = "entries are lent, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_, T>>> {
        let space = self.space;
        Ok(self.scan.next()?.map(|(key, value)| Entry {
            key,
            value,
            space,
            table: PhantomData,
        }))
    }
}

/// A key and its record, lent by a scan.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'s, T> {
    key: &'s [u8],
    value: &'s [u8],
    space: Space,
    table: PhantomData<fn() -> T>,
}

impl<'s, T: Table> Entry<'s, T> {
    /// The key's bytes, without the slot.
    pub fn key_bytes(&self) -> &'s [u8] {
        self.key
    }

    /// The key.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when the bytes are no key of this table.
    pub fn key(&self) -> Result<T::Key> {
        T::Key::from_bytes(self.key).map_err(|error| self.space.damaged(error))
    }

    /// The record's bytes.
    pub fn bytes(&self) -> &'s [u8] {
        self.value
    }

    /// Reads the record in place. As [`Guard::view`].
    pub fn view(&self) -> Result<ViewOf<'s, T>> {
        T::Record::view(self.value).map_err(|error| error.table(T::NAME))
    }

    /// Decodes the whole record. As [`Guard::to_owned`].
    pub fn to_owned(&self) -> Result<T::Record> {
        T::Record::decode(self.value).map_err(|error| error.table(T::NAME))
    }
}

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
        value.map(|value| self.primary(value.as_ref())).transpose()
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

    /// Walks the rows whose keys begin with a part, such as the first of a tuple.
    pub fn prefix<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        part: &impl Key,
        order: Order,
    ) -> Result<IndexScan<'t, X, I>> {
        self.scan_prefix(txn, |out| part.encode(out), order)
    }

    pub(crate) fn scan_prefix<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        encode: impl Fn(&mut KeyBuf),
        order: Order,
    ) -> Result<IndexScan<'t, X, I>> {
        let scan = self.space.scan_prefix(txn, encode, order)?;
        Ok(IndexScan {
            scan,
            space: self.space,
            index: PhantomData,
        })
    }

    /// Counts the rows, by walking them.
    pub fn count<X: ReadTxn>(&self, txn: &X) -> Result<u64> {
        let mut scan = self.space.scan_all(txn, Order::Ascending)?;
        let mut count = 0;
        while scan.next()?.is_some() {
            count += 1;
        }
        Ok(count)
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
        mut on_damage: impl FnMut(&[u8], Error),
    ) -> Result<u64> {
        /// Rows that are read before as many are written: no scan can be open while the transaction changes.
        const BATCH: usize = 1024;
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
                        let mut row = Space::full_key(slot, |out| key.encode(out));
                        if !I::UNIQUE {
                            row.extend_from_slice(primary);
                        }
                        changes.push((row, KeyBuf::from_slice(primary)));
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

    /// The key of the row that a unique index has for a key.
    fn row(&self, key: &I::Key) -> Result<KeyBuf> {
        let slot = self.space.writable_slot()?;
        Ok(Space::full_key(slot, |out| key.encode(out)))
    }

    /// The primary key that the row of a unique index has.
    fn owner<X: ReadTxn>(&self, txn: &X, row: &[u8]) -> Result<Option<KeyBuf>> {
        let value = txn.get(row).map_err(|error| error.table(I::NAME))?;
        Ok(value.map(|value| KeyBuf::from_slice(value.as_ref())))
    }

    fn primary(&self, bytes: &[u8]) -> Result<PrimaryKey<I>> {
        Key::from_bytes(bytes).map_err(|error| self.space.damaged(error))
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
            Ok(key.map(|key| {
                Space::full_key(slot, |out| {
                    key.encode(out);
                    if !I::UNIQUE {
                        out.extend_from_slice(&primary);
                    }
                })
            }))
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
        let key = <I::Table as Table>::Record::view(record.as_ref()).and_then(|view| I::key(&view));
        match key {
            // and neither does one of what a record was before.
            Ok(key) if key.as_ref().map(|key| self.row(key)).transpose()?.as_ref() != Some(add) => {
                Ok(())
            }
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
        let Some((mut key, value)) = self.scan.next()? else {
            return Ok(None);
        };
        let damaged = |error| space.damaged(error);
        let index_key = I::Key::decode(&mut key).map_err(damaged)?;
        let primary = if I::UNIQUE {
            <() as Key>::from_bytes(key).map_err(damaged)?;
            Key::from_bytes(value)
        } else {
            Key::from_bytes(key)
        };
        Ok(Some((index_key, primary.map_err(damaged)?)))
    }
}
