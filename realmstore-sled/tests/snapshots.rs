//! Snapshots that later commits pass by while they are read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use proptest::prelude::*;
use realmstore_core::{Backend, Durability, KeyRange, Order, ReadTxn, Scan, WriteTxn};
use realmstore_sled::{SledBackend, SledOptions};

type Key = Vec<u8>;
type Model = BTreeMap<Key, Vec<u8>>;
type Range = (Bound<Key>, Bound<Key>);

/// Puts and deletions of one commit.
type Changes = Vec<(Key, Option<Vec<u8>>)>;

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(254), Just(255u8)], 1..4)
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = prop::collection::vec(any::<u8>(), 0..3);
    prop::collection::vec((key(), prop::option::of(value)), 0..25)
}

fn commit(store: &SledBackend, model: &mut Model, changes: &Changes) {
    let mut txn = store.begin_write().unwrap();
    for (key, value) in changes {
        match value {
            Some(value) => {
                txn.put(key, value).unwrap();
                model.insert(key.clone(), value.clone());
            }
            None => {
                txn.delete(key).unwrap();
                model.remove(key);
            }
        }
    }
    txn.commit().unwrap();
}

fn lent((lower, upper): &Range) -> KeyRange<'_> {
    (
        lower.as_ref().map(Vec::as_slice),
        upper.as_ref().map(Vec::as_slice),
    )
}

fn expected(model: &Model, range: &Range, order: Order) -> Vec<(Key, Vec<u8>)> {
    let entries = model.iter().filter(|(key, _)| range.contains(*key));
    let mut entries: Vec<_> = entries.map(|(k, v)| (k.clone(), v.clone())).collect();
    if order == Order::Descending {
        entries.reverse();
    }
    entries
}

fn last(txn: &impl ReadTxn, range: &Range) -> Option<(Key, Vec<u8>)> {
    txn.last(lent(range), |key, value| (key.to_vec(), value.to_vec()))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_scan_goes_on_as_it_began_whatever_is_committed_in_the_meantime(
        before in prop::collection::vec(changes(), 1..4),
        range in (bound(), bound()),
        order in prop_oneof![Just(Order::Ascending), Just(Order::Descending)],
        // What is committed before a step of the scan; mostly nothing.
        between in prop::collection::vec(prop::option::weighted(0.2, changes()), 80),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let options = SledOptions::new().durability(Durability::NoSync);
        let store = options.open(directory.path()).unwrap();
        let mut model = Model::new();
        let mut older = Vec::new();
        for changes in &before {
            older.push((store.begin_read().unwrap(), model.clone()));
            commit(&store, &mut model, changes);
        }
        let txn = store.begin_read().unwrap();
        let seen = expected(&model, &range, order);
        prop_assert_eq!(last(&txn, &range), expected(&model, &range, Order::Descending).first().cloned());
        let whole = model.clone();

        let mut scan = txn.scan(lent(&range), order).unwrap();
        let mut found = Vec::new();
        for changes in &between {
            if let Some(changes) = changes {
                commit(&store, &mut model, changes);
            }
            match scan.next().unwrap() {
                Some((key, value)) => found.push((key.to_vec(), value.to_vec())),
                None => break,
            }
        }
        while let Some((key, value)) = scan.next().unwrap() {
            found.push((key.to_vec(), value.to_vec()));
        }
        prop_assert_eq!(found, seen);
        drop(scan);

        older.push((txn, whole));
        older.push((store.begin_read().unwrap(), model));
        while !older.is_empty() {
            for (txn, model) in &older {
                for order in [Order::Ascending, Order::Descending] {
                    let mut scan = txn.scan(lent(&range), order).unwrap();
                    for (key, value) in expected(model, &range, order) {
                        prop_assert_eq!(scan.next().unwrap(), Some((&*key, &*value)));
                    }
                    prop_assert_eq!(scan.next().unwrap(), None);
                }
                let newest = expected(model, &range, Order::Descending).first().cloned();
                prop_assert_eq!(last(txn, &range), newest);
                for key in model.keys().chain(changed_keys(&between).iter()) {
                    let value = txn.get(key).unwrap();
                    prop_assert_eq!(
                        value.as_ref().map(AsRef::as_ref),
                        model.get(key).map(Vec::as_slice)
                    );
                }
            }
            // The one in the middle of the ages goes first.
            older.remove(older.len() / 2);
        }
    }
}

fn changed_keys(commits: &[Option<Changes>]) -> Vec<Key> {
    let changes = commits.iter().flatten().flatten();
    changes.map(|(key, _)| key.clone()).collect()
}
