//! Many callers, one commit: what a failure of one means for the others. How
//! much faster it is, the conformance suite shows on every engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Store, at, go_on, keep_busy, on, publication, publication_id, soon};
use conformance::slow::Disk;
use futures_lite::future::poll_once;
use realmstore_async::{AsyncOptions, AsyncRealmStore};
use realmstore_core::cbor::Cbor;
use realmstore_core::{Error, ErrorKind, Publication, Session, SessionId};
use tokio::task::JoinSet;

const FLUSH: Duration = Duration::from_millis(10);

/// The puts of a commit by which it notes its own number.
const STAMP: u64 = 1;

/// Calls the writes one after the other while the writer is busy, so that they are one batch.
async fn in_one_batch<F, T>(
    disk: &Disk,
    store: &Store,
    writes: impl IntoIterator<Item = F>,
) -> Vec<T>
where
    F: Future<Output = T> + Unpin,
{
    let plug = keep_busy(disk, store).await;
    let mut called = Vec::new();
    for mut write in writes {
        assert!(poll_once(&mut write).await.is_none());
        called.push(write);
    }
    go_on(disk);
    soon(plug).await.unwrap();
    let mut answers = Vec::new();
    for write in called {
        answers.push(soon(write).await);
    }
    answers
}

fn kinds<T>(answers: &[Result<T, Error>]) -> Vec<Option<ErrorKind>> {
    answers
        .iter()
        .map(|answer| answer.as_ref().err().map(Error::kind))
        .collect()
}

#[tokio::test]
async fn a_bad_record_fails_alone_and_costs_no_commit() {
    let disk = Arc::new(Disk::with_flush(FLUSH));
    let store = on(&disk, &AsyncOptions::new());
    let before = disk.commits();
    let answers = in_one_batch(
        &disk,
        &store,
        [1, 0, 2].map(|id| store.store_publication(publication(id))),
    )
    .await;
    assert_eq!(kinds(&answers), [None, Some(ErrorKind::InvalidInput), None]);
    assert_eq!(
        disk.commits() - before,
        2,
        "one for the batch, one before it"
    );
    for id in [1, 2] {
        let found = store.publication(publication_id(id)).await.unwrap();
        assert_eq!(found, Some(publication(id)));
    }
}

/// A disk that has no room for a value of so many bytes.
fn without_room_for(bytes: usize) -> Arc<Disk> {
    Arc::new(Disk {
        on_put: Some(Box::new(move |_, value| {
            if value.len() >= bytes {
                return Err(Error::new(ErrorKind::Full, "no room for this"));
            }
            Ok(())
        })),
        ..Disk::with_flush(FLUSH)
    })
}

fn large(id: u64) -> Publication {
    Publication {
        payload: Some(vec![1; 100_000]),
        ..publication(id)
    }
}

#[tokio::test]
async fn a_value_that_the_disk_has_no_room_for_fails_alone() {
    let disk = without_room_for(100_000);
    let store = on(&disk, &AsyncOptions::new());
    let writes = (1..=16)
        .map(|id| store.store_publication(if id == 11 { large(id) } else { publication(id) }));
    let answers = in_one_batch(&disk, &store, writes).await;
    for (index, kind) in kinds(&answers).into_iter().enumerate() {
        let expected = (index == 10).then_some(ErrorKind::Full);
        assert_eq!(kind, expected, "publication {}", index + 1);
    }
    for id in 1..=16 {
        let found = store.publication(publication_id(id)).await.unwrap();
        assert_eq!(found, (id != 11).then(|| publication(id)));
    }
}

#[tokio::test]
async fn a_commit_that_is_too_large_is_made_in_halves() {
    let disk = Arc::new(Disk {
        on_commit: Some(Box::new(|puts| {
            if puts > 3 + STAMP {
                return Err(Error::new(ErrorKind::Full, "too many pages"));
            }
            Ok(())
        })),
        ..Disk::with_flush(FLUSH)
    });
    let store = on(&disk, &AsyncOptions::new());
    let before = disk.commits();
    let writes = (1..=12).map(|id| store.store_publication(publication(id)));
    let answers = in_one_batch(&disk, &store, writes).await;
    assert_eq!(kinds(&answers), [None; 12]);
    assert_eq!(disk.commits() - before, 1 + 4, "12 in parts of 3");
}

#[tokio::test]
async fn who_was_a_duplicate_of_what_could_not_be_stored_is_stored() {
    // The large record is refused late, by the commit that it is part of.
    let too_large = AtomicBool::new(false);
    let too_large = Arc::new(too_large);
    let seen = Arc::clone(&too_large);
    let disk = Arc::new(Disk {
        on_put: Some(Box::new(move |_, value| {
            seen.fetch_or(value.len() >= 100_000, Ordering::Relaxed);
            Ok(())
        })),
        on_commit: Some(Box::new(move |_| {
            if too_large.swap(false, Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Full, "no room for this"));
            }
            Ok(())
        })),
        ..Disk::with_flush(FLUSH)
    });
    let store = on(&disk, &AsyncOptions::new());
    let id = SessionId::from_stored(7);
    let first = Session {
        authextra: Some(Cbor::from_bytes(vec![0; 100_000])),
        ..Session::new(id, at(1))
    };
    let second = Session::new(id, at(1));
    let answers = in_one_batch(
        &disk,
        &store,
        [first, second.clone()].map(|session| store.session_joined(session)),
    )
    .await;
    assert_eq!(kinds(&answers), [Some(ErrorKind::Full), None]);
    let found = store.session_by_id(id, at(1)).await.unwrap();
    assert_eq!(found, Some(second));
}

#[tokio::test]
async fn a_failure_that_leaves_open_what_was_written_is_told_to_all_and_not_tried_again() {
    for kind in [
        ErrorKind::Io,
        ErrorKind::UnknownOutcome,
        ErrorKind::Fenced,
        ErrorKind::Unavailable,
        ErrorKind::ReadOnly,
    ] {
        let attempts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&attempts);
        let disk = Arc::new(Disk {
            on_commit: Some(Box::new(move |puts| {
                if puts > 1 + STAMP {
                    counted.fetch_add(1, Ordering::Relaxed);
                    return Err(Error::new(kind, "on purpose"));
                }
                Ok(())
            })),
            ..Disk::with_flush(FLUSH)
        });
        let store = on(&disk, &AsyncOptions::new());
        let writes = (1..=8).map(|id| store.store_publication(publication(id)));
        let answers = in_one_batch(&disk, &store, writes).await;
        assert_eq!(kinds(&answers), [Some(kind); 8]);
        assert_eq!(attempts.load(Ordering::Relaxed), 1, "{kind:?}");
        assert_eq!(store.publication(publication_id(1)).await.unwrap(), None);
        // The next one has its own chance.
        soon(store.store_publication(publication(1))).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_behind_such_a_failure_in_a_batch_is_not_tried() {
    // Halves because of `Full`, and the first of them meets a disk that fails.
    let disk = Arc::new(Disk {
        on_commit: Some(Box::new(|puts| match puts - STAMP {
            8 => Err(Error::new(ErrorKind::Full, "too many pages")),
            4 => Err(Error::new(ErrorKind::Io, "the disk failed")),
            _ => Ok(()),
        })),
        ..Disk::with_flush(FLUSH)
    });
    let store = on(&disk, &AsyncOptions::new());
    let before = disk.commits();
    let writes = (1..=8).map(|id| store.store_publication(publication(id)));
    let answers = in_one_batch(&disk, &store, writes).await;
    assert_eq!(kinds(&answers), [Some(ErrorKind::Io); 8]);
    assert_eq!(disk.commits() - before, 1);
}

#[tokio::test]
async fn the_writes_of_one_caller_are_done_in_order_through_a_queue_that_is_full() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&order);
    let disk = Arc::new(Disk {
        on_put: Some(Box::new(move |key, _| {
            // The table's slot and the ID; a shorter one is of the commit.
            if key.len() == 10 {
                log.lock().unwrap().push(key.to_vec());
            }
            Ok(())
        })),
        ..Disk::with_flush(FLUSH / 10)
    });
    let store = on(&disk, &AsyncOptions::new().queue_writes(3).max_batch(2));
    let mut writes = Vec::new();
    for id in 1..=40 {
        let mut write = Box::pin(store.store_publication(publication(id)));
        assert!(poll_once(&mut write).await.is_none());
        writes.push(write);
    }
    for write in writes {
        soon(write).await.unwrap();
    }
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 40);
    assert!(order.is_sorted());
}

#[tokio::test]
async fn a_delay_gathers_more_and_ends_when_the_batch_is_large_enough() {
    let disk = Arc::new(Disk::default());
    let hour = Duration::from_secs(3600);
    let options = AsyncOptions::new().max_delay(hour).max_batch(5);
    let store = on(&disk, &options);
    let before = disk.commits();
    let mut tasks = JoinSet::new();
    for id in 1..=5 {
        let store = store.clone();
        tasks.spawn(async move { store.store_publication(publication(id)).await });
    }
    for stored in soon(tasks.join_all()).await {
        stored.unwrap();
    }
    assert_eq!(disk.commits() - before, 1);
    // A store that is closed waits for nothing.
    let mut last = Box::pin(store.store_publication(publication(6)));
    assert!(poll_once(&mut last).await.is_none());
    soon(store.close()).await.unwrap();
    soon(last).await.unwrap();
}
