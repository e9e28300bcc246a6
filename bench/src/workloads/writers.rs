//! Many writers that each wait until what they wrote is on disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::vec;

use realmstore::lmdb::LmdbBackend;
use realmstore::rocks::RocksBackend;
use realmstore::sled::SledBackend;
use realmstore::{AsyncOptions, AsyncRealmStore, Backend, Dispatch, RealmStore};
use tokio::runtime::Runtime;

use crate::data::{Batch, Generator};
use crate::line_up::{Engine, GROUPS};
use crate::measure::{Rounds, timed};
use crate::report::{Report, Target};
use crate::scale::Scale;
use crate::systems::ours::OwnBackend;
use crate::systems::{Sync, System};

/// Those who write at the same time.
const WRITERS: usize = 64;

/// More writes than there are in a round.
const AT_HAND: usize = 40_000;

/// Writes through the async store, in turns with commits of as many writes as
/// there are writers, straight to the engine: so many as these can be had.
pub fn run(directory: &Path, scale: &Scale, report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime");
    for group in &GROUPS {
        let directory = directory.join(format!("writers-{}", group.engine.name()));
        let mut raw = group.open_raw(&directory, Sync::Durable);
        let own = directory.join("own");
        let store = match group.engine {
            Engine::Lmdb => start(LmdbBackend::open_for(&own, Sync::Durable)),
            Engine::Rocks => start(RocksBackend::open_for(&own, Sync::Durable)),
            Engine::Sled => start(SledBackend::open_for(&own, Sync::Durable)),
        };
        let mut dispatches = Generator::new(u64::MAX, 10_000).flat_map(|batch| batch.dispatches);
        let rounds = Rounds::take(scale.rounds, &mut [true, false], |through_the_store, _| {
            let dispatches = dispatches
                .by_ref()
                .take(AT_HAND)
                .collect::<Vec<_>>()
                .into_iter();
            let (time, written) = if *through_the_store {
                runtime.block_on(write_through(&store, dispatches, scale.writing))
            } else {
                write_straight(&mut *raw, dispatches, scale.writing)
            };
            time.div_f64(written as f64)
        });
        runtime.block_on(store.close()).expect("the store closes");
        let about = (
            "64 durable writers",
            group.engine.name(),
            "raw commits × 64",
        );
        let per_second = 1.0 / rounds.median(0);
        report.add(
            about,
            per_second,
            "writes/s",
            rounds.ratio(0, 1),
            Some(Target::AtLeast(0.85)),
        );
    }
}

fn start<B: Backend + 'static>(backend: B) -> Arc<dyn AsyncRealmStore> {
    let store = RealmStore::attach(backend).expect("a realm store");
    Arc::new(AsyncOptions::new().start(store).expect("an async store"))
}

/// How long it took, and how many were written.
async fn write_through(
    store: &Arc<dyn AsyncRealmStore>,
    dispatches: vec::IntoIter<Dispatch>,
    writing: Duration,
) -> (Duration, usize) {
    let all = dispatches.len();
    let dispatches = Arc::new(Mutex::new(dispatches));
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, dispatches) = (Arc::clone(store), Arc::clone(&dispatches));
            tokio::spawn(async move {
                while start.elapsed() < writing {
                    let next = dispatches
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .next();
                    let Some(dispatch) = next else { break };
                    store
                        .store_dispatch(dispatch)
                        .await
                        .expect("a dispatch is stored");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    let left = dispatches
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len();
    (start.elapsed(), all - left)
}

fn write_straight(
    system: &mut dyn System,
    mut dispatches: vec::IntoIter<Dispatch>,
    writing: Duration,
) -> (Duration, usize) {
    let (mut taken, mut written) = (Duration::ZERO, 0);
    while taken < writing {
        let dispatches: Vec<_> = dispatches.by_ref().take(WRITERS).collect();
        if dispatches.is_empty() {
            break;
        }
        written += dispatches.len();
        let batch = Batch {
            dispatches,
            ..Batch::default()
        };
        taken += timed(|| system.ingest(&batch)).0;
    }
    (taken, written)
}
