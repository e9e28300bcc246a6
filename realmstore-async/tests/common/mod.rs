//! What the tests have in common.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conformance::slow::{Disk, Slow};
use futures_lite::future::poll_once;
use realmstore_async::{AsyncOptions, AsyncRealmStore, AsyncStore};
use realmstore_core::memory::MemoryBackend;
use realmstore_core::{
    Event, Publication, PublicationId, RealmStore, Result, SubscriptionId, Timestamp,
};

/// A store in memory, on a disk.
pub(crate) type Store = AsyncStore<Slow<MemoryBackend>>;

/// Starts one.
pub(crate) fn on(disk: &Arc<Disk>, options: &AsyncOptions) -> Store {
    let backend = Slow::new(MemoryBackend::new(), Arc::clone(disk));
    let store = RealmStore::attach(backend).unwrap();
    disk.is_armed.store(true, Ordering::Relaxed);
    options.start(store).unwrap()
}

/// What must come to an end, and not hang.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it takes too long")
}

pub(crate) fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

pub(crate) fn publication_id(id: u64) -> PublicationId {
    PublicationId::from_stored(id)
}

pub(crate) fn publication(id: u64) -> Publication {
    Publication::new(publication_id(id), at(id), "com.example.a")
}

pub(crate) fn event(subscription: u64, publication: u64) -> Event {
    let subscription = SubscriptionId::from_stored(subscription);
    Event::new(subscription, at(publication), publication_id(publication))
}

/// Gives the writer something that it is busy with until the disk works
/// again: what is called meanwhile is one batch. Returns when the queue is empty.
pub(crate) async fn keep_busy<'s>(
    disk: &Disk,
    store: &'s Store,
) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 's>> {
    disk.is_stuck.store(true, Ordering::Release);
    let mut plug = store.store_publication(publication(1 << 50));
    assert!(poll_once(&mut plug).await.is_none());
    soon(async {
        while store.queue_state().writes > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    plug
}

pub(crate) fn go_on(disk: &Disk) {
    disk.is_stuck.store(false, Ordering::Release);
}
