//! What is counted. A recorder is the process's own, so this is one test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{event, go_on, keep_busy, on, publication, soon};
use conformance::slow::Disk;
use futures_lite::future::poll_once;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use realmstore_async::metrics::{
    ACKNOWLEDGE_SECONDS, BATCH_WRITES, COMMIT_SECONDS, ERRORS, QUEUE_DEPTH, WAITS_FOR_ROOM, WRITES,
    WRITTEN_BYTES,
};
use realmstore_async::{AsyncOptions, AsyncRealmStore, WhenFull};

#[tokio::test]
async fn a_recorder_sees_what_the_table_in_the_documentation_says() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();

    let disk = Arc::new(Disk::default());
    let store = on(&disk, &AsyncOptions::new().queue_writes(2));
    let plug = keep_busy(&disk, &store).await;
    let mut first = store.store_event(event(1, 1));
    let mut invalid = store.store_publication(publication(0));
    let mut waits = store.store_event(event(1, 2));
    let mut given_up = store.store_event(event(1, 3));
    for write in [&mut first, &mut invalid, &mut waits, &mut given_up] {
        assert!(poll_once(write).await.is_none());
    }
    drop(given_up);
    let refusing = store.when_full(WhenFull::Refuse);
    assert!(soon(refusing.store_event(event(1, 4))).await.is_err());
    go_on(&disk);
    for write in [plug, first, waits] {
        soon(write).await.unwrap();
    }
    assert!(soon(invalid).await.is_err());
    soon(store.close()).await.unwrap();

    let mut seen = BTreeMap::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        let labels: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        let name = [&[key.name().to_owned()][..], &labels].concat().join(" ");
        assert!(
            unit.is_some() && description.is_some(),
            "{name} is not described"
        );
        seen.insert(name, value);
    }
    let counter = |name: &str, kind: &str| {
        let name = format!("{name} {kind}");
        match seen.get(name.trim()) {
            Some(DebugValue::Counter(count)) => *count,
            other => panic!("{name}: {other:?} of {seen:?}"),
        }
    };
    let histogram = |name: &str| -> Vec<f64> {
        match seen.get(name) {
            Some(DebugValue::Histogram(values)) => values.iter().map(|value| value.0).collect(),
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(counter(WRITES, "store_publication"), 2);
    assert_eq!(counter(WRITES, "store_event"), 2);
    assert_eq!(counter(ERRORS, "InvalidInput"), 1);
    assert_eq!(counter(ERRORS, "Busy"), 1);
    assert_eq!(counter(WAITS_FOR_ROOM, ""), 2);
    assert!(counter(WRITTEN_BYTES, "") > 0);
    assert_eq!(seen.get(QUEUE_DEPTH), Some(&DebugValue::Gauge(0.0.into())));
    let batches = histogram(BATCH_WRITES);
    assert_eq!(batches.iter().sum::<f64>(), 4.0, "{batches:?}");
    assert_eq!(histogram(COMMIT_SECONDS).len(), batches.len());
    assert_eq!(histogram(ACKNOWLEDGE_SECONDS).len(), 4);
}
