//! What a router asks of its store.

use async_trait::async_trait;
use realmstore_core::{
    Dispatch, Event, GetEvents, GetRetained, HistoryPage, MatchPolicy, Publication, PublicationId,
    Result, Session, SessionId, SubscriptionId, Timestamp, Uuid,
};

/// The store of a realm, for an async router.
///
/// A router holds it as `Arc<dyn AsyncRealmStore>`. Everything goes in and
/// comes out as owned values; no method blocks the thread that polls it, and
/// any runtime will do.
///
/// # Writes
/// A write that returned `Ok` is committed: it survives whatever the store was
/// opened to survive ([`Durability`](realmstore_core::Durability)), and every
/// read that begins after sees it. Writes are done in the order in which their
/// futures were first polled, and are all or nothing each.
///
/// A future that is dropped before it was polled, or while it waits for room
/// in the queue, has done nothing. Dropped later its write is still done.
///
/// # Errors
/// Every method: [`ErrorKind::Closed`] after [`close`](Self::close), and of
/// writes when the writer has died; and the errors of the engine. Every write:
/// [`ErrorKind::Busy`] when the queue is full and this handle is
/// [not to wait](crate::AsyncStore::when_full). What else a method may fail
/// with is said there.
///
/// [`ErrorKind::Busy`]: realmstore_core::ErrorKind::Busy
/// [`ErrorKind::Closed`]: realmstore_core::ErrorKind::Closed
#[async_trait]
pub trait AsyncRealmStore: Send + Sync {
    /// Stores a session that joined.
    ///
    /// # Errors
    /// As [`RealmStore::session_joined`](realmstore_core::RealmStore::session_joined).
    async fn session_joined(&self, session: Session) -> Result<()>;

    /// Notes that a session left. Returns its OID; `None` when no session has that ID.
    ///
    /// # Errors
    /// As [`RealmStore::session_left`](realmstore_core::RealmStore::session_left).
    async fn session_left(&self, session: SessionId, left_at: Timestamp) -> Result<Option<Uuid>>;

    /// Stores a publication and all its deliveries in one: what a router does
    /// with a `PUBLISH`. With no delivery at all it is a publication that
    /// nobody received.
    ///
    /// It goes into the history of every subscription that it is delivered
    /// under, and of every other one that keeps history and matches its topic,
    /// as one that nobody received there. Where the store was started with an
    /// [`EventHistory`](crate::EventHistory), what belongs to none of its
    /// subscriptions, and is not retained, is not stored.
    ///
    /// The history of a subscription is in the order in which it was recorded:
    /// where the clock was set back, a publication is given the time of the one
    /// before it.
    ///
    /// # Errors
    /// As [`RealmStore::record`](realmstore_core::RealmStore::record).
    async fn store_dispatch(&self, dispatch: Dispatch) -> Result<()>;

    /// Stores a publication alone; its events come one by one.
    ///
    /// # Errors
    /// As [`RealmStore::store_publication`](realmstore_core::RealmStore::store_publication).
    async fn store_publication(&self, publication: Publication) -> Result<()>;

    /// Stores an event: the delivery of a publication to a receiver. One that
    /// is stored again changes nothing. In other respects as
    /// [`store_dispatch`](Self::store_dispatch).
    ///
    /// # Errors
    /// As [`RealmStore::record_event`](realmstore_core::RealmStore::record_event).
    async fn store_event(&self, event: Event) -> Result<()>;

    /// The ID of a subscription of this realm: the one that it always had, or
    /// a new one when it is heard of for the first time. A router that hands
    /// out these IDs finds its history again after a restart.
    ///
    /// # Errors
    /// As [`RealmStore::subscription_id`](realmstore_core::RealmStore::subscription_id).
    async fn subscription_id(&self, uri: &str, policy: MatchPolicy) -> Result<SubscriptionId>;

    /// Lets an ID of the router's own stand for a subscription.
    ///
    /// # Errors
    /// As [`RealmStore::alias_subscription`](realmstore_core::RealmStore::alias_subscription).
    async fn alias_subscription(
        &self,
        alias: SubscriptionId,
        subscription: SubscriptionId,
    ) -> Result<()>;

    /// Retains nothing for a topic any more; returns how many publications that were.
    async fn forget_retained(&self, topic: &str) -> Result<usize>;

    /// The latest session with a WAMP session ID that joined at or before a time.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](realmstore_core::ErrorKind::Damaged) when its record cannot be read.
    async fn session_by_id(&self, session: SessionId, at: Timestamp) -> Result<Option<Session>>;

    /// The sessions with an authid, the one that joined last first; with a
    /// limit, so many of them.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](realmstore_core::ErrorKind::Damaged) when one of their records cannot be read.
    async fn sessions_by_authid(&self, authid: &str, limit: Option<usize>) -> Result<Vec<Session>>;

    /// The sessions that have not left.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](realmstore_core::ErrorKind::Damaged) when one of their records cannot be read.
    async fn open_sessions(&self) -> Result<Vec<Session>>;

    /// The sessions that were there at a time: they had joined, and not left.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](realmstore_core::ErrorKind::Damaged) when one of their records cannot be read.
    async fn sessions_present(&self, at: Timestamp) -> Result<Vec<Session>>;

    /// A publication.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](realmstore_core::ErrorKind::Damaged) when its record cannot be read.
    async fn publication(&self, publication: PublicationId) -> Result<Option<Publication>>;

    /// The history of a subscription, as `wamp.subscription.get_events` asks
    /// for it. `None` when no history is kept of it.
    ///
    /// Without a limit that is all of it, in memory.
    ///
    /// # Errors
    /// As [`RealmStore::get_events`](realmstore_core::RealmStore::get_events).
    async fn get_events(
        &self,
        subscription: SubscriptionId,
        options: GetEvents,
    ) -> Result<Option<HistoryPage>>;

    /// The retained publications that somebody gets who subscribes with
    /// `get_retained`: the last one of each topic that was for them.
    async fn get_retained(&self, query: GetRetained) -> Result<Vec<Publication>>;

    /// Closes the store: refuses whatever is called from now on, stores what
    /// was called before, and lets go of the files. When it returns, they can
    /// be opened again, also while handles of this store are still held.
    ///
    /// Closing twice is the same as once, and each returns when it is done.
    /// It is done as well when this future is dropped after it was polled.
    async fn close(&self) -> Result<()>;
}
