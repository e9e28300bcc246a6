//! A store that may not become larger than it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::fs;
use std::path::Path;

use common::lmdb::{LmdbBackend, LmdbOptions};
use common::*;
use realmstore_core::{Backend, ErrorKind, ReadTxn, WriteTxn};

const LIMIT: usize = 2 * MIB;

fn limited(path: &Path) -> LmdbBackend {
    LmdbOptions::new().size_limit(LIMIT).open(path).unwrap()
}

fn size(path: &Path) -> usize {
    fs::metadata(data_file(path)).unwrap().len() as usize
}

#[test]
fn a_store_fills_up_to_its_limit_and_not_beyond() {
    let with_small_map = LmdbOptions::new().map_size(MIB);
    let with_large_map = LmdbOptions::new().map_size(16 * MIB);
    for options in [LmdbOptions::new(), with_small_map, with_large_map] {
        let (_directory, path) = scratch();
        let store = options.clone().size_limit(LIMIT).open(&path).unwrap();
        let put = |n: usize| put_all(&store, [(format!("key{n:05}"), vec![n as u8; 10_000])]);
        let (written, full) = (0..)
            .find_map(|n| put(n).err().map(|error| (n, error)))
            .unwrap();
        assert_eq!(full.kind(), ErrorKind::Full, "{full}");
        let expected = format!("may not become larger than {LIMIT} bytes");
        assert!(full.to_string().contains(&expected), "{full}");
        assert!(
            (LIMIT * 3 / 4..=LIMIT).contains(&size(&path)),
            "{} bytes",
            size(&path)
        );
        let snapshot = store.begin_read().unwrap();
        let has = |n: usize| {
            let key = format!("key{n:05}");
            snapshot.get(key.as_bytes()).unwrap().is_some()
        };
        assert!((0..written).all(has) && !has(written));
        drop(snapshot);
        drop(store);

        // The limit is not kept in the file.
        let store = options.size_limit(2 * LIMIT).open(&path).unwrap();
        put_all(&store, [("key".to_owned(), vec![1; 10_000])]).unwrap();
    }
}

#[test]
fn nothing_is_stored_of_a_transaction_that_would_outgrow_the_limit() {
    let (_directory, path) = scratch();
    store_with(&path, 100);
    let store = limited(&path);
    let number = store.begin_read().unwrap().commit_number();
    let mut transaction = store.begin_write().unwrap();
    transaction.put(b"fits", &[1; 1000]).unwrap();
    assert!(transaction.delete(b"key1").unwrap());
    let full = transaction.put(b"large", &vec![1; LIMIT]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    assert_eq!(
        transaction.put(b"more", b"").unwrap_err().kind(),
        ErrorKind::Full
    );
    assert_eq!(transaction.commit().unwrap_err().kind(), ErrorKind::Full);

    let snapshot = store.begin_read().unwrap();
    assert_eq!(snapshot.commit_number(), number);
    assert_eq!(snapshot.get(b"fits").unwrap(), None);
    assert!(snapshot.get(b"key1").unwrap().is_some());
    put_all(&store, [("small".to_owned(), vec![1])]).unwrap();
}

#[test]
fn a_store_larger_than_the_limit_opens_for_reading_only() {
    let (_directory, path) = scratch();
    put_all(
        &LmdbBackend::open(&path).unwrap(),
        [("large".to_owned(), vec![1; 4 * MIB])],
    )
    .unwrap();
    let before = fs::read(data_file(&path)).unwrap();
    let options = LmdbOptions::new().size_limit(LIMIT);
    let error = open_error(&options, &path);
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let expected = format!(
        "takes {} bytes already, more than the size limit of {LIMIT} bytes",
        size(&path)
    );
    assert!(error.to_string().contains(&expected), "{error}");
    assert_eq!(fs::read(data_file(&path)).unwrap(), before);

    let store = options.read_only(true).open(&path).unwrap();
    let snapshot = store.begin_read().unwrap();
    assert!(snapshot.get(b"large").unwrap().is_some());
}

#[test]
fn a_limit_that_no_store_could_keep_is_refused() {
    let (_directory, path) = scratch();
    let error = LmdbOptions::new()
        .size_limit(MIB - 1)
        .open(&path)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("1048575 bytes"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_limit_is_rounded_down_to_whole_pages() {
    let (_directory, path) = scratch();
    let store = LmdbOptions::new()
        .size_limit(MIB + 65_535)
        .open(&path)
        .unwrap();
    let full = put_all(&store, [("large".to_owned(), vec![1; 2 * MIB])]).unwrap_err();
    assert!(full.to_string().contains("1048576 bytes"), "{full}");
}

#[test]
#[ignore = "the other process of a test"]
fn other_process_writes_more() {
    let Some(path) = store_of_the_test() else {
        return;
    };
    let entries = [("large".to_owned(), vec![1; 2 * LIMIT])];
    put_all(&beside_another(&path), entries).unwrap();
}

#[test]
fn what_another_process_wrote_beyond_the_limit_is_read_and_nothing_is_added() {
    let (_directory, path) = scratch();
    store_with(&path, 3);
    let store = limited(&path);
    let other = other_process("other_process_writes_more", &path).output();
    assert!(other.unwrap().status.success());
    let large = store
        .begin_read()
        .unwrap()
        .get(b"large")
        .unwrap()
        .map(<[u8]>::len);
    assert_eq!(large, Some(2 * LIMIT));
    let full = store.begin_write().unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    let expected = format!("may not become larger than {LIMIT} bytes");
    assert!(full.to_string().contains(&expected), "{full}");
}
