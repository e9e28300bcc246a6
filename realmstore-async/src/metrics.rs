//! The names of the metrics.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use realmstore_core::ErrorKind;

/// Gauge: the writes in the queue, with those that wait for room in it.
pub const QUEUE_DEPTH: &str = "realmstore_queue_depth";
/// Histogram: the writes of a batch.
pub const BATCH_WRITES: &str = "realmstore_batch_writes";
/// Histogram: what a commit took, in seconds.
pub const COMMIT_SECONDS: &str = "realmstore_commit_seconds";
/// Histogram: from the acceptance of a write to its acknowledgement, in seconds.
pub const ACKNOWLEDGE_SECONDS: &str = "realmstore_acknowledge_seconds";
/// Counter, by `kind` (the method's name): the writes that were taken from the
/// queue, refused and failed ones among them.
pub const WRITES: &str = "realmstore_writes_total";
/// Counter: their bytes, about.
pub const WRITTEN_BYTES: &str = "realmstore_written_bytes_total";
/// Counter, by `kind` (of [`ErrorKind`]): the writes that failed or were refused.
pub const ERRORS: &str = "realmstore_errors_total";
/// Counter: the writes that found no room and waited for it.
pub const WAITS_FOR_ROOM: &str = "realmstore_waits_for_room_total";

/// Counter: the publications that went from a history because of its limits.
pub const REMOVED_PUBLICATIONS: &str = "realmstore_removed_publications_total";

/// What is counted and measured. Without a recorder each of these does nothing.
pub(crate) struct Metrics {
    pub(crate) queue_depth: Gauge,
    pub(crate) batch_writes: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) acknowledge_seconds: Histogram,
    pub(crate) written_bytes: Counter,
    pub(crate) waits_for_room: Counter,
    pub(crate) removed_publications: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_gauge!(
            QUEUE_DEPTH,
            Unit::Count,
            "Writes in the queue or waiting for room in it."
        );
        describe_histogram!(BATCH_WRITES, Unit::Count, "Writes of a batch.");
        describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "What a commit took.");
        describe_histogram!(
            ACKNOWLEDGE_SECONDS,
            Unit::Seconds,
            "From the acceptance of a write to its acknowledgement."
        );
        describe_counter!(WRITES, Unit::Count, "Writes taken from the queue, by kind.");
        describe_counter!(WRITTEN_BYTES, Unit::Bytes, "Bytes of these writes, about.");
        describe_counter!(
            ERRORS,
            Unit::Count,
            "Writes that failed or were refused, by kind of error."
        );
        describe_counter!(
            WAITS_FOR_ROOM,
            Unit::Count,
            "Writes that waited for room in the queue."
        );
        describe_counter!(
            REMOVED_PUBLICATIONS,
            Unit::Count,
            "Publications that went from a history because of its limits."
        );
        Self {
            queue_depth: gauge!(QUEUE_DEPTH),
            batch_writes: histogram!(BATCH_WRITES),
            commit_seconds: histogram!(COMMIT_SECONDS),
            acknowledge_seconds: histogram!(ACKNOWLEDGE_SECONDS),
            written_bytes: counter!(WRITTEN_BYTES),
            waits_for_room: counter!(WAITS_FOR_ROOM),
            removed_publications: counter!(REMOVED_PUBLICATIONS),
        }
    }

    pub(crate) fn failed(&self, kind: ErrorKind, writes: u64) {
        counter!(ERRORS, "kind" => format!("{kind:?}")).increment(writes);
    }
}

/// The counters of [`WRITES`], for the thread that counts.
#[derive(Default)]
pub(crate) struct Writes(Vec<(&'static str, Counter)>);

impl Writes {
    pub(crate) fn count(&mut self, kind: &'static str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == kind) {
            return counter.increment(1);
        }
        let counter = counter!(WRITES, "kind" => kind);
        counter.increment(1);
        self.0.push((kind, counter));
    }
}
