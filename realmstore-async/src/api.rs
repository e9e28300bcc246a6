//! What a router asks of its store.

use async_trait::async_trait;
use realmstore_core::{
    Event, Publication, PublicationId, Result, Session, SessionId, Timestamp, Uuid,
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

    /// Stores a publication.
    ///
    /// # Errors
    /// As [`RealmStore::store_publication`](realmstore_core::RealmStore::store_publication).
    async fn store_publication(&self, publication: Publication) -> Result<()>;

    /// Stores an event. One that is stored again changes nothing.
    ///
    /// # Errors
    /// As [`RealmStore::store_events`](realmstore_core::RealmStore::store_events).
    async fn store_event(&self, event: Event) -> Result<()>;

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

    /// A publication.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](realmstore_core::ErrorKind::Damaged) when its record cannot be read.
    async fn publication(&self, publication: PublicationId) -> Result<Option<Publication>>;

    /// Closes the store: refuses whatever is called from now on, stores what
    /// was called before, and lets go of the files. When it returns, they can
    /// be opened again, also while handles of this store are still held.
    ///
    /// Closing twice is the same as once, and each returns when it is done.
    /// It is done as well when this future is dropped after it was polled.
    async fn close(&self) -> Result<()>;
}
