//! What the tests of both formats share: they are given a store that LMDB
//! made, what LMDB says is in it, and compare.
#![allow(dead_code, reason = "not every test uses everything")]

mod damaged;
mod live;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use realmstore_core::{Backend, ErrorKind, KeyRange, Order, ReadTxn, Result, Scan};
use realmstore_lmdb_pages::{
    FileFormat, PageFinding, PagesBackend, Severity, check, check_header, copy_snapshot, sniff,
};

pub(crate) use damaged::*;
pub(crate) use live::*;

pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// One change, in a transaction of many.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// Ends the transaction and begins another one.
    Commit,
    /// Ends the transaction as if it had not been.
    Abort,
}

/// LMDB, of whichever version.
pub(crate) trait Engine {
    const FORMAT: FileFormat;

    /// Makes the changes in the store of a directory, which may be new, and
    /// tells what is in it then.
    fn apply(directory: &Path, changes: &[Change]) -> Entries;

    /// Makes the changes of one transaction after the other, without end.
    fn write(directory: &Path, changes: impl FnMut() -> Vec<Change>) -> !;
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..2000_u16).prop_map(|n| n.to_be_bytes().to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 1..40),
        1 => (any::<u8>(), 1..=511_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        8 => 0..300_usize,
        4 => 1900..2100_usize,
        2 => 4000..4200_usize,
        1 => 8100..40_000_usize,
    ];
    (any::<u8>(), len)
        .prop_map(|(byte, len)| (0..len).map(|n| byte.wrapping_add(n as u8)).collect())
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        60 => (key(), value()).prop_map(|(key, value)| Change::Put(key, value)),
        30 => key().prop_map(Change::Delete),
        5 => Just(Change::Commit),
        1 => Just(Change::Abort),
    ];
    proptest::collection::vec(change, 0..800)
}

/// The same random numbers in every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Thousands of keys, so that the tree has branches above branches.
pub(crate) fn many(keys: u32, len: usize) -> Vec<Change> {
    (0..keys)
        // Neither ascending nor descending.
        .map(|n| n.wrapping_mul(2_654_435_761))
        .map(|n| {
            let mut key = n.to_be_bytes().to_vec();
            key.resize(60, b'k');
            Change::Put(key, n.to_le_bytes().repeat(len / 4))
        })
        .collect()
}

/// A store with deep trees, large values and free pages.
pub(crate) fn rich() -> Vec<Change> {
    let mut changes = many(3000, 40);
    changes.extend((0..40_u16).map(|n| Change::Put(n.to_le_bytes().into(), vec![n as u8; 9000])));
    changes.push(Change::Commit);
    changes.extend((0..10_u16).map(|n| Change::Delete(n.to_le_bytes().into())));
    changes.extend(many(300, 80));
    changes.push(Change::Commit);
    changes.extend((10..14_u16).map(|n| Change::Put(n.to_le_bytes().into(), vec![1; 5000])));
    changes
}

pub(crate) fn findings(path: &Path) -> Vec<PageFinding> {
    let mut findings = Vec::new();
    check(path, |finding| findings.push(finding)).unwrap();
    findings
}

pub(crate) fn damage(path: &Path) -> Vec<PageFinding> {
    let mut findings = findings(path);
    findings.retain(|finding| finding.severity == Severity::Damage);
    findings
}

pub(crate) fn scan(
    snapshot: &impl ReadTxn,
    range: KeyRange<'_>,
    order: Order,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut scan = snapshot.scan(range, order)?;
    while let Some((key, value)) = scan.next()? {
        found.push((key.to_vec(), value.to_vec()));
    }
    assert!(scan.next()?.is_none(), "a scan goes on after its end");
    Ok(found)
}

const ALL: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

/// Compares a file with what is in it: every key, and scans of every kind.
pub(crate) fn assert_holds(path: &Path, format: FileFormat, expected: &Entries) {
    assert_eq!(sniff(path).unwrap(), Some(format));
    let store = PagesBackend::open(path).unwrap();
    assert_eq!(store.format(), format);
    let snapshot = store.begin_read().unwrap();
    for (key, value) in expected {
        assert_eq!(snapshot.get(key).unwrap().unwrap().as_ref(), value);
        let mut other = key.clone();
        other.push(0);
        assert_eq!(
            snapshot.get(&other).unwrap().is_some(),
            expected.contains_key(&other)
        );
    }
    assert!(snapshot.get(b"").unwrap().is_none());
    assert!(snapshot.get(&[0xFF; 600]).unwrap().is_none());

    let all: Vec<_> = expected.clone().into_iter().collect();
    assert_eq!(scan(&snapshot, ALL, Order::Ascending).unwrap(), all);
    let bounds: Vec<Vec<u8>> = expected
        .keys()
        .step_by(1 + expected.len() / 3)
        .flat_map(|key| [key.clone(), [key.as_slice(), &[0]].concat()])
        .chain([vec![], vec![0], vec![0xFF; 600]])
        .collect();
    let kinds = |key| [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded];
    for lower in bounds.iter().flat_map(|key| kinds(key.as_slice())) {
        for upper in bounds.iter().flat_map(|key| kinds(key.as_slice())) {
            let mut expected: Vec<_> = all
                .iter()
                .filter(|(key, _)| (lower, upper).contains(key.as_slice()))
                .cloned()
                .collect();
            let range = (lower, upper);
            let ascending = scan(&snapshot, range, Order::Ascending).unwrap();
            assert!(ascending == expected, "ascending in {range:?}");
            expected.reverse();
            let descending = scan(&snapshot, range, Order::Descending).unwrap();
            assert!(descending == expected, "descending in {range:?}");
        }
    }
}

trait Contains {
    fn contains(&self, key: &[u8]) -> bool;
}

impl Contains for KeyRange<'_> {
    fn contains(&self, key: &[u8]) -> bool {
        std::ops::RangeBounds::<[u8]>::contains(self, key)
    }
}

/// Checks a file, and a copy of it, against what LMDB says.
fn assert_sound<E: Engine>(directory: &Path, expected: &Entries) {
    assert_eq!(damage(directory), []);
    assert!(check_header(&directory.join("data.mdb"), E::FORMAT).unwrap());
    assert_holds(directory, E::FORMAT, expected);

    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("data.mdb");
    let copied = copy_snapshot(directory, &copy).unwrap();
    assert_eq!(copied.attempts, 1);
    assert_eq!(copied.len, fs::metadata(&copy).unwrap().len());
    assert_eq!(damage(&copy), []);
    assert!(check_header(&copy, E::FORMAT).unwrap());
    assert_holds(&copy, E::FORMAT, expected);
    assert_eq!(
        PagesBackend::open(&copy)
            .unwrap()
            .begin_read()
            .unwrap()
            .commit_number(),
        Some(copied.commit_number)
    );
    // LMDB takes the copy for its own, and writes to it.
    let mut more = expected.clone();
    more.insert(b"one more".to_vec(), vec![1; 3000]);
    let changes = [Change::Put(b"one more".to_vec(), vec![1; 3000])];
    assert_eq!(E::apply(copies.path(), &changes), more);
    assert_eq!(damage(copies.path()), []);
}

pub(crate) fn whatever_lmdb_wrote_is_read_the_same<E: Engine>() {
    runner(40)
        .run(&changes(), |changes| {
            let directory = tempfile::tempdir().unwrap();
            let expected = E::apply(directory.path(), &changes);
            assert_sound::<E>(directory.path(), &expected);
            Ok(())
        })
        .unwrap();
}

pub(crate) fn a_deep_tree_is_read_the_same<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    let expected = E::apply(directory.path(), &rich());
    assert!(expected.len() > 3000);
    assert_sound::<E>(directory.path(), &expected);
}

pub(crate) fn a_store_that_lost_all_its_entries_is_empty<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    let mut changes = many(500, 20);
    let deletes: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Put(key, _) => Some(Change::Delete(key.clone())),
            _ => None,
        })
        .collect();
    changes.push(Change::Commit);
    changes.extend(deletes);
    assert!(E::apply(directory.path(), &changes).is_empty());
    assert_sound::<E>(directory.path(), &Entries::new());
}

pub(crate) fn a_store_without_a_commit_is_empty<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    E::apply(directory.path(), &[]);
    assert_sound::<E>(directory.path(), &Entries::new());
}

pub(crate) fn nothing_is_touched_and_nothing_can_be_written<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    E::apply(directory.path(), &rich());
    fs::remove_file(directory.path().join("lock.mdb")).unwrap();
    let before = fs::read(directory.path().join("data.mdb")).unwrap();
    let store = PagesBackend::open(directory.path()).unwrap();
    let snapshot = store.begin_read().unwrap();
    scan(&snapshot, ALL, Order::Descending).unwrap();
    assert_eq!(store.begin_write().unwrap_err().kind(), ErrorKind::ReadOnly);
    store.sync().unwrap();
    let info = store.info().unwrap();
    assert_eq!(info.engine, "lmdb");
    assert_eq!(info.format, E::FORMAT.to_string());
    assert_eq!(info.path.as_deref(), Some(directory.path()));
    assert_eq!(info.size_on_disk, before.len() as u64);
    assert!(info.read_only);
    assert_eq!(fs::read(directory.path().join("data.mdb")).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A snapshot stays what it is for one more commit; after that it is either
/// still right or in conflict.
pub(crate) fn a_snapshot_is_never_wrong_while_others_write<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    let expected: Vec<_> = E::apply(directory.path(), &rich()).into_iter().collect();
    let store = PagesBackend::open(directory.path()).unwrap();
    let (first, late) = (store.begin_read().unwrap(), store.begin_read().unwrap());
    let warm = store.begin_read().unwrap();
    assert_eq!(scan(&warm, ALL, Order::Ascending).unwrap(), expected);
    E::apply(directory.path(), &many(2000, 60));
    assert_eq!(scan(&first, ALL, Order::Ascending).unwrap(), expected);
    E::apply(directory.path(), &many(2500, 30));
    let error = scan(&late, ALL, Order::Ascending).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.is_retryable());
    assert!(error.to_string().contains("take a copy"), "{error}");
    // What it had read before it may give again.
    if let Ok(found) = scan(&warm, ALL, Order::Ascending) {
        assert_eq!(found, expected);
    }
    assert_eq!(
        store.begin_read().unwrap().commit_number(),
        first.commit_number().map(|number| number + 2)
    );
}

/// The store of a real Crossbar.io router, and what cfxdb says of it.
pub(crate) fn a_recording_holds_what_was_recorded(
    file: &Path,
    format: FileFormat,
    slots: &[(u16, usize)],
) {
    assert_eq!(findings(file), []);
    let store = PagesBackend::open(file).unwrap();
    assert_eq!(store.format(), format);
    let snapshot = store.begin_read().unwrap();
    let mut found = BTreeMap::<u16, usize>::new();
    for (key, _) in scan(&snapshot, ALL, Order::Ascending).unwrap() {
        *found
            .entry(u16::from_be_bytes([key[0], key[1]]))
            .or_default() += 1;
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), slots);
}

/// The tests of one format, with the LMDB that writes it.
macro_rules! tests_with {
    ($heed:ident, $format:ident) => {
        struct Lmdb;

        fn open(
            directory: &std::path::Path,
        ) -> (
            $heed::Env<$heed::WithoutTls>,
            $heed::Database<'static, $heed::types::Bytes, $heed::types::Bytes>,
        ) {
                // SAFETY: nothing but LMDB changes the files of a test while it is
                // open; and nobody asks whether they survive a crash.
                let env = unsafe {
                    $heed::EnvOpenOptions::new()
                        .read_txn_without_tls()
                        .map_size(256 << 20)
                        .flags($heed::EnvFlags::NO_SYNC)
                        .open(directory)
                }
                .unwrap();
                let txn = env.read_txn().unwrap();
                let opened = env.open_databases_and_commit(txn, |opener, txn| {
                    opener
                        .open_database(txn, None)
                        .map($heed::CommitOrAbort::<_, ()>::Commit)
                });
                let $heed::CommitOrAbort::Commit(Some(entries)) = opened.unwrap() else {
                    panic!("LMDB has no unnamed database, which it always has");
                };
            (env, entries)
        }

        impl crate::common::Engine for Lmdb {
            const FORMAT: realmstore_lmdb_pages::FileFormat =
                realmstore_lmdb_pages::FileFormat::$format;

            fn apply(directory: &std::path::Path, changes: &[crate::common::Change]) -> crate::common::Entries {
                use crate::common::Change;

                let (env, entries) = open(directory);
                let mut txn = env.write_txn().unwrap();
                for change in changes {
                    match change {
                        Change::Put(key, value) => match entries.put(&mut txn, key, value) {
                            Ok(()) => {}
                            // LMDB 1.0 before its release cannot split some
                            // pages of odd keys with odd values.
                            Err($heed::Error::Mdb($heed::MdbError::PageFull)) => {
                                txn.abort();
                                txn = env.write_txn().unwrap();
                            }
                            Err(error) => panic!("{error}"),
                        },
                        Change::Delete(key) => drop(entries.delete(&mut txn, key).unwrap()),
                        Change::Commit => {
                            txn.commit().unwrap();
                            txn = env.write_txn().unwrap();
                        }
                        Change::Abort => {
                            txn.abort();
                            txn = env.write_txn().unwrap();
                        }
                    }
                }
                txn.commit().unwrap();
                let txn = env.read_txn().unwrap();
                let held = entries
                    .iter(&txn)
                    .unwrap()
                    .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
                    .collect::<Result<_, _>>()
                    .unwrap();
                drop(txn);
                env.prepare_for_closing().wait();
                held
            }

            fn write(
                directory: &std::path::Path,
                mut changes: impl FnMut() -> Vec<crate::common::Change>,
            ) -> ! {
                use crate::common::Change;

                let (env, entries) = open(directory);
                loop {
                    let mut txn = env.write_txn().unwrap();
                    for change in changes() {
                        match change {
                            Change::Put(key, value) => entries.put(&mut txn, &key, &value).unwrap(),
                            Change::Delete(key) => drop(entries.delete(&mut txn, &key).unwrap()),
                            _ => panic!("a transaction in a transaction"),
                        }
                    }
                    txn.commit().unwrap();
                }
            }
        }

        tests_with!(
            whatever_lmdb_wrote_is_read_the_same
            a_deep_tree_is_read_the_same
            a_store_that_lost_all_its_entries_is_empty
            a_store_without_a_commit_is_empty
            nothing_is_touched_and_nothing_can_be_written
            a_snapshot_is_never_wrong_while_others_write
            a_reader_beside_a_busy_writer_is_never_wrong
            a_flipped_bit_is_found_or_does_nothing
            a_flipped_bit_in_a_header_does_no_harm
            each_structural_damage_is_found
            a_truncated_file_is_found_wherever_it_ends
            random_bytes_anywhere_do_no_harm
        );

        /// For a writer of another kind, which keeps the same sum.
        #[test]
        #[ignore = "needs somebody who writes to STORE_OF_THE_TEST"]
        fn a_reader_beside_somebody_else_is_never_wrong() {
            let store = std::env::var_os("STORE_OF_THE_TEST").unwrap();
            println!("{:?}", crate::common::read_for(store.as_ref(), std::time::Duration::from_secs(20)));
        }

        #[test]
        #[ignore = "the other process of a test"]
        fn the_busy_writer() {
            if let Some(store) = std::env::var_os("STORE_OF_THE_TEST") {
                crate::common::write_for_ever::<Lmdb>(store.as_ref());
            }
        }
    };
    ($($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                crate::common::$test::<Lmdb>();
            }
        )*
    };
}
