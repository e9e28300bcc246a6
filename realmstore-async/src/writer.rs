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
use std::time::Instant;

use realmstore_core::{Backend, Error, ErrorKind, RealmStore, Result, StoreWrite, WriteTxn};
use tracing::{debug, debug_span, error, warn};

use crate::metrics::{Metrics, Writes};
use crate::options::AsyncOptions;
use crate::queue::{Accepted, Gather, Queue, Taken};
use crate::recorder::Recorder;
use crate::store::Open;
use crate::write::Pending;

/// The queue of a store.
pub(crate) type WriteQueue<B> = Queue<Box<dyn Pending<B>>>;

type Batch<B> = [Accepted<Box<dyn Pending<B>>>];

/// What there is to do beside the writes, in small pieces: each in the
/// transaction of a batch, behind its writes, or in one of its own when no
/// writes come.
pub(crate) trait Upkeep<B: Backend>: Send {
    /// When there is something to do next.
    fn due(&self) -> Option<Instant>;

    /// Does a piece that takes little time beside a commit.
    fn step(&mut self, store: &RealmStore<B>, txn: &mut StoreWrite<'_, B>) -> Result<()>;

    /// Says what came of the last piece. After an error the transaction was
    /// dropped, and the writes were or will be done without it.
    fn settled(&mut self, committed: Result<(), &Error>);
}

/// Nothing to do.
impl<B: Backend> Upkeep<B> for () {
    fn due(&self) -> Option<Instant> {
        None
    }

    fn step(&mut self, _store: &RealmStore<B>, _txn: &mut StoreWrite<'_, B>) -> Result<()> {
        Ok(())
    }

    fn settled(&mut self, _committed: Result<(), &Error>) {}
}

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
        let with_upkeep = self.upkeep.due().is_some_and(|due| due <= Instant::now());
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
        for write in batch {
            write
                .write
                .apply(store, &mut txn, &mut self.recorder)
                .map_err(Failure::of_writes)?;
        }
        if with_upkeep && let Err(error) = self.upkeep.step(store, &mut txn) {
            self.upkeep.settled(Err(&error));
            return Err(Failure {
                error,
                may_go_in_parts: true,
            });
        }
        self.recorder
            .note_alive(store, &mut txn)
            .map_err(Failure::of_writes)?;
        let start = Instant::now();
        let committed = txn.commit();
        self.metrics
            .commit_seconds
            .record(start.elapsed().as_secs_f64());
        if committed.is_ok() {
            self.recorder.committed();
        }
        if with_upkeep {
            self.upkeep.settled(committed.as_ref().copied());
        }
        committed.map_err(Failure::of_writes)
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
