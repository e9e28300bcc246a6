//! Scans of the tree, of a snapshot, and of the write transaction.

use std::fmt;
use std::ops::Bound;

use realmstore_core::backend::is_empty_range;
use realmstore_core::overlay::{Overlay, OverlayScan};
use realmstore_core::{KeyRange, Order, Result, Scan};
use sled::{IVec, Tree};

use crate::error;
use crate::key::{decode, encode};
use crate::snapshots::Snapshot;

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
        Self(Position::Snapshot(SnapshotScan {
            snapshot,
            order,
            lower: stored(range.0),
            upper: stored(range.1),
            tree: TreeScan::begin(tree, range, order),
            ahead: None,
            entry: Default::default(),
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

/// A walk over the tree as it is.
struct TreeScan {
    /// `None` past the end, past an error, and where the range is empty
    /// whatever is stored.
    entries: Option<sled::Iter>,
    order: Order,
    entry: (IVec, IVec),
}

impl TreeScan {
    fn begin(tree: &Tree, range: KeyRange<'_>, order: Order) -> Self {
        let stored = (stored(range.0), stored(range.1));
        Self {
            entries: (!is_empty_range(range)).then(|| tree.range::<IVec, _>(stored)),
            order,
            entry: Default::default(),
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
        entry
            .transpose()
            .map_err(|error| error::engine(error, "scan"))
    }
}

impl Scan for TreeScan {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some((key, value)) = self.step()? else {
            return Ok(None);
        };
        self.entry = (decode(key), value);
        Ok(Some((&self.entry.0, &self.entry.1)))
    }
}

/// A walk over the tree as it was.
struct SnapshotScan<'t> {
    snapshot: &'t Snapshot<'t>,
    tree: TreeScan,
    order: Order,
    /// What is left of the range, in stored forms as all keys in here.
    lower: Bound<IVec>,
    upper: Bound<IVec>,
    /// The next entry of the tree, not handed out yet.
    ahead: Option<(IVec, IVec)>,
    entry: (IVec, IVec),
    /// Whether an error has ended it.
    failed: bool,
}

impl SnapshotScan<'_> {
    /// The next key of the tree or of an image, with what it was; `None` for
    /// one that was absent.
    fn step(&mut self) -> Result<Option<(IVec, Option<IVec>)>> {
        if self.failed {
            return Ok(None);
        }
        if self.ahead.is_none() {
            self.ahead = self.tree.step().inspect_err(|_| self.failed = true)?;
        }
        let (mut lower, mut upper) = (as_slice(&self.lower), as_slice(&self.upper));
        if let Some((key, _)) = &self.ahead {
            match self.order {
                Order::Ascending => upper = Bound::Included(key),
                Order::Descending => lower = Bound::Included(key),
            }
        }
        let found = match self.snapshot.first_image((lower, upper), self.order) {
            Some(image) => {
                self.ahead.take_if(|(key, _)| *key == image.0);
                image
            }
            None => match self.ahead.take() {
                Some((key, value)) => (key, Some(value)),
                None => return Ok(None),
            },
        };
        let passed = Bound::Excluded(found.0.clone());
        match self.order {
            Order::Ascending => self.lower = passed,
            Order::Descending => self.upper = passed,
        }
        Ok(Some(found))
    }
}

impl Scan for SnapshotScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while let Some((key, value)) = self.step()? {
            if let Some(value) = value {
                self.entry = (decode(key), value);
                return Ok(Some((&self.entry.0, &self.entry.1)));
            }
        }
        Ok(None)
    }
}

fn stored(bound: Bound<&[u8]>) -> Bound<IVec> {
    bound.map(|key| IVec::from(&*encode(key)))
}

fn as_slice(bound: &Bound<IVec>) -> Bound<&[u8]> {
    bound.as_ref().map(AsRef::as_ref)
}
