//! The benchmark in its quick form: it comes to its end, and has measured
//! everything. What the numbers are is not looked at.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn everything_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let plots = directory.path().join("plots");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("--quick")
        .arg("--json")
        .arg(&json)
        .arg("--plots")
        .arg(&plots)
        .arg("--stores")
        .arg(directory.path())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");

    let rows: Vec<Value> = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    for row in &rows {
        for field in ["workload", "engine", "versus", "unit"] {
            assert!(
                row[field].as_str().is_some_and(|text| !text.is_empty()),
                "{row}"
            );
        }
        for field in ["value", "ratio"] {
            assert!(row[field].as_f64().is_some_and(f64::is_finite), "{row}");
        }
        assert_eq!(row["target"].is_string(), row["met"].is_boolean(), "{row}");
    }
    let has = |workload: &str, engine: &str, versus: &str| {
        rows.iter().any(|row| {
            row["workload"] == workload && row["engine"] == engine && row["versus"] == versus
        })
    };
    for workload in [
        "ingest, durable",
        "ingest, not synced",
        "newest 100 events",
        "latest session",
    ] {
        for (engine, versus) in [
            ("LMDB", "raw LMDB"),
            ("LMDB", "SQLite"),
            ("LMDB", "redb"),
            ("RocksDB", "raw RocksDB"),
            ("RocksDB", "fjall"),
            ("sled", "raw sled"),
        ] {
            assert!(
                has(workload, engine, versus),
                "{workload}: {engine} beside {versus}"
            );
        }
    }
    assert!(has("latest session, 300 publications", "LMDB", "cfxdb"));
    for plot in ["ingest", "newest", "session", "scan", "raw", "growth"] {
        let drawn = fs::read_to_string(plots.join(plot).with_extension("svg")).unwrap();
        assert!(
            drawn.contains("realmstore") || drawn.contains("LMDB"),
            "{plot}"
        );
    }
}
