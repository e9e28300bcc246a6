//! What the writer does beside the writes: it keeps the limits of histories.

use std::sync::Arc;
use std::time::{Duration, Instant};

use realmstore_core::store::{Retention, Step};
use realmstore_core::{Backend, Error, ErrorKind, RealmStore, Result, StoreWrite, Timestamp};
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// What there is to do beside the writes, in small pieces: each in the
/// transaction of a batch, behind its writes, or in one of its own when no
/// writes come.
pub(crate) trait Upkeep<B: Backend>: Send {
    /// When there is something to do next, whether writes come or not.
    fn due(&self) -> Option<Instant>;

    /// Whether there may be something to do behind the writes of a batch.
    fn follows_writes(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Does a piece that takes little time beside what the transaction has
    /// done already, and a commit.
    fn step(&mut self, store: &RealmStore<B>, txn: &mut StoreWrite<'_, B>) -> Result<()>;

    /// Says what came of the last piece. After an error the transaction was
    /// dropped, and the writes were or will be done without it.
    fn settled(&mut self, committed: Result<(), &Error>);
}

/// The rows that a step looks at and changes in a transaction that has written nothing.
const ROWS: u64 = 2_000;

/// So many more for each row that was written: removing what a write has made
/// takes no more, so a history stays within its limits however much comes.
const ROWS_FOR_A_ROW: u64 = 4;

/// How long it rests when there is nothing to do, or when it has failed.
const REST: Duration = Duration::from_secs(60);

/// Keeps the limits of histories, and lets retained publications expire.
pub(crate) struct KeepLimits {
    retention: Retention,
    metrics: Arc<Metrics>,
    due: Instant,
    /// What the last step did, until it is known whether it is committed.
    last: Step,
    /// Whether it cannot be done, as far as is known.
    is_refused: bool,
}

impl KeepLimits {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            retention: Retention::new(),
            metrics,
            due: Instant::now(),
            last: Step::default(),
            is_refused: false,
        }
    }

    fn rest(&mut self) {
        self.due = Instant::now() + REST;
    }
}

impl<B: Backend> Upkeep<B> for KeepLimits {
    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn follows_writes(&self) -> bool {
        !self.is_refused || self.due <= Instant::now()
    }

    fn step(&mut self, store: &RealmStore<B>, txn: &mut StoreWrite<'_, B>) -> Result<()> {
        self.last = Step::default();
        let budget = ROWS + ROWS_FOR_A_ROW.saturating_mul(txn.rows_written());
        match self.retention.step(store, txn, Timestamp::now(), budget) {
            Ok(step) => {
                self.last = step;
                self.is_refused = false;
                Ok(())
            }
            // It has changed nothing; the writes need not suffer.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                if !self.is_refused {
                    warn!(%error, "the limits of histories are not kept");
                }
                self.is_refused = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn settled(&mut self, committed: Result<(), &Error>) {
        let Step {
            removed,
            expired,
            more,
            ..
        } = self.last;
        match committed {
            Ok(()) => {
                self.metrics.removed_publications.increment(removed.entries);
                if removed.entries + expired > 0 {
                    debug!(
                        publications = removed.entries,
                        events = removed.events,
                        expired,
                        "taken off histories"
                    );
                }
                self.rest();
                if more {
                    self.due = Instant::now();
                }
            }
            Err(error) => {
                warn!(%error, "the limits of histories could not be kept");
                self.is_refused = true;
                self.rest();
            }
        }
    }
}
