//! The async store over a realm store of any engine.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_lock::Semaphore;
use async_trait::async_trait;
use blocking::unblock;
use realmstore_core::{
    Backend, Dispatch, Error, ErrorKind, Event, GetEvents, GetRetained, HistoryPage, MatchPolicy,
    Publication, PublicationId, RealmStore, Result, Session, SessionId, SubscriptionId, Timestamp,
    Uuid,
};

use crate::api::AsyncRealmStore;
use crate::metrics::Metrics;
use crate::options::AsyncOptions;
use crate::queue::{Queue, QueueState, Ticket};
use crate::recorder::{Recorder, Started};
use crate::sync::lock;
use crate::upkeep::KeepLimits;
use crate::write::{
    AliasSubscription, ForgetRetained, NameSubscription, SessionJoined, SessionLeft, StoreDispatch,
    StoreEvent, StorePublication, Write, pending,
};
use crate::writer::{self, WriteQueue};

/// What a write does when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// Its caller waits for room, behind those who wait already.
    #[default]
    Wait,
    /// It is refused with [`ErrorKind::Busy`].
    Refuse,
}

/// A [`RealmStore`] for an async router.
///
/// It is a handle: its clones are the same store, which ends with the last of
/// them or when it is [closed](AsyncRealmStore::close). What was accepted is
/// stored in either case; only after a close one knows when.
///
/// Reads run on the threads of the crate [`blocking`], so many at once as
/// [`AsyncOptions::reads`] says. Writes are done by a thread of the store's
/// own; when that dies by a panic every write is [`ErrorKind::Closed`], and
/// reads go on until the store is closed.
pub struct AsyncStore<B: Backend + 'static> {
    shared: Arc<Shared<B>>,
    when_full: WhenFull,
}

struct Shared<B: Backend + 'static> {
    queue: Arc<WriteQueue<B>>,
    metrics: Arc<Metrics>,
    /// Unset once the store was closed.
    open: Mutex<Option<Arc<Open<B>>>>,
    reads: Arc<Semaphore>,
    /// Ends when nobody has the store open any more.
    gone: async_channel::Receiver<Infallible>,
    closed_at_start: Vec<Uuid>,
}

impl<B: Backend> Drop for Shared<B> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The store while it is open: the writer has it, and each read that is running.
pub(crate) struct Open<B> {
    pub(crate) store: RealmStore<B>,
    /// Dropped behind the store, which tells that it is gone.
    _gone: async_channel::Sender<Infallible>,
}

impl<B> Open<B> {
    /// Opens it, and says where to wait until nobody has it any more.
    pub(crate) fn new(store: RealmStore<B>) -> (Arc<Self>, async_channel::Receiver<Infallible>) {
        let (gone, on_gone) = async_channel::bounded(1);
        (Arc::new(Self { store, _gone: gone }), on_gone)
    }
}

impl<B: Backend + 'static> AsyncStore<B> {
    /// Starts a store with the [options](AsyncOptions) that suit a router.
    ///
    /// # Errors
    /// As [`AsyncOptions::start`].
    pub fn start(store: RealmStore<B>) -> Result<Self> {
        AsyncOptions::new().start(store)
    }

    pub(crate) fn with(store: RealmStore<B>, options: &AsyncOptions) -> Result<Self> {
        let history = options.event_history.as_ref();
        let Started { recorder, closed } =
            Recorder::start(&store, &options.realm, options.node, history)?;
        let (open, gone) = Open::new(store);
        let queue = Arc::new(Queue::new(options.limits));
        let metrics = Arc::new(Metrics::new());
        writer::start(
            Arc::clone(&open),
            Arc::clone(&queue),
            Arc::clone(&metrics),
            options,
            recorder,
            KeepLimits::new(Arc::clone(&metrics)),
        )?;
        Ok(Self {
            shared: Arc::new(Shared {
                queue,
                metrics,
                open: Mutex::new(Some(open)),
                reads: Arc::new(Semaphore::new(options.reads)),
                gone,
                closed_at_start: closed,
            }),
            when_full: WhenFull::Wait,
        })
    }

    /// This store, by a handle whose writes do that when the queue is full.
    pub fn when_full(&self, when_full: WhenFull) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            when_full,
        }
    }

    /// How full the queue is, and was at most.
    pub fn queue_state(&self) -> QueueState {
        self.shared.queue.state()
    }

    /// The OIDs of the sessions of our own [node](AsyncOptions::node) that were
    /// open when the store was started, and were closed.
    pub fn closed_at_start(&self) -> &[Uuid] {
        &self.shared.closed_at_start
    }

    async fn write<W: Write<B>>(&self, write: W) -> Result<W::Answer> {
        let Shared { queue, metrics, .. } = &*self.shared;
        let weight = write.weight();
        let (write, answer) = pending(write);
        // Before the writer can take it, so that the gauge is never below 0.
        metrics.queue_depth.increment(1.0);
        let ticket = queue
            .push(write, weight, self.when_full == WhenFull::Wait)
            .inspect_err(|error| {
                metrics.queue_depth.decrement(1.0);
                metrics.failed(error.kind(), 1);
            })?;
        let place = ticket.map(|ticket| {
            metrics.waits_for_room.increment(1);
            Place {
                shared: &self.shared,
                ticket,
            }
        });
        let answer = answer.await;
        std::mem::forget(place);
        answer.unwrap_or_else(|_dropped| {
            let error = queue.error();
            metrics.failed(error.kind(), 1);
            Err(error)
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&RealmStore<B>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // Held until the read is done, however long its caller waits.
        let permit = self.shared.reads.acquire_arc().await;
        let open = lock(&self.shared.open)
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::Closed, "the store was closed"))?;
        unblock(move || {
            let _permit = permit;
            read(&open.store)
        })
        .await
    }
}

/// The place of a caller who waits for room, given up with their future.
struct Place<'s, B: Backend + 'static> {
    shared: &'s Shared<B>,
    ticket: Ticket,
}

impl<B: Backend> Drop for Place<'_, B> {
    fn drop(&mut self) {
        if self.shared.queue.withdraw(self.ticket) {
            self.shared.metrics.queue_depth.decrement(1.0);
        }
    }
}

#[async_trait]
impl<B: Backend + 'static> AsyncRealmStore for AsyncStore<B> {
    async fn session_joined(&self, session: Session) -> Result<()> {
        self.write(SessionJoined(session)).await
    }

    async fn session_left(&self, session: SessionId, left_at: Timestamp) -> Result<Option<Uuid>> {
        self.write(SessionLeft { session, left_at }).await
    }

    async fn store_publication(&self, publication: Publication) -> Result<()> {
        self.write(StorePublication(publication)).await
    }

    async fn store_event(&self, event: Event) -> Result<()> {
        self.write(StoreEvent(event)).await
    }

    async fn store_dispatch(&self, dispatch: Dispatch) -> Result<()> {
        self.write(StoreDispatch(dispatch)).await
    }

    async fn subscription_id(&self, uri: &str, policy: MatchPolicy) -> Result<SubscriptionId> {
        let write = NameSubscription {
            uri: uri.to_owned(),
            match_policy: policy,
            now: Timestamp::now(),
        };
        self.write(write).await
    }

    async fn alias_subscription(
        &self,
        alias: SubscriptionId,
        subscription: SubscriptionId,
    ) -> Result<()> {
        let write = AliasSubscription {
            alias,
            subscription,
        };
        self.write(write).await
    }

    async fn forget_retained(&self, topic: &str) -> Result<usize> {
        self.write(ForgetRetained(topic.to_owned())).await
    }

    async fn session_by_id(&self, session: SessionId, at: Timestamp) -> Result<Option<Session>> {
        self.read(move |store| {
            let txn = store.begin_read()?;
            let found = store.session_by_id(&txn, session, at)?;
            found.map(|session| session.to_owned()).transpose()
        })
        .await
    }

    async fn sessions_by_authid(&self, authid: &str, limit: Option<usize>) -> Result<Vec<Session>> {
        let authid = authid.to_owned();
        self.read(move |store| {
            let txn = store.begin_read()?;
            store
                .sessions_by_authid(&txn, &authid)?
                .take(limit.unwrap_or(usize::MAX))
                .map(|session| session?.to_owned())
                .collect()
        })
        .await
    }

    async fn open_sessions(&self) -> Result<Vec<Session>> {
        self.read(|store| {
            let txn = store.begin_read()?;
            let sessions = store.open_sessions(&txn)?;
            sessions.map(|session| session?.to_owned()).collect()
        })
        .await
    }

    async fn sessions_present(&self, at: Timestamp) -> Result<Vec<Session>> {
        self.read(move |store| {
            let txn = store.begin_read()?;
            let sessions = store.sessions_present(&txn, at)?;
            sessions.map(|session| session?.to_owned()).collect()
        })
        .await
    }

    async fn publication(&self, publication: PublicationId) -> Result<Option<Publication>> {
        self.read(move |store| {
            let txn = store.begin_read()?;
            let found = store.publications().get(&txn, &publication)?;
            found.map(|publication| publication.to_owned()).transpose()
        })
        .await
    }

    async fn get_events(
        &self,
        subscription: SubscriptionId,
        options: GetEvents,
    ) -> Result<Option<HistoryPage>> {
        self.read(move |store| store.get_events(&store.begin_read()?, subscription, &options))
            .await
    }

    async fn get_retained(&self, query: GetRetained) -> Result<Vec<Publication>> {
        self.read(move |store| store.get_retained(&store.begin_read()?, &query))
            .await
    }

    async fn close(&self) -> Result<()> {
        self.shared.queue.close();
        let open = lock(&self.shared.open).take();
        if let Some(open) = open {
            // After the death of the writer nobody else may have it any more.
            unblock(move || drop(open)).await;
        }
        // Nothing is ever sent: its other end is dropped.
        let _ = self.shared.gone.recv().await;
        Ok(())
    }
}

impl<B: Backend> Clone for AsyncStore<B> {
    fn clone(&self) -> Self {
        self.when_full(self.when_full)
    }
}

impl<B: Backend> fmt::Debug for AsyncStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStore")
            .field("queue", &self.queue_state())
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}
