//! The quarantine: what a repair moved aside, bytes as they were.

use uuid::Uuid;

use super::verify::Kind;
use crate::Result;
use crate::backend::ReadTxn;
use crate::directory::{Directory, ExistingSlots};
use crate::record::Quarantined;
use crate::table::{Slot, Table, TableHandle};

/// `realmstore.quarantine`: a number that counts up → [`Quarantined`]. A table
/// of ours that is made when the first row is moved into it
/// ([`repair`](super::repair)), and not before.
#[derive(Debug, Clone, Copy)]
pub struct Quarantine;

impl Table for Quarantine {
    const OID: Uuid = Uuid::from_u128(0xc2d7a50e_94b1_4d0c_8a43_1f6be0c7d9f2);
    const NAME: &'static str = "realmstore.quarantine";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    type Key = u64;
    type Record = Quarantined;
    type Companions = ();
}

/// The quarantine as a transaction sees it, in the order in which rows came
/// into it. It reads as empty where there is none.
///
/// # Errors
/// As [`RealmStore::attach`](crate::RealmStore::attach), of this table.
pub fn quarantine<X: ReadTxn>(txn: &X) -> Result<TableHandle<Quarantine>> {
    TableHandle::attach(&mut ExistingSlots::new(txn, &Directory::read(txn)?))
}

/// Where a row stood: the table, by the names of [`Finding`](super::Finding),
/// and its key as people write it.
pub fn place_of(row: &Quarantined) -> (&'static str, String) {
    let kind = Kind::of(row.table);
    let key = row.key.as_deref().unwrap_or_default();
    let key = key.get(size_of::<Slot>()..).unwrap_or_default();
    (kind.label(), kind.key_text(key))
}
