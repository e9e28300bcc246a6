//! Snapshots, which sled does not have.
//!
//! There is one tree, and it holds the newest state. What a commit is about to
//! change in it is kept here as it was: its *before-images*, sorted by key,
//! are a [`Layer`]. A snapshot has the number of the last commit that it sees;
//! the state of a key in it is what the first later commit that changes the
//! key found there, or what the tree has where there is no such commit. So it
//! looks through the layers that are newer than itself, from the oldest on.
//!
//! # Why a snapshot never sees anything of a later commit
//!
//! A commit, of which there is one at a time, goes through these steps:
//! 1. it publishes its layer,
//! 2. it changes the tree, key by key as far as others can see,
//! 3. it waits for the disk,
//! 4. its number becomes that of new snapshots,
//! 5. layers that no snapshot can need are dropped, and others merged.
//!
//! A reader looks into the tree *first* and for an image *after that*. When it
//! finds an image, that is the answer, whatever the tree said: the image is of
//! the first later commit, and images of earlier ones are not looked at. When
//! it finds none, no later commit had published an image of that key by then
//! (step 1), so none had changed the key in the tree (step 2) when the reader
//! looked there, which was before; what the tree said is the answer. In the
//! other order a whole commit would fit between the two looks: no image yet,
//! and then the new state of the tree.
//!
//! A layer is dropped when no snapshot is older than its commit. A snapshot
//! that begins between the steps 1 and 4 has the number before, and finds the
//! layer that was published already; it is not dropped before step 5.
//!
//! A scan is the same for each key. It takes the next entry of the tree, and
//! then asks for the first image from where it is up to that entry: a key that
//! a later commit has deleted is missing in the tree but has an image, one
//! that was inserted has the image "absent". What sled's iterator hands out
//! may be older than the moment in which it is asked, since it works through
//! copies of pages, but never older than the scan, which is younger than the
//! snapshot; so it was in the tree at some moment before the look for images,
//! and that is all the reasoning needs.
//!
//! # Why there are few layers
//!
//! Two layers that follow each other are the same to every snapshot that is
//! older than both, and to none if it is newer than both. Where no snapshot
//! lies between them they are merged: of a key that is in both, what the older
//! one says stays. No snapshot comes to lie there later, since new ones are
//! newer than every complete commit.
//!
//! So as not to copy a large layer for each small commit after it, one that is
//! more than twice as large as the next is left alone. Of the layers between
//! two snapshots each is then less than half as large as the one before, and
//! an image is copied a logarithmic number of times.
//!
//! # The lock
//!
//! Nobody holds it while it looks into the tree, applies a batch, waits for
//! the disk, or copies or frees a layer, so nobody waits long for it and there
//! is no order of locks to keep.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realmstore_core::{KeyRange, Order};
use sled::IVec;

/// A key in its stored form, and what it was; `None` where it was absent.
pub(crate) type Image = (IVec, Option<IVec>);

/// The before-images, and who may need them.
#[derive(Default)]
pub(crate) struct Snapshots {
    state: Mutex<State>,
    /// The number of the last commit that has published its layer.
    published: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The number of the last commit that new snapshots see.
    committed: u64,
    /// How many snapshots there are, by their numbers, the oldest first. None
    /// of the counts is 0.
    readers: Vec<(u64, usize)>,
    /// The oldest first.
    layers: VecDeque<Arc<Layer>>,
    /// Whether a commit has begun to change the tree and has not succeeded.
    in_doubt: bool,
}

/// What one commit found, or some that follow each other.
struct Layer {
    /// The number of the last of them.
    commit: u64,
    /// In the order of the keys, each of which is there once.
    images: Vec<Image>,
}

impl State {
    /// The layers that a snapshot looks at.
    fn newer_than(&self, snapshot: u64) -> impl Iterator<Item = &Layer> {
        let seen = self
            .layers
            .partition_point(|layer| layer.commit <= snapshot);
        self.layers.range(seen..).map(|layer| &**layer)
    }

    /// Takes the layers that are no newer than any snapshot, to be freed when
    /// the lock is not held any more.
    fn take_unneeded(&mut self) -> Vec<Arc<Layer>> {
        let oldest = self.readers.first().map(|(number, _)| *number);
        let oldest = oldest.unwrap_or(self.committed);
        let unneeded = self.layers.partition_point(|layer| layer.commit <= oldest);
        self.layers.drain(..unneeded).collect()
    }

    /// Two layers that are to be merged.
    fn mergeable(&self) -> Option<(Arc<Layer>, Arc<Layer>)> {
        let pairs = self.layers.iter().zip(self.layers.iter().skip(1));
        let (older, newer) = pairs.rev().find(|(older, newer)| {
            older.images.len() <= 2 * newer.images.len()
                && !self.is_between(older.commit, newer.commit)
        })?;
        Some((older.clone(), newer.clone()))
    }

    /// Whether a snapshot sees one commit and does not see a later one.
    fn is_between(&self, older: u64, newer: u64) -> bool {
        let behind = self.readers.partition_point(|(number, _)| *number < older);
        let next = self.readers.get(behind);
        next.is_some_and(|(number, _)| *number < newer)
    }

    fn replace(&mut self, older: &Layer, newer: &Layer, merged: Layer) {
        let by_commit = |commit| self.layers.binary_search_by_key(&commit, |l| l.commit);
        // A snapshot that has ended since then has taken both along, or none.
        if let (Ok(place), Ok(next)) = (by_commit(older.commit), by_commit(newer.commit)) {
            if let Some(layer) = self.layers.get_mut(place) {
                *layer = Arc::new(merged);
            }
            self.layers.remove(next);
        }
    }
}

impl Layer {
    fn get(&self, key: &[u8]) -> Option<&Image> {
        let place = self
            .images
            .binary_search_by(|(other, _)| (**other).cmp(key));
        self.images.get(place.ok()?)
    }

    /// The first image in a range.
    fn first(&self, (lower, upper): KeyRange<'_>, order: Order) -> Option<&Image> {
        let behind = |(key, _): &Image| !(lower, Bound::Unbounded).contains(&**key);
        let within = |(key, _): &Image| (Bound::Unbounded, upper).contains(&**key);
        match order {
            Order::Ascending => {
                let place = self.images.partition_point(behind);
                self.images.get(place).filter(|image| within(image))
            }
            Order::Descending => {
                let place = self.images.partition_point(within).checked_sub(1)?;
                self.images.get(place).filter(|image| !behind(image))
            }
        }
    }

    /// What two layers that follow each other found.
    fn merged(older: &Self, newer: &Self) -> Self {
        let mut images = Vec::with_capacity(older.images.len() + newer.images.len());
        let mut later = newer.images.iter().peekable();
        for image in &older.images {
            while let Some(other) = later.next_if(|other| other.0 < image.0) {
                images.push(other.clone());
            }
            later.next_if(|other| other.0 == image.0);
            images.push(image.clone());
        }
        images.extend(later.cloned());
        images.shrink_to_fit();
        Self {
            commit: newer.commit,
            images,
        }
    }
}

impl Snapshots {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Snapshot<'_> {
        let mut state = self.lock();
        let number = state.committed;
        match state.readers.last_mut() {
            Some((newest, count)) if *newest == number => *count += 1,
            _ => state.readers.push((number, 1)),
        }
        Snapshot {
            snapshots: self,
            number,
        }
    }

    /// Whether the tree may hold a part of a commit that failed.
    pub(crate) fn in_doubt(&self) -> bool {
        self.lock().in_doubt
    }

    /// Takes what a commit finds, in the order of the keys. From here on the
    /// tree changes.
    pub(crate) fn publish(&self, images: Vec<Image>) {
        let mut state = self.lock();
        let commit = state.committed + 1;
        state.layers.push_back(Arc::new(Layer { commit, images }));
        state.in_doubt = true;
        self.published.store(commit, atomic::Ordering::Release);
    }

    /// Lets new snapshots see the commit that was published.
    pub(crate) fn complete(&self) {
        let mut state = self.lock();
        state.in_doubt = false;
        state.committed += 1;
        let unneeded = state.take_unneeded();
        let mut pair = state.mergeable();
        drop(state);
        drop(unneeded);
        while let Some((older, newer)) = pair {
            let merged = Layer::merged(&older, &newer);
            let mut state = self.lock();
            state.replace(&older, &newer, merged);
            pair = state.mergeable();
        }
    }
}

/// A snapshot; while it lives, the layers that are newer do.
pub(crate) struct Snapshot<'s> {
    snapshots: &'s Snapshots,
    number: u64,
}

impl Snapshot<'_> {
    /// Whether no later commit has changed anything in the tree that this
    /// snapshot has looked at so far. Seeing a change there is seeing the
    /// number that was stored before it.
    pub(crate) fn is_newest(&self) -> bool {
        self.snapshots.published.load(atomic::Ordering::Acquire) <= self.number
    }

    /// What a key was, if a later commit has changed it or is about to. To be
    /// asked after the tree.
    pub(crate) fn image(&self, key: &[u8]) -> Option<Option<IVec>> {
        if self.is_newest() {
            return None;
        }
        let state = self.snapshots.lock();
        let mut layers = state.newer_than(self.number);
        let (_, before) = layers.find_map(|layer| layer.get(key))?;
        Some(before.clone())
    }

    /// The first image in a range. To be asked after the tree.
    pub(crate) fn first_image(&self, range: KeyRange<'_>, order: Order) -> Option<Image> {
        let state = self.snapshots.lock();
        let layers = state.newer_than(self.number);
        let firsts = layers.filter_map(|layer| layer.first(range, order));
        // Of those of one key, that of the oldest layer.
        let first = firsts.min_by(|(one, _), (other, _)| match order {
            Order::Ascending => one.cmp(other),
            Order::Descending => other.cmp(one),
        })?;
        Some(first.clone())
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let mut state = self.snapshots.lock();
        let place = state
            .readers
            .binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(place) = place
            && let Some((_, count)) = state.readers.get_mut(place)
        {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(place);
            }
        }
        let unneeded = state.take_unneeded();
        drop(state);
        drop(unneeded);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use super::*;

    type Model = BTreeMap<IVec, IVec>;

    /// Numbers that are random enough, and the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 33) as usize % sides
        }
    }

    fn key(number: usize) -> IVec {
        IVec::from(&[number as u8])
    }

    /// A commit, step by step.
    struct Commit {
        changes: Vec<Image>,
        /// How many keys the tree has already; `None` before the layer is published.
        applied: Option<usize>,
    }

    struct Run<'s> {
        snapshots: &'s Snapshots,
        dice: Dice,
        tree: Model,
        committed: Model,
        commit: Option<Commit>,
        commits: u64,
        readers: Vec<(Snapshot<'s>, Model)>,
    }

    const KEYS: usize = 6;

    impl Run<'_> {
        fn step_commit(&mut self) {
            let Some(commit) = &mut self.commit else {
                let number = self.commits as u8;
                let changes = (0..KEYS)
                    .filter_map(|number_of_key| match self.dice.roll(4) {
                        0 => Some((key(number_of_key), None)),
                        1 => Some((key(number_of_key), Some(IVec::from(&[number])))),
                        _ => None,
                    })
                    .collect();
                self.commits += 1;
                self.commit = Some(Commit {
                    changes,
                    applied: None,
                });
                return;
            };
            let Some(applied) = commit.applied else {
                let keys = commit.changes.iter().map(|(key, _)| key);
                let images = keys.map(|key| (key.clone(), self.tree.get(key).cloned()));
                self.snapshots.publish(images.collect());
                commit.applied = Some(0);
                return;
            };
            if let Some((key, value)) = commit.changes.get(applied) {
                match value {
                    Some(value) => drop(self.tree.insert(key.clone(), value.clone())),
                    None => drop(self.tree.remove(key)),
                }
                commit.applied = Some(applied + 1);
            } else {
                self.snapshots.complete();
                self.committed = self.tree.clone();
                self.commit = None;
            }
        }

        fn step(&mut self) {
            match self.dice.roll(10) {
                0 => self
                    .readers
                    .push((self.snapshots.begin(), self.committed.clone())),
                1 if !self.readers.is_empty() => {
                    let reader = self.dice.roll(self.readers.len());
                    drop(self.readers.swap_remove(reader));
                }
                _ => self.step_commit(),
            }
        }

        /// Looks into the tree, lets other things happen, and asks for the image.
        fn look(&mut self) {
            let number = self.dice.roll(KEYS);
            let seen = self.tree.get(&key(number)).cloned();
            let readers = self.readers.len();
            for _ in 0..self.dice.roll(12) {
                self.step_commit();
            }
            for (snapshot, expected) in &self.readers[..readers] {
                let found = snapshot.image(&key(number)).unwrap_or(seen.clone());
                assert_eq!(found.as_ref(), expected.get(&key(number)));
            }
        }

        fn check(&self) {
            let everything = (Bound::Unbounded, Bound::Unbounded);
            for (snapshot, expected) in &self.readers {
                let mut found = self.tree.clone();
                for number in 0..KEYS {
                    match snapshot.image(&key(number)) {
                        Some(Some(before)) => drop(found.insert(key(number), before)),
                        Some(None) => drop(found.remove(&key(number))),
                        None => {}
                    }
                }
                assert_eq!(&found, expected);
                for order in [Order::Ascending, Order::Descending] {
                    let mut keys: Vec<usize> = (0..KEYS).collect();
                    if order == Order::Descending {
                        keys.reverse();
                    }
                    let first = keys
                        .into_iter()
                        .find_map(|number| Some((key(number), snapshot.image(&key(number))?)));
                    assert_eq!(snapshot.first_image(everything, order), first);
                }
            }
        }
    }

    #[test]
    fn every_snapshot_sees_its_own_state_at_every_moment_of_a_commit() {
        for seed in 1..200u64 {
            let snapshots = Snapshots::default();
            let mut run = Run {
                snapshots: &snapshots,
                dice: Dice(seed),
                tree: Model::new(),
                committed: Model::new(),
                commit: None,
                commits: 0,
                readers: Vec::new(),
            };
            for _ in 0..400 {
                run.step();
                run.check();
                run.look();
                run.check();
            }
            run.readers.clear();
            while run.commit.is_some() {
                run.step_commit();
            }
            let state = snapshots.lock();
            assert!(state.readers.is_empty() && state.layers.is_empty());
        }
    }

    /// Commits a change of some keys, which had a value each.
    fn commit(snapshots: &Snapshots, keys: impl Iterator<Item = usize>, value: u8) {
        let images = keys.map(|number| (key(number), Some(IVec::from(&[value]))));
        snapshots.publish(images.collect());
        snapshots.complete();
    }

    fn sizes(snapshots: &Snapshots) -> Vec<usize> {
        let state = snapshots.lock();
        state
            .layers
            .iter()
            .map(|layer| layer.images.len())
            .collect()
    }

    #[test]
    fn a_key_that_changes_often_is_kept_once_for_one_old_reader() {
        let snapshots = Snapshots::default();
        let reader = snapshots.begin();
        for value in 0..100 {
            commit(&snapshots, 1..2, value);
        }
        assert_eq!(sizes(&snapshots), [1]);
        assert_eq!(reader.image(&key(1)), Some(Some(IVec::from(&[0]))));
        drop(reader);
        assert!(sizes(&snapshots).is_empty());
    }

    #[test]
    fn one_old_reader_among_many_young_ones_has_few_layers_to_look_through() {
        const COMMITS: usize = 1000;
        const KEYS: usize = 200;
        let snapshots = Snapshots::default();
        let old = snapshots.begin();
        let mut dice = Dice(1);
        let mut first = [None; KEYS];
        let mut young = snapshots.begin();
        for value in 0..COMMITS {
            let from = dice.roll(KEYS);
            let to = KEYS.min(from + dice.roll(8));
            for before in &mut first[from..to] {
                before.get_or_insert(value as u8);
            }
            commit(&snapshots, from..to, value as u8);
            // There is always one that is older than the newest commit by one.
            young = snapshots.begin();
            let layers = sizes(&snapshots).len();
            assert!(layers < 12, "{layers} layers after {value} commits");
        }
        drop(young);
        for (number, before) in first.into_iter().enumerate() {
            let before = before.map(|value| Some(IVec::from(&[value])));
            assert_eq!(old.image(&key(number)), before);
        }
    }

    #[test]
    fn each_of_many_readers_finds_what_the_next_commit_found() {
        let snapshots = Snapshots::default();
        let mut readers = Vec::new();
        for value in 0..100 {
            readers.push((value, snapshots.begin()));
            commit(&snapshots, 0..5, value);
        }
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut dice = Dice(1);
        while !readers.is_empty() {
            readers.remove(dice.roll(readers.len()));
            // Lets go of what nobody is left to tell apart.
            commit(&snapshots, 0..5, 100);
            assert!(sizes(&snapshots).len() <= readers.len() + 1);
            for (value, reader) in &readers {
                let before = Some(IVec::from(&[*value]));
                assert_eq!(reader.image(&key(3)), Some(before.clone()));
                let first = reader.first_image(everything, Order::Descending);
                assert_eq!(first, Some((key(4), before)));
            }
        }
        assert!(sizes(&snapshots).is_empty());
    }
}
