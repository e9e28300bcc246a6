//! realmstore, on each of its engines.

use std::path::Path;

use realmstore::lmdb::{LmdbBackend, LmdbOptions};
use realmstore::record::PublicationView;
use realmstore::rocks::{RocksBackend, RocksOptions};
use realmstore::sled::{SledBackend, SledOptions};
use realmstore::{
    Backend, Durability, Order, RealmStore, SessionId, SubscriptionId, Timestamp, WriteTxn,
};

use super::{Sync, System, Touched};
use crate::data::Batch;

/// An engine of realmstore's, opened as one would.
pub trait OwnBackend: Backend + 'static {
    fn open_for(directory: &Path, sync: Sync) -> Self;

    /// Merges what the engine leaves for later.
    fn merge(&self) {}
}

impl OwnBackend for LmdbBackend {
    fn open_for(directory: &Path, sync: Sync) -> Self {
        let options = LmdbOptions::new().durability(durability(sync));
        options.open(directory).expect("LMDB opens")
    }
}

impl OwnBackend for RocksBackend {
    fn open_for(directory: &Path, sync: Sync) -> Self {
        let options = RocksOptions::new().durability(durability(sync));
        options.open(directory).expect("RocksDB opens")
    }

    fn merge(&self) {
        self.compact().expect("RocksDB compacts");
    }
}

impl OwnBackend for SledBackend {
    fn open_for(directory: &Path, sync: Sync) -> Self {
        let options = SledOptions::new().durability(durability(sync));
        options.open(directory).expect("sled opens")
    }
}

/// A realm store on an engine.
pub struct Ours<B> {
    store: RealmStore<B>,
}

impl<B: OwnBackend> Ours<B> {
    pub fn new(directory: &Path, sync: Sync) -> Self {
        Self {
            store: RealmStore::attach(B::open_for(directory, sync)).expect("a realm store"),
        }
    }

    pub fn open(directory: &Path, sync: Sync) -> Box<dyn System> {
        Box::new(Self::new(directory, sync))
    }

    pub fn store(&self) -> &RealmStore<B> {
        &self.store
    }

    fn scan(&self, topic: impl for<'p> Fn(&PublicationView<'p>) -> &'p [u8]) -> Touched {
        let mut touched = Touched::default();
        let txn = self.store.begin_read().expect("a snapshot");
        let mut all = self
            .store
            .publications()
            .range(&txn, .., Order::Ascending)
            .expect("a scan");
        while let Some(publication) = all.next().expect("a scan") {
            let publication = publication.view().expect("a publication");
            touched.row();
            touched.number(publication.timestamp().expect("a time").as_nanos());
            let publisher = publication.publisher().expect("a publisher");
            touched.number(publisher.unwrap_or_default().get());
            touched.bytes(topic(&publication));
        }
        touched
    }
}

fn durability(sync: Sync) -> Durability {
    match sync {
        Sync::Durable => Durability::OnDisk,
        Sync::Lazy => Durability::NoSync,
    }
}

impl<B: OwnBackend> System for Ours<B> {
    fn ingest(&mut self, batch: &Batch) {
        let mut txn = self.store.begin_write().expect("a write transaction");
        for session in &batch.sessions {
            self.store
                .session_joined(&mut txn, session)
                .expect("a session is stored");
        }
        for dispatch in &batch.dispatches {
            self.store
                .record(&mut txn, dispatch)
                .expect("a dispatch is stored");
        }
        txn.commit().expect("a commit");
    }

    fn newest(&self, subscription: SubscriptionId, limit: usize) -> Touched {
        let mut touched = Touched::default();
        let txn = self.store.begin_read().expect("a snapshot");
        let mut events = self
            .store
            .events()
            .prefix(&txn, &subscription, Order::Descending)
            .expect("a scan");
        let mut last = None;
        while touched.rows < limit as u64
            && let Some(event) = events.next().expect("a scan")
        {
            let event = event.view().expect("an event");
            touched.row();
            touched.number(event.timestamp().expect("a time").as_nanos());
            touched.number(
                event
                    .receiver()
                    .expect("a receiver")
                    .unwrap_or_default()
                    .get(),
            );
            let id = event.publication().expect("an ID");
            if last.replace(id) != Some(id)
                && let Some(publication) = self.store.publications().get(&txn, &id).expect("a get")
            {
                let publication = publication.view().expect("a publication");
                touched.number(publication.timestamp().expect("a time").as_nanos());
                touched.bytes(publication.topic().expect("a topic").as_bytes());
                touched.bytes(
                    publication
                        .args()
                        .expect("arguments")
                        .map_or(&[], |args| args.as_bytes()),
                );
            }
        }
        touched
    }

    fn latest_session(&self, session: SessionId) -> Touched {
        let mut touched = Touched::default();
        let txn = self.store.begin_read().expect("a snapshot");
        let found = self
            .store
            .session_by_id(&txn, session, Timestamp::MAX)
            .expect("a lookup");
        if let Some(found) = &found {
            let session = found.view().expect("a session");
            touched.row();
            touched.number(
                session
                    .joined_at()
                    .expect("a time")
                    .unwrap_or_default()
                    .as_nanos(),
            );
            touched.bytes(
                session
                    .authid()
                    .expect("an authid")
                    .unwrap_or_default()
                    .as_bytes(),
            );
        }
        touched
    }

    fn scan_publications(&self) -> Touched {
        self.scan(|publication| publication.topic_bytes().expect("a topic"))
    }

    fn scan_checked(&self) -> Touched {
        self.scan(|publication| publication.topic().expect("a topic").as_bytes())
    }

    fn settle(&mut self) -> u64 {
        self.store.db().sync().expect("a sync");
        self.store.db().merge();
        self.store.db().info().expect("facts").size_on_disk
    }
}
