//! The contract of transactions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::ops::Bound;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::lmdb::{LmdbBackend, LmdbReadTxn, LmdbWriteTxn};
use common::*;
use realmstore_core::{Backend, ErrorKind, MAX_KEY_LEN, Order, ReadTxn, WriteTxn};

#[test]
fn a_reopened_store_has_what_was_committed() {
    let (_directory, path) = scratch();
    store_with(&path, 3);
    let store = LmdbBackend::open(&path).unwrap();
    let snapshot = store.begin_read().unwrap();
    assert_eq!(snapshot.get(b"key2").unwrap(), Some(&[2; 100][..]));
    assert_eq!(snapshot.get(b"key3").unwrap(), None);
}

#[test]
fn a_dropped_write_transaction_leaves_no_trace() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    put_all(&store, [("kept".to_owned(), vec![1])]).unwrap();
    let mut transaction = store.begin_write().unwrap();
    transaction.put(b"dropped", b"value").unwrap();
    transaction.delete(b"kept").unwrap();
    drop(transaction);
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let found = all(&store.begin_read().unwrap(), everything, Order::Ascending);
    assert_eq!(found, [(b"kept".to_vec(), vec![1])]);
}

#[test]
fn a_snapshot_sees_nothing_of_later_commits() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    put_all(&store, [("key".to_owned(), vec![1])]).unwrap();
    let before = store.begin_read().unwrap();
    put_all(
        &store,
        [("key".to_owned(), vec![2]), ("other".to_owned(), vec![3])],
    )
    .unwrap();
    let after = store.begin_read().unwrap();
    assert_eq!(before.get(b"key").unwrap(), Some(&[1][..]));
    assert_eq!(before.get(b"other").unwrap(), None);
    assert_eq!(after.get(b"key").unwrap(), Some(&[2][..]));
    assert_eq!(after.get(b"other").unwrap(), Some(&[3][..]));
}

#[test]
fn a_writer_sees_its_own_changes() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    put_all(
        &store,
        [("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])],
    )
    .unwrap();
    let mut transaction = store.begin_write().unwrap();
    transaction.put(b"c", &[3]).unwrap();
    assert!(transaction.delete(b"a").unwrap());
    assert!(!transaction.delete(b"a").unwrap());
    assert_eq!(transaction.get(b"a").unwrap(), None);
    assert_eq!(transaction.get(b"c").unwrap(), Some(&[3][..]));
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let found = all(&transaction, everything, Order::Descending);
    assert_eq!(found, [(b"c".to_vec(), vec![3]), (b"b".to_vec(), vec![2])]);
}

#[test]
fn an_insert_leaves_an_existing_value_alone() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let mut transaction = store.begin_write().unwrap();
    assert!(transaction.insert(b"key", b"first").unwrap());
    assert!(!transaction.insert(b"key", b"second").unwrap());
    transaction.commit().unwrap();
    let mut transaction = store.begin_write().unwrap();
    assert!(!transaction.insert(b"key", b"third").unwrap());
    assert_eq!(transaction.get(b"key").unwrap(), Some(&b"first"[..]));
    transaction.commit().unwrap();
}

#[test]
fn a_key_that_cannot_be_stored_is_refused_and_the_transaction_goes_on() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let mut transaction = store.begin_write().unwrap();
    let (longest, too_long) = (vec![b'x'; MAX_KEY_LEN], vec![b'x'; MAX_KEY_LEN + 1]);
    for key in [&b""[..], &too_long] {
        assert_eq!(
            transaction.put(key, b"v").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            transaction.insert(key, b"v").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(transaction.get(key).unwrap(), None);
        assert!(!transaction.delete(key).unwrap());
    }
    transaction.put(&longest, b"").unwrap();
    transaction.commit().unwrap();
    let snapshot = store.begin_read().unwrap();
    assert_eq!(snapshot.get(&longest).unwrap(), Some(&b""[..]));
    assert_eq!(snapshot.get(&too_long).unwrap(), None);
    assert_eq!(snapshot.get(b"").unwrap(), None);
}

#[test]
fn a_second_write_transaction_on_the_same_thread_is_refused() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let mut transaction = store.begin_write().unwrap();
    let refused = store.begin_write().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(
        refused
            .to_string()
            .contains("this thread already holds a write transaction")
    );
    transaction.put(b"key", b"value").unwrap();
    transaction.commit().unwrap();
    store.begin_write().unwrap();
}

#[test]
fn another_thread_waits_for_the_write_transaction() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    thread::scope(|scope| {
        let mut transaction = store.begin_write().unwrap();
        let (began, has_begun) = mpsc::channel();
        let store = &store;
        scope.spawn(move || {
            let transaction = store.begin_write().unwrap();
            began
                .send(transaction.get(b"key").unwrap().map(<[u8]>::to_vec))
                .unwrap();
        });
        assert!(has_begun.recv_timeout(Duration::from_millis(100)).is_err());
        transaction.put(b"key", b"value").unwrap();
        transaction.commit().unwrap();
        let seen = has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(seen.as_deref(), Some(&b"value"[..]));
    });
}

#[test]
fn snapshots_can_be_sent_and_held_in_any_number() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    let store = LmdbBackend::open(&path).unwrap();
    let snapshots: Vec<_> = (0..100).map(|_| store.begin_read().unwrap()).collect();
    let transaction = store.begin_write().unwrap();
    thread::scope(|scope| {
        for snapshot in snapshots {
            scope.spawn(move || assert!(snapshot.get(b"key0").unwrap().is_some()));
        }
    });
    drop(transaction);
}

#[test]
fn a_write_transaction_that_sees_a_number_commits_the_next_one() {
    let (_directory, path) = scratch();
    let store = LmdbBackend::open(&path).unwrap();
    let mut last = store.begin_read().unwrap().commit_number().unwrap();
    for _ in 0..5 {
        let before = store.begin_read().unwrap();
        let mut transaction = store.begin_write().unwrap();
        assert_eq!(transaction.commit_number(), Some(last));
        transaction.put(b"key", b"value").unwrap();
        assert_eq!(transaction.commit_number(), Some(last));
        transaction.commit().unwrap();
        assert_eq!(before.commit_number(), Some(last));
        last += 1;
        assert_eq!(store.begin_read().unwrap().commit_number(), Some(last));
    }
}

#[test]
fn the_backend_is_shared_the_snapshot_is_sent_and_the_writer_stays() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<LmdbBackend>();
    sent::<LmdbReadTxn<'static>>();

    // Two candidates for the same name make it ambiguous for what is `Send`,
    // so this compiles only as long as the write transaction is not.
    trait AmbiguousIfSend<Marker> {
        fn holds() {}
    }
    struct ForSend;
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    impl<T: ?Sized + Send> AmbiguousIfSend<ForSend> for T {}
    <LmdbWriteTxn<'static> as AmbiguousIfSend<_>>::holds();
}

#[test]
fn everything_committed_can_be_synced() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    LmdbBackend::open(&path).unwrap().sync().unwrap();
}
