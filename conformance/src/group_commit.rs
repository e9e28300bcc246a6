//! Many callers, one commit: what the async store makes of an engine on a disk that takes its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use realmstore_async::{AsyncOptions, AsyncRealmStore, AsyncStore, QueueState};
use realmstore_core::{Event, Publication, PublicationId, RealmStore, SubscriptionId, Timestamp};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::slow::{Disk, Slow};
use crate::{Engine, Fresh};

/// What each commit takes, beside what the engine's own takes.
const FLUSH: Duration = Duration::from_millis(10);

/// What must come to an end, and not hang.
const LIMIT: Duration = Duration::from_secs(60);

type Store<E> = AsyncStore<Slow<<E as Engine>::Backend>>;

/// Starts a store on a slow disk. It is gone before its directory.
fn start<E: Engine>(options: &AsyncOptions) -> (Store<E>, Arc<Disk>, tempfile::TempDir) {
    let Fresh { store, directory } = Fresh::new::<E>();
    let disk = Arc::new(Disk::with_flush(FLUSH));
    let store = RealmStore::attach(Slow::new(store, Arc::clone(&disk))).unwrap();
    (options.start(store).unwrap(), disk, directory)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let done = tokio::time::timeout(LIMIT, future).await;
        done.expect("it takes too long")
    })
}

/// Lets so many callers write for some time, each waiting for each of its
/// writes to be durable. Returns how many writes there were, and how many in a second.
async fn write<E: Engine>(store: &Store<E>, callers: u64) -> (f64, f64) {
    let start = Instant::now();
    let until = start + FLUSH * 50;
    let mut tasks = JoinSet::new();
    for caller in 1..=callers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut writes = 0;
            while Instant::now() < until {
                writes += 1;
                let event = Event::new(
                    SubscriptionId::from_stored(caller),
                    Timestamp::from_nanos(writes),
                    PublicationId::from_stored(writes),
                );
                store.store_event(event).await.unwrap();
            }
            writes
        });
    }
    let writes: u64 = tasks.join_all().await.into_iter().sum();
    (writes as f64, writes as f64 / start.elapsed().as_secs_f64())
}

#[allow(clippy::print_stdout, reason = "what was measured, by --nocapture")]
pub fn sixty_four_writers_share_commits_and_are_twenty_times_as_fast_as_one<E: Engine>() {
    let (store, disk, _directory) = start::<E>(&AsyncOptions::new());
    let (alone, together, writes_of_a_commit) = run(async {
        let (_, alone) = write::<E>(&store, 1).await;
        let before = disk.commits();
        let (writes, together) = write::<E>(&store, 64).await;
        let commits = (disk.commits() - before) as f64;
        store.close().await.unwrap();
        (alone, together, writes / commits)
    });
    println!("1: {alone:.0}/s, 64: {together:.0}/s, {writes_of_a_commit:.1} writes a commit");
    assert!(together >= 20.0 * alone, "{together} beside {alone}");
    assert!(writes_of_a_commit >= 20.0, "{writes_of_a_commit}");
}

pub fn a_slow_disk_makes_callers_wait_and_never_fills_the_queue_beyond_its_bounds<E: Engine>() {
    let options = AsyncOptions::new().queue_writes(8).queue_bytes(4000);
    let (store, disk, _directory) = start::<E>(&options);
    let (most_waiting, state) = run(async {
        let mut tasks = JoinSet::new();
        for caller in 1..=100 {
            let store = store.clone();
            tasks.spawn(async move {
                for number in 0..3 {
                    let id = PublicationId::from_stored(caller * 10 + number);
                    let publication = Publication {
                        payload: Some(vec![0; (caller as usize * 37) % 1000]),
                        ..Publication::new(id, Timestamp::from_nanos(number), "com.example.a")
                    };
                    store.store_publication(publication).await.unwrap();
                }
            });
        }
        let mut most_waiting = 0;
        while tasks.join_next().await.is_some() {
            most_waiting = most_waiting.max(store.queue_state().waiting);
        }
        let state = store.queue_state();
        store.close().await.unwrap();
        (most_waiting, state)
    });
    assert!(most_waiting > 50, "{most_waiting}");
    assert!((2..=8).contains(&state.most_writes), "{state:?}");
    assert!((1000..=4000).contains(&state.most_bytes), "{state:?}");
    let QueueState {
        writes,
        bytes,
        waiting,
        ..
    } = state;
    assert_eq!((writes, bytes, waiting), (0, 0, 0));
    assert!(disk.commits() >= 300 / 8);
}
