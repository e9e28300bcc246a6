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

mod companion;
mod index;
mod space;

use std::marker::PhantomData;
use std::ops::RangeBounds;

use uuid::Uuid;

pub use self::companion::{Before, Companion};
pub use self::index::{Index, IndexChange, IndexHandle, IndexScan};
pub(crate) use self::space::{Space, SpaceScan, successor};
use crate::Result;
use crate::backend::{Order, ReadTxn, WriteTxn};
use crate::directory::Slots;
use crate::key::{Key, KeyBuf};
use crate::record::Record;

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

    /// The version of the table's layout that this definition knows. A store
    /// that holds another one is refused. `None` for tables whose layout is
    /// somebody else's, and has no version.
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
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when not even the places of its fields can be found.
    pub fn view(&self) -> Result<R::View<'_>> {
        R::view(self.bytes()).map_err(|error| error.table(self.table))
    }

    /// Decodes the whole record.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) at the first field that cannot be read.
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
        self.space.count(txn)
    }

    /// Stores a record under a key, in place of what was there, and keeps
    /// every index right.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a record that contradicts itself or a
    /// key that is too long, [`ErrorKind::Duplicate`](crate::ErrorKind::Duplicate) when a unique index has
    /// another owner: the transaction is then as it was before.
    pub fn put<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, record: &T::Record) -> Result<()> {
        record
            .with_bytes(|bytes| self.put_bytes(txn, key, bytes))
            .map_err(|error| error.table(T::NAME))
    }

    /// Stores a record whose bytes are at hand.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when the bytes are no
    /// record, or are damaged where an index needs them.
    pub fn put_bytes<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, bytes: &[u8]) -> Result<()> {
        let new = T::Record::view(bytes).map_err(|error| error.table(T::NAME))?;
        let encode = |out: &mut KeyBuf| key.encode(out);
        if T::Companions::NOTHING {
            return self.space.put(txn, encode, bytes);
        }
        let plan = self.companions.plan(key, Before::Nothing, Some(&new))?;
        let may_be_new = self.companions.check(txn, key, &plan);
        if may_be_new.is_ok() && self.space.insert(txn, encode, bytes)? {
            return self.companions.apply(txn, key, plan);
        }
        if self.replace_bytes(txn, key, bytes)? {
            return Ok(());
        }
        may_be_new?;
        Err(self.space.damaged("a key that is taken has no value"))
    }

    /// Stores a record in place of the one that is there, as [`put`](Self::put),
    /// without asking first whether it is new; says whether there was one.
    pub(crate) fn replace<X: WriteTxn>(
        &self,
        txn: &mut X,
        key: &T::Key,
        record: &T::Record,
    ) -> Result<bool> {
        record
            .with_bytes(|bytes| self.replace_bytes(txn, key, bytes))
            .map_err(|error| error.table(T::NAME))
    }

    fn replace_bytes<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, bytes: &[u8]) -> Result<bool> {
        let new = T::Record::view(bytes).map_err(|error| error.table(T::NAME))?;
        let encode = |out: &mut KeyBuf| key.encode(out);
        let Some(old) = self.space.get(txn, encode)? else {
            return Ok(false);
        };
        if old.as_ref() == bytes {
            return Ok(true);
        }
        // What a record has already it need not ask for.
        let plan = self.plan_after(key, old.as_ref(), Some(&new))?;
        drop(old);
        self.companions.check(txn, key, &plan)?;
        self.space.put(txn, encode, bytes)?;
        self.companions.apply(txn, key, plan)?;
        Ok(true)
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
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when the bytes are no key of this table.
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
