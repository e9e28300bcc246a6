//! How a store knows that nobody else wrote to it.
//!
//! Crossbar.io writes to the same file and knows nothing of our indexes and
//! our table of events. So every commit of ours that leaves them complete
//! notes its own number ([`ReadTxn::commit_number`]) in the meta table. When
//! the number found there is that of the store's last commit, everything of
//! ours can be relied on; when it is not, answers are made without it, until
//! [`adopt`](crate::RealmStore::adopt).

use crate::Result;
use crate::backend::{ReadTxn, WriteTxn};
use crate::key::{Key, KeyBuf};
use crate::table::{Slot, Space};

/// The stamp's key in the meta table.
const KEY: &[u8] = &[0];

/// The stamp's key in the keyspace, given the meta table's slot.
pub(super) fn key(meta: Slot) -> KeyBuf {
    let mut key = KeyBuf::from_slice(&meta.to_be_bytes());
    key.extend_from_slice(KEY);
    key
}

/// Says that our indexes are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Whether events remain in Crossbar.io's table that could not be moved.
    pub(super) foreign_events: bool,
}

impl Stamp {
    /// The stamp, when there is one and it is of the last commit that the transaction sees.
    pub(super) fn read<X: ReadTxn>(meta: &Space, txn: &X) -> Result<Option<Self>> {
        let Some(value) = meta.get(txn, |out| out.extend_from_slice(KEY))? else {
            return Ok(None);
        };
        let (foreign_events, number) =
            <(u64, u64)>::from_bytes(value.as_ref()).map_err(|error| meta.damaged(error))?;
        let last = txn.commit_number();
        Ok((last.is_none() || last == Some(number)).then_some(Self {
            foreign_events: foreign_events != 0,
        }))
    }

    /// Puts the stamp of the commit that this transaction is about to make.
    pub(super) fn write<X: WriteTxn>(self, meta: &Space, txn: &mut X) -> Result<()> {
        let number = txn.commit_number().map_or(0, |last| last + 1);
        let mut value = KeyBuf::new();
        (u64::from(self.foreign_events), number).encode(&mut value);
        meta.put(txn, |out| out.extend_from_slice(KEY), &value)
    }
}
