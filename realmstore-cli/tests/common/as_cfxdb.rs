//! Comparing what the tool exports with what cfxdb reads.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{lines, run_on};

/// A value as the expected file has it: byte strings are `{"$bytes": hex}`.
fn as_expected(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with('\0') => {
            bytes(&STANDARD.decode(&text[1..]).unwrap())
        }
        Value::Array(items) => items.iter().map(as_expected).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), as_expected(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn bytes(bytes: &[u8]) -> Value {
    json!({"$bytes": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()})
}

/// A record as the expected file has it, with times in nanoseconds and OIDs as bytes.
fn record_as_expected(record: &Value) -> Value {
    let mut converted = Map::new();
    for (name, value) in record.as_object().unwrap() {
        let value = match name.as_str() {
            "timestamp" | "joined_at" | "left_at" => {
                let time: realmstore::Timestamp = value.as_str().unwrap().parse().unwrap();
                time.as_nanos().into()
            }
            "oid" | "arealm_oid" | "node_oid" | "proxy_node_oid" => bytes(
                realmstore::Uuid::parse_str(value.as_str().unwrap())
                    .unwrap()
                    .as_bytes(),
            ),
            _ => as_expected(value),
        };
        converted.insert(name.clone(), value);
    }
    converted.into()
}

/// Without the fields that cfxdb cannot tell from unset ones.
pub fn normalised(record: &Value) -> Value {
    let nothing = [
        json!(null),
        json!(0),
        json!(false),
        json!(""),
        json!([]),
        json!({}),
        json!({"$bytes": ""}),
    ];
    let fields = record
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| !nothing.contains(value));
    fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<Map<_, _>>()
        .into()
}

pub type Records = BTreeMap<String, Value>;

/// What cfxdb reads out of a store: sessions, publications, events by their keys.
pub fn expected(expected: &Value) -> [Records; 3] {
    let rows = |table: &str| expected[table].as_array().unwrap().clone();
    let keyed = |table: &str| {
        rows(table)
            .iter()
            .map(|row| (row[0].to_string().replace('"', ""), normalised(&row[1])))
            .collect::<Records>()
    };
    let events = rows("events")
        .iter()
        .map(|row| (format!("{} {}", row[0], row[1]), normalised(&row[2])))
        .collect();
    [keyed("sessions"), keyed("publications"), events]
}

/// What the tool exports, in the same form.
pub fn exported(store: &Path) -> [Records; 3] {
    records(lines(&run_on(store, "export", &[])))
}

/// Exported lines in the same form.
pub fn records(lines: impl IntoIterator<Item = Value>) -> [Records; 3] {
    let mut tables = [Records::new(), Records::new(), Records::new()];
    for line in lines {
        let record = &line["record"];
        let converted = record_as_expected(record);
        let (table, key) = match line["table"].as_str().unwrap() {
            "sessions" => (0, record["oid"].as_str().unwrap().to_owned()),
            "publications" => (1, record["publication"].to_string()),
            "events" => (
                2,
                format!("{} {}", record["subscription"], converted["timestamp"]),
            ),
            other => panic!("{other}"),
        };
        assert!(
            tables[table].insert(key, normalised(&converted)).is_none(),
            "{line} comes twice"
        );
    }
    tables
}

/// Compares record by record, so that a failure shows the one that differs.
#[track_caller]
pub fn assert_same(ours: &[Records], theirs: &[Records]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        for (key, record) in theirs {
            assert_eq!(ours.get(key), Some(record), "{key}");
        }
        let more: Vec<_> = ours
            .keys()
            .filter(|key| !theirs.contains_key(*key))
            .collect();
        assert!(more.is_empty(), "cfxdb does not read {more:?}");
    }
}
