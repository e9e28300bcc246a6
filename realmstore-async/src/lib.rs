//! The realm store of an async router: thousands of clients, one file.
//!
//! [`AsyncStore`] is a [`RealmStore`](realmstore_core::RealmStore) of any
//! engine behind the trait [`AsyncRealmStore`], which a router holds as
//! `Arc<dyn AsyncRealmStore>`. It works in every runtime: writes are done by a
//! thread of its own, reads by the threads of the crate [`blocking`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use realmstore_async::{AsyncRealmStore, AsyncStore};
//! use realmstore_core::memory::MemoryBackend;
//! use realmstore_core::{Publication, PublicationId, RealmStore, Timestamp};
//!
//! # fn main() -> realmstore_core::Result<()> {
//! # futures_lite::future::block_on(async {
//! // In a router: RealmStore::attach(LmdbOptions::new().open("/var/lib/router/realm1")?)?
//! let store = RealmStore::attach(MemoryBackend::new())?;
//! let store: Arc<dyn AsyncRealmStore> = Arc::new(AsyncStore::start(store)?);
//!
//! let id = PublicationId::new(145182023210062)?;
//! let publication = Publication::new(id, Timestamp::now(), "com.example.a");
//! store.store_publication(publication.clone()).await?; // on disk when this returns
//! assert_eq!(store.publication(id).await?, Some(publication));
//!
//! store.close().await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Group commit
//!
//! What costs time is not a write but its commit: a disk flushes some hundred
//! to some thousand times a second. So all writes that wait share one. The
//! writer takes what is in the queue, does it in one transaction, commits, and
//! tells every caller; meanwhile the next batch gathers. Nobody waits while the
//! store is idle, and the longer a flush takes, the more writes share it.
//!
//! A write that the store refuses (a duplicate, a record without an ID) fails
//! alone. When a batch cannot be committed it is done again in halves, so that
//! only what cannot be stored fails; but never after an error that leaves open
//! what was written.
//!
//! # Back-pressure
//!
//! The queue is bounded, by writes and by bytes ([`AsyncOptions`]). When it is
//! full, callers wait for room in the order in which they came, or are refused
//! with [`ErrorKind::Busy`](realmstore_core::ErrorKind::Busy) by a handle that
//! was told so ([`AsyncStore::when_full`]). So a slow disk slows the router
//! down, and never fills its memory.
//!
//! # What is kept
//!
//! Which subscriptions keep history, and how much of it, is configuration
//! ([`EventHistory`], [`AsyncOptions::event_history`]). The writer takes off what is
//! too much, or too old, in the transaction that makes it so, and what becomes
//! too old without one within a minute. It does some thousand rows at a time,
//! and in proportion to what is written, so that writes do not wait for it.
//!
//! # What can be observed
//!
//! Metrics, by the crate [`metrics`](::metrics); their names are constants in
//! [`crate::metrics`]. Install the recorder before the store is started.
//! The stores of a process are counted together.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `realmstore_queue_depth` | gauge | writes in the queue, with those that wait for room in it |
//! | `realmstore_batch_writes` | histogram | writes of a batch |
//! | `realmstore_commit_seconds` | histogram | what a commit took |
//! | `realmstore_acknowledge_seconds` | histogram | from the acceptance of a write to its acknowledgement |
//! | `realmstore_writes_total` | counter, by `kind`: `session_joined`, … | writes taken from the queue, failed ones among them |
//! | `realmstore_written_bytes_total` | counter | their bytes, about |
//! | `realmstore_errors_total` | counter, by `kind`: `Busy`, `Duplicate`, … | writes that failed or were refused |
//! | `realmstore_waits_for_room_total` | counter | writes that found the queue full and waited |
//! | `realmstore_removed_publications_total` | counter | publications that went from a history because of its limits |
//!
//! Events and spans, by the crate [`tracing`]: a span `realmstore_batch` for
//! each batch (debug) with its `writes` and `bytes`, in it a warning for writes that
//! could not be stored; an error when the writer dies.
//!
//! Both cost next to nothing where nobody listens: without a recorder the
//! handles of [`metrics`](::metrics) hold nothing and do nothing, and
//! [`tracing`] asks once per place in the code whether anybody is interested.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod api;
mod event_history;
pub mod metrics;
mod options;
mod queue;
mod recorder;
mod registry;
mod store;
mod sync;
mod upkeep;
mod write;
mod writer;

#[cfg(test)]
mod model;

pub use api::AsyncRealmStore;
pub use event_history::{EventHistory, HistoryRule};
pub use options::AsyncOptions;
pub use queue::QueueState;
pub use store::{AsyncStore, WhenFull};
