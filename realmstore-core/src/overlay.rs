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

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::fmt;

use smallvec::SmallVec;

use crate::backend::is_empty_range;
use crate::writer_lock::Scratch;
use crate::{KeyRange, Order, Result, Scan};

/// Keys of a realm store stand in the map itself; longer ones beside it.
type Key = SmallVec<[u8; 40]>;

type Changes = BTreeMap<Key, Slot>;

/// Changes by key, to be laid over what is committed.
#[derive(Debug, Default, Clone)]
pub struct Overlay {
    changes: Changes,
    /// The values, one after the other: some of them no key's any more.
    values: Vec<u8>,
}

/// What became of a key.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Where the value stands; `None` when the key was deleted.
    value: Option<Place>,
    was_absent: bool,
}

#[derive(Debug, Clone, Copy)]
struct Place {
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
        let values = &mut self.values;
        let mut append = |value: &[u8]| {
            let start = values.len();
            values.extend_from_slice(value);
            let len = value.len();
            Place { start, len }
        };
        match self.changes.get_mut(key) {
            Some(slot) => slot.value = value.map(append),
            None => {
                let value = value.map(&mut append);
                self.changes
                    .insert(Key::from_slice(key), Slot { value, was_absent });
            }
        }
    }

    fn value(&self, slot: &Slot) -> Option<&[u8]> {
        let Place { start, len } = slot.value?;
        self.values.get(start..start + len)
    }

    /// What became of a key: `None` when it was not touched, `Some(None)` when
    /// it was deleted.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.changes.get(key).map(|slot| self.value(slot))
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The bytes of all keys and values, or some more.
    pub fn weight(&self) -> usize {
        self.values.len() + self.changes.keys().map(|key| key.len()).sum::<usize>()
    }

    /// How many keys were changed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.values.clear();
    }

    /// The changes in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.changes.iter().map(|(key, slot)| Change {
            key,
            value: self.value(slot),
            was_absent: slot.was_absent,
        })
    }

    /// Lays the changes over a scan of what is committed, which must be of the
    /// same range and in the same order.
    pub fn scan<S: Scan>(&self, range: KeyRange<'_>, order: Order, base: S) -> OverlayScan<'_, S> {
        let changes = if is_empty_range(range) {
            btree_map::Range::default()
        } else {
            self.changes.range::<[u8], _>(range)
        };
        let mut scan = OverlayScan {
            base,
            order,
            overlay: self,
            changes,
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

impl Scratch for Overlay {
    fn reset(&mut self) {
        self.changes.clear();
        self.values.reset();
    }
}

/// A scan with changes laid over it.
///
/// An error of the scan below is passed on, and ends this one.
pub struct OverlayScan<'o, S> {
    base: S,
    order: Order,
    overlay: &'o Overlay,
    changes: btree_map::Range<'o, Key, Slot>,
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
        let change = match self.order {
            Order::Ascending => self.changes.next(),
            Order::Descending => self.changes.next_back(),
        };
        self.change = change.map(|(key, slot)| (key.as_slice(), self.overlay.value(slot)));
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
                self.changes = btree_map::Range::default();
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
    use std::ops::Bound;

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
            changes in prop::collection::vec((key(), prop::option::of(value())), 0..20),
            range in (bound(), bound()),
            order in prop_oneof![Just(Order::Ascending), Just(Order::Descending)],
        ) {
            let mut overlay = Overlay::default();
            let mut model = base.clone();
            for (key, value) in changes {
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
