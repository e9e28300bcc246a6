//! How an async store is started.

use std::time::Duration;

use realmstore_core::{Backend, RealmStore, Result, Uuid};

use crate::queue::Limits;
use crate::{AsyncStore, EventHistory};

/// How to start an [`AsyncStore`].
///
/// ```
/// use realmstore_async::AsyncOptions;
/// use realmstore_core::RealmStore;
/// use realmstore_core::memory::MemoryBackend;
///
/// # fn main() -> realmstore_core::Result<()> {
/// let store = RealmStore::attach(MemoryBackend::new())?;
/// let store = AsyncOptions::new().queue_writes(1000).start(store)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a store is started with them"]
pub struct AsyncOptions {
    pub(crate) limits: Limits,
    pub(crate) max_batch: usize,
    pub(crate) max_delay: Duration,
    pub(crate) reads: usize,
    pub(crate) realm: String,
    pub(crate) node: Option<Uuid>,
    pub(crate) event_history: Option<EventHistory>,
}

impl Default for AsyncOptions {
    fn default() -> Self {
        Self {
            limits: Limits {
                writes: 16_384,
                bytes: 64 << 20,
            },
            max_batch: 4096,
            max_delay: Duration::ZERO,
            reads: 32,
            realm: String::new(),
            node: None,
            event_history: None,
        }
    }
}

impl AsyncOptions {
    /// What suits a router.
    pub fn new() -> Self {
        Self::default()
    }

    /// The realm whose store it is: part of what a subscription is known by.
    /// By default it has an empty name.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// The node that writes to the store, as its sessions have it in
    /// [`node_oid`](realmstore_core::Session::node_oid). Those that a crash left
    /// open are then [closed](crate::AsyncStore::closed_at_start) at the start,
    /// at the time of this node's last commit; those of other nodes are not touched.
    pub fn node(mut self, node: Uuid) -> Self {
        self.node = Some(node);
        self
    }

    /// Which subscriptions keep history, and how much. What is stored of others
    /// before stays; nothing is added to it. By default every event is stored,
    /// and every subscription that has a [name](crate::AsyncRealmStore::subscription_id)
    /// keeps what matches it.
    pub fn event_history(mut self, history: EventHistory) -> Self {
        self.event_history = Some(history);
        self
    }

    /// How many writes the queue holds; 16,384 by default. 0 is taken for 1.
    ///
    /// What has been taken out to be committed is no longer in the queue.
    pub fn queue_writes(mut self, writes: usize) -> Self {
        self.limits.writes = writes.max(1);
        self
    }

    /// How many bytes the writes in the queue have together; 64 MiB by
    /// default. A write that has more by itself is let in when the queue is
    /// empty.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// How many writes make one commit at most; 4,096 by default. 0 is taken for 1.
    pub fn max_batch(mut self, writes: usize) -> Self {
        self.max_batch = writes.max(1);
        self
    }

    /// How long the first write of a batch may be kept waiting for others; by
    /// default it is not. Batches grow by themselves: while one is committed,
    /// the next one gathers. A delay makes fewer commits where a disk that
    /// wears out, or is paid by the commit, matters more than time.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// How many reads run at once; 32 by default. 0 is taken for 1.
    ///
    /// Each holds a snapshot: with LMDB, one of the places for readers of all
    /// processes that the lock file has, of which another program may have
    /// made 126 only.
    pub fn reads(mut self, reads: usize) -> Self {
        self.reads = reads.max(1);
        self
    }

    /// Starts the store: its writer thread, which holds it until it is
    /// [closed](crate::AsyncRealmStore::close) or the last handle is dropped.
    /// Blocks for one commit, which brings the store up to what is configured.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](realmstore_core::ErrorKind::Io) when no thread can be started.
    pub fn start<B: Backend + 'static>(&self, store: RealmStore<B>) -> Result<AsyncStore<B>> {
        AsyncStore::with(store, self)
    }
}
