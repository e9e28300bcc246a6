//! From start to close: waiting for room, giving up, closing, dropping, dying.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{at, event, go_on, keep_busy, on, publication, publication_id, soon};
use conformance::slow::Disk;
use futures_lite::future::{block_on, poll_once};
use realmstore_async::{AsyncOptions, AsyncRealmStore, AsyncStore, WhenFull};
use realmstore_core::{ErrorKind, Publication, RealmStore, Result, Session, SessionId};
use realmstore_lmdb::{LmdbBackend, LmdbOptions};
use tokio::task::JoinSet;

fn open(directory: &Path) -> Result<RealmStore<LmdbBackend>> {
    RealmStore::attach(LmdbOptions::new().open(directory)?)
}

#[test]
fn a_router_holds_it_without_its_type_and_in_any_runtime() {
    let store = on(&Arc::new(Disk::default()), &AsyncOptions::new());
    let store: Arc<dyn AsyncRealmStore> = Arc::new(store);
    let session = Session {
        authid: Some("alice".to_owned()),
        ..Session::new(SessionId::from_stored(7), at(1))
    };
    let (joined, other) = (session.clone(), Arc::clone(&store));
    let caller = thread::spawn(move || {
        block_on(async {
            other.session_joined(joined).await?;
            other.session_left(SessionId::from_stored(7), at(5)).await
        })
    });
    let left = caller.join().unwrap().unwrap();
    assert_eq!(left, Some(session.oid));
    block_on(async {
        let id = SessionId::from_stored(7);
        let nobody = SessionId::from_stored(8);
        assert_eq!(store.session_left(nobody, at(5)).await.unwrap(), None);
        let newer = Session {
            authid: Some("alice".to_owned()),
            ..Session::new(id, at(9))
        };
        store.session_joined(newer.clone()).await.unwrap();
        let left = Session {
            left_at: Some(at(5)),
            ..session
        };
        let found = store.session_by_id(id, at(8)).await.unwrap();
        assert_eq!(found.as_ref(), Some(&left));
        assert_eq!(store.session_by_id(id, at(0)).await.unwrap(), None);
        let all = store.sessions_by_authid("alice", None).await.unwrap();
        assert_eq!(all, [newer.clone(), left]);
        let newest = store.sessions_by_authid("alice", Some(1)).await.unwrap();
        assert_eq!(newest, [newer]);
        let duplicate = store.session_joined(Session::new(id, at(9))).await;
        assert_eq!(duplicate.unwrap_err().kind(), ErrorKind::Duplicate);
        store.store_event(event(1, 2)).await.unwrap();
        store.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_full_queue_refuses_or_lets_wait_as_the_handle_was_told() {
    let disk = Arc::new(Disk::default());
    let store = on(
        &disk,
        &AsyncOptions::new().queue_writes(2).queue_bytes(5000),
    );
    let plug = keep_busy(&disk, &store).await;
    let refusing = store.when_full(WhenFull::Refuse);
    let mut accepted = [1, 2].map(|id| refusing.store_publication(publication(id)));
    for accepted in &mut accepted {
        assert!(poll_once(accepted).await.is_none());
    }
    let refused = soon(refusing.store_publication(publication(3))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert!(refused.is_retryable());
    let text = refused.to_string();
    assert!(text.contains("2 writes of 5000 bytes"), "{text}");
    let mut waiting = store.store_publication(publication(4));
    assert!(poll_once(&mut waiting).await.is_none());
    assert_eq!(store.queue_state().waiting, 1);
    go_on(&disk);
    soon(plug).await.unwrap();
    soon(waiting).await.unwrap();
    for accepted in accepted {
        soon(accepted).await.unwrap();
    }
    assert_eq!(store.publication(publication_id(3)).await.unwrap(), None);
}

fn of_size(id: u64, bytes: usize) -> Publication {
    Publication {
        payload: Some(vec![0; bytes]),
        ..publication(id)
    }
}

#[tokio::test]
async fn bytes_fill_a_queue_as_well_but_one_write_always_fits_an_empty_one() {
    let disk = Arc::new(Disk::default());
    let store = on(&disk, &AsyncOptions::new().queue_bytes(10_000));
    let store = store.when_full(WhenFull::Refuse);
    soon(store.store_publication(of_size(1, 100_000)))
        .await
        .unwrap();
    let plug = keep_busy(&disk, &store).await;
    let mut fits = store.store_publication(of_size(2, 6000));
    assert!(poll_once(&mut fits).await.is_none());
    let refused = soon(store.store_publication(of_size(3, 6000))).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
    go_on(&disk);
    soon(plug).await.unwrap();
    soon(fits).await.unwrap();
    assert!(store.queue_state().most_bytes > 100_000);
}

#[tokio::test]
async fn who_gives_up_while_waiting_leaves_no_trace_and_lets_the_next_one_in() {
    let disk = Arc::new(Disk::default());
    let store = on(&disk, &AsyncOptions::new().queue_bytes(10_000));
    let plug = keep_busy(&disk, &store).await;
    let mut accepted = store.store_publication(of_size(1, 4000));
    let mut too_large = store.store_publication(of_size(2, 7000));
    let mut behind = store.store_publication(of_size(3, 100));
    for write in [&mut accepted, &mut too_large, &mut behind] {
        assert!(poll_once(write).await.is_none());
    }
    assert_eq!(store.queue_state().waiting, 2);
    drop(too_large);
    let state = store.queue_state();
    assert_eq!((state.writes, state.waiting), (2, 0), "the next one is in");
    go_on(&disk);
    for write in [plug, accepted, behind] {
        soon(write).await.unwrap();
    }
    assert_eq!(store.publication(publication_id(2)).await.unwrap(), None);
    assert!(
        store
            .publication(publication_id(3))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn who_gives_up_after_that_has_written_and_before_the_first_poll_nothing() {
    let disk = Arc::new(Disk::default());
    let store = on(&disk, &AsyncOptions::new());
    let plug = keep_busy(&disk, &store).await;
    drop(store.store_publication(publication(1)));
    let mut accepted = store.store_publication(publication(2));
    assert!(poll_once(&mut accepted).await.is_none());
    drop(accepted);
    go_on(&disk);
    soon(plug).await.unwrap();
    soon(store.store_publication(publication(3))).await.unwrap();
    assert_eq!(store.publication(publication_id(1)).await.unwrap(), None);
    assert!(
        store
            .publication(publication_id(2))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn closing_stores_what_was_called_before_and_refuses_what_comes_after() {
    let disk = Arc::new(Disk::default());
    let commits = Arc::clone(&disk);
    let store = on(&disk, &AsyncOptions::new().queue_writes(1).max_batch(1));
    let plug = keep_busy(&disk, &store).await;
    let before = commits.commits();
    let mut called = Vec::new();
    for id in 1..=5 {
        let mut write = store.store_publication(publication(id));
        assert!(poll_once(&mut write).await.is_none());
        called.push(write);
    }
    let mut close = store.close();
    assert!(poll_once(&mut close).await.is_none());
    let mut second_close = store.close();
    assert!(poll_once(&mut second_close).await.is_none());
    let write = soon(store.store_publication(publication(6))).await;
    assert_eq!(write.unwrap_err().kind(), ErrorKind::Closed);
    let read = soon(store.publication(publication_id(1))).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Closed);
    go_on(&disk);
    soon(close).await.unwrap();
    soon(second_close).await.unwrap();
    assert_eq!(commits.commits() - before, 6);
    for write in called {
        assert!(poll_once(write).await.expect("it was drained").is_ok());
    }
    soon(plug).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_closed_can_be_opened_again_while_handles_are_held() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let store = AsyncStore::start(open(directory.path()).unwrap()).unwrap();
        let store: Arc<dyn AsyncRealmStore> = Arc::new(store);
        let mut tasks = JoinSet::new();
        for caller in 0..20 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut stored = Vec::new();
                for number in 0.. {
                    let id = 1 + number * 100 + round * 20 + caller;
                    match store.store_publication(publication(id)).await {
                        Ok(()) => stored.push(id),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Closed);
                            break;
                        }
                    }
                    let _ = store.publication(publication_id(id)).await;
                }
                stored
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        soon(store.close()).await.unwrap();
        let again = open(directory.path()).expect("the files are still held");
        let stored: Vec<u64> = soon(tasks.join_all()).await.concat();
        assert!(!stored.is_empty());
        let txn = again.begin_read().unwrap();
        for id in stored {
            let found = again.publications().get(&txn, &publication_id(id));
            assert!(found.unwrap().is_some(), "{id} was acknowledged");
        }
    }
}

#[tokio::test]
async fn closing_waits_for_reads_that_are_running() {
    let may_read = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&may_read);
    let disk = Arc::new(Disk {
        on_read: Some(Box::new(move |()| {
            while !seen.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })),
        ..Disk::default()
    });
    let store = on(&disk, &AsyncOptions::new());
    let mut read = store.publication(publication_id(1));
    let mut close = store.close();
    assert!(poll_once(&mut read).await.is_none());
    assert!(poll_once(&mut close).await.is_none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(poll_once(&mut close).await.is_none());
    assert!(Arc::strong_count(&disk) > 1, "the store is still open");
    may_read.store(true, Ordering::Release);
    soon(close).await.unwrap();
    assert_eq!(Arc::strong_count(&disk), 1, "the store is gone");
    assert_eq!(soon(read).await.unwrap(), None);
}

#[tokio::test]
async fn no_more_reads_run_at_once_than_were_asked_for_even_if_callers_give_up() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, at_most) = (Arc::clone(&running), Arc::clone(&most));
    let disk = Arc::new(Disk {
        on_read: Some(Box::new(move |()| {
            at_most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })),
        ..Disk::default()
    });
    let store = on(&disk, &AsyncOptions::new().reads(3));
    let mut tasks = JoinSet::new();
    for id in 1..=40 {
        let store = store.clone();
        tasks.spawn(async move {
            let read = store.publication(publication_id(id));
            if id % 2 == 0 {
                let _ = tokio::time::timeout(Duration::from_millis(id), read).await;
            } else {
                assert_eq!(read.await.unwrap(), None);
            }
        });
    }
    soon(tasks.join_all()).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_store_that_is_dropped_stores_what_it_has_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let store = AsyncStore::start(open(directory.path()).unwrap()).unwrap();
    for id in 1..=500 {
        // Accepted with the first poll, and nobody waits for it.
        let _ = poll_once(store.store_publication(publication(id))).await;
    }
    drop(store);
    let again = soon(async {
        loop {
            match open(directory.path()) {
                Ok(store) => return store,
                Err(error) => assert_eq!(error.kind(), ErrorKind::InUse),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let txn = again.begin_read().unwrap();
    assert_eq!(again.publications().count(&txn).unwrap(), 500);
}

#[tokio::test]
async fn the_death_of_the_writer_is_told_to_every_caller() {
    let disk = Arc::new(Disk {
        on_commit: Some(Box::new(|_| panic!("on purpose"))),
        ..Disk::default()
    });
    let store = on(&disk, &AsyncOptions::new().queue_writes(2));
    let plug = keep_busy(&disk, &store).await;
    let mut called = vec![plug];
    for id in 1..=5 {
        let mut write = store.store_publication(publication(id));
        assert!(poll_once(&mut write).await.is_none());
        called.push(write);
    }
    let state = store.queue_state();
    assert_eq!((state.writes, state.waiting), (2, 3));
    let given_up = called.pop();
    go_on(&disk);
    called.push(store.store_publication(publication(6)));
    for write in called {
        let error = soon(write).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(error.to_string().contains("on purpose"), "{error}");
    }
    drop(given_up);
    let later = soon(store.store_event(event(1, 1))).await.unwrap_err();
    assert!(later.to_string().contains("on purpose"), "{later}");
    let state = store.queue_state();
    assert_eq!((state.writes, state.bytes, state.waiting), (0, 0, 0));
    // What is stored can still be read, until the store is closed.
    let found = soon(store.publication(publication_id(1))).await;
    assert_eq!(found.unwrap(), None);
    soon(store.close()).await.unwrap();
    assert_eq!(Arc::strong_count(&disk), 1, "the store is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_may_die_at_any_moment_and_nobody_hangs() {
    for dies_at in 1..30 {
        let commits = AtomicUsize::new(0);
        let disk = Arc::new(Disk {
            on_commit: Some(Box::new(move |_| {
                assert!(
                    commits.fetch_add(1, Ordering::Relaxed) < dies_at,
                    "on purpose"
                );
                Ok(())
            })),
            ..Disk::default()
        });
        let store = on(&disk, &AsyncOptions::new().queue_writes(3).max_batch(2));
        let mut tasks = JoinSet::new();
        for caller in 1..=10 {
            let store = store.clone();
            tasks.spawn(async move {
                for number in 0.. {
                    let id = caller * 1000 + number;
                    if let Err(error) = store.store_publication(publication(id)).await {
                        return error;
                    }
                }
                unreachable!("the writer lives for ever");
            });
        }
        for error in soon(tasks.join_all()).await {
            assert!(error.to_string().contains("on purpose"), "{error}");
        }
        soon(store.close()).await.unwrap();
    }
}
