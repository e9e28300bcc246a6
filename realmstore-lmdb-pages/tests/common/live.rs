//! Reading beside a process that writes as fast as it can. Each of its commits
//! changes some entries, and keeps a sum over all of them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use realmstore_core::{Backend, ErrorKind, Order, ReadTxn};
use realmstore_lmdb_pages::{PagesBackend, check, copy_snapshot};

use super::{ALL, Change, Engine, scan};

const SUM: &[u8] = b"sum";

const ENTRIES: u32 = 400;

/// What an entry adds to the sum.
fn summand(key: &[u8], value: &[u8]) -> u64 {
    let mut crc = u32::MAX;
    for byte in key.iter().chain(value) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    u64::from(!crc)
}

fn assert_sum(entries: &[(Vec<u8>, Vec<u8>)]) {
    let mut sum = 0_u64;
    let mut stored = None;
    for (key, value) in entries {
        if key == SUM {
            stored = Some(u64::from_le_bytes(value.as_slice().try_into().unwrap()));
        } else {
            sum = sum.wrapping_add(summand(key, value));
        }
    }
    assert_eq!(stored, Some(sum), "a snapshot is not what one commit left");
}

/// What the writing process does: endless transactions of a few changes each,
/// until nobody listens any more.
pub(crate) fn write_for_ever<E: Engine>(directory: &Path) {
    let mut seed = 1_u32;
    let mut random = move |below: u32| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed % below
    };
    let mut entries = BTreeMap::<Vec<u8>, u64>::new();
    let mut sum = 0_u64;
    let mut commits = 0_u32;
    E::write(directory, || {
        let mut changes = Vec::new();
        for _ in 0..1 + random(30) {
            let key = format!("key{}", random(ENTRIES)).into_bytes();
            let len = match random(20) {
                0 => 4000 + random(20_000),
                _ => random(400),
            };
            // Even, for the sake of LMDB 1.0 before its release.
            let value = vec![random(256) as u8; len as usize & !1];
            let old = if random(4) == 0 {
                changes.push(Change::Delete(key.clone()));
                entries.remove(&key)
            } else {
                let new = summand(&key, &value);
                sum = sum.wrapping_add(new);
                changes.push(Change::Put(key.clone(), value));
                entries.insert(key, new)
            };
            sum = sum.wrapping_sub(old.unwrap_or_default());
        }
        changes.push(Change::Put(SUM.to_vec(), sum.to_le_bytes().into()));
        commits += 1;
        if commits == 10 {
            println!("writing");
        }
        // So that some scans come through.
        if commits.is_multiple_of(200) {
            std::thread::sleep(Duration::from_millis(random(30).into()));
        }
        changes
    });
}

/// What came of reading for a while.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    scans: u32,
    conflicts: u32,
    commits: u64,
    copies: u32,
    repeated_copies: u32,
    busy: u32,
    checks: u32,
}

pub(crate) fn read_for(path: &Path, time: Duration) -> Tally {
    let store = PagesBackend::open(path).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy.mdb");
    let mut tally = Tally::default();
    let first = store.begin_read().unwrap().commit_number();
    let begin = Instant::now();
    let mut round = 0_u32;
    while begin.elapsed() < time {
        round += 1;
        let order = [Order::Ascending, Order::Descending][round as usize % 2];
        match scan(&store.begin_read().unwrap(), ALL, order) {
            Ok(mut entries) => {
                entries.sort();
                assert_sum(&entries);
                tally.scans += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                tally.conflicts += 1;
            }
        }
        if round.is_multiple_of(20) {
            match copy_snapshot(path, &copy) {
                Ok(copied) => {
                    assert_eq!(super::damage(&copy), []);
                    let store = PagesBackend::open(&copy).unwrap();
                    let snapshot = store.begin_read().unwrap();
                    assert_sum(&scan(&snapshot, ALL, Order::Ascending).unwrap());
                    std::fs::remove_file(&copy).unwrap();
                    tally.copies += 1;
                    tally.repeated_copies += u32::from(copied.attempts > 1);
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                    assert!(!copy.exists());
                    tally.busy += 1;
                }
            }
            let checked = check(path, |finding| {
                assert_ne!(
                    finding.severity,
                    realmstore_lmdb_pages::Severity::Damage,
                    "{finding}"
                );
            });
            match checked {
                Ok(()) => tally.checks += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    }
    let last = store.begin_read().unwrap().commit_number();
    tally.commits = last.unwrap() - first.unwrap();
    tally
}

pub(crate) fn a_reader_beside_a_busy_writer_is_never_wrong<E: Engine>() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "the_busy_writer"])
        .env("STORE_OF_THE_TEST", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(writer.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    assert!(
        lines.any(|line| line.ends_with("writing")),
        "the writer has failed"
    );
    let tally = read_for(directory.path(), Duration::from_secs(3));
    assert!(
        writer.try_wait().unwrap().is_none(),
        "the writer has failed"
    );
    writer.kill().unwrap();
    writer.wait().unwrap();
    println!("{tally:?}");
    assert!(tally.commits > 100, "{tally:?}");
    assert!(tally.scans > 0, "{tally:?}");
}
