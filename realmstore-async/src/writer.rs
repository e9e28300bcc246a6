//! The writer thread: one transaction for as many writes as wait.
//!
//! A batch is all or nothing, but its writes are of different callers. A write
//! that is refused before it has changed anything fails alone. When anything
//! else fails, the transaction is dropped and the batch is done again in
//! halves, so that in the end only what cannot be stored has failed; unless
//! the error says that trying again is of no use, or is wrong.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use realmstore_core::{Backend, Error, ErrorKind, Result, WriteTxn};
use tracing::{debug, debug_span, error, warn};

use crate::metrics::{Metrics, Writes};
use crate::options::AsyncOptions;
use crate::queue::{Accepted, Gather, Queue, Taken};
use crate::recorder::Recorder;
use crate::store::Open;
use crate::upkeep::Upkeep;
use crate::write::Pending;

/// The part of the last commit's time for which callers are expected back.
const SHARE_OF_A_COMMIT: u32 = 16;

/// The queue of a store.
pub(crate) type WriteQueue<B> = Queue<Box<dyn Pending<B>>>;

type Batch<B> = [Accepted<Box<dyn Pending<B>>>];

/// Starts the writer thread. It ends when the queue is closed and empty.
pub(crate) fn start<B: Backend + 'static>(
    open: Arc<Open<B>>,
    queue: Arc<WriteQueue<B>>,
    metrics: Arc<Metrics>,
    options: &AsyncOptions,
    recorder: Recorder,
    upkeep: impl Upkeep<B> + 'static,
) -> Result<()> {
    let mut writer = Writer {
        open,
        queue: Arc::clone(&queue),
        metrics: Arc::clone(&metrics),
        writes: Writes::default(),
        gather: Gather {
            most: options.max_batch,
            delay: options.max_delay,
            expected: None,
        },
        recorder,
        upkeep,
    };
    let run = move || {
        let mut batch = Vec::new();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| writer.run(&mut batch)));
        if let Err(panic) = ended {
            let death = died_of(&*panic);
            error!(error = %death, "the writer thread has died");
            // Whose write is dropped, here or there, asks the queue for the reason.
            let dropped = queue.die(death);
            metrics.queue_depth.decrement(dropped as f64);
        }
    };
    thread::Builder::new()
        .name("realmstore-writer".to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("the writer thread cannot be started: {error}"),
            )
            .source(error)
        })
}

fn died_of(panic: &(dyn Any + Send)) -> Error {
    let reason = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason was given");
    Error::new(
        ErrorKind::Closed,
        format!(
            "the writer of the store has died of a panic: {reason}; what was not acknowledged may \
             or may not be stored; close the store and open it again"
        ),
    )
}

struct Writer<B: Backend, U> {
    open: Arc<Open<B>>,
    queue: Arc<WriteQueue<B>>,
    metrics: Arc<Metrics>,
    writes: Writes,
    gather: Gather,
    recorder: Recorder,
    upkeep: U,
}

/// Why a transaction came to nothing.
struct Failure {
    error: Error,
    /// Whether a part of the batch may have been the reason.
    may_go_in_parts: bool,
}

impl Failure {
    /// A write failed, or the commit of all of them.
    fn of_writes(error: Error) -> Self {
        // After the others there is nothing to gain by trying again. What was
        // written when the disk failed, or when the outcome of a commit is not
        // known, must not be written again: a second flush that succeeds says
        // nothing of the first.
        let may_go_in_parts = matches!(
            error.kind(),
            ErrorKind::Full
                | ErrorKind::Damaged
                | ErrorKind::Unsupported
                | ErrorKind::InvalidInput
                | ErrorKind::Duplicate
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::Busy
                | ErrorKind::Engine
        );
        Self {
            error,
            may_go_in_parts,
        }
    }
}

impl<B: Backend, U: Upkeep<B>> Writer<B, U> {
    fn run(&mut self, batch: &mut Vec<Accepted<Box<dyn Pending<B>>>>) {
        loop {
            match self.queue.take(batch, &self.gather, self.upkeep.due()) {
                Taken::Batch => self.store(batch),
                Taken::Nothing => self.keep_up(),
                Taken::End => return,
            }
            batch.clear();
        }
    }

    fn store(&mut self, batch: &mut Batch<B>) {
        let bytes = batch.iter().map(|write| write.weight as u64).sum();
        let _span = debug_span!("realmstore_batch", writes = batch.len(), bytes).entered();
        self.metrics.queue_depth.decrement(batch.len() as f64);
        self.metrics.batch_writes.record(batch.len() as f64);
        self.metrics.written_bytes.increment(bytes);
        for write in &*batch {
            self.writes.count(write.write.kind());
        }
        let with_upkeep = self.upkeep.follows_writes();
        if let Err(error) = self.store_parts(batch, with_upkeep) {
            self.fail(batch, &error);
        }
    }

    /// Stores a batch, in halves if need be, and tells the callers.
    ///
    /// # Errors
    /// Those after which nothing more of the batch may be tried. Who was not
    /// told anything yet is to be told that.
    fn store_parts(&mut self, batch: &mut Batch<B>, with_upkeep: bool) -> Result<()> {
        let failure = match self.try_to_store(batch, with_upkeep) {
            Ok(()) => {
                self.acknowledge(batch);
                return Ok(());
            }
            Err(failure) => failure,
        };
        if !failure.may_go_in_parts {
            return Err(failure.error);
        }
        if with_upkeep {
            return self.store_parts(batch, false);
        }
        if batch.len() <= 1 {
            self.fail(batch, &failure.error);
            return Ok(());
        }
        debug!(error = %failure.error, writes = batch.len(), "done again in halves");
        let (first, second) = batch.split_at_mut(batch.len() / 2);
        self.store_parts(first, false)?;
        self.store_parts(second, false)
    }

    fn try_to_store(
        &mut self,
        batch: &mut Batch<B>,
        with_upkeep: bool,
    ) -> std::result::Result<(), Failure> {
        let store = &self.open.store;
        self.recorder.begin();
        let mut txn = store.begin_write().map_err(|error| Failure {
            error,
            may_go_in_parts: false,
        })?;
        let writes = batch.len();
        for write in batch {
            write
                .write
                .apply(store, &mut txn, &mut self.recorder)
                .map_err(Failure::of_writes)?;
        }
        self.recorder
            .note_alive(store, &mut txn)
            .map_err(Failure::of_writes)?;
        if with_upkeep && let Err(error) = self.upkeep.step(store, &mut txn) {
            self.upkeep.settled(Err(&error));
            return Err(Failure {
                error,
                may_go_in_parts: true,
            });
        }
        let start = Instant::now();
        let committed = txn.commit();
        let took = start.elapsed();
        self.metrics.commit_seconds.record(took.as_secs_f64());
        self.expect_others(writes, took);
        if committed.is_ok() {
            self.recorder.committed();
        }
        if with_upkeep {
            self.upkeep.settled(committed.as_ref().copied());
        }
        committed.map_err(Failure::of_writes)
    }

    /// Many a caller who is told that its write is stored has the next one. A
    /// moment, short beside a commit, makes one batch of theirs and of what
    /// waits already, which would otherwise take turns with commits of half the size.
    fn expect_others(&mut self, told: usize, commit: Duration) {
        let until = Instant::now().checked_add(commit / SHARE_OF_A_COMMIT);
        self.gather.expected = until.map(|until| (told + self.queue.state().writes, until));
    }

    fn keep_up(&mut self) {
        let _span = debug_span!("realmstore_upkeep").entered();
        if let Err(failure) = self.try_to_store(&mut [], true) {
            warn!(error = %failure.error, "the upkeep of the store has failed");
        }
    }

    fn acknowledge(&self, batch: &mut Batch<B>) {
        let now = Instant::now();
        for write in batch {
            if let Some(refused) = write.write.acknowledge() {
                self.metrics.failed(refused, 1);
            }
            self.metrics
                .acknowledge_seconds
                .record(now.saturating_duration_since(write.since).as_secs_f64());
        }
    }

    fn fail(&self, batch: &mut Batch<B>, error: &Error) {
        let told = batch
            .iter_mut()
            .map(|write| u64::from(write.write.fail(error)))
            .sum();
        warn!(%error, writes = told, "writes could not be stored");
        self.metrics.failed(error.kind(), told);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    use conformance::slow::{Disk, Slow};
    use futures_lite::future::{block_on, or};
    use realmstore_core::memory::MemoryBackend;
    use realmstore_core::{Publication, PublicationId, RealmStore, StoreWrite, Timestamp};

    use super::*;
    use crate::sync::lock;
    use crate::write::{StorePublication, pending};

    type OnDisk = Slow<MemoryBackend>;

    const UNTIL_DUE: Duration = Duration::from_millis(200);

    fn publication(id: u64) -> Publication {
        Publication::new(
            PublicationId::from_stored(id),
            Timestamp::MAX,
            "com.example.a",
        )
    }

    /// Some pieces of upkeep, one for each number: it stores a publication with that ID.
    struct Pieces {
        due: Instant,
        left: Vec<u64>,
        settled: Arc<Mutex<Vec<Option<ErrorKind>>>>,
    }

    impl Upkeep<OnDisk> for Pieces {
        fn due(&self) -> Option<Instant> {
            self.left.last().map(|_| self.due)
        }

        fn step(
            &mut self,
            store: &RealmStore<OnDisk>,
            txn: &mut StoreWrite<'_, OnDisk>,
        ) -> Result<()> {
            let id = self.left.pop().unwrap();
            store.store_publication(txn, &publication(id))
        }

        fn settled(&mut self, committed: Result<(), &Error>) {
            lock(&self.settled).push(committed.err().map(Error::kind));
        }
    }

    struct Started {
        disk: Arc<Disk>,
        open: Arc<Open<OnDisk>>,
        queue: Arc<WriteQueue<OnDisk>>,
        settled: Arc<Mutex<Vec<Option<ErrorKind>>>>,
        gone: async_channel::Receiver<std::convert::Infallible>,
    }

    impl Started {
        fn with(pieces: &[u64]) -> Self {
            let disk = Arc::new(Disk::default());
            let backend = Slow::new(MemoryBackend::new(), Arc::clone(&disk));
            let options = AsyncOptions::new();
            let store = RealmStore::attach(backend).unwrap();
            let recorder = Recorder::start(&store, "realm1", None, None)
                .unwrap()
                .recorder;
            let (open, gone) = Open::new(store);
            let queue = Arc::new(Queue::new(options.limits));
            let settled = Arc::default();
            let pieces = Pieces {
                due: Instant::now() + UNTIL_DUE,
                left: pieces.to_vec(),
                settled: Arc::clone(&settled),
            };
            start(
                Arc::clone(&open),
                Arc::clone(&queue),
                Arc::new(Metrics::new()),
                &options,
                recorder,
                pieces,
            )
            .unwrap();
            Self {
                disk,
                open,
                queue,
                settled,
                gone,
            }
        }

        fn store(&self, id: u64) -> Result<()> {
            let (write, answer) = pending(StorePublication(publication(id)));
            self.queue.push(write, 1, true).unwrap();
            soon(answer).unwrap()
        }

        /// Stores 1 in a commit that goes on until upkeep is due, and 2 behind it.
        fn store_past_the_time(&self) {
            self.disk.is_stuck.store(true, Ordering::Release);
            let answers = [1, 2].map(|id| {
                let (write, answer) = pending(StorePublication(publication(id)));
                self.queue.push(write, 1, true).unwrap();
                thread::sleep(UNTIL_DUE * 2);
                answer
            });
            self.disk.is_stuck.store(false, Ordering::Release);
            for answer in answers {
                soon(answer).unwrap().unwrap();
            }
        }

        fn has(&self, id: u64) -> bool {
            let store = &self.open.store;
            let txn = store.begin_read().unwrap();
            let id = PublicationId::from_stored(id);
            store.publications().get(&txn, &id).unwrap().is_some()
        }

        fn end(self) {
            self.queue.close();
            drop(self.open);
            let _ = soon(self.gone.recv());
        }
    }

    fn soon<T>(future: impl Future<Output = T>) -> T {
        block_on(or(future, async {
            blocking::unblock(|| thread::sleep(Duration::from_secs(20))).await;
            panic!("it takes too long")
        }))
    }

    #[test]
    fn upkeep_that_is_due_is_done_in_the_transaction_of_a_batch() {
        let started = Started::with(&[99]);
        let before = started.disk.commits();
        started.store_past_the_time();
        assert!(started.has(99));
        assert_eq!(started.disk.commits() - before, 2);
        assert_eq!(*lock(&started.settled), [None]);
        started.end();
    }

    #[test]
    fn upkeep_is_done_on_time_when_no_writes_come() {
        let started = Started::with(&[98, 99]);
        let start = Instant::now();
        while lock(&started.settled).len() < 2 {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it takes too long"
            );
            thread::sleep(Duration::from_millis(1));
        }
        assert!(started.has(98) && started.has(99));
        started.store(1).unwrap();
        started.end();
    }

    #[test]
    fn upkeep_that_fails_costs_no_write() {
        // 0 is no ID: that piece is refused.
        let started = Started::with(&[0]);
        started.store_past_the_time();
        assert_eq!(*lock(&started.settled), [Some(ErrorKind::InvalidInput)]);
        assert!(started.has(1) && started.has(2));
        started.end();
    }
}
