//! The contract of a [`Backend`], sentence by sentence.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use proptest::prelude::*;
use realmstore_core::{Backend, ErrorKind, MAX_KEY_LEN, Order, ReadTxn, Result, WriteTxn};

use crate::{Engine, Fresh, collect, property};

const EVERYTHING: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn dump(txn: &impl ReadTxn) -> Model {
    collect(txn.scan(EVERYTHING, Order::Ascending).unwrap())
        .into_iter()
        .collect()
}

fn commit<B: Backend>(store: &B, entries: &[(&[u8], &[u8])]) {
    let mut txn = store.begin_write().unwrap();
    for (key, value) in entries {
        txn.put(key, value).unwrap();
    }
    txn.commit().unwrap();
}

pub fn keys_are_ordered_as_byte_strings<E: Engine>() {
    let store = Fresh::new::<E>();
    let sorted: [&[u8]; 8] = [
        &[0],
        &[0, 0],
        &[0, 1],
        &[0, 255],
        &[1],
        &[127, 255],
        &[128],
        &[255, 255],
    ];
    let mut shuffled = sorted;
    shuffled.reverse();
    shuffled.swap(1, 5);
    commit(&*store, &shuffled.map(|key| (key, key)));
    let txn = store.begin_read().unwrap();
    let keys = |order| {
        collect(txn.scan(EVERYTHING, order).unwrap())
            .into_iter()
            .map(|(key, _)| key)
    };
    assert!(keys(Order::Ascending).eq(sorted));
    assert!(keys(Order::Descending).eq(sorted.into_iter().rev()));
}

pub fn keys_have_1_to_511_bytes<E: Engine>() {
    let store = Fresh::new::<E>();
    let longest = vec![7; MAX_KEY_LEN];
    let mut txn = store.begin_write().unwrap();
    txn.put(&longest, b"longest").unwrap();
    txn.put(&[0], b"shortest").unwrap();
    for key in [&[][..], &vec![7; MAX_KEY_LEN + 1]] {
        assert_eq!(
            txn.put(key, b"").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            txn.insert(key, b"").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(txn.get(key).unwrap().is_none());
        assert!(!txn.delete(key).unwrap());
    }
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert_eq!(txn.get(&longest).unwrap().unwrap().as_ref(), b"longest");
    assert_eq!(dump(&txn).len(), 2);
}

pub fn values_may_be_empty_and_large<E: Engine>() {
    let store = Fresh::new::<E>();
    let large = large_value();
    commit(&*store, &[(b"empty", b""), (b"large", &large)]);
    assert_values(&*store, &large);
}

pub fn large_values_survive_a_reopen<E: Engine>() {
    let store = Fresh::new::<E>();
    let large = large_value();
    commit(&*store, &[(b"empty", b""), (b"large", &large)]);
    assert_values(&*store.reopen::<E>(), &large);
}

/// 100 MiB.
fn large_value() -> Vec<u8> {
    (0..100 << 20).map(|byte: u32| (byte / 251) as u8).collect()
}

fn assert_values<B: Backend>(store: &B, large: &[u8]) {
    let txn = store.begin_read().unwrap();
    assert_eq!(txn.get(b"empty").unwrap().unwrap().as_ref(), b"");
    assert!(txn.get(b"large").unwrap().unwrap().as_ref() == large);
}

pub fn every_commit_survives_a_reopen<E: Engine>() {
    let mut store = Fresh::new::<E>();
    let mut expected = Model::new();
    for round in 0..20u8 {
        let mut txn = store.begin_write().unwrap();
        for key in [[round, 0], [round, 1]] {
            txn.put(&key, &[round]).unwrap();
            expected.insert(key.to_vec(), vec![round]);
        }
        if let Some(before) = round.checked_sub(1) {
            txn.delete(&[before, 0]).unwrap();
            expected.remove(&[before, 0][..]);
        }
        txn.commit().unwrap();
        if round % 3 == 0 {
            store = store.reopen::<E>();
        }
        assert_eq!(dump(&store.begin_read().unwrap()), expected);
    }
}

pub fn a_snapshot_sees_what_was_committed_before_it_and_nothing_else<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1"), (b"b", b"1")]);
    let before = store.begin_read().unwrap();
    let seen = dump(&before);
    for round in 0..10u8 {
        let mut txn = store.begin_write().unwrap();
        txn.put(b"a", &[round]).unwrap();
        txn.put(&[b'c', round], b"new").unwrap();
        txn.delete(b"b").unwrap();
        assert_eq!(dump(&before), seen);
        txn.commit().unwrap();
        assert_eq!(dump(&before), seen);
    }
    let after = store.begin_read().unwrap();
    assert_eq!(after.get(b"a").unwrap().unwrap().as_ref(), [9]);
    assert!(after.get(b"b").unwrap().is_none());
    assert_eq!(dump(&after).len(), 11);
    assert_eq!(before.get(b"b").unwrap().unwrap().as_ref(), b"1");
}

pub fn a_reader_does_not_wait_for_a_writer<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1")]);
    let mut writer = store.begin_write().unwrap();
    writer.put(b"a", b"2").unwrap();
    // On the writer's own thread: if it waited, it would wait for ever.
    let reader = store.begin_read().unwrap();
    assert_eq!(reader.get(b"a").unwrap().unwrap().as_ref(), b"1");
    writer.commit().unwrap();
    assert_eq!(reader.get(b"a").unwrap().unwrap().as_ref(), b"1");
}

/// Readers on other threads, while one thread commits: in each commit all keys
/// get its number, and half of the keys come and go.
pub fn readers_see_all_of_a_commit_or_nothing<E: Engine>() {
    const KEYS: u32 = 200;
    const COMMITS: u32 = 100;
    let fresh = Fresh::new::<E>();
    let store = &*fresh;
    let write = |number: u32| {
        let mut txn = store.begin_write().unwrap();
        for key in 0..KEYS {
            if key % 4 == number % 4 {
                txn.delete(&key.to_be_bytes()).unwrap();
            } else {
                txn.put(&key.to_be_bytes(), &number.to_be_bytes()).unwrap();
            }
        }
        txn.put(b"number", &number.to_be_bytes()).unwrap();
        txn.commit().unwrap();
    };
    let number_of = |txn: &<E::Backend as Backend>::ReadTxn<'_>| {
        let value = txn.get(b"number").unwrap().unwrap();
        u32::from_be_bytes(value.as_ref().try_into().unwrap())
    };
    let assert_whole = |txn: &<E::Backend as Backend>::ReadTxn<'_>, order| {
        let number = number_of(txn);
        let mut expected: Vec<_> = (0..KEYS)
            .filter(|key| key % 4 != number % 4)
            .map(|key| (key.to_be_bytes().to_vec(), number.to_be_bytes().to_vec()))
            .collect();
        expected.push((b"number".to_vec(), number.to_be_bytes().to_vec()));
        if order == Order::Descending {
            expected.reverse();
        }
        assert!(
            collect(txn.scan(EVERYTHING, order).unwrap()) == expected,
            "a torn commit {number}"
        );
        for key in 0..KEYS {
            let value = txn.get(&key.to_be_bytes()).unwrap();
            let expected = (key % 4 != number % 4).then(|| number.to_be_bytes());
            assert_eq!(
                value.as_ref().map(AsRef::as_ref),
                expected.as_ref().map(|value| &value[..]),
                "key {key} of a torn commit {number}"
            );
        }
    };
    write(0);
    std::thread::scope(|scope| {
        // Gone when the writer has ended, or has failed.
        let writing = Arc::new(());
        for order in [Order::Ascending, Order::Descending] {
            let writing = Arc::downgrade(&writing);
            scope.spawn(move || {
                let mut last = 0;
                // One that stays open, and one after another beside it.
                let mut kept = store.begin_read().unwrap();
                let mut goes_on = true;
                while goes_on {
                    goes_on = writing.strong_count() > 0;
                    let txn = store.begin_read().unwrap();
                    let number = number_of(&txn);
                    assert!(number >= last, "a commit that was seen is gone");
                    last = number;
                    assert_whole(&txn, order);
                    assert_whole(&kept, order);
                    if number % 5 == 0 {
                        kept = txn;
                    }
                }
            });
        }
        for number in 1..=COMMITS {
            write(number);
        }
    });
}

pub fn a_writer_sees_its_own_changes_in_get_and_scan<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]);
    let mut txn = store.begin_write().unwrap();
    txn.put(b"b", b"2").unwrap();
    txn.put(b"bb", b"2").unwrap();
    txn.delete(b"c").unwrap();
    txn.put(b"d", b"2").unwrap();
    txn.delete(b"d").unwrap();
    assert_eq!(txn.get(b"b").unwrap().unwrap().as_ref(), b"2");
    assert!(txn.get(b"c").unwrap().is_none());
    let expected: Vec<(Vec<u8>, Vec<u8>)> = [("a", "1"), ("b", "2"), ("bb", "2")]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
    assert_eq!(
        collect(txn.scan(EVERYTHING, Order::Ascending).unwrap()),
        expected
    );
    let reversed: Vec<_> = expected.into_iter().rev().collect();
    assert_eq!(
        collect(txn.scan(EVERYTHING, Order::Descending).unwrap()),
        reversed
    );
}

pub fn a_transaction_that_is_dropped_leaves_no_trace<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1")]);
    let before = dump(&store.begin_read().unwrap());
    let mut txn = store.begin_write().unwrap();
    txn.put(b"a", b"2").unwrap();
    txn.put(b"b", b"2").unwrap();
    drop(txn);
    assert_eq!(dump(&store.begin_read().unwrap()), before);
}

pub fn a_transaction_that_is_dropped_leaves_no_trace_on_disk<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1")]);
    let before = dump(&store.begin_read().unwrap());
    let mut txn = store.begin_write().unwrap();
    txn.put(b"a", b"2").unwrap();
    txn.put(b"b", b"2").unwrap();
    drop(txn);
    let store = store.reopen::<E>();
    assert_eq!(dump(&store.begin_read().unwrap()), before);
}

pub fn insert_takes_only_a_key_that_is_free<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut txn = store.begin_write().unwrap();
    assert!(txn.insert(b"a", b"1").unwrap());
    assert!(!txn.insert(b"a", b"2").unwrap());
    assert_eq!(txn.get(b"a").unwrap().unwrap().as_ref(), b"1");
    txn.delete(b"a").unwrap();
    assert!(txn.insert(b"a", b"3").unwrap());
    txn.commit().unwrap();
    assert_eq!(
        store
            .begin_read()
            .unwrap()
            .get(b"a")
            .unwrap()
            .unwrap()
            .as_ref(),
        b"3"
    );
}

pub fn delete_says_whether_the_key_was_there<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1")]);
    let mut txn = store.begin_write().unwrap();
    assert!(txn.delete(b"a").unwrap());
    assert!(!txn.delete(b"a").unwrap());
    assert!(!txn.delete(b"b").unwrap());
}

pub fn a_second_writer_waits_for_the_first<E: Engine>() {
    let store = Fresh::new::<E>();
    let (began, has_begun) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut first = store.begin_write().unwrap();
        first.put(b"count", &[1]).unwrap();
        let second = scope.spawn(|| {
            let mut txn = store.begin_write().unwrap();
            began.send(()).unwrap();
            let count = txn.get(b"count").unwrap().unwrap().as_ref()[0];
            txn.put(b"count", &[count + 1]).unwrap();
            txn.commit().unwrap();
        });
        assert!(
            has_begun.recv_timeout(Duration::from_millis(50)).is_err(),
            "two writers at once"
        );
        first.commit().unwrap();
        second.join().unwrap();
    });
    assert_eq!(
        store
            .begin_read()
            .unwrap()
            .get(b"count")
            .unwrap()
            .unwrap()
            .as_ref(),
        [2]
    );
}

pub fn a_second_writer_on_the_same_thread_is_refused<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut first = store.begin_write().unwrap();
    let error = store
        .begin_write()
        .err()
        .expect("one thread has two write transactions");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    first.put(b"a", b"1").unwrap();
    first.commit().unwrap();
    drop(store.begin_write().unwrap());
}

pub fn a_read_only_store_refuses_writers<E: Engine>() {
    let store = Fresh::new::<E>();
    commit(&*store, &[(b"a", b"1")]);
    let store = store.reopen_read_only::<E>();
    assert!(store.info().unwrap().read_only);
    assert_eq!(
        store
            .begin_write()
            .err()
            .expect("a read-only store took a writer")
            .kind(),
        ErrorKind::ReadOnly
    );
    assert_eq!(
        store
            .begin_read()
            .unwrap()
            .get(b"a")
            .unwrap()
            .unwrap()
            .as_ref(),
        b"1"
    );
}

pub fn the_same_faults_have_the_same_errors<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let kind = |result: Result<E::Backend>| result.err().map(|error| error.kind());
    assert_eq!(kind(E::open_read_only(&path)), Some(ErrorKind::NotFound));
    assert!(!path.exists(), "a store was made by looking for one");
    let store = E::open(&path).unwrap();
    assert_eq!(kind(E::open(&path)), Some(ErrorKind::InUse));
    drop(store);
    drop(E::open(&path).unwrap());
    let file = directory.path().join("file");
    std::fs::write(&file, "no store").unwrap();
    let error = E::open(&file).err().expect("a file was taken for a store");
    assert!(
        error.to_string().contains("file"),
        "the path is not named: {error}"
    );
}

/// Keys that are near each other, beginnings of each other, and full of 0 and 255.
pub(crate) fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 1..5)
}

pub(crate) fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        prop_oneof![key(), Just(vec![]), Just(vec![255; 600])].prop_map(Bound::Included),
        prop_oneof![key(), Just(vec![]), Just(vec![255; 600])].prop_map(Bound::Excluded),
    ]
}

pub(crate) fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Ascending), Just(Order::Descending)]
}

fn in_range(
    model: &Model,
    start: &Bound<Vec<u8>>,
    end: &Bound<Vec<u8>>,
    order: Order,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let range = (start.clone(), end.clone());
    let mut entries: Vec<_> = model
        .iter()
        .filter(|(key, _)| std::ops::RangeBounds::contains(&range, *key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if order == Order::Descending {
        entries.reverse();
    }
    entries
}

pub(crate) fn as_slices(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

pub fn ranges_of_every_kind_agree_with_a_model<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut runner = property(file!(), 256);
    let keys = prop::collection::vec(key(), 0..30);
    let cases = (
        keys,
        prop::collection::vec((bound(), bound(), order()), 1..20),
    );
    runner
        .run(&cases, |(keys, ranges)| {
            // The store is emptied for each case: opening one takes longer than all the rest.
            let mut model = Model::new();
            let mut txn = store.begin_write().unwrap();
            for key in dump(&txn).into_keys() {
                txn.delete(&key).unwrap();
            }
            for key in keys {
                txn.put(&key, &key[..1]).unwrap();
                model.insert(key.clone(), key[..1].to_vec());
            }
            ranges_agree(&txn, &model, &ranges)?;
            txn.commit().unwrap();
            ranges_agree(&store.begin_read().unwrap(), &model, &ranges)
        })
        .unwrap();
}

type KeyBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>, Order);

/// What a range gives, and what the last of it is.
fn ranges_agree<X: ReadTxn>(
    txn: &X,
    model: &Model,
    ranges: &[KeyBounds],
) -> Result<(), TestCaseError> {
    for (start, end, order) in ranges {
        let range = (as_slices(start), as_slices(end));
        let scan = txn.scan(range, *order).unwrap();
        prop_assert_eq!(collect(scan), in_range(model, start, end, *order));
        let entry = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
        let last = in_range(model, start, end, Order::Ascending).pop();
        prop_assert_eq!(txn.last(range, entry).unwrap(), last);
    }
    Ok(())
}

/// Keys such as large numbers and texts that were made to sort backwards have
/// them, and enough of each to fill pages of its own.
pub fn long_runs_of_255_in_keys_are_scanned_both_ways<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for first in [0u8, 1, 2, 254, 255] {
        for run in [0, 1, 3, 4, 5, 8, 16] {
            for number in 0..300u16 {
                keys.push([&[first][..], &vec![255; run], &number.to_be_bytes()].concat());
            }
        }
    }
    let mut txn = store.begin_write().unwrap();
    for key in &keys {
        txn.put(key, &[7; 100]).unwrap();
    }
    txn.commit().unwrap();
    keys.sort();
    keys.dedup();
    let txn = store.begin_read().unwrap();
    let found = |order| {
        collect(txn.scan(EVERYTHING, order).unwrap())
            .into_iter()
            .map(|(key, _)| key)
    };
    assert!(found(Order::Ascending).eq(keys.iter().cloned()));
    assert!(found(Order::Descending).eq(keys.iter().rev().cloned()));
    for bounds in keys.windows(900).step_by(450) {
        let (first, last) = (&bounds[0][..], &bounds[899][..]);
        let range = (Bound::Included(first), Bound::Excluded(last));
        let entries = collect(txn.scan(range, Order::Descending).unwrap());
        assert!(
            entries
                .iter()
                .map(|(key, _)| key)
                .eq(bounds[..899].iter().rev())
        );
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Put(Vec<u8>, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Get(Vec<u8>),
    Scan(Bound<Vec<u8>>, Bound<Vec<u8>>, Order),
    Commit,
    Abort,
    Reopen,
}

fn operation(reopening: bool) -> impl Strategy<Value = Operation> {
    let value = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        8 => (key(), value()).prop_map(|(key, value)| Operation::Put(key, value)),
        4 => (key(), value()).prop_map(|(key, value)| Operation::Insert(key, value)),
        4 => key().prop_map(Operation::Delete),
        4 => key().prop_map(Operation::Get),
        3 => (bound(), bound(), order()).prop_map(|(start, end, order)| Operation::Scan(start, end, order)),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Abort),
        1 => Just(if reopening { Operation::Reopen } else { Operation::Commit }),
    ]
}

/// Runs of operations in transactions, each checked against a map in memory:
/// what the writer sees, what a snapshot that was begun before it sees, and
/// what is there after a commit and an abort.
pub fn random_operations_agree_with_a_model<E: Engine>() {
    run_random_operations::<E>(false);
}

/// The same, and the store is closed and opened again now and then.
pub fn random_operations_and_reopens_agree_with_a_model<E: Engine>() {
    run_random_operations::<E>(true);
}

fn run_random_operations<E: Engine>(reopening: bool) {
    let mut runner = property(file!(), 64);
    runner
        .run(
            &prop::collection::vec(operation(reopening), 1..120),
            |operations| {
                let mut store = Fresh::new::<E>();
                let mut committed = Model::new();
                let mut operations = operations.into_iter();
                loop {
                    let mut model = committed.clone();
                    let mut reopen = false;
                    {
                        let before = store.begin_read().unwrap();
                        let mut txn = store.begin_write().unwrap();
                        let ended = loop {
                            match operations.next() {
                                None => break false,
                                Some(Operation::Abort) => break true,
                                Some(Operation::Put(key, value)) => {
                                    txn.put(&key, &value).unwrap();
                                    model.insert(key, value);
                                }
                                Some(Operation::Insert(key, value)) => {
                                    let free = !model.contains_key(&key);
                                    prop_assert_eq!(txn.insert(&key, &value).unwrap(), free);
                                    model.entry(key).or_insert(value);
                                }
                                Some(Operation::Delete(key)) => {
                                    prop_assert_eq!(
                                        txn.delete(&key).unwrap(),
                                        model.remove(&key).is_some()
                                    );
                                }
                                Some(Operation::Get(key)) => {
                                    let value =
                                        txn.get(&key).unwrap().map(|value| value.as_ref().to_vec());
                                    prop_assert_eq!(value.as_ref(), model.get(&key));
                                }
                                Some(Operation::Scan(start, end, order)) => {
                                    let scan = txn
                                        .scan((as_slices(&start), as_slices(&end)), order)
                                        .unwrap();
                                    prop_assert_eq!(
                                        collect(scan),
                                        in_range(&model, &start, &end, order)
                                    );
                                }
                                Some(end @ (Operation::Commit | Operation::Reopen)) => {
                                    txn.commit().unwrap();
                                    prop_assert_eq!(dump(&before), committed.clone());
                                    committed = model.clone();
                                    reopen = matches!(end, Operation::Reopen);
                                    break true;
                                }
                            }
                        };
                        if !ended {
                            return Ok(());
                        }
                    }
                    if reopen {
                        store = store.reopen::<E>();
                    }
                    prop_assert_eq!(dump(&store.begin_read().unwrap()), committed.clone());
                }
            },
        )
        .unwrap();
}
