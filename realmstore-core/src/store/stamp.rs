//! How a store knows that nobody else wrote to it.
//!
//! Crossbar.io writes to the same file and knows nothing of our indexes and
//! our table of events. So every commit of ours that leaves them complete
//! notes its own number ([`ReadTxn::commit_number`]) in the meta table. When
//! the number found there is that of the store's last commit, everything of
//! ours can be relied on; when it is not, answers are made without it, and the
//! next write transaction begins by catching up (`RealmStore::catch_up`). A store
//! without a stamp has never been complete: [`adopt`](crate::RealmStore::adopt)
//! makes it so.

use crate::Result;
use crate::backend::{ReadTxn, WriteTxn};
use crate::key::{Key, KeyBuf};
use crate::table::{Slot, Space};

/// The stamp's key in the meta table.
pub(super) const KEY: &[u8] = &[0];

/// The number of no commit.
const NEVER: u64 = 0;

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
    /// It is of an earlier commit, or cannot be read: somebody else has written since.
    Stale,
    /// There is none: the indexes were never complete.
    Missing,
}

impl Stamp {
    pub(super) fn read<X: ReadTxn>(meta: &Space, txn: &X) -> Result<Self> {
        let Some(value) = meta.get(txn, |out| out.extend_from_slice(KEY))? else {
            return Ok(Self::Missing);
        };
        let number = u64::from_bytes(value.as_ref())
            .ok()
            .filter(|&number| number != NEVER);
        let last = txn.commit_number();
        if number.is_some() && (last.is_none() || last == number) {
            Ok(Self::Current)
        } else {
            Ok(Self::Stale)
        }
    }

    /// Makes the same true after this transaction's own commit.
    pub(super) fn carry_over<X: WriteTxn>(self, meta: &Space, txn: &mut X) -> Result<()> {
        let number = match self {
            Self::Current => txn.commit_number().map_or(NEVER + 1, |last| last + 1),
            // The number that is there could become true again: commits are
            // counted anew in a compacted copy of an LMDB file.
            Self::Stale => NEVER,
            // A store that has none need not have a table for it either.
            Self::Missing if meta.slot().is_none() => return Ok(()),
            Self::Missing => {
                return meta.delete(txn, |out| out.extend_from_slice(KEY)).map(drop);
            }
        };
        let mut value = KeyBuf::new();
        number.encode(&mut value);
        meta.put(txn, |out| out.extend_from_slice(KEY), &value)
    }
}
