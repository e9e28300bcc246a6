//! A map that fills up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::lmdb::{LmdbBackend, LmdbOptions};
use common::*;
use realmstore_core::{Backend, ErrorKind, Order, ReadTxn, WriteTxn};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_small_map_grows_while_readers_come_and_go() {
    let (_directory, path) = scratch();
    let store = small_store(&path, LONG);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut rounds = 0_u32;
                let mut last = 0;
                while !done.load(Ordering::Relaxed) || rounds < 10 {
                    let snapshot = store.begin_read().unwrap();
                    let count = match snapshot.get(b"count").unwrap() {
                        Some(bytes) => u32::from_be_bytes(bytes.try_into().unwrap()),
                        None => 0,
                    };
                    assert!(count >= last, "a snapshot is older than the one before");
                    last = count;
                    let everything = (Bound::Included(&b"entry"[..]), Bound::Unbounded);
                    let found = all(&snapshot, everything, Order::Ascending);
                    assert_eq!(found.len(), count as usize);
                    for (index, (key, value)) in found.iter().enumerate() {
                        assert_eq!(key, format!("entry{index:06}").as_bytes());
                        assert!(value.iter().all(|&byte| byte == index as u8));
                    }
                    rounds += 1;
                }
            });
        }
        let mut written = 0_u32;
        for _ in 0..60 {
            let mut transaction = store.begin_write().unwrap();
            for _ in 0..20 {
                let key = format!("entry{written:06}");
                transaction
                    .put(key.as_bytes(), &vec![written as u8; 20_000])
                    .unwrap();
                written += 1;
            }
            transaction.put(b"count", &written.to_be_bytes()).unwrap();
            transaction.commit().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(store.info().unwrap().size_on_disk > 20 * MIB as u64);
}

#[test]
fn what_was_written_before_the_map_grew_is_written_again_in_its_order() {
    let (_directory, path) = scratch();
    let store = small_store(&path, LONG);
    let mut model = BTreeMap::new();
    let mut transaction = store.begin_write().unwrap();
    for n in 0..6000_u32 {
        let key = format!("key{:03}", n * 7919 % 997).into_bytes();
        let value = vec![n as u8; 1 + (n as usize * 31) % 9000];
        match n % 4 {
            0 => {
                let was_there = model.remove(&key).is_some();
                assert_eq!(transaction.delete(&key).unwrap(), was_there);
            }
            1 => {
                let inserted = transaction.insert(&key, &value).unwrap();
                assert_eq!(inserted, !model.contains_key(&key));
                model.entry(key).or_insert(value);
            }
            _ => {
                transaction.put(&key, &value).unwrap();
                model.insert(key, value);
            }
        }
    }
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let expected: Vec<_> = model.into_iter().collect();
    assert_eq!(all(&transaction, everything, Order::Ascending), expected);
    transaction.commit().unwrap();
    assert_eq!(
        all(&store.begin_read().unwrap(), everything, Order::Ascending),
        expected
    );
    assert!(store.info().unwrap().size_on_disk > 2 * MIB as u64);
}

#[test]
fn a_value_far_larger_than_the_map_fits() {
    let (_directory, path) = scratch();
    let large = vec![0xA5; 100 * MIB];
    {
        let store = small_store(&path, LONG);
        let mut transaction = store.begin_write().unwrap();
        transaction.put(b"before", b"value").unwrap();
        transaction.put(b"large", &large).unwrap();
        transaction.put(b"after", b"value").unwrap();
        transaction.commit().unwrap();
    }
    let store = small_store(&path, LONG);
    let snapshot = store.begin_read().unwrap();
    assert!(snapshot.get(b"large").unwrap() == Some(&large[..]));
    assert_eq!(snapshot.get(b"before").unwrap(), Some(&b"value"[..]));
    assert_eq!(snapshot.get(b"after").unwrap(), Some(&b"value"[..]));
}

#[test]
fn a_snapshot_held_by_the_writing_thread_makes_growth_busy_and_nothing_is_lost() {
    let (_directory, path) = scratch();
    let store = small_store(&path, Duration::from_millis(200));
    put_all(&store, [("kept".to_owned(), vec![1])]).unwrap();
    let held = store.begin_read().unwrap();
    let mut transaction = store.begin_write().unwrap();
    transaction.put(b"lost", b"value").unwrap();
    let begun = Instant::now();
    let busy = transaction.put(b"large", &vec![0; 4 * MIB]).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    assert!(busy.is_retryable());
    assert!(
        busy.to_string()
            .contains("transactions of this process (1 now)"),
        "{busy}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(held.get(b"kept").unwrap(), Some(&[1][..]));
    // The transaction is over, and says so in the same kind of error.
    assert_eq!(
        transaction.put(b"k", b"v").unwrap_err().kind(),
        ErrorKind::Busy
    );
    assert_eq!(transaction.get(b"k").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(transaction.commit().unwrap_err().kind(), ErrorKind::Busy);

    put_all(&store, [("small".to_owned(), vec![2])]).unwrap();
    drop(held);
    put_all(&store, [("large".to_owned(), vec![3; 4 * MIB])]).unwrap();
    let snapshot = store.begin_read().unwrap();
    assert_eq!(snapshot.get(b"lost").unwrap(), None);
    assert_eq!(snapshot.get(b"kept").unwrap(), Some(&[1][..]));
    assert_eq!(snapshot.get(b"small").unwrap(), Some(&[2][..]));
    assert_eq!(
        snapshot.get(b"large").unwrap().map(<[u8]>::len),
        Some(4 * MIB)
    );
}

#[test]
fn a_second_snapshot_on_one_thread_does_not_lock_it_up_with_growth() {
    let (_directory, path) = scratch();
    let store = small_store(&path, LONG);
    put_all(&store, [("key".to_owned(), vec![1])]).unwrap();
    thread::scope(|scope| {
        let first = store.begin_read().unwrap();
        let growing = scope.spawn(|| put_all(&store, [("large".to_owned(), vec![0; 4 * MIB])]));
        thread::sleep(Duration::from_millis(200));
        let second = store.begin_read().unwrap();
        assert_eq!(second.get(b"key").unwrap(), first.get(b"key").unwrap());
        drop((first, second));
        growing.join().unwrap().unwrap();
    });
    assert!(store.begin_read().unwrap().get(b"large").unwrap().is_some());
}

#[test]
fn a_map_that_fills_up_only_in_the_commit_grows_then() {
    // Every size of the last value is tried, so some of them leave just too
    // little for the list of free pages that a commit writes.
    let mut grown = 0;
    for pages in 130..165_usize {
        let (_directory, path) = scratch();
        let store = small_store(&path, LONG);
        put_all(&store, (0..100).map(|n| (format!("key{n}"), vec![1; 4000]))).unwrap();
        let mut transaction = store.begin_write().unwrap();
        for n in 0..100 {
            transaction.delete(format!("key{n}").as_bytes()).unwrap();
        }
        for n in 0..pages {
            transaction
                .put(format!("new{n}").as_bytes(), &vec![2; 3500])
                .unwrap();
        }
        let before = format!("{store:?}");
        transaction.commit().unwrap();
        grown += u32::from(format!("{store:?}") != before);
        let snapshot = store.begin_read().unwrap();
        let found = all(
            &snapshot,
            (Bound::Unbounded, Bound::Unbounded),
            Order::Ascending,
        );
        assert_eq!(found.len(), pages);
    }
    assert!(grown > 0, "no commit met a full map");
}

#[test]
fn a_store_larger_than_the_map_asked_for_opens() {
    let (_directory, path) = scratch();
    put_all(
        &LmdbBackend::open(&path).unwrap(),
        [("large".to_owned(), vec![1; 8 * MIB])],
    )
    .unwrap();
    let store = small_store(&path, LONG);
    assert!(store.begin_read().unwrap().get(b"large").unwrap().is_some());
    put_all(&store, [("more".to_owned(), vec![1; 8 * MIB])]).unwrap();
}

fn in_another_process(test: &str, path: &std::path::Path) -> bool {
    let output = other_process(test, path).output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

#[test]
#[ignore = "the other process of a test"]
fn other_process_writes_much() {
    let Some(path) = store_of_the_test() else {
        return;
    };
    let store = beside_another(&path);
    let mut transaction = store.begin_write().unwrap();
    let turn = transaction.commit_number().unwrap();
    transaction
        .put(format!("turn{turn}").as_bytes(), &vec![1; 5 * MIB])
        .unwrap();
    transaction.put(b"last", &turn.to_be_bytes()).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn the_map_follows_another_process_that_has_made_the_file_larger() {
    for read_only in [false, true] {
        let (_directory, path) = scratch();
        store_with(&path, 3);
        let store = LmdbOptions::new()
            .map_size(MIB)
            .read_only(read_only)
            .open(&path)
            .unwrap();
        for _ in 0..3 {
            assert!(in_another_process("other_process_writes_much", &path));
            if !read_only {
                put_all(&store, [("own".to_owned(), vec![2])]).unwrap();
            }
            let snapshot = store.begin_read().unwrap();
            let last = snapshot.get(b"last").unwrap().unwrap();
            let turn = u64::from_be_bytes(last.try_into().unwrap());
            let value = snapshot
                .get(format!("turn{turn}").as_bytes())
                .unwrap()
                .unwrap();
            assert!(value.iter().all(|&byte| byte == 1));
            assert_eq!(value.len(), 5 * MIB);
        }
    }
}

#[test]
fn a_commit_of_another_process_is_seen_and_numbered() {
    let (_directory, path) = scratch();
    store_with(&path, 3);
    let store = LmdbBackend::open(&path).unwrap();
    let before = store.begin_read().unwrap();
    assert!(in_another_process("other_process_writes_much", &path));
    let after = store.begin_read().unwrap();
    assert!(after.commit_number() > before.commit_number());
    assert_eq!(before.get(b"last").unwrap(), None);
    assert!(after.get(b"last").unwrap().is_some());
}

#[test]
fn a_commit_of_another_process_while_the_map_grows_is_a_conflict() {
    let (_directory, path) = scratch();
    let store = small_store(&path, LONG);
    thread::scope(|scope| {
        let held = store.begin_read().unwrap();
        let (began, has_begun) = mpsc::channel();
        let store = &store;
        let growing = scope.spawn(move || {
            let mut transaction = store.begin_write().unwrap();
            transaction.put(b"key", b"value").unwrap();
            began.send(()).unwrap();
            transaction
                .put(b"large", &vec![0; 4 * MIB])
                .map_err(|error| error.kind())
        });
        has_begun.recv().unwrap();
        // The other process waits for LMDB's lock until the growing
        // transaction lets go of it.
        assert!(in_another_process("other_process_writes_much", &path));
        drop(held);
        assert_eq!(growing.join().unwrap(), Err(ErrorKind::Conflict));
    });
    let snapshot = store.begin_read().unwrap();
    assert_eq!(snapshot.get(b"key").unwrap(), None);
    assert!(snapshot.get(b"last").unwrap().is_some());
}

#[cfg(target_os = "linux")]
mod with_little_address_space {
    use super::*;

    /// Runs an ignored test with less address space than the default map.
    fn confined(kibibytes: usize, test: &str, path: &std::path::Path) {
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -v {kibibytes} && exec \"$0\" --ignored --exact --nocapture \"$1\""
            ))
            .arg(std::env::current_exe().unwrap())
            .arg(format!("with_little_address_space::{test}"))
            .env("STORE_OF_THE_TEST", path)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }

    #[test]
    #[ignore = "the other process of a test"]
    fn confined_default() {
        let Some(path) = store_of_the_test() else {
            return;
        };
        let store = LmdbBackend::open(path).unwrap();
        put_all(&store, [("key".to_owned(), vec![1; 2 * MIB])]).unwrap();
        let reserved = format!("{store:?}");
        assert!(reserved.contains("map_size: 4294967296"), "{reserved}");
    }

    #[test]
    fn a_reservation_that_the_system_refuses_is_made_smaller() {
        let (_directory, path) = scratch();
        confined(6_000_000, "confined_default", &path);
        assert!(
            LmdbBackend::open(&path)
                .unwrap()
                .begin_read()
                .unwrap()
                .get(b"key")
                .unwrap()
                .is_some()
        );
    }

    #[test]
    #[ignore = "the other process of a test"]
    fn confined_growth() {
        let Some(path) = store_of_the_test() else {
            return;
        };
        let store = LmdbOptions::new().map_size(256 * MIB).open(&path).unwrap();
        put_all(&store, [("key".to_owned(), vec![1])]).unwrap();
        let failed = (0..30)
            .find_map(|n| put_all(&store, [(format!("large{n}"), vec![0; 10 * MIB])]).err())
            .unwrap();
        assert_eq!(failed.kind(), ErrorKind::Full, "{failed}");
        // There is no map any more, and nothing that would look into it runs.
        assert_eq!(store.begin_read().unwrap_err().kind(), ErrorKind::Engine);
        assert_eq!(store.begin_write().unwrap_err().kind(), ErrorKind::Engine);
        assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Engine);
        store.info().unwrap();
        drop(store);
        let store = LmdbOptions::new().map_size(MIB).open(&path).unwrap();
        assert_eq!(
            store.begin_read().unwrap().get(b"key").unwrap(),
            Some(&[1][..])
        );
    }

    #[test]
    fn a_map_that_the_system_refuses_to_enlarge_fails_without_a_crash() {
        let (_directory, path) = scratch();
        confined(480_000, "confined_growth", &path);
    }
}
