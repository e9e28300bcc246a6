//! Opening a store: what is made, what is refused, and how that is said.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::*;
use realmstore_core::{Backend, Durability, ErrorKind, Order, ReadTxn, WriteTxn};
use realmstore_rocks::{RocksBackend, RocksOptions};
use rocksdb::{DB, Options};

const EVERYTHING: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// Opening fails, and the error names the place.
fn assert_fails(options: &RocksOptions, path: &Path, kind: ErrorKind) {
    let error = options.open(path).expect_err("the store opened");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.starts_with("rocks: open: "), "{text}");
    assert!(text.contains(path.to_str().unwrap()), "{text}");
}

fn assert_damaged(path: &Path) {
    assert_fails(&RocksOptions::new(), path, ErrorKind::Damaged);
    let reader = RocksOptions::new().read_only(true);
    assert_fails(&reader, path, ErrorKind::Damaged);
}

fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(path, "")
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[test]
fn a_store_is_made_with_its_directories() {
    let (_directory, path) = scratch();
    let path = path.join("in/deep");
    let store = RocksBackend::open(&path).unwrap();
    let info = store.info().unwrap();
    assert_eq!(info.engine, "rocks");
    assert_eq!(info.path.as_deref(), Some(path.as_path()));
    assert_eq!(info.durability, Some(Durability::OnDisk));
    assert!(!info.read_only);
    let before = info.size_on_disk;
    put_all(&store, [("a".into(), noise(0, 10_000))]).unwrap();
    assert!(store.info().unwrap().size_on_disk >= before + 10_000);
}

#[test]
fn the_version_is_the_one_that_is_compiled_in() {
    let (_directory, path) = scratch();
    let store = RocksBackend::open(&path).unwrap();
    let format = store.info().unwrap().format;
    let version = format.strip_prefix("RocksDB ").unwrap();
    let options = files(&path, "")
        .into_iter()
        .find(|file| file.to_str().unwrap().contains("OPTIONS-"))
        .unwrap();
    let options = fs::read_to_string(options).unwrap();
    assert!(options.contains(&format!("rocksdb_version={version}\n")));
}

#[test]
fn a_store_that_is_not_there_is_not_made_unasked() {
    let (_directory, path) = scratch();
    for options in [
        RocksOptions::new().create(false),
        RocksOptions::new().read_only(true),
    ] {
        assert_fails(&options, &path, ErrorKind::NotFound);
        assert!(!path.exists());
    }
    fs::create_dir(&path).unwrap();
    let reader = RocksOptions::new().read_only(true);
    assert_fails(&reader, &path, ErrorKind::NotFound);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn a_file_is_no_store() {
    let (_directory, path) = scratch();
    fs::write(&path, "text").unwrap();
    assert_fails(&RocksOptions::new(), &path, ErrorKind::InvalidInput);
    assert_fails(
        &RocksOptions::new(),
        &path.join("below"),
        ErrorKind::InvalidInput,
    );
}

#[test]
fn a_store_is_open_for_writing_once_in_a_process() {
    let (_directory, path) = scratch();
    let store = RocksBackend::open(&path).unwrap();
    assert_fails(&RocksOptions::new(), &path, ErrorKind::InUse);
    put_all(&store, [("a".into(), vec![])]).unwrap();
    drop(store);
    drop(RocksBackend::open(&path).unwrap());
}

#[test]
fn a_store_is_open_for_writing_in_one_process() {
    let (_directory, path) = scratch();
    store_with(&path, 3, 10);
    let mut other = other_process("hold_the_store_open", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"));
    assert_fails(&RocksOptions::new(), &path, ErrorKind::InUse);
    let reader = RocksOptions::new().read_only(true).open(&path).unwrap();
    assert_eq!(
        all(&reader.begin_read().unwrap(), EVERYTHING, Order::Ascending).len(),
        3
    );
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    drop(RocksBackend::open(&path).unwrap());
}

#[test]
#[ignore = "another test runs it in a process of its own"]
#[allow(clippy::print_stdout)]
fn hold_the_store_open() {
    let Some(path) = store_of_the_test() else {
        return;
    };
    let _store = RocksBackend::open(path).unwrap();
    println!("\nopen");
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn a_reader_sees_the_store_as_it_was_opened_whatever_a_writer_does() {
    let (_directory, path) = scratch();
    store_with(&path, 10, 1000);
    let writer = RocksBackend::open(&path).unwrap();
    put_all(&writer, [("late".into(), vec![])]).unwrap();
    let options = RocksOptions::new().read_only(true);
    let reader = options.open(&path).unwrap();
    let seen = all(&reader.begin_read().unwrap(), EVERYTHING, Order::Ascending);
    assert_eq!(seen.len(), 11);

    drop(writer);
    let before = files(&path, ".sst");
    for round in 0..8 {
        // Each time what is in the log becomes a file, and every fourth time
        // the files become one.
        let writer = RocksBackend::open(&path).unwrap();
        let mut transaction = writer.begin_write().unwrap();
        for n in 0..10 {
            let key = format!("key{n:03}");
            transaction.put(key.as_bytes(), &[round]).unwrap();
        }
        transaction.commit().unwrap();
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while before.iter().any(|file| file.exists()) && std::time::Instant::now() < deadline {
        drop(RocksBackend::open(&path).unwrap());
    }
    assert!(before.iter().all(|file| !file.exists()));
    for order in [Order::Ascending, Order::Descending] {
        let mut found = all(&reader.begin_read().unwrap(), EVERYTHING, order);
        found.sort();
        assert_eq!(found, seen);
    }
    let found = options.open(&path).unwrap();
    let found = found.begin_read().unwrap();
    assert_eq!(found.get(b"key003").unwrap().unwrap().as_ref(), [7]);
}

#[test]
fn a_reader_that_opens_beside_a_writer_misses_nothing_in_between() {
    const PADDING: usize = 1 << 20;
    let (_directory, path) = scratch();
    let writer = RocksOptions::new()
        .durability(Durability::Eventual)
        .open(&path)
        .unwrap();
    let mut last = 0;
    std::thread::scope(|scope| {
        // Enough to fill RocksDB's memory a few times, and so to move files.
        let writing = scope.spawn(|| {
            for n in 0..400 {
                put_all(&writer, [(format!("{n:06}"), noise(n, PADDING))]).unwrap();
            }
        });
        let options = RocksOptions::new().read_only(true);
        loop {
            let over = writing.is_finished();
            match options.open(&path) {
                Ok(reader) => {
                    let keys = all(&reader.begin_read().unwrap(), EVERYTHING, Order::Ascending)
                        .into_iter()
                        .map(|(key, _)| key);
                    let expected = (0..).map(|n| format!("{n:06}").into_bytes());
                    let count = keys
                        .zip(expected)
                        .inspect(|(key, expected)| assert_eq!(key, expected))
                        .count();
                    assert!(count >= last, "{count} after {last}");
                    last = count;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
            }
            if over {
                break;
            }
        }
    });
    assert_eq!(last, 400);
}

#[test]
fn a_reader_changes_nothing() {
    let (_directory, path) = scratch();
    store_with(&path, 10, 1000);
    let store = RocksBackend::open(&path).unwrap();
    put_all(&store, [("in the log".into(), vec![])]).unwrap();
    drop(store);
    let before = contents(&path);
    let store = RocksOptions::new().read_only(true).open(&path).unwrap();
    assert!(store.info().unwrap().read_only);
    assert_eq!(store.begin_write().unwrap_err().kind(), ErrorKind::ReadOnly);
    store.sync().unwrap();
    assert_eq!(
        all(&store.begin_read().unwrap(), EVERYTHING, Order::Ascending).len(),
        11
    );
    drop(store);
    assert!(contents(&path) == before);
}

#[test]
fn what_is_missing_or_not_what_it_should_be_is_damage() {
    for (end, len) in [("CURRENT", 0), ("CURRENT", 7), (".sst", 100)] {
        let (_directory, path) = scratch();
        store_with(&path, 10, 1000);
        let file = files(&path, end).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..len]).unwrap();
        assert_damaged(&path);
    }
    for missing in ["CURRENT", "MANIFEST", ".sst"] {
        let (_directory, path) = scratch();
        store_with(&path, 10, 1000);
        for file in files(&path, "") {
            if file.to_str().unwrap().contains(missing) {
                fs::remove_file(file).unwrap();
            }
        }
        let left = files(&path, "").len();
        if missing == "CURRENT" {
            assert_fails(&RocksOptions::new(), &path, ErrorKind::Damaged);
        } else {
            assert_damaged(&path);
        }
        assert!(files(&path, "").len() >= left, "files were cleared away");
    }
}

#[test]
fn a_store_of_others_is_not_taken_for_a_realm_store() {
    let (_directory, path) = scratch();
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(DB::open_cf(&options, &path, ["default", "theirs"]).unwrap());
    assert_fails(&RocksOptions::new(), &path, ErrorKind::Damaged);

    let (_directory, path) = scratch();
    options.set_comparator("reverse", Box::new(|a, b| b.cmp(a)));
    drop(DB::open(&options, &path).unwrap());
    assert_damaged(&path);
}

#[test]
fn compacting_gives_back_what_was_deleted() {
    let (_directory, path) = scratch();
    store_with(&path, 1000, 1000);
    let size = |store: &RocksBackend| store.info().unwrap().size_on_disk;
    let store = RocksBackend::open(&path).unwrap();
    let before = size(&store);
    let keys: Vec<Vec<u8>> = {
        let txn = store.begin_read().unwrap();
        let mut scan = txn.scan(EVERYTHING, Order::Ascending).unwrap();
        let mut keys = Vec::new();
        while let Some((key, _)) = realmstore_core::Scan::next(&mut scan).unwrap() {
            keys.push(key.to_vec());
        }
        keys
    };
    let mut txn = store.begin_write().unwrap();
    for key in &keys[1..] {
        txn.delete(key).unwrap();
    }
    txn.commit().unwrap();
    store.compact().unwrap();
    assert!(size(&store) < before / 10, "{} of {before}", size(&store));
    assert!(store.begin_read().unwrap().get(&keys[0]).unwrap().is_some());
    drop(store);

    let reader = RocksOptions::new().read_only(true).open(&path).unwrap();
    assert_eq!(reader.compact().unwrap_err().kind(), ErrorKind::ReadOnly);
}
