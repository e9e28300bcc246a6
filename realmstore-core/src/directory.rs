//! The directory of tables: which table lives in which slot.
//!
//! It is slot 0 of the keyspace, as zLMDB writes it: under the key `00 00`,
//! slot (`u16`, big-endian) stands a CBOR map `{oid, name, description, tags,
//! creator, slot}`. zLMDB expects every key of slot 0 to be such an entry, so
//! what else there is to say of a table stands in a table of our own,
//! `realmstore.meta`: the versions of our tables' layouts, and the
//! [stamp](crate::store) of the last commit.

use minicbor::Encoder;
use uuid::Uuid;

use crate::backend::{Backend, Order, ReadTxn, Scan, WriteTxn};
use crate::cbor::{CborRef, Value};
use crate::key::KeyBuf;
use crate::table::{Slot, Space, Table, TableHandle};
use crate::{Error, ErrorKind, Result};

const META_OID: Uuid = Uuid::from_u128(0x5e14e80d_6cb6_45a4_9501_e76f0a21cb17);
const META_NAME: &str = "realmstore.meta";
const META_VERSION: u32 = 1;

/// What begins the key of a layout's version in the meta table; the table's OID follows.
const VERSION_KEY: u8 = 1;

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
    fn read(slot: Slot, value: &[u8]) -> Self {
        let mut entry = Self {
            slot,
            oid: None,
            name: None,
            description: None,
        };
        let Ok(Value::Map(fields)) = CborRef::from_bytes(value).to_value() else {
            return entry;
        };
        for (key, value) in fields {
            let (Value::Text(key), Value::Text(value)) = (key, value) else {
                continue;
            };
            match &*key {
                "oid" => entry.oid = Uuid::parse_str(&value).ok(),
                "name" => entry.name = Some(value),
                "description" => entry.description = Some(value),
                _ => {}
            }
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
    /// Reads the directory.
    pub fn read<X: ReadTxn>(txn: &X) -> Result<Self> {
        let mut scan = Space::new(Some(0), "directory").scan_all(txn, Order::Ascending)?;
        let mut entries = Vec::new();
        while let Some((key, value)) = scan.next()? {
            if let &[high, low, ..] = key {
                entries.push(DirectoryEntry::read(
                    Slot::from_be_bytes([high, low]),
                    value,
                ));
            }
        }
        Ok(Self { entries })
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
        let mut scan = txn.scan(
            (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
            Order::Descending,
        )?;
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
                Error::new(ErrorKind::Full, "all 65535 slots for tables are taken")
                    .table("directory")
            })
    }
}

/// Where a table finds the slot it lives in.
pub trait Slots {
    /// The slot of the table with this OID; `None` when the store does not
    /// have it and is read-only.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the table's layout in the store is newer than `version`.
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
        let slot = self.directory.slot(oid);
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
        let existing = self.directory.slot(oid);
        let slot = match existing {
            Some(slot) => slot,
            None => self.make(oid, name)?,
        };
        if let Some(version) = version {
            if self.directory.slot(META_OID).is_none() {
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

fn encode_entry(slot: Slot, oid: Uuid, name: &str) -> Vec<u8> {
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

fn version_key(oid: Uuid, out: &mut KeyBuf) {
    out.push(VERSION_KEY);
    out.extend_from_slice(oid.as_bytes());
}

/// The table of our own facts about the store, by raw bytes.
pub(crate) fn meta_space(directory: &Directory) -> Space {
    Space::new(directory.slot(META_OID), META_NAME)
}

/// Refuses a table of a newer version, and any when the table of versions is newer itself.
fn check_version<X: ReadTxn>(
    txn: &X,
    directory: &Directory,
    oid: Uuid,
    name: &'static str,
    known: u32,
) -> Result<()> {
    let meta = meta_space(directory);
    for (oid, name, known) in [(META_OID, META_NAME, META_VERSION), (oid, name, known)] {
        let Some(value) = meta.get(txn, |out| version_key(oid, out))? else {
            continue;
        };
        let bytes = value
            .as_ref()
            .try_into()
            .map_err(|_| meta.damaged("the version of a table's layout has not 4 bytes"))?;
        let found = u32::from_be_bytes(bytes);
        if found > known {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the store has version {found} of this table, this realmstore knows versions up to {known}: \
                     use a newer realmstore"
                ),
            )
            .table(name));
        }
    }
    Ok(())
}

/// Attaches a table to a store: finds its slot and those of its indexes, or
/// makes them. The tables of a realm store are attached by
/// [`RealmStore::attach`](crate::RealmStore::attach); this is for your own.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when the store has a newer version of the table.
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
