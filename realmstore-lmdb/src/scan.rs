//! Scans, and the ranges that LMDB can be asked for.

use std::ops::{Bound, RangeBounds};

use heed::types::Bytes;
use heed::{RoRange, RoRevRange, RoTxn};
use realmstore_core::backend::is_empty_range;
use realmstore_core::{KeyRange, MAX_KEY_LEN, Order, Result, Scan};

use crate::{Entries, error};

/// A scan in progress; its entries are lent from the memory map.
pub struct LmdbScan<'t>(Position<'t>);

enum Position<'t> {
    Ascending(RoRange<'t, Bytes, Bytes>),
    Descending(RoRevRange<'t, Bytes, Bytes>),
    /// Past the end, or past an error. A cursor that is asked once more would
    /// begin again in some cases.
    Over,
}

impl<'t> LmdbScan<'t> {
    pub(crate) fn begin(
        entries: Entries,
        txn: &'t RoTxn<'_>,
        range: KeyRange<'_>,
        order: Order,
    ) -> Result<Self> {
        let Some(range) = storable(range) else {
            return Ok(Self(Position::Over));
        };
        let position = match order {
            Order::Ascending => entries.range(txn, &range).map(Position::Ascending),
            Order::Descending => entries.rev_range(txn, &range).map(Position::Descending),
        };
        position
            .map(Self)
            .map_err(|error| error::engine(error, "scan"))
    }
}

impl Scan for LmdbScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let entry = match &mut self.0 {
            Position::Ascending(range) => range.next(),
            Position::Descending(range) => range.next(),
            Position::Over => None,
        };
        match entry {
            Some(Ok(entry)) => Ok(Some(entry)),
            Some(Err(error)) => {
                self.0 = Position::Over;
                Err(error::engine(error, "scan"))
            }
            None => {
                self.0 = Position::Over;
                Ok(None)
            }
        }
    }
}

impl std::fmt::Debug for LmdbScan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Position::Ascending(_) => "LmdbScan(Ascending)",
            Position::Descending(_) => "LmdbScan(Descending)",
            Position::Over => "LmdbScan(Over)",
        })
    }
}

/// Lends the last entry of a range: one seek, and nothing to begin and to end.
pub(crate) fn last<T>(
    entries: Entries,
    txn: &RoTxn<'_>,
    range: KeyRange<'_>,
    read: impl FnOnce(&[u8], &[u8]) -> T,
) -> Result<Option<T>> {
    let Some((lower, upper)) = storable(range) else {
        return Ok(None);
    };
    let entry = match upper {
        Bound::Excluded(key) => entries.get_lower_than(txn, key),
        Bound::Included(key) => entries.get_lower_than_or_equal_to(txn, key),
        Bound::Unbounded => entries.last(txn),
    };
    let entry = entry.map_err(|error| error::engine(error, "scan"))?;
    Ok(entry
        .filter(|(key, _)| (lower, Bound::Unbounded).contains(*key))
        .map(|(key, value)| read(key, value)))
}

/// The same range with bounds that could be stored as keys, since LMDB takes
/// no others; `None` when it is empty whatever is stored.
fn storable(range: KeyRange<'_>) -> Option<KeyRange<'_>> {
    let lower = match range.0 {
        Bound::Included([]) | Bound::Excluded([]) => Bound::Unbounded,
        // No key has the first 511 bytes as a proper prefix, so whatever is
        // above them is above the whole bound as well.
        Bound::Included(key) | Bound::Excluded(key) if key.len() > MAX_KEY_LEN => {
            Bound::Excluded(&key[..MAX_KEY_LEN])
        }
        bound => bound,
    };
    let upper = match range.1 {
        Bound::Included([]) | Bound::Excluded([]) => return None,
        Bound::Included(key) | Bound::Excluded(key) if key.len() > MAX_KEY_LEN => {
            Bound::Included(&key[..MAX_KEY_LEN])
        }
        bound => bound,
    };
    (!is_empty_range((lower, upper))).then_some((lower, upper))
}
