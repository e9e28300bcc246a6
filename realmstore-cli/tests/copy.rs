//! `copy` between the engines that are compiled in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;

use common::{copy_of_recording, realmstore, run_on, stderr, text};
use realmstore::directory::Directory;
use realmstore::{Backend, Engine, Location, OpenOptions, Order, ReadTxn, Scan};

/// The engines whose stores stay.
fn engines() -> impl Iterator<Item = Engine> {
    realmstore::ENGINES
        .iter()
        .copied()
        .filter(|engine| *engine != Engine::Memory)
}

fn location(engine: Engine, path: &Path) -> String {
    Location::new(engine, path).to_string()
}

/// All entries, but the one by which a store knows that nobody else wrote to it.
fn dump(location: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let db = OpenOptions::new()
        .read_only(true)
        .open_backend(&location.parse().unwrap())
        .unwrap();
    let txn = db.begin_read().unwrap();
    let directory = Directory::read(&txn).unwrap();
    let meta = directory
        .entries()
        .iter()
        .find(|entry| entry.name.as_deref() == Some("realmstore.meta"));
    let stamp = meta.map(|entry| [&entry.slot.to_be_bytes()[..], &[0]].concat());
    let mut scan = txn
        .scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)
        .unwrap();
    let mut entries = BTreeMap::new();
    while let Some((key, value)) = scan.next().unwrap() {
        if Some(key) != stamp.as_deref() {
            entries.insert(key.to_vec(), value.to_vec());
        }
    }
    entries
}

fn export(location: &str) -> String {
    text(&run_on(Path::new(location), "export", &[]))
}

fn copy(from: &str, to: &str) {
    let output = realmstore(&["copy", from, to]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).is_empty(), "a progress bar in a pipe");
}

#[test]
fn a_copy_over_every_engine_and_back_is_the_same_store() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let first = location(Engine::Lmdb, recording.path());
    let (exported, dumped) = (export(&first), dump(&first));
    assert_eq!(exported.lines().count(), 4 + 117 + 276);
    let mut from = first;
    for (number, engine) in engines().chain([Engine::Lmdb]).enumerate() {
        let to = location(engine, &directory.path().join(format!("{number}-{engine}")));
        copy(&from, &to);
        assert!(export(&to) == exported, "{to}");
        assert!(dump(&to) == dumped, "{to}");
        from = to;
    }
}

#[test]
fn a_copy_is_adopted_when_its_source_is() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let first = location(Engine::Lmdb, recording.path());
    for adopted in [false, true] {
        if adopted {
            text(&run_on(Path::new(&first), "adopt", &[]));
        }
        let mut from = first.clone();
        for (number, engine) in engines().chain([Engine::Lmdb]).enumerate() {
            let to = location(
                engine,
                &directory.path().join(format!("{adopted}-{number}")),
            );
            copy(&from, &to);
            let store = realmstore::open_read_only(&to).unwrap();
            assert_eq!(
                store.is_adopted(&store.begin_read().unwrap()).unwrap(),
                adopted,
                "{to}"
            );
            from = to;
        }
    }
}

#[test]
fn every_reading_command_answers_the_same_on_every_engine() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let first = location(Engine::Lmdb, recording.path());
    let commands: [&[&str]; 6] = [
        &["sessions", "--json"],
        &["publications", "--json", "--limit", "5", "--reverse"],
        &["events", "--json"],
        &["subscriptions", "--json"],
        &["history", common::SUBSCRIPTION, "--json"],
        &["get", "publication", "145182023210062"],
    ];
    let answers = |location: &str| {
        commands.map(|command| text(&run_on(Path::new(location), command[0], &command[1..])))
    };
    let expected = answers(&first);
    for engine in engines() {
        let to = location(engine, &directory.path().join(engine.name()));
        copy(&first, &to);
        assert_eq!(answers(&to), expected, "{engine}");
        // And by its path alone.
        let path = directory.path().join(engine.name());
        assert_eq!(answers(path.to_str().unwrap()), expected, "{engine}");
    }
}

#[test]
fn a_copy_never_replaces_what_is_there() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "mine").unwrap();
    let output = run_on(
        recording.path(),
        "copy",
        &[directory.path().to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("is not empty"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_copy_of_a_store_that_is_not_there_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let output = run_on(&from, "copy", &[to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_copy_that_is_killed_leaves_nothing_in_its_place() {
    use realmstore::{Publication, PublicationId, Timestamp, WriteTxn};

    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let store = realmstore::open(from.to_str().unwrap()).unwrap();
    let mut txn = store.begin_write().unwrap();
    for number in 1..=2000 {
        let id = PublicationId::new(number).unwrap();
        let mut publication = Publication::new(id, Timestamp::now(), "com.example");
        publication.payload = Some(vec![7; 64 << 10]);
        store.store_publication(&mut txn, &publication).unwrap();
    }
    txn.commit().unwrap();
    drop(store);
    let mut interrupted = 0;
    for milliseconds in [10, 30, 60, 100] {
        let mut child = realmstore(&["copy", from.to_str().unwrap(), to.to_str().unwrap()])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            fs::remove_dir_all(&to).unwrap();
        } else {
            interrupted += 1;
            assert!(!to.exists(), "half a store stands where a whole one should");
        }
    }
    assert!(interrupted > 0, "every copy was faster than the kill");
    copy(from.to_str().unwrap(), to.to_str().unwrap());
    assert_eq!(export(to.to_str().unwrap()).lines().count(), 2000);
}
