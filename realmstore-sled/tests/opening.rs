//! What opening a store accepts, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::Path;

use realmstore_core::{Backend, Durability, Error, ErrorKind, ReadTxn, WriteTxn};
use realmstore_sled::{SledBackend, SledOptions};

fn put(store: &SledBackend, key: &[u8], value: &[u8]) {
    let mut txn = store.begin_write().unwrap();
    txn.put(key, value).unwrap();
    txn.commit().unwrap();
}

fn open_error(options: &SledOptions, path: &Path) -> Error {
    options.open(path).expect_err("what is no store was opened")
}

#[test]
fn a_missing_store_is_created_with_its_directories() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not/there/yet");
    drop(SledBackend::open(&path).unwrap());
    assert!(path.join("db").is_file());
}

#[test]
fn a_missing_store_is_not_found_when_it_is_not_to_be_created() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("realm");
    for options in [
        SledOptions::new().create(false),
        SledOptions::new().read_only(true),
    ] {
        let error = open_error(&options, &path);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with("sled: open: "), "{error}");
        assert!(!path.exists(), "looking for a store has made one");
    }
}

#[test]
fn a_file_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "something").unwrap();
    for path in [path.clone(), path.join("below")] {
        let error = open_error(&SledOptions::new(), &path);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_store_can_be_open_only_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledBackend::open(directory.path()).unwrap();
    for options in [SledOptions::new(), SledOptions::new().read_only(true)] {
        let error = open_error(&options, directory.path());
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    }
    put(&store, b"key", b"value");
    drop(store);
    let store = SledOptions::new()
        .read_only(true)
        .open(directory.path())
        .unwrap();
    let txn = store.begin_read().unwrap();
    assert_eq!(txn.get(b"key").unwrap().unwrap().as_ref(), b"value");
}

#[test]
fn a_store_can_be_opened_as_soon_as_it_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50u8 {
        let store = SledOptions::new()
            .durability(Durability::Eventual)
            .open(directory.path())
            .unwrap();
        assert_eq!(
            store
                .begin_read()
                .unwrap()
                .get(b"round")
                .unwrap()
                .map(|value| value.as_ref()[0]),
            round.checked_sub(1)
        );
        put(&store, b"round", &[round]);
    }
}

#[test]
fn files_of_something_else_are_no_store() {
    let noise: Vec<u8> = (0..1u64 << 20).map(|n| ((n * 7919) >> 3) as u8).collect();
    for (name, kind) in [("db", ErrorKind::Damaged), ("conf", ErrorKind::Unsupported)] {
        let directory = tempfile::tempdir().unwrap();
        let store = SledBackend::open(directory.path()).unwrap();
        put(&store, b"key", b"value");
        drop(store);
        fs::write(directory.path().join(name), &noise).unwrap();
        let error = open_error(&SledOptions::new(), directory.path());
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn a_store_of_another_program_is_no_realm_store() {
    let directory = tempfile::tempdir().unwrap();
    let db = sled::open(directory.path()).unwrap();
    db.insert("theirs", "theirs").unwrap();
    db.flush().unwrap();
    drop(db);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let error = open_error(&SledOptions::new(), directory.path());
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

#[test]
fn an_empty_log_becomes_a_store() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("db"), "").unwrap();
    drop(SledBackend::open(directory.path()).unwrap());
    drop(
        SledOptions::new()
            .read_only(true)
            .open(directory.path())
            .unwrap(),
    );
}

#[test]
fn the_facts_about_a_store_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledOptions::new()
        .durability(Durability::Eventual)
        .cache_size(16 << 20)
        .open(directory.path())
        .unwrap();
    put(&store, b"key", &[7; 10_000]);
    store.sync().unwrap();
    let info = store.info().unwrap();
    assert_eq!(info.engine, "sled");
    assert_eq!(info.format, "sled 0.34");
    assert_eq!(info.path.as_deref(), Some(directory.path()));
    assert_eq!(info.durability, Some(Durability::Eventual));
    assert!(!info.read_only);
    assert!(info.size_on_disk >= 10_000);
}

#[test]
fn a_store_can_be_closed_and_kept_from_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let lock = SledBackend::open(&path).unwrap().close_locked().unwrap();
    let error = SledBackend::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    drop(lock);
    drop(SledBackend::open(&path).unwrap());
}
