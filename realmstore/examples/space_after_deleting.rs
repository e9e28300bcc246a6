//! Measures what deleting gives back on every engine that is compiled in, and
//! prints the table of `docs/engines.md`:
//!
//! ```text
//! cargo run --release -p realmstore --features full --example space_after_deleting
//! ```

#![allow(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::path::Path;

use realmstore::{
    AnyStore, Backend, Engine, Location, OpenOptions, Publication, PublicationId, Result,
    Timestamp, WriteTxn,
};

const PUBLICATIONS: u64 = 50_000;
const BATCH: u64 = 1_000;
const ROUNDS: u64 = 4;

fn id(number: u64) -> Result<PublicationId> {
    PublicationId::new(number)
}

/// A publication with 300 bytes that no compressor makes smaller.
fn publication(number: u64) -> Result<Publication> {
    let mut noise = number;
    let payload = std::iter::repeat_with(|| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.to_be_bytes()[0]
    });
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + number);
    Ok(Publication {
        payload: Some(payload.take(300).collect()),
        ..Publication::new(id(number)?, time, "com.example.a")
    })
}

fn fill(store: &AnyStore, round: u64) -> Result<()> {
    for batch in batches(round) {
        let mut txn = store.begin_write()?;
        for number in batch..batch + BATCH {
            store.store_publication(&mut txn, &publication(number)?)?;
        }
        txn.commit()?;
    }
    Ok(())
}

fn empty(store: &AnyStore, round: u64) -> Result<()> {
    for batch in batches(round) {
        let mut txn = store.begin_write()?;
        for number in batch..batch + BATCH {
            store.publications().delete(&mut txn, &id(number)?)?;
        }
        txn.commit()?;
    }
    Ok(())
}

fn batches(round: u64) -> impl Iterator<Item = u64> {
    (0..PUBLICATIONS / BATCH).map(move |batch| 1 + round * PUBLICATIONS + batch * BATCH)
}

/// The sizes of a store after each step, in bytes.
fn measure(engine: Engine, path: &Path) -> Result<Vec<u64>> {
    let store = OpenOptions::new().open(&Location::new(engine, path))?;
    let size = || -> Result<u64> { Ok(store.db().info()?.size_on_disk) };
    let mut sizes = Vec::new();
    fill(&store, 0)?;
    sizes.push(size()?);
    empty(&store, 0)?;
    sizes.push(size()?);
    for round in 1..=ROUNDS {
        fill(&store, round)?;
        empty(&store, round)?;
    }
    sizes.push(size()?);
    let snapshot = store.begin_read()?;
    fill(&store, ROUNDS + 1)?;
    empty(&store, ROUNDS + 1)?;
    fill(&store, ROUNDS + 2)?;
    empty(&store, ROUNDS + 2)?;
    drop(snapshot);
    sizes.push(size()?);
    Ok(sizes)
}

fn main() -> Result<()> {
    println!(
        "| MiB on disk | filled | emptied | {ROUNDS} times again | twice more beside a snapshot |"
    );
    println!("|---|---|---|---|---|");
    for &engine in realmstore::ENGINES {
        if engine == Engine::Memory {
            continue;
        }
        let directory = tempfile::tempdir().map_err(|error| {
            realmstore::Error::new(realmstore::ErrorKind::Io, "no temporary directory")
                .source(error)
        })?;
        let sizes = measure(engine, &directory.path().join("store"))?;
        let cells = sizes
            .iter()
            .map(|&bytes| format!(" {:.1} |", bytes as f64 / f64::from(1 << 20)));
        println!("| {engine} |{}", cells.collect::<String>());
    }
    Ok(())
}
