//! Scans of the tree, of a snapshot, and of the write transaction.

use std::borrow::Cow;
use std::fmt;
use std::ops::Bound;

use realmstore_core::backend::is_empty_range;
use realmstore_core::overlay::{Overlay, OverlayScan};
use realmstore_core::{Error, KeyRange, Order, Result, Scan};
use sled::{IVec, Tree};

use crate::error;
use crate::key::{decode, encode};
use crate::snapshots::{Image, Snapshot};

/// A scan in progress.
pub struct SledScan<'t>(Position<'t>);

enum Position<'t> {
    Snapshot(SnapshotScan<'t>),
    Writer(OverlayScan<'t, TreeScan>),
}

impl<'t> SledScan<'t> {
    pub(crate) fn of_snapshot(
        tree: &Tree,
        snapshot: &'t Snapshot<'_>,
        range: KeyRange<'_>,
        order: Order,
    ) -> Self {
        let owned = |bound: Bound<&[u8]>| bound.map(|key| IVec::from(&*encode(key)));
        Self(Position::Snapshot(SnapshotScan {
            snapshot,
            order,
            range: (owned(range.0), owned(range.1)),
            tree: TreeScan::begin(tree, range, order),
            ahead: None,
            passed: None,
            value: IVec::default(),
            memory: Vec::new(),
            failed: false,
        }))
    }

    pub(crate) fn of_writer(
        tree: &Tree,
        changes: &'t Overlay,
        range: KeyRange<'_>,
        order: Order,
    ) -> Self {
        let base = TreeScan::begin(tree, range, order);
        Self(Position::Writer(changes.scan(range, order, base)))
    }
}

impl Scan for SledScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match &mut self.0 {
            Position::Snapshot(scan) => scan.next(),
            Position::Writer(scan) => scan.next(),
        }
    }
}

impl fmt::Debug for SledScan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Position::Snapshot(_) => "SledScan(Snapshot)",
            Position::Writer(_) => "SledScan(Writer)",
        })
    }
}

/// The last entry of a range of the tree as it is, with its key in its stored form.
pub(crate) fn last(tree: &Tree, range: KeyRange<'_>) -> Result<Option<(IVec, IVec)>> {
    let entry = entries(tree, range).and_then(|mut entries| entries.next_back());
    entry.transpose().map_err(failed)
}

/// `None` where the range is empty whatever is stored.
fn entries(tree: &Tree, range: KeyRange<'_>) -> Option<sled::Iter> {
    let stored = (range.0.map(encode), range.1.map(encode));
    (!is_empty_range(range)).then(|| tree.range::<Cow<'_, [u8]>, _>(stored))
}

fn failed(error: sled::Error) -> Error {
    error::engine(error, "scan")
}

/// A walk over the tree as it is.
struct TreeScan {
    /// `None` past the end, past an error, and where the range is empty
    /// whatever is stored.
    entries: Option<sled::Iter>,
    order: Order,
    entry: (IVec, IVec),
    /// For a key that is not as it is stored.
    memory: Vec<u8>,
}

impl TreeScan {
    fn begin(tree: &Tree, range: KeyRange<'_>, order: Order) -> Self {
        Self {
            entries: entries(tree, range),
            order,
            entry: Default::default(),
            memory: Vec::new(),
        }
    }

    /// The next entry, with its key in its stored form.
    fn step(&mut self) -> Result<Option<(IVec, IVec)>> {
        let entry = self.entries.as_mut().and_then(|entries| match self.order {
            Order::Ascending => entries.next(),
            Order::Descending => entries.next_back(),
        });
        if !matches!(entry, Some(Ok(_))) {
            self.entries = None;
        }
        entry.transpose().map_err(failed)
    }
}

impl Scan for TreeScan {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(entry) = self.step()? else {
            return Ok(None);
        };
        self.entry = entry;
        let (key, value) = &self.entry;
        Ok(Some((decode(key, &mut self.memory), value)))
    }
}

/// A walk over the tree as it was. All keys in here are in their stored forms.
struct SnapshotScan<'t> {
    snapshot: &'t Snapshot<'t>,
    tree: TreeScan,
    order: Order,
    range: (Bound<IVec>, Bound<IVec>),
    /// The next entry of the tree, not handed out yet.
    ahead: Option<(IVec, IVec)>,
    /// The key that was handed out last, or that turned out to be absent after it.
    passed: Option<IVec>,
    value: IVec,
    /// For a key that is not as it is stored.
    memory: Vec<u8>,
    /// Whether an error has ended it.
    failed: bool,
}

impl SnapshotScan<'_> {
    /// The next entry of the tree or of an image.
    fn step(&mut self) -> Result<Option<(IVec, IVec)>> {
        while !self.failed {
            if self.ahead.is_none() {
                self.ahead = self.tree.step().inspect_err(|_| self.failed = true)?;
            }
            let Some((key, before)) = self.next_image() else {
                return Ok(self.ahead.take());
            };
            self.ahead.take_if(|(ahead, _)| *ahead == key);
            match before {
                Some(value) => return Ok(Some((key, value))),
                None => self.passed = Some(key),
            }
        }
        Ok(None)
    }

    /// The next image, if it is not behind the next entry of the tree.
    fn next_image(&self) -> Option<Image> {
        // Most snapshots never need the bounds.
        if self.snapshot.is_newest() {
            return None;
        }
        let (lower, upper) = &self.range;
        let (mut lower, mut upper) = (as_slice(lower), as_slice(upper));
        let (begin, end) = match self.order {
            Order::Ascending => (&mut lower, &mut upper),
            Order::Descending => (&mut upper, &mut lower),
        };
        if let Some(passed) = &self.passed {
            *begin = Bound::Excluded(passed);
        }
        if let Some((ahead, _)) = &self.ahead {
            *end = Bound::Included(ahead);
        }
        self.snapshot.first_image((lower, upper), self.order)
    }
}

impl Scan for SnapshotScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some((key, value)) = self.step()? else {
            return Ok(None);
        };
        self.value = value;
        let key = self.passed.insert(key);
        Ok(Some((decode(key, &mut self.memory), &self.value)))
    }
}

fn as_slice(bound: &Bound<IVec>) -> Bound<&[u8]> {
    bound.as_ref().map(AsRef::as_ref)
}
