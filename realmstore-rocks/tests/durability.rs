//! What is acknowledged is there after the process was killed.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use common::*;
use realmstore_core::{Backend, Durability, ReadTxn, WriteTxn};
use realmstore_rocks::{RocksBackend, RocksOptions};

/// How many entries a commit has.
const ENTRIES: u8 = 3;

fn key(number: u64, entry: u8) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[entry]].concat()
}

fn value(number: u64) -> Vec<u8> {
    // Some are large, so that files are written while the end comes.
    let len = if number.is_multiple_of(8) {
        1 << 20
    } else {
        100
    };
    vec![number as u8; len]
}

/// Kills a writer again and again, as often as `REALMSTORE_KILLS` says.
#[test]
fn acknowledged_commits_outlive_a_kill() {
    let rounds = std::env::var("REALMSTORE_KILLS").map_or(20, |rounds| rounds.parse().unwrap());
    let (_directory, path) = scratch();
    let mut next = 0;
    for round in 0..rounds {
        let mut writer = other_process("commit_until_killed", &path)
            .env("FIRST_COMMIT", next.to_string())
            .env("ON_DISK", (round % 2).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.parse::<u64>().ok());
        let mut acknowledged = lines.next();
        assert!(acknowledged.is_some());
        std::thread::sleep(Duration::from_millis(round * 37 % 250));
        writer.kill().unwrap();
        acknowledged = lines.last().or(acknowledged);
        assert!(!writer.wait().unwrap().success());

        let store = RocksBackend::open(&path).unwrap();
        let snapshot = store.begin_read().unwrap();
        let present = |number| {
            let expected = value(number);
            let found = (0..ENTRIES)
                .filter(|&entry| {
                    let found = snapshot.get(&key(number, entry)).unwrap();
                    found.is_some_and(|found| found.as_ref() == expected)
                })
                .count();
            assert!(
                found == 0 || found == usize::from(ENTRIES),
                "{found} entries of commit {number}"
            );
            found > 0
        };
        let last = acknowledged.unwrap();
        let first = if round + 1 == rounds { 0 } else { next };
        for number in first..=last {
            assert!(present(number), "commit {number} of {last} is lost");
        }
        // One more may have been made and not been acknowledged.
        next = last + 1 + u64::from(present(last + 1));
        assert!(!present(next));
    }
}

#[test]
#[ignore = "another test runs it in a process of its own"]
#[allow(clippy::print_stdout)]
fn commit_until_killed() {
    let Some(path) = store_of_the_test() else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let store = RocksOptions::new()
        .durability(match number("ON_DISK") {
            1 => Durability::OnDisk,
            _ => Durability::Eventual,
        })
        .open(path)
        .unwrap();
    println!();
    for commit in number("FIRST_COMMIT").. {
        let mut transaction = store.begin_write().unwrap();
        for entry in 0..ENTRIES {
            transaction
                .put(&key(commit, entry), &value(commit))
                .unwrap();
        }
        transaction.commit().unwrap();
        println!("{commit}");
    }
}
