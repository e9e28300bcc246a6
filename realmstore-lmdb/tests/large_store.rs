//! A realm store that outgrows its map by far.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::lmdb::LmdbOptions;
use realmstore_core::{
    Backend, Order, Publication, PublicationId, RealmStore, Timestamp, WriteTxn,
};

const PAYLOAD: usize = 64 << 10;
const TOTAL: u64 = 2 << 30;
const PUBLICATIONS: u64 = TOTAL / PAYLOAD as u64;
const PER_COMMIT: u64 = 1024;

fn publication(number: u64) -> Publication {
    let mut publication = Publication::new(
        PublicationId::from_stored(number),
        Timestamp::from_nanos(number),
        "com.example.large",
    );
    let mut payload = vec![number as u8; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    publication.payload = Some(payload);
    publication
}

#[test]
fn two_gibibytes_of_publications_go_through_a_map_of_one_mebibyte() {
    let directory = tempfile::tempdir().unwrap();
    let db = LmdbOptions::new()
        .map_size(1 << 20)
        .open(directory.path())
        .unwrap();
    let store = RealmStore::attach(db).unwrap();
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));

    let snapshots = std::thread::scope(|scope| {
        // A reader at work: whatever was acknowledged is there, the map grown or not.
        let reader = scope.spawn(|| {
            let mut snapshots = 0u64;
            while !done.load(Ordering::Acquire) {
                let newest = written.load(Ordering::Acquire);
                let txn = store.begin_read().unwrap();
                if newest > 0 {
                    let found = store
                        .publications()
                        .get(&txn, &PublicationId::from_stored(newest));
                    let found = found.unwrap().expect("an acknowledged publication is gone");
                    let payload = found.view().unwrap().payload().unwrap().unwrap();
                    assert_eq!(payload[..8], newest.to_be_bytes());
                }
                snapshots += 1;
            }
            snapshots
        });
        for first in (1..=PUBLICATIONS).step_by(PER_COMMIT as usize) {
            let mut txn = store.begin_write().unwrap();
            let last = (first + PER_COMMIT - 1).min(PUBLICATIONS);
            for number in first..=last {
                store
                    .store_publication(&mut txn, &publication(number))
                    .unwrap();
            }
            txn.commit().unwrap();
            written.store(last, Ordering::Release);
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(snapshots > 0);
    assert!(store.db().info().unwrap().size_on_disk > TOTAL);

    let txn = store.begin_read().unwrap();
    let mut scan = store
        .publications()
        .range(&txn, .., Order::Ascending)
        .unwrap();
    let mut number = 0;
    while let Some(entry) = scan.next().unwrap() {
        number += 1;
        assert_eq!(entry.key().unwrap().get(), number);
        let payload = entry.view().unwrap().payload().unwrap().unwrap();
        assert_eq!(payload[..8], number.to_be_bytes());
        assert_eq!(payload.len(), PAYLOAD);
    }
    assert_eq!(number, PUBLICATIONS);
}
