//! What a write transaction has changed and not committed, for engines that
//! have no transactions of their own.
//!
//! ```
//! use realmstore_core::overlay::Overlay;
//!
//! let mut changes = Overlay::default();
//! changes.put(b"a", b"1");
//! changes.delete(b"b");
//! assert_eq!(changes.get(b"a"), Some(Some(&b"1"[..])));
//! assert_eq!(changes.get(b"b"), Some(None), "deleted");
//! assert_eq!(changes.get(b"c"), None, "as it was");
//! ```

use std::cell::{Ref, RefCell};
use std::cmp::Ordering;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::{Bound, Range};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::backend::is_empty_range;
use crate::writer_lock::Scratch;
use crate::{KeyRange, Order, Result, Scan};

/// Changes by key, to be laid over what is committed.
///
/// A key is found by its hash; the order of keys is only made when it is asked
/// for, and kept from one time to the next.
#[derive(Default, Clone)]
pub struct Overlay {
    entries: Vec<Entry>,
    /// The places of the entries, by the hashes of their keys.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Keys and values, one after the other: some of them nobody's any more.
    bytes: Vec<u8>,
    /// The places of the first entries, in the order of their keys.
    sorted: RefCell<Vec<u32>>,
}

/// A key, and what became of it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    key: Piece,
    /// `None` when it was deleted.
    value: Option<Piece>,
    was_absent: bool,
}

/// Where some bytes stand.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start: usize,
    len: usize,
}

/// What became of a key, for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'o> {
    /// The key.
    pub key: &'o [u8],
    /// Its value; `None` when it was deleted.
    pub value: Option<&'o [u8]>,
    /// Whether it is known that the key has no value in what is committed.
    pub was_absent: bool,
}

impl Overlay {
    /// Sets the value of a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, Some(value), false);
    }

    /// Sets the value of a key that is known to have none in what is committed.
    pub fn put_new(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, Some(value), true);
    }

    /// Removes a key, whether or not it is there.
    pub fn delete(&mut self, key: &[u8]) {
        self.set(key, None, false);
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>, was_absent: bool) {
        let hash = self.hasher.hash_one(key);
        if let Some(place) = self.find(hash, key) {
            let value = value.map(|value| append(&mut self.bytes, value));
            if let Some(entry) = self.entries.get_mut(place as usize) {
                entry.value = value;
            }
            return;
        }
        let entry = Entry {
            hash,
            key: append(&mut self.bytes, key),
            value: value.map(|value| append(&mut self.bytes, value)),
            was_absent,
        };
        // A place is of 32 bits: more changes than that are more than memory holds.
        let place = self.entries.len() as u32;
        self.entries.push(entry);
        let entries = &self.entries;
        self.index.insert_unique(hash, place, |place| {
            entries.get(*place as usize).map_or(0, |entry| entry.hash)
        });
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |place: &u32| self.key(*place) == key;
        self.index.find(hash, is_it).copied()
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize)
    }

    fn piece(&self, piece: Piece) -> &[u8] {
        let bytes = self.bytes.get(piece.start..piece.start + piece.len);
        bytes.unwrap_or_default()
    }

    fn key(&self, place: u32) -> &[u8] {
        self.entry(place).map_or(&[], |entry| self.piece(entry.key))
    }

    fn value(&self, entry: &Entry) -> Option<&[u8]> {
        entry.value.map(|value| self.piece(value))
    }

    /// What became of a key: `None` when it was not touched, `Some(None)` when
    /// it was deleted.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let place = self.find(self.hasher.hash_one(key), key)?;
        self.entry(place).map(|entry| self.value(entry))
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many keys were changed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of all keys and values, or some more.
    pub fn weight(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.bytes.clear();
        self.sorted.get_mut().clear();
    }

    /// The changes in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        let sorted = self.sorted();
        let places = 0..sorted.len();
        places.filter_map(move |place| {
            let entry = self.entry(*sorted.get(place)?)?;
            Some(self.change(entry))
        })
    }

    fn change(&self, entry: &Entry) -> Change<'_> {
        Change {
            key: self.piece(entry.key),
            value: self.value(entry),
            was_absent: entry.was_absent,
        }
    }

    /// The places of all entries, in the order of their keys.
    fn sorted(&self) -> Ref<'_, Vec<u32>> {
        /// As many are put where they belong one by one.
        const FEW: usize = 16;
        let known = self.sorted.borrow().len();
        let all = self.entries.len();
        // While somebody holds the order nothing is changed, so nothing is new.
        if known < all
            && let Ok(mut sorted) = self.sorted.try_borrow_mut()
        {
            let new = known as u32..all as u32;
            if all - known <= FEW {
                for place in new {
                    let key = self.key(place);
                    let behind = sorted.partition_point(|other| self.key(*other) < key);
                    sorted.insert(behind, place);
                }
            } else {
                sorted.extend(new);
                if let Some(new) = sorted.get_mut(known..) {
                    new.sort_unstable_by_key(|place| self.key(*place));
                }
                // Two runs, which this sort only merges.
                sorted.sort_by_key(|place| self.key(*place));
            }
        }
        self.sorted.borrow()
    }

    /// Where a range of keys stands in their order.
    fn places(&self, sorted: &[u32], range: KeyRange<'_>) -> Range<usize> {
        if is_empty_range(range) {
            return 0..0;
        }
        let below = |bound: &[u8], or_at: bool| {
            sorted.partition_point(|place| match self.key(*place).cmp(bound) {
                Ordering::Less => true,
                Ordering::Equal => or_at,
                Ordering::Greater => false,
            })
        };
        let start = match range.0 {
            Bound::Included(key) => below(key, false),
            Bound::Excluded(key) => below(key, true),
            Bound::Unbounded => 0,
        };
        let end = match range.1 {
            Bound::Included(key) => below(key, true),
            Bound::Excluded(key) => below(key, false),
            Bound::Unbounded => sorted.len(),
        };
        start..end
    }

    /// Lays the changes over a scan of what is committed, which must be of the
    /// same range and in the same order.
    pub fn scan<S: Scan>(&self, range: KeyRange<'_>, order: Order, base: S) -> OverlayScan<'_, S> {
        let sorted = self.sorted();
        let mut scan = OverlayScan {
            base,
            order,
            overlay: self,
            places: self.places(&sorted, range),
            sorted,
            change: None,
            base_is_over: false,
            base_is_ahead: false,
            key: Vec::new(),
            value: Vec::new(),
        };
        scan.step();
        scan
    }
}

fn append(all: &mut Vec<u8>, bytes: &[u8]) -> Piece {
    let start = all.len();
    all.extend_from_slice(bytes);
    let len = bytes.len();
    Piece { start, len }
}

impl Scratch for Overlay {
    fn reset(&mut self) {
        /// The entries for which memory is kept, at most.
        const KEPT: usize = 1 << 16;
        self.clear();
        self.bytes.reset();
        self.entries.shrink_to(KEPT);
        self.sorted.get_mut().shrink_to(KEPT);
        if self.index.capacity() > 2 * KEPT {
            self.index = HashTable::new();
        }
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("changes", &self.len())
            .finish_non_exhaustive()
    }
}

/// A scan with changes laid over it.
///
/// An error of the scan below is passed on, and ends this one.
pub struct OverlayScan<'o, S> {
    base: S,
    order: Order,
    overlay: &'o Overlay,
    sorted: Ref<'o, Vec<u32>>,
    /// Which of these are not handed out yet.
    places: Range<usize>,
    /// The next change, not handed out yet.
    change: Option<(&'o [u8], Option<&'o [u8]>)>,
    base_is_over: bool,
    /// Whether `key` and `value` hold the next entry of the base.
    base_is_ahead: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<S> OverlayScan<'_, S> {
    fn step(&mut self) {
        let place = match self.order {
            Order::Ascending => self.places.next(),
            Order::Descending => self.places.next_back(),
        };
        let entry = place.and_then(|place| self.overlay.entry(*self.sorted.get(place)?));
        self.change = entry.map(|entry| {
            let change = self.overlay.change(entry);
            (change.key, change.value)
        });
    }
}

impl<S: Scan> OverlayScan<'_, S> {
    /// Copies the next entry of the base: what it lends would not outlive the
    /// change that goes before it.
    fn look_ahead(&mut self) -> Result<()> {
        match self.base.next() {
            Ok(Some((key, value))) => {
                self.key.clear();
                self.key.extend_from_slice(key);
                self.value.clear();
                self.value.extend_from_slice(value);
                self.base_is_ahead = true;
            }
            Ok(None) => self.base_is_over = true,
            Err(error) => {
                self.base_is_over = true;
                self.places = 0..0;
                self.change = None;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl<S: Scan> Scan for OverlayScan<'_, S> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while let Some((key, value)) = self.change {
            if !self.base_is_ahead && !self.base_is_over {
                self.look_ahead()?;
            }
            if self.base_is_ahead {
                let ordering = match self.order {
                    Order::Ascending => self.key.as_slice().cmp(key),
                    Order::Descending => key.cmp(self.key.as_slice()),
                };
                match ordering {
                    Ordering::Less => {
                        self.base_is_ahead = false;
                        return Ok(Some((&self.key, &self.value)));
                    }
                    Ordering::Equal => self.base_is_ahead = false,
                    Ordering::Greater => {}
                }
            }
            self.step();
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
        if self.base_is_ahead {
            self.base_is_ahead = false;
            return Ok(Some((&self.key, &self.value)));
        }
        if self.base_is_over {
            return Ok(None);
        }
        let entry = self.base.next();
        self.base_is_over = !matches!(entry, Ok(Some(_)));
        entry
    }
}

impl<S> fmt::Debug for OverlayScan<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayScan")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Error, ErrorKind};

    type Entries = Vec<(Vec<u8>, Vec<u8>)>;

    /// Lends entries out of one buffer, which the next entry overwrites; fails
    /// where one has no value.
    struct Lending {
        entries: std::vec::IntoIter<(Vec<u8>, Option<Vec<u8>>)>,
        buffer: (Vec<u8>, Vec<u8>),
    }

    impl Lending {
        fn new(entries: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Self {
            let entries: Vec<_> = entries.into_iter().collect();
            Self {
                entries: entries.into_iter(),
                buffer: Default::default(),
            }
        }
    }

    impl Scan for Lending {
        fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
            match self.entries.next() {
                None => Ok(None),
                Some((_, None)) => Err(Error::new(ErrorKind::Io, "on purpose")),
                Some((key, Some(value))) => {
                    self.buffer = (key, value);
                    Ok(Some((&self.buffer.0, &self.buffer.1)))
                }
            }
        }
    }

    fn collect(scan: &mut impl Scan) -> Entries {
        let mut entries = Entries::new();
        while let Some((key, value)) = scan.next().unwrap() {
            entries.push((key.to_vec(), value.to_vec()));
        }
        assert!(scan.next().unwrap().is_none(), "the end is the end");
        entries
    }

    fn within(
        entries: &BTreeMap<Vec<u8>, Vec<u8>>,
        range: &(Bound<Vec<u8>>, Bound<Vec<u8>>),
        order: Order,
    ) -> Entries {
        let mut entries: Entries = entries
            .iter()
            .filter(|(key, _)| std::ops::RangeBounds::contains(range, *key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if order == Order::Descending {
            entries.reverse();
        }
        entries
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 1..4)
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..3)
    }

    fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        prop_oneof![
            Just(Bound::Unbounded),
            prop_oneof![key(), Just(vec![])].prop_map(Bound::Included),
            prop_oneof![key(), Just(vec![])].prop_map(Bound::Excluded),
        ]
    }

    proptest! {
        #[test]
        fn a_scan_is_that_of_the_map_with_the_changes_made(
            base in prop::collection::btree_map(key(), value(), 0..20),
            changes in prop::collection::vec((key(), prop::option::of(value())), 0..60),
            range in (bound(), bound()),
            order in prop_oneof![Just(Order::Ascending), Just(Order::Descending)],
        ) {
            let mut overlay = Overlay::default();
            let mut model = base.clone();
            let ask_at = changes.len() / 2;
            for (number, (key, value)) in changes.into_iter().enumerate() {
                if number == ask_at {
                    // The order is made here, and what comes goes into it.
                    prop_assert_eq!(overlay.iter().count(), overlay.len());
                }
                match value {
                    Some(value) => {
                        overlay.put(&key, &value);
                        prop_assert_eq!(overlay.get(&key), Some(Some(value.as_slice())));
                        model.insert(key, value);
                    }
                    None => {
                        overlay.delete(&key);
                        prop_assert_eq!(overlay.get(&key), Some(None));
                        model.remove(&key);
                    }
                }
            }
            let below = within(&base, &range, order);
            let below = Lending::new(below.into_iter().map(|(key, value)| (key, Some(value))));
            let slices = (
                range.0.as_ref().map(Vec::as_slice),
                range.1.as_ref().map(Vec::as_slice),
            );
            let mut scan = overlay.scan(slices, order, below);
            prop_assert_eq!(collect(&mut scan), within(&model, &range, order));
            drop(scan);
            let sorted: Vec<_> = overlay.iter().map(|change| change.key).collect();
            prop_assert!(sorted.is_sorted() && sorted.len() == overlay.len());

            let mut committed = base;
            for change in overlay.iter() {
                match change.value {
                    Some(value) => drop(committed.insert(change.key.to_vec(), value.to_vec())),
                    None => drop(committed.remove(change.key)),
                }
            }
            prop_assert_eq!(committed, model);
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        let mut overlay = Overlay::default();
        overlay.put(b"a", b"");
        overlay.put(b"b", b"");
        let (a, b) = (&b"a"[..], &b"b"[..]);
        for range in [
            (Bound::Included(b), Bound::Included(a)),
            (Bound::Included(b), Bound::Excluded(a)),
            (Bound::Excluded(b), Bound::Included(a)),
            (Bound::Excluded(b), Bound::Excluded(a)),
            (Bound::Excluded(a), Bound::Excluded(a)),
            (Bound::Excluded(a), Bound::Included(a)),
            (Bound::Included(a), Bound::Excluded(a)),
        ] {
            let mut scan = overlay.scan(range, Order::Ascending, Lending::new([]));
            assert!(collect(&mut scan).is_empty(), "{range:?}");
        }
    }

    #[test]
    fn an_error_below_is_passed_on_and_ends_the_scan() {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        for change in [None, Some(b"a"), Some(b"c")] {
            let mut overlay = Overlay::default();
            if let Some(key) = change {
                overlay.put(key, b"changed");
            }
            let below = [
                (b"b".to_vec(), Some(vec![])),
                (b"d".to_vec(), None),
                (b"e".to_vec(), Some(vec![])),
            ];
            let mut scan = overlay.scan(everything, Order::Ascending, Lending::new(below));
            let mut found = 0;
            let error = loop {
                match scan.next() {
                    Ok(entry) => {
                        found += usize::from(entry.expect("an error is not an end").0 < &b"d"[..])
                    }
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(found <= 2);
            assert!(scan.next().unwrap().is_none());
        }
    }
}
