//! Scans against a model, over every kind of bound and in both directions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;

use common::lmdb::LmdbBackend;
use common::*;
use realmstore_core::{Backend, KeyRange, Order, ReadTxn, WriteTxn};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A small generator of numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Few letters and few lengths, so that keys meet and are prefixes of
    /// each other; now and then as long as can be.
    fn key(&mut self) -> Vec<u8> {
        let len = match self.below(20) {
            0 => 509 + self.below(3),
            _ => 1 + self.below(4),
        };
        (0..len)
            .map(|_| [0, 1, b'm', 0xFE, 0xFF][self.below(5) as usize])
            .collect()
    }
}

fn within(range: KeyRange<'_>, key: &[u8]) -> bool {
    let above = match range.0 {
        Bound::Included(lower) => key >= lower,
        Bound::Excluded(lower) => key > lower,
        Bound::Unbounded => true,
    };
    let below = match range.1 {
        Bound::Included(upper) => key <= upper,
        Bound::Excluded(upper) => key < upper,
        Bound::Unbounded => true,
    };
    above && below
}

fn compare(transaction: &impl ReadTxn, model: &Model, range: KeyRange<'_>) {
    let mut expected: Vec<_> = model
        .iter()
        .filter(|(key, _)| within(range, key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(
        all(transaction, range, Order::Ascending),
        expected,
        "{range:?} ascending"
    );
    expected.reverse();
    assert_eq!(
        all(transaction, range, Order::Descending),
        expected,
        "{range:?} descending"
    );
}

fn compare_all_bounds(transaction: &impl ReadTxn, model: &Model, lower: &[u8], upper: &[u8]) {
    let bounds = |key| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
    for from in bounds(lower) {
        for to in bounds(upper) {
            compare(transaction, model, (from, to));
        }
    }
}

#[test]
fn scans_find_what_a_sorted_map_finds() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut model = Model::new();
    for round in 0..12 {
        let mut transaction = store.begin_write().unwrap();
        for _ in 0..round * 10 {
            let key = numbers.key();
            if numbers.below(4) == 0 {
                let was_there = transaction.delete(&key).unwrap();
                assert_eq!(was_there, model.remove(&key).is_some());
            } else {
                let value = vec![round as u8; numbers.below(300) as usize];
                transaction.put(&key, &value).unwrap();
                model.insert(key, value);
            }
        }
        for _ in 0..20 {
            compare_all_bounds(&transaction, &model, &numbers.key(), &numbers.key());
        }
        transaction.commit().unwrap();
        let snapshot = store.begin_read().unwrap();
        for _ in 0..50 {
            compare_all_bounds(&snapshot, &model, &numbers.key(), &numbers.key());
        }
    }
}

#[test]
fn bounds_at_the_ends_and_beside_every_key_hold() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let keys: [&[u8]; 6] = [b"\0", b"a", b"a\0", b"b", b"ba", b"\xFF\xFF"];
    let model: Model = keys
        .iter()
        .map(|key| (key.to_vec(), key.to_vec()))
        .collect();
    let mut transaction = store.begin_write().unwrap();
    compare_all_bounds(&transaction, &Model::new(), b"a", b"b");
    for (key, value) in &model {
        transaction.put(key, value).unwrap();
    }
    transaction.commit().unwrap();
    let snapshot = store.begin_read().unwrap();
    let others: [&[u8]; 6] = [b"", b"\0\0", b"`", b"aa", b"c", b"\xFF\xFF\xFF"];
    for lower in keys.iter().chain(&others) {
        for upper in keys.iter().chain(&others) {
            compare_all_bounds(&snapshot, &model, lower, upper);
        }
    }
}

#[test]
fn bounds_longer_than_any_key_hold() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let longest = vec![b'm'; 511];
    let mut above = longest.clone();
    above[510] = b'n';
    let mut below = longest.clone();
    below[510] = b'l';
    let keys = [
        vec![b'm'; 510],
        below,
        longest.clone(),
        above,
        b"a".to_vec(),
        b"z".to_vec(),
    ];
    let model: Model = keys.iter().map(|key| (key.clone(), vec![1])).collect();
    let mut transaction = store.begin_write().unwrap();
    for (key, value) in &model {
        transaction.put(key, value).unwrap();
    }
    let long: Vec<Vec<u8>> = keys
        .iter()
        .filter(|key| key.len() == 511)
        .flat_map(|key| [0, 0xFF].map(|byte| [key.as_slice(), &[byte; 30]].concat()))
        .collect();
    for lower in long.iter().chain(&keys) {
        for upper in long.iter().chain(&keys) {
            compare_all_bounds(&transaction, &model, lower, upper);
        }
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let (_directory, path) = scratch();
    store_with(&path, 10);
    let store = LmdbBackend::open(&path).unwrap();
    let snapshot = store.begin_read().unwrap();
    let (low, high) = (&b"key2"[..], &b"key5"[..]);
    let empty: [KeyRange<'_>; 6] = [
        (Bound::Included(high), Bound::Included(low)),
        (Bound::Excluded(high), Bound::Excluded(low)),
        (Bound::Excluded(low), Bound::Excluded(low)),
        (Bound::Included(low), Bound::Excluded(low)),
        (Bound::Excluded(low), Bound::Included(low)),
        (Bound::Unbounded, Bound::Excluded(b"")),
    ];
    for range in empty {
        for order in [Order::Ascending, Order::Descending] {
            assert!(
                all(&snapshot, range, order).is_empty(),
                "{range:?} {order:?}"
            );
        }
    }
}
