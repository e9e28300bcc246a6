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
pub(super) const KEY: &[u8] = &[0];

/// The stamp's key in the keyspace, given the meta table's slot.
pub(super) fn key(meta: Slot) -> KeyBuf {
    let mut key = KeyBuf::from_slice(&meta.to_be_bytes());
    key.extend_from_slice(KEY);
    key
}

/// What the stamp of a store says, to a transaction that sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// It is of the last commit: our indexes are complete.
    Current,
    /// It is of an earlier commit, or cannot be read. It must not stay where
    /// we write: a file whose commits are counted anew (a compacted copy of
    /// LMDB) could come to its number again.
    Stale,
    /// There is none.
    Missing,
}

impl Stamp {
    pub(super) fn read<X: ReadTxn>(meta: &Space, txn: &X) -> Result<Self> {
        let Some(value) = meta.get(txn, |out| out.extend_from_slice(KEY))? else {
            return Ok(Self::Missing);
        };
        let number = u64::from_bytes(value.as_ref()).ok();
        let last = txn.commit_number();
        if number.is_some() && (last.is_none() || last == number) {
            Ok(Self::Current)
        } else {
            Ok(Self::Stale)
        }
    }

    /// Makes what is true after this transaction's own commit, given what was
    /// true before it: a current stamp goes on, a stale one goes.
    pub(super) fn carry_over<X: WriteTxn>(self, meta: &Space, txn: &mut X) -> Result<()> {
        match self {
            Self::Current => {
                let number = txn.commit_number().map_or(0, |last| last + 1);
                let mut value = KeyBuf::new();
                number.encode(&mut value);
                meta.put(txn, |out| out.extend_from_slice(KEY), &value)
            }
            Self::Stale => meta.delete(txn, |out| out.extend_from_slice(KEY)).map(drop),
            Self::Missing => Ok(()),
        }
    }
}
