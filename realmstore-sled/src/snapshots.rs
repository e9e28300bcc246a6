//! Snapshots, which sled does not have.
//!
//! There is one tree, and it holds the newest state. What a commit is about to
//! change in it is kept here as it was: the *before-images*, by key and by the
//! number of the commit. A snapshot has the number of the last commit that it
//! sees; the state of a key in it is the before-image of the first later
//! commit that changes the key, or what the tree has where there is no such
//! image.
//!
//! # Why a snapshot never sees anything of a later commit
//!
//! A commit, of which there is one at a time, goes through these steps:
//! 1. it publishes the before-images of all its keys,
//! 2. it changes the tree, key by key as far as others can see,
//! 3. it waits for the disk,
//! 4. its number becomes that of new snapshots,
//! 5. images that no snapshot can need are dropped.
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
//! An image that a snapshot may need is not dropped while the snapshot lives:
//! see [`State::is_needed`]. A snapshot that begins between the steps 1 and 4
//! has the number before, and finds the images that were published already;
//! they are not dropped before step 5.
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
//! Nobody holds the lock here while it looks into the tree, applies a batch or
//! waits for the disk, and long work is done in pieces, so nobody waits long
//! for it and there is no order of locks to keep.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use realmstore_core::backend::is_empty_range;
use realmstore_core::{KeyRange, Order};
use sled::IVec;

/// How many keys are handled while the lock is held.
pub(crate) const PIECE: usize = 1024;

/// The before-images, and who may need them.
#[derive(Default)]
pub(crate) struct Snapshots {
    state: Mutex<State>,
    /// The number of the last commit that has published all its images.
    published: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The number of the last commit that new snapshots see.
    committed: u64,
    /// How many snapshots there are, by their numbers.
    readers: BTreeMap<u64, usize>,
    /// What each key was before some commits, from the oldest to the newest.
    images: BTreeMap<IVec, VecDeque<Image>>,
    /// The keys of completed commits of which an image is left, from the
    /// oldest commit to the newest.
    kept: VecDeque<(u64, Vec<IVec>)>,
    /// Whether a commit has begun to change the tree and has not succeeded.
    in_doubt: bool,
}

struct Image {
    commit: u64,
    before: Option<IVec>,
}

impl State {
    /// Whether a snapshot looks at the newest image of a key, which is one of
    /// the commit that was completed last: it must be older than that commit,
    /// and no older than the commit of the image before.
    fn is_needed(&self, images: &VecDeque<Image>) -> bool {
        let mut newest = images.iter().rev().map(|image| image.commit);
        let commit = newest.next().unwrap_or(0);
        let before = newest.next().unwrap_or(0);
        self.readers.range(before..commit).next().is_some()
    }

    /// The image that a snapshot looks at.
    fn image_for(snapshot: u64, images: &VecDeque<Image>) -> Option<&Image> {
        images.get(images.partition_point(|image| image.commit <= snapshot))
    }
}

impl Snapshots {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Snapshot<'_> {
        let mut state = self.lock();
        let number = state.committed;
        *state.readers.entry(number).or_default() += 1;
        Snapshot {
            snapshots: self,
            number,
        }
    }

    /// Whether the tree may hold a part of a commit that failed.
    pub(crate) fn in_doubt(&self) -> bool {
        self.lock().in_doubt
    }

    /// Takes before-images of the commit that is in progress. It is all right
    /// to begin again after an error: nothing has changed in the tree.
    pub(crate) fn publish(&self, before: &mut Vec<(IVec, Option<IVec>)>) {
        let mut state = self.lock();
        let commit = state.committed + 1;
        for (key, before) in before.drain(..) {
            let images = state.images.entry(key).or_default();
            if images.back().is_none_or(|image| image.commit < commit) {
                images.push_back(Image { commit, before });
            }
        }
    }

    /// All images are published; from here on the tree changes.
    pub(crate) fn begin_change(&self) {
        let mut state = self.lock();
        state.in_doubt = true;
        self.published.store(state.committed + 1, Ordering::Release);
    }

    /// Lets new snapshots see the commit, and drops the images that none needs.
    pub(crate) fn complete(&self, mut keys: Vec<IVec>) {
        let mut state = self.lock();
        state.in_doubt = false;
        state.committed += 1;
        let commit = state.committed;
        if state.readers.is_empty() {
            let dropped = (
                std::mem::take(&mut state.images),
                std::mem::take(&mut state.kept),
            );
            drop(state);
            drop(dropped);
            return;
        }
        drop(state);
        while !keys.is_empty() {
            let mut piece = keys.split_off(keys.len().saturating_sub(PIECE));
            let mut state = self.lock();
            piece.retain(|key| {
                let Some(images) = state.images.get(key) else {
                    return false;
                };
                let needed = state.is_needed(images);
                if !needed && let Some(images) = state.images.get_mut(key) {
                    images.pop_back();
                    if images.is_empty() {
                        state.images.remove(key);
                    }
                }
                needed
            });
            if !piece.is_empty() {
                state.kept.push_back((commit, piece));
            }
        }
    }

    /// Drops the images that are older than every snapshot.
    fn prune(&self) {
        loop {
            let mut state = self.lock();
            let oldest = state.readers.keys().next().copied();
            let oldest = oldest.unwrap_or(state.committed);
            let Some((_, keys)) = state.kept.pop_front_if(|(commit, _)| *commit <= oldest) else {
                return;
            };
            for key in keys {
                if let Some(images) = state.images.get_mut(&key) {
                    while images
                        .pop_front_if(|image| image.commit <= oldest)
                        .is_some()
                    {}
                    if images.is_empty() {
                        state.images.remove(&key);
                    }
                }
            }
        }
    }
}

/// A snapshot; while it lives, its before-images do.
pub(crate) struct Snapshot<'s> {
    snapshots: &'s Snapshots,
    number: u64,
}

impl Snapshot<'_> {
    /// Whether no later commit has changed anything in the tree that this
    /// snapshot has looked at so far. Seeing a change there is seeing the
    /// number that was stored before it.
    fn is_newest(&self) -> bool {
        self.snapshots.published.load(Ordering::Acquire) <= self.number
    }

    /// What a key was, if a later commit has changed it or is about to. To be
    /// asked after the tree.
    pub(crate) fn image(&self, key: &[u8]) -> Option<Option<IVec>> {
        if self.is_newest() {
            return None;
        }
        let state = self.snapshots.lock();
        let image = State::image_for(self.number, state.images.get(key)?)?;
        Some(image.before.clone())
    }

    /// The first image in a range, with its key. To be asked after the tree.
    pub(crate) fn first_image(
        &self,
        range: KeyRange<'_>,
        order: Order,
    ) -> Option<(IVec, Option<IVec>)> {
        if self.is_newest() || is_empty_range(range) {
            return None;
        }
        let state = self.snapshots.lock();
        let mut images = state.images.range::<[u8], _>(range);
        loop {
            let (key, images) = match order {
                Order::Ascending => images.next()?,
                Order::Descending => images.next_back()?,
            };
            if let Some(image) = State::image_for(self.number, images) {
                return Some((key.clone(), image.before.clone()));
            }
        }
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let mut state = self.snapshots.lock();
        if let Some(count) = state.readers.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&self.number);
            }
        }
        drop(state);
        self.snapshots.prune();
    }
}

#[cfg(test)]
mod tests {
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
        changes: Vec<(IVec, Option<IVec>)>,
        published: usize,
        applied: usize,
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
                    published: 0,
                    applied: 0,
                });
                return;
            };
            if let Some((key, _)) = commit.changes.get(commit.published) {
                let before = self.tree.get(key).cloned();
                self.snapshots.publish(&mut vec![(key.clone(), before)]);
                commit.published += 1;
                if commit.published == commit.changes.len() {
                    self.snapshots.begin_change();
                }
            } else if let Some((key, value)) = commit.changes.get(commit.applied) {
                match value {
                    Some(value) => drop(self.tree.insert(key.clone(), value.clone())),
                    None => drop(self.tree.remove(key)),
                }
                commit.applied += 1;
            } else {
                let keys = commit.changes.iter().map(|(key, _)| key.clone()).collect();
                self.snapshots.complete(keys);
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
            assert!(state.readers.is_empty() && state.images.is_empty() && state.kept.is_empty());
        }
    }

    #[test]
    fn a_key_that_changes_often_is_kept_once_for_one_old_reader() {
        let snapshots = Snapshots::default();
        let reader = snapshots.begin();
        for number in 0..100u8 {
            snapshots.publish(&mut vec![(key(1), Some(IVec::from(&[number])))]);
            snapshots.begin_change();
            snapshots.complete(vec![key(1)]);
        }
        assert_eq!(snapshots.lock().images[&key(1)].len(), 1);
        assert_eq!(snapshots.lock().kept.len(), 1);
        assert_eq!(reader.image(&key(1)), Some(Some(IVec::from(&[0]))));
        drop(reader);
        assert!(snapshots.lock().images.is_empty());
    }
}
