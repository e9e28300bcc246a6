//! `export --parquet`, as pyarrow and DuckDB read it.

#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use common::every_field::fill;
use common::python::{script, succeed};
use common::{copy_of_recording, lines, run_on, stderr, text};
use realmstore::{Publication, PublicationId, Session, SessionId, Timestamp, WriteTxn};
use serde_json::{Value, json};
use tempfile::TempDir;

const TABLES: [&str; 5] = [
    "sessions",
    "publications",
    "events",
    "subscriptions",
    "retained",
];

/// What the two read of the files in a directory.
fn read(directory: &Path) -> Value {
    let output = succeed(script("parquet/read.py").arg(directory));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn export(store: &Path, directory: &Path) -> Output {
    run_on(store, "export", &["--parquet", directory.to_str().unwrap()])
}

/// The fields of each table's records by pyarrow, in the form that they have in JSON Lines.
fn rows_by_arrow(table: &str, read: &Value) -> Vec<Value> {
    let types = &read["types"];
    let rows = read["rows"].as_array().unwrap().iter().map(|row| {
        let mut record = row.as_object().unwrap().clone();
        let damaged = record.remove("damaged").unwrap();
        for (name, value) in &mut record {
            let kind = types[name].as_str().unwrap();
            if kind == "extension<arrow.json>" {
                *value = serde_json::from_str(value.as_str().unwrap()).unwrap();
            } else if kind.starts_with("timestamp") {
                *value = Timestamp::from_nanos(value.as_u64().unwrap())
                    .to_string()
                    .into();
            }
        }
        let mut line = json!({"table": table, "record": record});
        if damaged == json!(true) {
            line["damaged"] = damaged;
        }
        line
    });
    rows.collect()
}

/// The sum of each column of numbers and times, as an exact integer.
fn sums(lines: &[Value], columns: &Value) -> BTreeMap<String, Option<String>> {
    let columns = columns.as_object().unwrap().keys();
    let sum = |name: &String| {
        let values = lines.iter().filter_map(|line| match &line["record"][name] {
            Value::Null => None,
            Value::String(time) => Some(time.parse::<Timestamp>().unwrap().as_nanos().into()),
            number => Some(u128::from(number.as_u64().unwrap())),
        });
        values
            .reduce(|sum, value| sum + value)
            .map(|sum| sum.to_string())
    };
    columns.map(|name| (name.clone(), sum(name))).collect()
}

/// That what both read of the files is what stands in the JSON Lines.
fn assert_read_as_exported(store: &Path) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("not/made/yet");
    text(&export(store, &files));
    let read = read(&files);
    let exported = lines(&run_on(store, "export", &[]));
    for table in TABLES {
        let of_table = exported.iter().filter(|line| line["table"] == table);
        let expected: Vec<Value> = of_table.cloned().collect();
        let (arrow, duckdb) = (&read[table]["arrow"], &read[table]["duckdb"]);
        let found = rows_by_arrow(table, arrow);
        assert_eq!(found.len(), expected.len(), "{table}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected);
        }
        assert_eq!(duckdb["count"], expected.len());
        let found: BTreeMap<String, Option<String>> =
            serde_json::from_value(duckdb["sums"].clone()).unwrap();
        assert!(found.len() > 2, "{found:?}");
        assert_eq!(found, sums(&expected, &duckdb["sums"]), "{table}");
    }
    read
}

#[test]
fn the_recording_reads_in_both_as_it_is_exported() {
    let recording = copy_of_recording();
    let read = assert_read_as_exported(recording.path());
    for (table, rows) in TABLES.into_iter().zip([4, 117, 276, 0, 0]) {
        assert_eq!(read[table]["duckdb"]["count"], rows);
    }
}

#[test]
fn stores_with_every_field_read_in_both_as_they_are_exported() {
    for seed in 11..=13 {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        fill(store.to_str().unwrap(), seed, 200);
        assert_read_as_exported(&store);
    }
}

#[test]
fn an_empty_store_makes_files_without_rows() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path().to_str().unwrap(), 1, 0);
    let files = directory.path().join("files");
    text(&export(directory.path(), &files));
    for table in TABLES {
        assert_eq!(read(&files)[table]["duckdb"]["count"], 0);
    }
}

#[test]
fn each_column_has_the_type_of_its_field_in_both() {
    let recording = copy_of_recording();
    let files = recording.path().join("files");
    text(&export(recording.path(), &files));
    let read = read(&files);
    for (table, column, arrow, duckdb) in [
        ("sessions", "oid", "extension<arrow.uuid>", "UUID"),
        ("sessions", "session", "uint64", "UBIGINT"),
        (
            "sessions",
            "joined_at",
            "timestamp[ns, tz=UTC]",
            "TIMESTAMPTZ_NS",
        ),
        ("sessions", "worker_pid", "int32", "INTEGER"),
        ("sessions", "transport", "extension<arrow.json>", "JSON"),
        ("sessions", "authid", "string", "VARCHAR"),
        ("sessions", "damaged", "bool", "BOOLEAN"),
        ("publications", "payload", "binary", "BLOB"),
        ("publications", "retain", "bool", "BOOLEAN"),
        (
            "publications",
            "eligible",
            "list<item: uint64>",
            "UBIGINT[]",
        ),
        (
            "publications",
            "eligible_authid",
            "list<item: string>",
            "VARCHAR[]",
        ),
        ("publications", "enc_algo", "uint8", "UTINYINT"),
        ("events", "subscription", "uint64", "UBIGINT"),
        ("subscriptions", "alias_of", "uint64", "UBIGINT"),
        ("subscriptions", "match_policy", "string", "VARCHAR"),
        ("subscriptions", "max_age", "uint64", "UBIGINT"),
        (
            "events",
            "timestamp",
            "timestamp[ns, tz=UTC]",
            "TIMESTAMPTZ_NS",
        ),
    ] {
        assert_eq!(read[table]["arrow"]["types"][column], arrow, "{column}");
        assert_eq!(read[table]["duckdb"]["types"][column], duckdb, "{column}");
    }
}

#[test]
fn many_records_are_written_in_row_groups() {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().to_str().unwrap();
    fill(location, 21, 9_000);
    let store = realmstore::open(location).unwrap();
    let mut txn = store.begin_write().unwrap();
    let mut noise = 1u64;
    for id in 1..=80 {
        let payload = std::iter::repeat_with(|| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (noise >> 56) as u8
        });
        let publication = Publication {
            payload: Some(payload.take(1 << 20).collect()),
            ..Publication::new(
                PublicationId::from_stored(id),
                Timestamp::from_nanos(id),
                "a",
            )
        };
        store.store_publication(&mut txn, &publication).unwrap();
    }
    txn.commit().unwrap();
    drop(store);
    let read = assert_read_as_exported(directory.path());
    let groups = read["publications"]["arrow"]["row_groups"]
        .as_u64()
        .unwrap();
    assert!((3..=5).contains(&groups), "{groups}");
}

/// A store with a session that left in the year 2300, and a publication that is no record.
fn odd_store() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = realmstore::open(directory.path().to_str().unwrap()).unwrap();
    let mut txn = store.begin_write().unwrap();
    let last = Timestamp::from_nanos(i64::MAX as u64);
    let session = Session {
        left_at: Some("2300-01-01T00:00:00Z".parse().unwrap()),
        ..Session::new(SessionId::from_stored(1), last)
    };
    store.session_joined(&mut txn, &session).unwrap();
    let mut key = store.publications().slot().unwrap().to_be_bytes().to_vec();
    key.extend(3u64.to_be_bytes());
    txn.put(&key, b"this is no record").unwrap();
    txn.commit().unwrap();
    drop(store);
    directory
}

#[test]
fn what_parquet_cannot_hold_is_named_and_left_out_and_what_is_damaged_is_marked() {
    let store = odd_store();
    let files = store.path().join("files");
    let output = export(store.path(), &files);
    text(&output);
    let warnings = stderr(&output);
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
    assert!(
        warnings
            .contains("left_at is left out: 2300-01-01T00:00:00.000000000Z is past the year 2262"),
        "{warnings}"
    );
    let read = read(&files);
    let session = &read["sessions"]["arrow"]["rows"][0];
    assert_eq!(session["joined_at"], i64::MAX);
    assert!(session["left_at"].is_null());
    assert_eq!(session["damaged"], false);
    assert_eq!(
        read["publications"]["arrow"]["rows"],
        json!([{"publication": 3, "damaged": true}])
    );
}

#[test]
fn no_file_is_overwritten_and_none_is_left_half_done() {
    let recording = copy_of_recording();
    let files = recording.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("events.parquet"), "mine").unwrap();
    let output = export(recording.path(), &files);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("events.parquet is there already, and is not overwritten"),
        "{}",
        stderr(&output)
    );
    let names = |files: &Path| {
        let entries = fs::read_dir(files).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&files), ["events.parquet"]);
    assert_eq!(fs::read(files.join("events.parquet")).unwrap(), b"mine");
    fs::remove_file(files.join("events.parquet")).unwrap();
    text(&export(recording.path(), &files));
    assert_eq!(
        names(&files),
        [
            "events.parquet",
            "publications.parquet",
            "retained.parquet",
            "sessions.parquet",
            "subscriptions.parquet"
        ]
    );
}
