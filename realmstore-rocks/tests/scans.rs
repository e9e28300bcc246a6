//! Scans over many files.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use common::*;
use proptest::prelude::*;
use realmstore_core::key::prefix_end;
use realmstore_core::{Backend, ErrorKind, Order, ReadTxn, Scan, WriteTxn};
use realmstore_rocks::{RocksBackend, RocksOptions};
use rocksdb::{BlockBasedOptions, DB, Options};

/// Keys as tables have them, a slot and a number first, and some that are
/// shorter than that.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..6u64, Just(255), Just(256), Just(u64::MAX)];
    let slot = prop_oneof![0..2u16, Just(u16::MAX)];
    let rest = prop::collection::vec(prop_oneof![Just(0u8), Just(7), Just(255)], 0..3);
    (slot, number, rest, 0..20usize).prop_map(|(slot, number, rest, len)| {
        let mut key = [&slot.to_be_bytes()[..], &number.to_be_bytes(), &rest].concat();
        // One in four is cut short.
        if (1..6).contains(&len) {
            key.truncate(len * 2);
        }
        key
    })
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        3 => key().prop_map(Bound::Included),
        3 => key().prop_map(Bound::Excluded),
    ]
}

fn range() -> impl Strategy<Value = (Bound<Vec<u8>>, Bound<Vec<u8>>)> {
    let of_a_prefix = key().prop_map(|key| {
        let end = prefix_end(&key).map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec()));
        (Bound::Included(key), end)
    });
    // From one key to another of the same prefix, in whichever way.
    let inside = (key(), bound(), bound()).prop_map(|(prefix, lower, upper)| {
        let moved = |bound: Bound<Vec<u8>>| {
            bound.map(|mut key| {
                let len = prefix.len().min(10);
                key.splice(..len.min(key.len()), prefix[..len].iter().copied());
                key
            })
        };
        (moved(lower), moved(upper))
    });
    prop_oneof![of_a_prefix, inside, (bound(), bound())]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Ascending), Just(Order::Descending)]
}

/// Puts and deletes.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A store whose entries lie in as many files as can be.
fn scatter(path: &Path, rounds: &[Changes]) -> Model {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    table.set_block_size(64);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.create_if_missing(true);
    options.set_target_file_size_base(256);
    options.set_max_bytes_for_level_base(1024);
    options.set_max_bytes_for_level_multiplier(2.0);
    options.set_level_compaction_dynamic_level_bytes(false);
    let db = DB::open(&options, path).unwrap();
    let mut model = Model::new();
    for round in rounds {
        for (key, value) in round {
            match value {
                Some(value) => {
                    db.put(key, value).unwrap();
                    model.insert(key.clone(), value.clone());
                }
                None => {
                    db.delete(key).unwrap();
                    model.remove(key);
                }
            }
        }
        db.flush().unwrap();
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn scans_over_many_files_agree_with_a_model(
        rounds in prop::collection::vec(
            prop::collection::vec((key(), prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..60))), 1..40),
            1..10,
        ),
        ranges in prop::collection::vec((range(), order()), 200),
    ) {
        let (_directory, path) = scratch();
        let mut model = scatter(&path, &rounds);
        let store = RocksBackend::open(&path).unwrap();
        let mut writer = store.begin_write().unwrap();
        let snapshot = store.begin_read().unwrap();
        let reader = RocksOptions::new().read_only(true).open(&path).unwrap();
        let elsewhere = reader.begin_read().unwrap();
        let expected = |model: &Model, range: &(Bound<Vec<u8>>, Bound<Vec<u8>>), order| {
            let mut entries: Vec<_> = model
                .iter()
                .filter(|(key, _)| range.contains(*key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if order == Order::Descending {
                entries.reverse();
            }
            entries
        };
        for ((lower, upper), order) in &ranges {
            let slices = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
            let expected = expected(&model, &(lower.clone(), upper.clone()), *order);
            prop_assert_eq!(&all(&snapshot, slices, *order), &expected);
            prop_assert_eq!(&all(&elsewhere, slices, *order), &expected);
            prop_assert_eq!(&all(&writer, slices, *order), &expected);
        }
        for key in rounds.iter().flatten().map(|(key, _)| key) {
            let value = snapshot.get(key).unwrap();
            prop_assert_eq!(value.as_ref().map(AsRef::as_ref), model.get(key).map(Vec::as_slice));
        }
        for (index, (key, value)) in rounds[0].iter().enumerate() {
            match value {
                Some(_) if index % 2 == 0 => {
                    prop_assert_eq!(writer.delete(key).unwrap(), model.remove(key).is_some());
                }
                _ => {
                    writer.put(key, b"changed").unwrap();
                    model.insert(key.clone(), b"changed".to_vec());
                }
            }
        }
        for ((lower, upper), order) in &ranges {
            let slices = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
            let expected = expected(&model, &(lower.clone(), upper.clone()), *order);
            prop_assert_eq!(&all(&writer, slices, *order), &expected);
        }
    }
}

#[test]
fn an_error_late_in_a_scan_is_not_its_end() {
    let (_directory, path) = scratch();
    store_with(&path, 200, 1000);
    let file = files(&path, ".sst").pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 100].fill(0);
    fs::write(&file, bytes).unwrap();

    let store = RocksBackend::open(&path).unwrap();
    let snapshot = store.begin_read().unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let mut scan = snapshot
            .scan((Bound::Unbounded, Bound::Unbounded), order)
            .unwrap();
        let mut found = 0;
        let error = loop {
            match scan.next() {
                Ok(entry) => found += usize::from(entry.expect("the end").1.len() == 1000),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!((50..150).contains(&found), "{found}");
        assert!(scan.next().unwrap().is_none());
    }
}
