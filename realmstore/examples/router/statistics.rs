//! What is measured: how long each client waited for each answer, and what the
//! store says of its commits.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use metrics_util::debugging::{DebugValue, Snapshotter};
use realmstore::async_store::metrics::{BATCH_WRITES, COMMIT_SECONDS};

/// What clients do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Join,
    Subscribe,
    Publish,
    Leave,
    History,
    Retained,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Join,
        Self::Subscribe,
        Self::Publish,
        Self::Leave,
        Self::History,
        Self::Retained,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Leave => "leave",
            Self::History => "history",
            Self::Retained => "retained",
        }
    }

    fn is_write(self) -> bool {
        !matches!(self, Self::History | Self::Retained)
    }
}

pub(crate) struct Statistics {
    begin: Instant,
    /// The store's own metrics. A router exports them, for example to Prometheus.
    snapshotter: Snapshotter,
    measured: Mutex<Measured>,
}

struct Measured {
    /// In microseconds, in the order of [`Kind::ALL`].
    latencies: [Histogram<u64>; 6],
    batches: Histogram<u64>,
    /// In microseconds.
    commits: Histogram<u64>,
    /// Writes, reads and commits when the last second was printed, and when that was.
    last: ([u64; 3], Instant),
}

impl Measured {
    /// Writes, reads and commits.
    fn counts(&self) -> [u64; 3] {
        let count = |is_write| {
            let measured = Kind::ALL.into_iter().zip(&self.latencies);
            measured
                .filter(|(kind, _)| kind.is_write() == is_write)
                .map(|(_, histogram)| histogram.len())
                .sum()
        };
        [count(true), count(false), self.commits.len()]
    }
}

/// A histogram of any numbers, to two digits.
fn histogram() -> Histogram<u64> {
    let Ok(histogram) = Histogram::new(2) else {
        unreachable!("two digits are possible");
    };
    histogram
}

impl Statistics {
    pub(crate) fn new(snapshotter: Snapshotter) -> Self {
        let begin = Instant::now();
        Self {
            begin,
            snapshotter,
            measured: Mutex::new(Measured {
                latencies: std::array::from_fn(|_| histogram()),
                batches: histogram(),
                commits: histogram(),
                last: ([0; 3], begin),
            }),
        }
    }

    /// Waits for something, and takes note of how long that took.
    pub(crate) async fn measure<T>(
        &self,
        kind: Kind,
        operation: impl Future<Output = realmstore::Result<T>>,
    ) -> realmstore::Result<T> {
        let start = Instant::now();
        let done = operation.await?;
        let micros = start.elapsed().as_micros() as u64;
        self.measured().latencies[kind as usize] += micros;
        Ok(done)
    }

    /// Asks the store for its commits since the last time.
    fn collect(&self) -> MutexGuard<'_, Measured> {
        let snapshot = self.snapshotter.snapshot().into_vec();
        let mut measured = self.measured();
        for (key, _, _, value) in snapshot {
            let DebugValue::Histogram(values) = value else {
                continue;
            };
            let (histogram, unit) = match key.key().name() {
                BATCH_WRITES => (&mut measured.batches, 1.0),
                COMMIT_SECONDS => (&mut measured.commits, 1e6),
                _ => continue,
            };
            for value in values {
                *histogram += (value.into_inner() * unit) as u64;
            }
        }
        measured
    }

    pub(crate) fn print_last_second(&self) {
        let mut measured = self.collect();
        let now = Instant::now();
        let counts = measured.counts();
        let (before, since) = std::mem::replace(&mut measured.last, (counts, now));
        let seconds = (now - since).as_secs_f64();
        let [writes, reads, commits] =
            std::array::from_fn(|index| (counts[index] - before[index]) as f64);
        println!(
            "{:>4} s {:>9.0} writes/s {:>9.0} reads/s {:>7.0} commits/s {:>7.1} writes a commit",
            self.begin.elapsed().as_secs(),
            writes / seconds,
            reads / seconds,
            commits / seconds,
            writes / commits.max(1.0),
        );
    }

    pub(crate) fn print_all(&self) {
        let measured = self.collect();
        let seconds = self.begin.elapsed().as_secs_f64();
        let [writes, reads, commits] = measured.counts().map(|count| count as f64 / seconds);
        println!("\n{writes:.0} writes/s, {reads:.0} reads/s, {commits:.0} commits/s\n");
        println!(
            "{:<20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for (kind, histogram) in Kind::ALL.into_iter().zip(&measured.latencies) {
            print_row(&format!("{}, ms", kind.name()), histogram, 1000.0);
        }
        print_row("commit, ms", &measured.commits, 1000.0);
        print_row("writes of a batch", &measured.batches, 1.0);
        println!();
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn print_row(name: &str, histogram: &Histogram<u64>, unit: f64) {
    print!("{name:<20} {:>9}", histogram.len());
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / unit;
    let digits = if unit == 1.0 { 0 } else { 1 };
    for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
        print!(" {:>9.digits$}", at(quantile));
    }
    println!();
}
