//! Measures every engine that is compiled in on the same records, and prints
//! the table of `docs/engines.md`:
//!
//! ```text
//! cargo run --release -p realmstore --features full --example compare_engines
//! ```
//!
//! One run takes a minute or two. Machines are noisy: compare the engines of
//! one run with each other, not the runs of two machines.

#![allow(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::time::Instant;

use realmstore::cbor::Cbor;
use realmstore::{
    Backend, Durability, Engine, Event, HistoryQuery, Location, OpenOptions, Order, Publication,
    PublicationId, Result, SessionId, SubscriptionId, Timestamp, WriteTxn,
};

const PUBLICATIONS: u64 = 100_000;
const RECEIVERS: u64 = 3;
const BATCH: u64 = 1_000;
const SUBSCRIPTIONS: u64 = 50;
const QUERIES: u64 = 20_000;

/// A number that looks random, the same in every run.
fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)) % (1 << 53) + 1
}

fn publication(number: u64) -> Result<Publication> {
    let id = PublicationId::new(scramble(number))?;
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + number * 1_000_000);
    let topic = format!("com.example.sensor.{}", number % SUBSCRIPTIONS);
    let args = Cbor::serialize(&(number, "measured", [0.5; 8])).ok();
    Ok(Publication {
        args,
        ..Publication::new(id, time, topic)
    })
}

fn events(number: u64) -> Result<Vec<Event>> {
    let id = PublicationId::new(scramble(number))?;
    let subscription = SubscriptionId::new(1 + number % SUBSCRIPTIONS)?;
    (0..RECEIVERS)
        .map(|receiver| {
            let time =
                Timestamp::from_nanos(1_700_000_000_000_000_000 + number * 1_000_000 + receiver);
            let receiver = Some(SessionId::new(1 + receiver)?);
            Ok(Event {
                receiver,
                ..Event::new(subscription, time, id)
            })
        })
        .collect()
}

struct Measured {
    durable_commits: f64,
    ingest: f64,
    gets: f64,
    histories: f64,
    scan: f64,
    bytes_per_publication: f64,
}

fn per_second(count: u64, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

fn measure(location: &Location) -> Result<Measured> {
    let durable = OpenOptions::new().open(location)?;
    let first = 200;
    let start = Instant::now();
    for number in 0..first {
        let mut txn = durable.begin_write()?;
        durable.store_publication(&mut txn, &publication(number)?)?;
        durable.store_events(&mut txn, &events(number)?)?;
        txn.commit()?;
    }
    let durable_commits = per_second(first, start);

    // A store in memory ends when it is closed.
    let store = if location.engine() == Engine::Memory {
        durable
    } else {
        drop(durable);
        OpenOptions::new()
            .durability(Durability::OnDisk)
            .open(location)?
    };
    let start = Instant::now();
    for batch in (first..PUBLICATIONS).step_by(BATCH as usize) {
        let mut txn = store.begin_write()?;
        for number in batch..(batch + BATCH).min(PUBLICATIONS) {
            store.store_publication(&mut txn, &publication(number)?)?;
            store.store_events(&mut txn, &events(number)?)?;
        }
        txn.commit()?;
    }
    let ingest = per_second((PUBLICATIONS - first) * (1 + RECEIVERS), start);

    let txn = store.begin_read()?;
    let start = Instant::now();
    let mut found = 0;
    for query in 0..QUERIES {
        let id = PublicationId::new(scramble(scramble(query) % PUBLICATIONS))?;
        if let Some(guard) = store.publications().get(&txn, &id)? {
            found += guard.view()?.topic()?.len();
        }
    }
    let gets = per_second(QUERIES, start);

    let newest = HistoryQuery {
        order: Order::Descending,
        limit: Some(100),
        ..HistoryQuery::default()
    };
    let start = Instant::now();
    for query in 0..QUERIES / 100 {
        let subscription = SubscriptionId::new(1 + query % SUBSCRIPTIONS)?;
        for entry in store.history(&txn, subscription, newest)? {
            if let Some(guard) = store.publications().get(&txn, &entry?.publication)? {
                found += guard.view()?.topic()?.len();
            }
        }
    }
    let histories = per_second(QUERIES / 100, start);

    let start = Instant::now();
    let mut scan = store.publications().range(&txn, .., Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        found += entry.view()?.topic()?.len();
    }
    let scan_rate = per_second(PUBLICATIONS, start);
    assert!(found > 0);
    drop(scan);
    drop(txn);
    store.db().sync()?;
    Ok(Measured {
        durable_commits,
        ingest,
        gets,
        histories,
        scan: scan_rate,
        bytes_per_publication: store.db().info()?.size_on_disk as f64 / PUBLICATIONS as f64,
    })
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    println!(
        "{PUBLICATIONS} publications with {RECEIVERS} events each, in {SUBSCRIPTIONS} subscriptions\n"
    );
    println!(
        "| engine | durable commits/s | records/s, durable batches of {BATCH} | gets/s | newest 100 of a history/s | records scanned/s | bytes on disk a publication |"
    );
    println!("|---|---|---|---|---|---|---|");
    for &engine in realmstore::ENGINES {
        let directory = tempfile::tempdir()?;
        let path = if engine == Engine::Memory {
            "".into()
        } else {
            directory.path().join("store")
        };
        let m = measure(&Location::new(engine, path))?;
        println!(
            "| {engine} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            m.durable_commits, m.ingest, m.gets, m.histories, m.scan, m.bytes_per_publication
        );
    }
    Ok(())
}
