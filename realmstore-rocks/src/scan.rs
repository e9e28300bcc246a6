//! Scans, and the ranges that RocksDB can be asked for.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use realmstore_core::{KeyRange, Order, Result, Scan};
use rocksdb::{DB, DBRawIterator, ReadOptions};

use crate::error;

/// A scan in progress; its entries are lent by RocksDB's iterator.
pub struct RocksScan<'t> {
    /// `None` past the end, and past an error.
    iterator: Option<DBRawIterator<'t>>,
    order: Order,
    begun: bool,
}

impl<'t> RocksScan<'t> {
    /// A scan that reads as `options` say.
    pub(crate) fn new(
        db: &'t DB,
        mut options: ReadOptions,
        range: KeyRange<'_>,
        order: Order,
    ) -> Self {
        let iterator = limits(range).map(|(lower, upper)| {
            if !lower.is_empty() {
                options.set_iterate_lower_bound(lower);
            }
            if let Some(upper) = upper {
                options.set_iterate_upper_bound(upper);
            }
            db.raw_iterator_opt(options)
        });
        Self {
            iterator,
            order,
            begun: false,
        }
    }
}

impl Scan for RocksScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(iterator) = &mut self.iterator else {
            return Ok(None);
        };
        match (self.begun, self.order) {
            (false, Order::Ascending) => iterator.seek_to_first(),
            (false, Order::Descending) => iterator.seek_to_last(),
            (true, Order::Ascending) => iterator.next(),
            (true, Order::Descending) => iterator.prev(),
        }
        self.begun = true;
        if !iterator.valid() {
            // Either the end, or a file that could not be read.
            let status = iterator.status();
            self.iterator = None;
            status.map_err(|error| error::engine(error, "scan"))?;
        }
        Ok(self.iterator.as_ref().and_then(DBRawIterator::item))
    }
}

impl fmt::Debug for RocksScan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksScan")
            .field("order", &self.order)
            .field("over", &self.iterator.is_none())
            .finish_non_exhaustive()
    }
}

/// Lends the last entry of a range. What is below it need not be kept from
/// being seen, as in a scan: it is one entry.
pub(crate) fn last<T>(
    db: &DB,
    options: ReadOptions,
    range: KeyRange<'_>,
    read: impl FnOnce(&[u8], &[u8]) -> T,
) -> Result<Option<T>> {
    let mut iterator = db.raw_iterator_opt(options);
    match range.1 {
        Bound::Included(key) | Bound::Excluded(key) => iterator.seek_for_prev(key),
        Bound::Unbounded => iterator.seek_to_last(),
    }
    if let Bound::Excluded(key) = range.1
        && iterator.key() == Some(key)
    {
        iterator.prev();
    }
    match iterator.item() {
        Some((key, value)) => {
            let found = (range.0, Bound::Unbounded).contains(key);
            Ok(found.then(|| read(key, value)))
        }
        // Either there is none, or a file could not be read.
        None => match iterator.status() {
            Ok(()) => Ok(None),
            Err(error) => Err(error::engine(error, "scan")),
        },
    }
}

/// A range as RocksDB takes it, from the first key that is in it to the first
/// one above that is not; `None` when it is empty whatever is stored.
fn limits(range: KeyRange<'_>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let lower = match range.0 {
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => successor(key),
        Bound::Unbounded => Vec::new(),
    };
    let upper = match range.1 {
        Bound::Included(key) => Some(successor(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
        Bound::Unbounded => None,
    };
    let empty = upper.as_ref().is_some_and(|upper| *upper <= lower);
    (!empty).then_some((lower, upper))
}

/// The least byte string above another one.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_is_in_the_range_and_what_is_not() {
        let (a, b) = (&b"a"[..], &b"b"[..]);
        for (range, lower, upper) in [
            ((Bound::Unbounded, Bound::Unbounded), &b""[..], None),
            (
                (Bound::Included(a), Bound::Excluded(b)),
                b"a",
                Some(&b"b"[..]),
            ),
            (
                (Bound::Excluded(a), Bound::Included(b)),
                b"a\0",
                Some(b"b\0"),
            ),
            ((Bound::Included(a), Bound::Included(a)), b"a", Some(b"a\0")),
        ] {
            let expected = (lower.to_vec(), upper.map(<[u8]>::to_vec));
            assert_eq!(limits(range), Some(expected), "{range:?}");
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        let (a, b) = (&b"a"[..], &b"b"[..]);
        for range in [
            (Bound::Included(b), Bound::Included(a)),
            (Bound::Excluded(b), Bound::Excluded(a)),
            (Bound::Excluded(a), Bound::Excluded(a)),
            (Bound::Excluded(a), Bound::Included(a)),
            (Bound::Included(a), Bound::Excluded(a)),
            (Bound::Unbounded, Bound::Excluded(&[])),
        ] {
            assert_eq!(limits(range), None, "{range:?}");
        }
    }
}
