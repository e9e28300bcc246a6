//! The directory of tables: which table lives in which slot.
//!
//! It is slot 0 of the keyspace, as zLMDB writes it: under the key `00 00`,
//! slot (`u16`, big-endian) stands a CBOR map `{oid, name, description, tags,
//! creator, slot}`. zLMDB expects every key of slot 0 to be such an entry, so
//! what else there is to say of a table stands in a table of our own,
//! `realmstore.meta`: the versions of our tables' layouts, and the
//! [stamp](crate::store) of the last commit.

use std::ops::Bound;

use minicbor::Encoder;
use uuid::Uuid;

use crate::backend::{Backend, KeyRange, Order, ReadTxn, Scan, WriteTxn};
use crate::cbor::{CborRef, Value};
use crate::key::KeyBuf;
use crate::table::{Slot, Space, Table, TableHandle};
use crate::{Error, ErrorKind, Result};

pub(crate) const NAME: &str = "directory";

pub(crate) const EVERYTHING: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

pub(crate) const META_OID: Uuid = Uuid::from_u128(0x5e14e80d_6cb6_45a4_9501_e76f0a21cb17);
pub(crate) const META_NAME: &str = "realmstore.meta";
pub(crate) const META_VERSION: u32 = 1;

/// What begins the key of a layout's version in the meta table; the table's OID follows.
pub(crate) const VERSION_KEY: u8 = 1;

/// One entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The slot that is taken.
    pub slot: Slot,
    /// The OID of the table that lives there; `None` when the entry cannot be read.
    pub oid: Option<Uuid>,
    /// The table's name.
    pub name: Option<String>,
    /// What the table is for, in its creator's words.
    pub description: Option<String>,
}

impl DirectoryEntry {
    pub(crate) fn read(slot: Slot, value: &[u8]) -> Self {
        let mut entry = Self {
            slot,
            oid: None,
            name: None,
            description: None,
        };
        let Ok(Value::Map(fields)) = CborRef::from_bytes(value).to_value() else {
            return entry;
        };
        let mut is_of_this_slot = true;
        for (key, value) in fields {
            let Value::Text(key) = key else { continue };
            match (&*key, value) {
                ("oid", Value::Text(oid)) => entry.oid = Uuid::parse_str(&oid).ok(),
                ("name", Value::Text(name)) => entry.name = Some(name),
                ("description", Value::Text(text)) => entry.description = Some(text),
                ("slot", said) => is_of_this_slot = said == Value::Integer(slot.into()),
                _ => {}
            }
        }
        if !is_of_this_slot {
            entry.oid = None;
        }
        entry
    }
}

/// The directory as a transaction sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<DirectoryEntry>,
}

impl Directory {
    /// Reads the directory. Entries that are damaged are in it with what can be read of them.
    pub fn read<X: ReadTxn>(txn: &X) -> Result<Self> {
        let mut scan = Space::new(Some(0), NAME).scan_all(txn, Order::Ascending)?;
        let mut entries = Vec::new();
        while let Some((key, value)) = scan.next()? {
            match *key {
                [high, low] if key != [0, 0] => {
                    let slot = Slot::from_be_bytes([high, low]);
                    entries.push(DirectoryEntry::read(slot, value));
                }
                _ => {}
            }
        }
        Ok(Self { entries })
    }

    /// Reads the directory of what should be a store of tables, or empty.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when there is something, but no table.
    pub(crate) fn of_store<X: ReadTxn>(txn: &X) -> Result<Self> {
        let directory = Self::read(txn)?;
        let knows_a_table = directory.entries.iter().any(|entry| entry.oid.is_some());
        if !knows_a_table && txn.scan(EVERYTHING, Order::Ascending)?.next()?.is_some() {
            return Err(Error::new(
                ErrorKind::Damaged,
                "this is a database, but no realm store: its directory of tables has no entry that can be read",
            ));
        }
        Ok(directory)
    }

    /// The slot of a table that is wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when it is not there, and an entry that cannot
    /// be read, or that has its name, may be what is left of it. To take it for
    /// missing would make a full table look empty.
    pub(crate) fn find(&self, oid: Uuid, name: &'static str) -> Result<Option<Slot>> {
        if let Some(slot) = self.slot(oid) {
            return Ok(Some(slot));
        }
        let may_be_it = |entry: &&DirectoryEntry| match &entry.name {
            Some(found) => found == name,
            None => entry.oid.is_none(),
        };
        match self.entries.iter().find(may_be_it) {
            None => Ok(None),
            Some(entry) => Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "the directory of tables is damaged at slot {}, which may be this table's",
                    entry.slot
                ),
            )
            .table(name)),
        }
    }

    /// The last slot that is taken, where that can be told. One step, whatever
    /// the directory holds: a new table has a higher slot than all others.
    pub(crate) fn last_slot<X: ReadTxn>(txn: &X) -> Result<Option<Slot>> {
        let directory = Space::new(Some(0), NAME);
        let last = directory.last_with_prefix(
            txn,
            |_| (),
            |key, _| match *key {
                [high, low] => Some(Slot::from_be_bytes([high, low])),
                _ => None,
            },
        )?;
        Ok(last.unwrap_or(Some(0)))
    }

    /// The entries, by slot.
    pub fn entries(&self) -> &[DirectoryEntry] {
        &self.entries
    }

    /// The slot of a table.
    pub fn slot(&self, oid: Uuid) -> Option<Slot> {
        self.entries
            .iter()
            .find(|entry| entry.oid == Some(oid))
            .map(|entry| entry.slot)
    }

    /// A slot behind all that are taken: by the directory, or by keys that
    /// somebody wrote without an entry in it.
    fn free_slot<X: ReadTxn>(&self, txn: &X) -> Result<Slot> {
        let mut scan = txn.scan(EVERYTHING, Order::Descending)?;
        let highest_used = match scan.next()? {
            Some((&[high, low, ..], _)) => Slot::from_be_bytes([high, low]),
            _ => 0,
        };
        let highest_taken = self
            .entries
            .iter()
            .map(|entry| entry.slot)
            .max()
            .unwrap_or(0);
        highest_used
            .max(highest_taken)
            .checked_add(1)
            .ok_or_else(|| {
                Error::new(ErrorKind::Full, "all 65535 slots for tables are taken").table(NAME)
            })
    }
}

/// Where a table finds the slot it lives in.
pub trait Slots {
    /// The slot of the table with this OID; `None` when the store does not
    /// have it and is read-only.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the table's layout in the store is another
    /// version, [`ErrorKind::Damaged`] when its entry may be there but cannot be read.
    fn slot(&mut self, oid: Uuid, name: &'static str, version: Option<u32>)
    -> Result<Option<Slot>>;
}

/// Slots that exist; none is made.
pub(crate) struct ExistingSlots<'x, X> {
    txn: &'x X,
    directory: &'x Directory,
}

impl<'x, X: ReadTxn> ExistingSlots<'x, X> {
    pub(crate) fn new(txn: &'x X, directory: &'x Directory) -> Self {
        Self { txn, directory }
    }
}

impl<X: ReadTxn> Slots for ExistingSlots<'_, X> {
    fn slot(
        &mut self,
        oid: Uuid,
        name: &'static str,
        version: Option<u32>,
    ) -> Result<Option<Slot>> {
        let slot = self.directory.find(oid, name)?;
        if let (Some(_), Some(version)) = (slot, version) {
            check_version(self.txn, self.directory, oid, name, version)?;
        }
        Ok(slot)
    }
}

/// Slots that are made where there are none.
pub(crate) struct SlotsToMake<'x, X> {
    txn: &'x mut X,
    directory: &'x mut Directory,
}

impl<'x, X: WriteTxn> SlotsToMake<'x, X> {
    pub(crate) fn new(txn: &'x mut X, directory: &'x mut Directory) -> Self {
        Self { txn, directory }
    }

    fn make(&mut self, oid: Uuid, name: &'static str) -> Result<Slot> {
        let slot = self.directory.free_slot(self.txn)?;
        let mut key = KeyBuf::from_slice(&[0, 0]);
        key.extend_from_slice(&slot.to_be_bytes());
        self.txn.put(&key, &encode_entry(slot, oid, name))?;
        self.directory.entries.push(DirectoryEntry {
            slot,
            oid: Some(oid),
            name: Some(name.to_owned()),
            description: None,
        });
        Ok(slot)
    }

    fn note_version(&mut self, oid: Uuid, version: u32) -> Result<()> {
        meta_space(self.directory).put(
            self.txn,
            |out| version_key(oid, out),
            &version.to_be_bytes(),
        )
    }
}

impl<X: WriteTxn> Slots for SlotsToMake<'_, X> {
    fn slot(
        &mut self,
        oid: Uuid,
        name: &'static str,
        version: Option<u32>,
    ) -> Result<Option<Slot>> {
        let existing = self.directory.find(oid, name)?;
        let slot = match existing {
            Some(slot) => slot,
            None => self.make(oid, name)?,
        };
        if let Some(version) = version {
            if self.directory.find(META_OID, META_NAME)?.is_none() {
                self.make(META_OID, META_NAME)?;
                self.note_version(META_OID, META_VERSION)?;
            }
            check_version(self.txn, self.directory, oid, name, version)?;
            if existing.is_none() {
                self.note_version(oid, version)?;
            }
        }
        Ok(Some(slot))
    }
}

pub(crate) fn encode_entry(slot: Slot, oid: Uuid, name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let mut encoder = Encoder::new(&mut bytes);
    // Writing to memory cannot fail.
    let _: Result<_, minicbor::encode::Error<std::convert::Infallible>> = (|| {
        encoder.map(4)?;
        encoder.str("oid")?.str(&oid.hyphenated().to_string())?;
        encoder.str("name")?.str(name)?;
        encoder.str("creator")?.str("realmstore")?;
        encoder.str("slot")?.u16(slot)?.ok()
    })();
    bytes
}

pub(crate) fn version_key(oid: Uuid, out: &mut KeyBuf) {
    out.push(VERSION_KEY);
    out.extend_from_slice(oid.as_bytes());
}

/// The table of our own facts about the store, by raw bytes.
pub(crate) fn meta_space(directory: &Directory) -> Space {
    Space::new(directory.slot(META_OID), META_NAME)
}

/// Refuses a table of another version, and any when the table of versions is of another one itself.
pub(crate) fn check_version<X: ReadTxn>(
    txn: &X,
    directory: &Directory,
    oid: Uuid,
    name: &'static str,
    known: u32,
) -> Result<()> {
    let meta = Space::new(directory.find(META_OID, META_NAME)?, META_NAME);
    for (oid, name, known) in [(META_OID, META_NAME, META_VERSION), (oid, name, known)] {
        let Some(value) = meta.get(txn, |out| version_key(oid, out))? else {
            continue;
        };
        let bytes = value
            .as_ref()
            .try_into()
            .map_err(|_| meta.damaged("the version of a table's layout has not 4 bytes"))?;
        let found = u32::from_be_bytes(bytes);
        if found != known {
            let advice = if found > known {
                "use a newer realmstore"
            } else {
                "there is no way yet to bring it up to date"
            };
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the store has version {found} of this table, this realmstore knows version {known}: {advice}"),
            )
            .table(name));
        }
    }
    Ok(())
}

/// Attaches a table to a database that is no realm store: finds its slot and
/// those of its indexes, or makes them. To have a table of your own in a realm
/// store, use [`RealmStore::attach_table`](crate::RealmStore::attach_table).
///
/// An index that is new to a table with records is empty until it is
/// [rebuilt](crate::table::IndexHandle::rebuild).
///
/// # Errors
/// [`ErrorKind::Unsupported`] when the store has another version of the table.
pub fn attach_table<B: Backend, T: Table>(db: &B) -> Result<TableHandle<T>> {
    if db.info()?.read_only {
        let txn = db.begin_read()?;
        let directory = Directory::read(&txn)?;
        return TableHandle::attach(&mut ExistingSlots::new(&txn, &directory));
    }
    let mut txn = db.begin_write()?;
    let mut directory = Directory::read(&txn)?;
    let table = TableHandle::attach(&mut SlotsToMake::new(&mut txn, &mut directory))?;
    txn.commit()?;
    Ok(table)
}
