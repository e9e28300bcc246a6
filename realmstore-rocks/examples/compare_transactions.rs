//! Compares the two ways in which a write transaction on RocksDB can be made:
//! an overlay of changes and one batch, which is what this crate does, and
//! RocksDB's own optimistic transactions. Prints the table in the crate's docs:
//!
//! ```text
//! cargo run --release -p realmstore-rocks --example compare_transactions
//! ```

#![allow(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use realmstore_core::{Backend, ReadTxn, WriteTxn};
use realmstore_rocks::RocksBackend;
use rocksdb::{OptimisticTransactionDB, OptimisticTransactionOptions, Options, WriteOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Events a commit, and events in all.
const ROUNDS: [(u64, u64); 4] = [(1, 2_000), (10, 20_000), (100, 100_000), (1_000, 200_000)];

/// What storing an event takes: two looks, three puts.
const TABLES: [u8; 3] = [1, 2, 3];

fn key(table: u8, event: u64) -> [u8; 18] {
    let mut key = [table; 18];
    key[2..10].copy_from_slice(&(event % 50).to_be_bytes());
    key[10..].copy_from_slice(&event.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

/// Events a second, by overlay and batch.
fn batches(path: &Path, per_commit: u64, events: u64) -> Result<f64> {
    let store = RocksBackend::open(path)?;
    let start = Instant::now();
    for first in (0..events).step_by(per_commit as usize) {
        let mut txn = store.begin_write()?;
        for event in first..first + per_commit {
            for table in &TABLES[1..] {
                drop(txn.get(&key(*table, event))?);
            }
            for table in TABLES {
                txn.put(&key(table, event), &[7; 60])?;
            }
        }
        txn.commit()?;
    }
    Ok(events as f64 / start.elapsed().as_secs_f64())
}

/// Events a second, by optimistic transactions.
fn transactions(path: &Path, per_commit: u64, events: u64) -> Result<f64> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let db: OptimisticTransactionDB = OptimisticTransactionDB::open(&options, path)?;
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let start = Instant::now();
    for first in (0..events).step_by(per_commit as usize) {
        let txn = db.transaction_opt(&synced, &OptimisticTransactionOptions::default());
        for event in first..first + per_commit {
            for table in &TABLES[1..] {
                drop(txn.get_pinned(key(*table, event))?);
            }
            for table in TABLES {
                txn.put(key(table, event), [7; 60])?;
            }
        }
        txn.commit()?;
    }
    Ok(events as f64 / start.elapsed().as_secs_f64())
}

fn median(mut rates: [f64; 3]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[1]
}

fn main() -> Result<()> {
    println!("| events a commit, on disk | overlay and batch | optimistic transaction |");
    println!("|---|---|---|");
    for (per_commit, events) in ROUNDS {
        let (mut ours, mut theirs) = ([0.0; 3], [0.0; 3]);
        // In turn, since machines are not equally fast at all times.
        for round in 0..3 {
            let directory = tempfile::tempdir()?;
            ours[round] = batches(&directory.path().join("batches"), per_commit, events)?;
            theirs[round] = transactions(&directory.path().join("optimistic"), per_commit, events)?;
        }
        println!(
            "| {per_commit} | {:.0} events/s | {:.0} events/s |",
            median(ours),
            median(theirs)
        );
    }
    Ok(())
}
