//! Damaged stores, and what the tool says when it cannot do what it is asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use common::{
    SUBSCRIPTION, clean_lines, copy_of_recording, lines, realmstore, run_on, stderr, text,
};
use realmstore::cbor::Cbor;
use realmstore::key::{Key, KeyBuf};
use realmstore::lmdb::LmdbBackend;
use realmstore::record::Record;
use realmstore::{
    Event, HistoryQuery, Publication, PublicationId, RealmStore, SubscriptionId, Timestamp,
    WriteTxn,
};
use serde_json::json;

fn open(directory: &Path) -> RealmStore<LmdbBackend> {
    RealmStore::attach(LmdbBackend::open(directory).unwrap()).unwrap()
}

fn publication(id: u64) -> Publication {
    Publication::new(
        PublicationId::new(id).unwrap(),
        Timestamp::from_nanos(id),
        "com.example.a",
    )
}

fn event(publication: u64) -> Event {
    Event::new(
        SubscriptionId::new(7).unwrap(),
        Timestamp::from_nanos(publication),
        PublicationId::new(publication).unwrap(),
    )
}

/// A store in which publication 2 has arguments that are no CBOR, 3 is no
/// record at all, and 4 is gone; all were dispatched under subscription 7.
fn damaged_store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut txn = store.begin_write().unwrap();
    store.store_publication(&mut txn, &publication(1)).unwrap();
    let broken = Publication {
        args: Some(Cbor::from_bytes([0x82, 0x01])),
        ..publication(2)
    };
    store.store_publication(&mut txn, &broken).unwrap();
    let mut key = KeyBuf::from_slice(&store.publications().slot().unwrap().to_be_bytes());
    PublicationId::new(3).unwrap().encode(&mut key);
    txn.put(&key, b"this is no record").unwrap();
    store
        .store_events(&mut txn, &[1, 2, 3, 4].map(event))
        .unwrap();
    txn.commit().unwrap();
    drop(store);
    directory
}

#[test]
fn what_is_damaged_is_exported_as_far_as_it_can_be_read() {
    let store = damaged_store();
    let output = run_on(store.path(), "export", &[]);
    let records = lines(&output);
    let publications: Vec<_> = records
        .iter()
        .filter(|line| line["table"] == "publications")
        .collect();
    assert_eq!(publications.len(), 3);
    // What has no time comes first.
    assert_eq!(
        *publications[0],
        json!({"table": "publications", "record": {"publication": 3}, "damaged": true})
    );
    assert!(publications[1]["damaged"].is_null());
    assert_eq!(publications[2]["damaged"], true);
    assert_eq!(publications[2]["record"]["args"], json!({"$cbor": "ggE="}));
    assert_eq!(publications[2]["record"]["topic"], "com.example.a");
    assert_eq!(
        records
            .iter()
            .filter(|line| line["table"] == "events")
            .count(),
        4
    );
    let warnings = stderr(&output);
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
    assert!(
        warnings.contains("realmstore: warning: publications 2: "),
        "{warnings}"
    );
    assert!(
        warnings.contains("realmstore: warning: publications 3: "),
        "{warnings}"
    );
}

#[test]
fn history_has_a_row_also_where_the_publication_is_damaged_or_gone() {
    let store = damaged_store();
    let output = run_on(store.path(), "history", &["7", "--json"]);
    let rows = lines(&output);
    let ids: Vec<_> = rows
        .iter()
        .map(|row| row["publication"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(rows[0]["details"], json!({"topic": "com.example.a"}));
    assert_eq!([1, 2].map(|row| rows[row]["damaged"].clone()), [true, true]);
    assert_eq!(rows[3]["details"], json!({}));
    assert!(
        stderr(&output).contains("there is no publication 4"),
        "{}",
        stderr(&output)
    );
    let table = text(&run_on(store.path(), "history", &["7"]));
    assert_eq!(table.lines().count(), 5, "{table}");
}

#[test]
fn a_damaged_record_can_be_got() {
    let store = damaged_store();
    let output = run_on(store.path(), "get", &["publication", "3"]);
    assert_eq!(lines(&output), [json!({"publication": 3, "damaged": true})]);
    assert!(
        stderr(&output).contains("publications 3: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_event_of_crossbar_that_is_damaged_is_named_and_not_lost() {
    let directory = copy_of_recording();
    let store = realmstore::open_read_only(directory.path().to_str().unwrap()).unwrap();
    let slot = {
        let txn = store.begin_read().unwrap();
        realmstore::directory::Directory::read(&txn)
            .unwrap()
            .slot(realmstore::store::CROSSBAR_EVENTS_OID)
            .unwrap()
    };
    drop(store);
    let backend = LmdbBackend::open(directory.path()).unwrap();
    let mut txn = realmstore::Backend::begin_write(&backend).unwrap();
    let subscription: u64 = SUBSCRIPTION.parse().unwrap();
    let key = [
        &slot.to_be_bytes()[..],
        &subscription.to_be_bytes(),
        &1_795_332_972_600_000_000u64.to_le_bytes(),
    ]
    .concat();
    txn.put(&key, b"this is no record").unwrap();
    txn.put(&[&slot.to_be_bytes()[..], b"short"].concat(), b"neither")
        .unwrap();
    txn.commit().unwrap();
    drop(backend);

    let output = run_on(directory.path(), "export", &[]);
    let records = lines(&output);
    let damaged: Vec<_> = records
        .iter()
        .filter(|line| line["damaged"] == true)
        .collect();
    assert_eq!(records.len(), 397 + 2);
    assert_eq!(damaged.len(), 2);
    let expected =
        json!({"timestamp": "2026-11-22T07:36:12.600000000Z", "subscription": subscription});
    assert!(
        damaged.iter().any(|line| line["record"] == expected),
        "{damaged:?}"
    );
    let warnings = stderr(&output);
    assert!(
        warnings.contains(&format!(
            "events {SUBSCRIPTION} at 2026-11-22T07:36:12.600000000Z: "
        )),
        "{warnings}"
    );
    assert!(warnings.contains("events 0x73686f7274: "), "{warnings}");
}

#[test]
fn tables_of_others_are_counted_and_told_apart() {
    let directory = copy_of_recording();
    let backend = LmdbBackend::open(directory.path()).unwrap();
    let mut txn = realmstore::Backend::begin_write(&backend).unwrap();
    let entry: std::collections::BTreeMap<_, _> = [
        ("oid", "6d4ad0a6-2b0e-4d31-9a2c-3c3f65a1a9a1"),
        ("name", "example.configurations"),
    ]
    .into();
    txn.put(
        &[0, 0, 0, 9],
        &Cbor::serialize(&entry).unwrap().into_bytes(),
    )
    .unwrap();
    txn.put(&[0, 9, 1], b"a row").unwrap();
    txn.put(&[0, 10, 1], b"a row of nobody knows what").unwrap();
    txn.put(&[0, 10, 2], b"another one").unwrap();
    txn.commit().unwrap();
    drop(backend);

    let info = &clean_lines(&run_on(directory.path(), "info", &["--json"]))[0];
    let tables = info["tables"].as_array().unwrap();
    let other = json!({
        "slot": 9, "oid": "6d4ad0a6-2b0e-4d31-9a2c-3c3f65a1a9a1", "name": "example.configurations", "rows": 1
    });
    assert_eq!(tables[4..], [other, json!({"slot": 10, "rows": 2})]);
    let table = text(&run_on(directory.path(), "info", &[]));
    assert!(
        table
            .lines()
            .any(|line| line.contains("example.configurations") && line.contains("others")),
        "{table}"
    );
    assert!(
        table.lines().any(|line| line.contains("unknown")),
        "{table}"
    );
}

#[test]
fn an_event_that_is_in_both_tables_comes_once() {
    let directory = copy_of_recording();
    let before = clean_lines(&run_on(directory.path(), "events", &["--json"]));
    text(&run_on(directory.path(), "adopt", &[]));
    let store = open(directory.path());
    let event: Event = {
        let txn = store.begin_read().unwrap();
        let mut events = store
            .events_of(&txn, SUBSCRIPTION.parse().unwrap(), HistoryQuery::default())
            .unwrap();
        events.next().unwrap().unwrap()
    };
    let slot = {
        let txn = store.begin_read().unwrap();
        realmstore::directory::Directory::read(&txn)
            .unwrap()
            .slot(realmstore::store::CROSSBAR_EVENTS_OID)
            .unwrap()
    };
    drop(store);
    let backend = LmdbBackend::open(directory.path()).unwrap();
    let mut txn = realmstore::Backend::begin_write(&backend).unwrap();
    let time = event.timestamp.as_nanos().to_le_bytes();
    let key = [
        &slot.to_be_bytes()[..],
        &event.subscription.get().to_be_bytes(),
        &time,
    ]
    .concat();
    txn.put(&key, &event.to_bytes().unwrap()).unwrap();
    txn.commit().unwrap();
    drop(backend);
    assert_eq!(
        clean_lines(&run_on(directory.path(), "events", &["--json"])),
        before
    );
    let mut reversed = clean_lines(&run_on(
        directory.path(),
        "events",
        &["--json", "--reverse"],
    ));
    reversed.reverse();
    assert_eq!(reversed, before);
}

/// What the tool writes to standard error when it exits with 2 and prints nothing.
fn failure(arguments: &[&str]) -> String {
    let output = realmstore(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    stderr(&output)
}

#[test]
fn a_store_that_is_not_there_is_an_error_and_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for command in [
        "info",
        "sessions",
        "publications",
        "events",
        "subscriptions",
        "export",
        "adopt",
    ] {
        let message = failure(&[command, missing.to_str().unwrap()]);
        assert!(
            message.starts_with("realmstore: error: "),
            "{command}: {message}"
        );
        assert!(
            message.contains("there is no LMDB store"),
            "{command}: {message}"
        );
        assert_eq!(message.lines().count(), 1, "{command}: {message}");
        assert!(!missing.exists(), "{command}");
    }
}

#[test]
fn what_is_no_store_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("data.mdb"),
        "this is no database ".repeat(1000),
    )
    .unwrap();
    let message = failure(&["info", directory.path().to_str().unwrap()]);
    assert!(
        message.starts_with("realmstore: error: lmdb: open: "),
        "{message}"
    );
}

#[test]
fn an_engine_that_is_not_there_is_an_error() {
    let message = failure(&["info", "rocksdb:/tmp/store"]);
    assert!(message.contains("no engine \"rocksdb\""), "{message}");
}

#[test]
fn arguments_that_make_no_sense_are_errors() {
    for arguments in [
        &["history", "store", "0"][..],
        &["history", "store", "7", "--from-time", "yesterday"],
        &["sessions", "store", "--session", "9007199254740993"],
        &["get", "store", "call", "1"],
        &["frobnicate"],
        &[],
    ] {
        assert!(!failure(arguments).is_empty());
    }
}

#[test]
fn a_record_that_is_not_there_is_an_error() {
    let store = copy_of_recording();
    let store = store.path().to_str().unwrap();
    for (table, key, message) in [
        ("publication", "1", "there is no publication 1"),
        ("publication", "x", "\"x\" is not a publication ID"),
        ("subscription", "1", "subscription 1 is not known by name"),
        (
            "session",
            "1",
            "there is no session with the WAMP session ID 1",
        ),
        (
            "session",
            "57e3e744-0000-0000-0000-000000000000",
            "there is no session with the OID",
        ),
        ("session", "joe", "neither the OID of a session"),
    ] {
        let found = failure(&["get", store, table, key]);
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let store = copy_of_recording();
    let mut child = realmstore(&["export", store.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with('{'));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut message = String::new();
    child.stderr.unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(message, "");
}
