//! The commands on the store that a real Crossbar.io router wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;

use common::as_cfxdb::{expected, exported};
use common::{SUBSCRIPTION, clean_lines, copy_of_recording, recording, run_on, stderr, text};
use serde_json::{Value, json};

fn is_of_subscription(record: &Value) -> bool {
    record["subscription"].as_u64() == SUBSCRIPTION.parse().ok()
}

#[test]
fn the_export_is_what_cfxdb_reads() {
    let store = copy_of_recording();
    let [sessions, publications, events] = exported(store.path());
    let file = fs::read(recording().join("expected.json")).unwrap();
    let [expected_sessions, expected_publications, expected_events] =
        expected(&serde_json::from_slice(&file).unwrap());
    assert_eq!(
        (sessions.len(), publications.len(), events.len()),
        (4, 117, 276)
    );
    assert_eq!(sessions, expected_sessions);
    assert_eq!(publications, expected_publications);
    assert_eq!(events, expected_events);
}

#[test]
fn the_export_is_in_the_order_of_tables_and_times() {
    let store = copy_of_recording();
    let places: Vec<(usize, u64, String)> = clean_lines(&run_on(store.path(), "export", &[]))
        .iter()
        .map(|line| {
            let record = &line["record"];
            let table = ["sessions", "publications", "events"]
                .iter()
                .position(|table| line["table"] == **table);
            let time = if record["joined_at"].is_null() {
                &record["timestamp"]
            } else {
                &record["joined_at"]
            };
            let subscription = record["subscription"].as_u64().unwrap_or(0);
            (
                table.unwrap(),
                subscription,
                time.as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert!(places.is_sorted());
}

#[test]
fn commands_that_read_leave_the_file_as_it_is() {
    let store = copy_of_recording();
    let data = store.path().join("data.mdb");
    let before = fs::read(&data).unwrap();
    for (command, arguments) in [
        ("info", &[][..]),
        ("sessions", &[]),
        ("publications", &["--topic", "com.example.a"]),
        ("events", &[SUBSCRIPTION]),
        ("subscriptions", &[]),
        ("history", &[SUBSCRIPTION]),
        ("get", &["publication", "145182023210062"]),
        ("export", &[]),
    ] {
        assert!(
            !text(&run_on(store.path(), command, arguments)).is_empty(),
            "{command}"
        );
        assert!(
            fs::read(&data).unwrap() == before,
            "{command} has changed the file"
        );
    }
}

#[test]
fn history_with_a_limit_in_reverse_is_the_end_of_the_whole_turned_round() {
    let store = copy_of_recording();
    let whole = clean_lines(&run_on(store.path(), "history", &[SUBSCRIPTION, "--json"]));
    assert_eq!(whole.len(), 117);
    let newest = clean_lines(&run_on(
        store.path(),
        "history",
        &[SUBSCRIPTION, "--json", "--limit", "3", "--reverse"],
    ));
    let end: Vec<_> = whole.iter().rev().take(3).cloned().collect();
    assert_eq!(newest, end);
    let oldest = clean_lines(&run_on(
        store.path(),
        "history",
        &[SUBSCRIPTION, "--json", "--limit", "3"],
    ));
    assert_eq!(oldest, whole[..3]);
}

#[test]
fn both_ends_of_a_range_of_history_are_part_of_it() {
    let store = copy_of_recording();
    let whole = clean_lines(&run_on(store.path(), "history", &[SUBSCRIPTION, "--json"]));
    let (from, until) = (
        whole[10]["timestamp"].as_str().unwrap(),
        whole[20]["timestamp"].as_str().unwrap(),
    );
    let arguments = [
        SUBSCRIPTION,
        "--json",
        "--from-time",
        from,
        "--until-time",
        until,
    ];
    assert_eq!(
        clean_lines(&run_on(store.path(), "history", &arguments)),
        whole[10..=20]
    );
}

#[test]
fn a_row_of_history_has_the_shape_that_wamp_gives_it() {
    let store = copy_of_recording();
    let row = &clean_lines(&run_on(
        store.path(),
        "history",
        &[SUBSCRIPTION, "--json", "--limit", "1"],
    ))[0];
    let fields: Vec<_> = row.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "timestamp",
            "subscription",
            "publication",
            "details",
            "args",
            "kwargs"
        ]
    );
    assert_eq!(row["subscription"].to_string(), SUBSCRIPTION);
    assert_eq!(row["details"]["topic"], "com.example.a");
    assert!(row["details"]["publisher"].is_u64());
    assert!(row["details"]["timestamp"].is_null());
}

#[test]
fn an_adopted_store_holds_and_answers_the_same() {
    let store = copy_of_recording();
    let history = || text(&run_on(store.path(), "history", &[SUBSCRIPTION, "--json"]));
    let (records_before, history_before) = (exported(store.path()), history());
    let adopted = run_on(store.path(), "adopt", &[]);
    assert!(
        text(&adopted).starts_with("276 events moved"),
        "{}",
        text(&adopted)
    );
    assert_eq!(exported(store.path()), records_before);
    assert_eq!(history(), history_before);
    let info = &clean_lines(&run_on(store.path(), "info", &["--json"]))[0];
    assert_eq!(info["adopted"], true);
    assert!(text(&run_on(store.path(), "adopt", &[])).starts_with("No events"));
    assert_eq!(exported(store.path()), records_before);
}

#[test]
fn info_counts_the_rows_of_every_table() {
    let store = copy_of_recording();
    let info = &clean_lines(&run_on(store.path(), "info", &["--json"]))[0];
    assert_eq!(info["engine"], "lmdb");
    assert_eq!(info["adopted"], false);
    assert_eq!(info["subscriptions"], 4);
    assert_eq!(
        info["size_on_disk"],
        fs::metadata(store.path().join("data.mdb")).unwrap().len()
    );
    let rows: Vec<_> = info["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["rows"].clone())
        .collect();
    assert_eq!(rows, [4, 4, 117, 276]);
    assert_eq!(
        info["tables"][0]["oid"],
        "403ecc06-f564-4ea9-92f2-c4c13bd2ba5a"
    );
    assert!(text(&run_on(store.path(), "info", &[])).contains("realmstore adopt"));
}

#[test]
fn sessions_are_found_by_authid_and_by_session_id() {
    let store = copy_of_recording();
    let all = clean_lines(&run_on(store.path(), "sessions", &["--json"]));
    assert_eq!(all.len(), 4);
    let wanted = &all[2];
    let authid = wanted["authid"].as_str().unwrap();
    assert_eq!(
        clean_lines(&run_on(
            store.path(),
            "sessions",
            &["--json", "--authid", authid]
        )),
        std::slice::from_ref(wanted)
    );
    let session = wanted["session"].to_string();
    assert_eq!(
        clean_lines(&run_on(
            store.path(),
            "sessions",
            &["--json", "--session", &session]
        )),
        std::slice::from_ref(wanted)
    );
    let last = clean_lines(&run_on(
        store.path(),
        "sessions",
        &["--json", "--limit", "1", "--reverse"],
    ));
    assert_eq!(last, all[3..]);
}

#[test]
fn a_session_is_got_by_its_oid_and_by_its_session_id() {
    let store = copy_of_recording();
    let session = &clean_lines(&run_on(
        store.path(),
        "sessions",
        &["--json", "--limit", "1"],
    ))[0];
    for key in [
        session["oid"].as_str().unwrap().to_owned(),
        session["session"].to_string(),
    ] {
        assert_eq!(
            clean_lines(&run_on(store.path(), "get", &["session", &key])),
            std::slice::from_ref(session)
        );
    }
}

#[test]
fn publications_are_listed_by_topic() {
    let store = copy_of_recording();
    let all = clean_lines(&run_on(store.path(), "publications", &["--json"]));
    let of_topic = clean_lines(&run_on(
        store.path(),
        "publications",
        &["--json", "--topic", "com.example.a"],
    ));
    let wanted: Vec<_> = all
        .iter()
        .filter(|publication| publication["topic"] == "com.example.a")
        .cloned()
        .collect();
    assert_eq!((all.len(), of_topic.len()), (117, 42));
    assert_eq!(of_topic, wanted);
}

#[test]
fn events_of_a_subscription_are_those_of_all_that_have_it() {
    let store = copy_of_recording();
    let all = clean_lines(&run_on(store.path(), "events", &["--json"]));
    let events = clean_lines(&run_on(store.path(), "events", &[SUBSCRIPTION, "--json"]));
    let wanted: Vec<_> = all
        .iter()
        .filter(|event| is_of_subscription(event))
        .cloned()
        .collect();
    assert_eq!(events, wanted);
    let mut reversed = clean_lines(&run_on(store.path(), "events", &["--json", "--reverse"]));
    reversed.reverse();
    assert_eq!(reversed, all);
    assert_eq!(
        clean_lines(&run_on(store.path(), "events", &["--json", "--limit", "5"])),
        all[..5]
    );
}

#[test]
fn subscriptions_tell_what_they_have_history_of() {
    let store = copy_of_recording();
    let rows = clean_lines(&run_on(store.path(), "subscriptions", &["--json"]));
    assert_eq!(rows.len(), 4);
    let row = rows.iter().find(|row| is_of_subscription(row)).unwrap();
    let history = clean_lines(&run_on(store.path(), "history", &[SUBSCRIPTION, "--json"]));
    assert_eq!(
        row["topics"],
        json!(["com.example.a", "com.example.b.ü", "com.example.deep.x.y"])
    );
    assert_eq!(row["publications"], history.len());
    assert_eq!(row["events"], 117);
    assert_eq!(row["first"], history[0]["timestamp"]);
}

#[test]
fn tables_for_people_have_a_row_for_each_record() {
    let store = copy_of_recording();
    for (command, records) in [
        ("sessions", 4),
        ("publications", 117),
        ("events", 276),
        ("subscriptions", 4),
    ] {
        let output = run_on(store.path(), command, &[]);
        assert_eq!(text(&output).lines().count(), records + 1, "{command}");
        assert_eq!(stderr(&output), "", "{command}");
    }
}
