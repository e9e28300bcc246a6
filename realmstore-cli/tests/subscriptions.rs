//! What the store knows beside the history: subscriptions by name, sessions
//! that are there, and what is retained.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{clean_lines, lines, run_on, stderr, text};
use realmstore::key::{Key, KeyBuf};
use realmstore::record::Retained;
use realmstore::store::TextKey;
use realmstore::{
    Delivery, Dispatch, MatchPolicy, Publication, PublicationId, Retain, Session, SessionId,
    Subscription, SubscriptionId, Timestamp, Uuid, WriteTxn,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos((1_795_332_000 + second) * 1_000_000_000)
}

fn id(subscription: u64) -> SubscriptionId {
    SubscriptionId::new(subscription).unwrap()
}

/// A store with three subscriptions that are known by name, two of them with
/// history, and two aliases; a session that left and one that did not; and two
/// topics with something retained.
fn store() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = realmstore::open(directory.path().to_str().unwrap()).unwrap();
    let mut txn = store.begin_write().unwrap();
    let named = |subscription: u64, uri: &str, policy| Subscription {
        subscription: id(subscription),
        realm: Some("realm1".to_owned()),
        uri: Some(uri.to_owned()),
        match_policy: Some(policy),
        created_at: Some(at(1)),
        ..Subscription::default()
    };
    for subscription in [
        Subscription {
            keeps_history: Some(true),
            max_count: Some(1000),
            max_age: Some(7 * 86_400_000_000_000),
            ..named(100, "com.example.a", MatchPolicy::Exact)
        },
        named(200, "com.example.", MatchPolicy::Prefix),
        named(400, "com..b", MatchPolicy::Wildcard),
    ] {
        let table = store.subscriptions();
        table
            .put(&mut txn, &subscription.subscription, &subscription)
            .unwrap();
    }
    for alias in [5, 300] {
        store
            .alias_subscription(&mut txn, id(alias), id(200))
            .unwrap();
    }
    for (number, left) in [(1u64, Some(at(50))), (2, None)] {
        let session = Session {
            oid: Uuid::from_u128(number.into()),
            authid: Some(format!("user{number}")),
            left_at: left,
            ..Session::new(SessionId::new(number).unwrap(), at(number * 10))
        };
        store.session_joined(&mut txn, &session).unwrap();
    }
    for (number, topic, eligible, expires_at) in [
        (1, "com.example.a", None, None),
        (2, "com.example.a", Some("user1"), None),
        (3, "com.example.b", None, Some(at(60))),
        (
            4,
            "org.example",
            None,
            Some(Timestamp::from_nanos(u64::MAX)),
        ),
    ] {
        let publication = PublicationId::new(number).unwrap();
        let mut publication = Publication::new(publication, at(30 + number), topic);
        publication.eligible_authid = eligible.map(|authid| vec![authid.to_owned()]);
        let delivery = |subscription| Delivery {
            subscription: id(subscription),
            timestamp: at(30 + number),
            ..Delivery::default()
        };
        let dispatch = Dispatch {
            publication,
            deliveries: vec![delivery(5), delivery(500)],
            retain: Some(Retain { expires_at }),
        };
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
    drop(store);
    directory
}

#[test]
fn subscriptions_are_listed_with_all_that_is_known_of_them() {
    let store = store();
    let rows = clean_lines(&run_on(store.path(), "subscriptions", &["--json"]));
    let found: Vec<_> = rows.iter().map(|row| row["subscription"].clone()).collect();
    assert_eq!(found, [100, 200, 400, 500]);
    assert_eq!(
        rows[0],
        json!({
            "subscription": 100, "realm": "realm1", "uri": "com.example.a", "match_policy": "exact",
            "created_at": at(1).to_string(), "keeps_history": true, "max_count": 1000,
            "max_age": 604_800_000_000_000_u64, "topics": [], "publications": 0, "events": 0,
        })
    );
    assert_eq!(
        rows[1],
        json!({
            "subscription": 200, "realm": "realm1", "uri": "com.example.", "match_policy": "prefix",
            "created_at": at(1).to_string(), "aliases": [5, 300],
            "topics": ["com.example.a", "com.example.b", "org.example"],
            "publications": 4, "events": 4, "first": at(31).to_string(), "last": at(34).to_string(),
        })
    );
    assert_eq!(rows[3]["events"], 4);
    assert!(rows[3]["uri"].is_null());
    let table = text(&run_on(store.path(), "subscriptions", &[]));
    // The title, four subscriptions, two aliases.
    assert_eq!(table.lines().count(), 7, "{table}");
    for words in [
        "com.example.a in realm1",
        "kept, at most 1,000, at most 7 d",
        "com.example. by prefix in realm1",
        "alias of 200",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
}

#[test]
fn a_history_that_is_kept_may_be_empty() {
    let store = store();
    let output = run_on(store.path(), "history", &["100"]);
    assert_eq!(text(&output), "");
    assert!(stderr(&output).contains("no such publications in the history of subscription 100"));
    let output = run_on(store.path(), "history", &["400"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn sessions_are_found_by_whether_they_were_there() {
    let store = store();
    let sessions = |arguments: &[&str]| -> Vec<u64> {
        let arguments = [arguments, &["--json"]].concat();
        let rows = clean_lines(&run_on(store.path(), "sessions", &arguments));
        rows.iter()
            .map(|row| row["session"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(sessions(&[]), [1, 2]);
    assert_eq!(sessions(&["--open"]), [2]);
    for (time, expected) in [
        (9, &[][..]),
        (10, &[1]),
        (20, &[1, 2]),
        (49, &[1, 2]),
        (50, &[2]),
        (90, &[2]),
    ] {
        let time = at(time).to_string();
        assert_eq!(sessions(&["--present-at", &time]), expected, "{time}");
    }
    let time = at(20).to_string();
    assert_eq!(sessions(&["--present-at", &time, "--open"]), [2]);
    assert_eq!(sessions(&["--present-at", &time, "--authid", "user1"]), [1]);
}

#[test]
fn what_is_retained_is_listed_by_topic_and_as_somebody_gets_it() {
    let store = store();
    let retained = |arguments: &[&str]| -> Vec<(String, u64)> {
        let arguments = [arguments, &["--json"]].concat();
        let rows = clean_lines(&run_on(store.path(), "retained", &arguments));
        rows.iter()
            .map(|row| {
                let topic = row["topic"].as_str().unwrap().to_owned();
                (topic, row["publication"].as_u64().unwrap())
            })
            .collect()
    };
    let expected = |rows: &[(&str, u64)]| -> Vec<(String, u64)> {
        let rows = rows.iter();
        rows.map(|(topic, id)| ((*topic).to_owned(), *id)).collect()
    };
    let (a, b, org) = ("com.example.a", "com.example.b", "org.example");
    let user1 = ["--as-authid", "user1"];
    for (arguments, rows) in [
        (vec![], &[(a, 1), (a, 2), (b, 3), (org, 4)][..]),
        (vec!["--uri", a], &[(a, 1), (a, 2)]),
        (
            vec!["--uri", "com.", "--match", "prefix"],
            &[(a, 1), (a, 2), (b, 3)],
        ),
        (vec!["--uri", "..b", "--match", "wildcard"], &[(b, 3)]),
        // What was for b has expired.
        (user1.to_vec(), &[(a, 2), (org, 4)]),
        (vec!["--as-session", "1"], &[(a, 2), (org, 4)]),
        (vec!["--as-authid", "user2"], &[(a, 1), (org, 4)]),
        ([&["--uri", a][..], &user1].concat(), &[(a, 2)]),
    ] {
        assert_eq!(retained(&arguments), expected(rows), "{arguments:?}");
    }
    let row = &clean_lines(&run_on(store.path(), "retained", &["--uri", b, "--json"]))[0];
    assert_eq!(row["expires_at"], at(60).to_string());
    let table = text(&run_on(store.path(), "retained", &[]));
    assert_eq!(table.lines().count(), 5, "{table}");
}

#[test]
fn a_subscription_is_got_and_the_rows_of_new_tables_are_counted() {
    let store = store();
    let got = clean_lines(&run_on(store.path(), "get", &["subscription", "200"]));
    assert_eq!(
        got,
        [json!({
            "subscription": 200, "realm": "realm1", "uri": "com.example.",
            "match_policy": "prefix", "created_at": at(1).to_string(),
        })]
    );
    let got = clean_lines(&run_on(store.path(), "get", &["subscription", "5"]));
    assert_eq!(got, [json!({"subscription": 5, "alias_of": 200})]);
    let info = &clean_lines(&run_on(store.path(), "info", &["--json"]))[0];
    let rows = |name: &str| {
        let mut tables = info["tables"].as_array().unwrap().iter();
        tables.find(|table| table["name"] == name).unwrap()["rows"].clone()
    };
    assert_eq!(rows("realmstore.subscriptions"), 5);
    assert_eq!(rows("realmstore.retained"), 4);
}

/// The lines of an export of a table.
fn exported(store: &Path, table: &str) -> Vec<Value> {
    let lines = clean_lines(&run_on(store, "export", &[]));
    let of_table = lines.into_iter().filter(|line| line["table"] == table);
    of_table.collect()
}

fn file_of(directory: &TempDir, lines: &[Value]) -> PathBuf {
    let path = directory.path().join("lines.jsonl");
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, lines).unwrap();
    path
}

#[test]
fn what_would_hide_something_of_the_store_is_not_imported() {
    let store = store();
    let before = text(&run_on(store.path(), "export", &[]));
    let directory = tempfile::tempdir().unwrap();
    let subscription = |fields: Value| json!({"table": "subscriptions", "record": fields});
    let retained = |fields: Value| json!({"table": "retained", "record": fields});
    for (line, reason) in [
        (
            subscription(json!({"uri": "com.example.c"})),
            "subscriptions: subscription is missing",
        ),
        (
            subscription(json!({
                "subscription": 900, "realm": "realm1", "uri": "com.example.", "match_policy": "prefix"
            })),
            "subscription 200 of the store is to the same URI",
        ),
        (
            subscription(json!({"subscription": 500, "alias_of": 100})),
            "500 cannot stand for another subscription: it has a history itself",
        ),
        (
            subscription(json!({"subscription": 200, "alias_of": 100})),
            "the store has another record under this key",
        ),
        (
            subscription(json!({"subscription": 900, "match_policy": "regex"})),
            "match_policy: expected exact, prefix or wildcard, found \"regex\"",
        ),
        (
            retained(json!({"topic": "com.example.a", "publication": 77})),
            "there is no publication 77",
        ),
        (
            retained(json!({
                "topic": "com.example.a", "publication": 4, "retained_at": at(2).to_string()
            })),
            "the store retains a later publication for this topic",
        ),
        (
            retained(json!({"topic": "com.example.a", "publication": 1})),
            "the store has another record under this key",
        ),
        (
            retained(json!({"publication": 1})),
            "retained: topic is missing",
        ),
    ] {
        let file = file_of(&directory, std::slice::from_ref(&line));
        let output = run_on(store.path(), "import", &[file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        assert!(text(&run_on(store.path(), "export", &[])) == before);
    }
}

#[test]
fn what_is_retained_later_takes_the_place_of_what_the_store_retains() {
    let store = store();
    let directory = tempfile::tempdir().unwrap();
    let topic = "com.example.a";
    let file = file_of(
        &directory,
        &[
            json!({"table": "publications", "record": {"publication": 8, "topic": topic}}),
            json!({"table": "retained", "record": {
                "topic": topic, "publication": 8, "retained_at": at(99).to_string()
            }}),
        ],
    );
    text(&run_on(store.path(), "import", &[file.to_str().unwrap()]));
    let rows = exported(store.path(), "retained");
    let ids: Vec<_> = rows
        .iter()
        .map(|row| row["record"]["publication"].clone())
        .collect();
    assert_eq!(ids, [8, 3, 4]);
    // The same row with another end, in its place.
    let changed = json!({"table": "retained", "record": {
        "topic": topic, "publication": 8, "retained_at": at(99).to_string(), "expires_at": at(100).to_string()
    }});
    let file = file_of(&directory, std::slice::from_ref(&changed));
    let arguments = [file.to_str().unwrap(), "--replace"];
    text(&run_on(store.path(), "import", &arguments));
    assert_eq!(exported(store.path(), "retained")[0], changed);
}

#[test]
fn what_is_left_of_a_damaged_row_is_retained_no_longer() {
    let store = store();
    let open = realmstore::open(store.path().to_str().unwrap()).unwrap();
    let mut txn = open.begin_write().unwrap();
    let mut retained = KeyBuf::from_slice(&open.retained().slot().unwrap().to_be_bytes());
    (TextKey::new("org.example"), 0u64).encode(&mut retained);
    let mut subscription = KeyBuf::from_slice(&open.subscriptions().slot().unwrap().to_be_bytes());
    id(900).encode(&mut subscription);
    for key in [retained, subscription] {
        txn.put(&key, b"this is no record").unwrap();
    }
    txn.commit().unwrap();
    drop(open);
    let output = run_on(store.path(), "export", &[]);
    let all = lines(&output);
    for damaged in [
        json!({"table": "retained", "record": {"topic": "org.example"}, "damaged": true}),
        json!({"table": "subscriptions", "record": {"subscription": 900}, "damaged": true}),
    ] {
        assert!(all.contains(&damaged), "{damaged}");
    }
    for place in ["retained \"org.example\" number 0: ", "subscriptions 900: "] {
        assert!(stderr(&output).contains(place), "{}", stderr(&output));
    }
    // A row that can be read but for its end is there, and has ended.
    let directory = tempfile::tempdir().unwrap();
    let file = file_of(
        &directory,
        &[
            json!({"table": "publications", "record": {"publication": 8, "topic": "a"}}),
            json!({"table": "retained", "damaged": true, "record": {
                "topic": "a", "publication": 8, "retained_at": at(99).to_string()
            }}),
        ],
    );
    let into = directory.path().join("into");
    let output = run_on(&into, "import", &[file.to_str().unwrap()]);
    assert_eq!(
        text(&output),
        "2 imported, 0 already there, 0 replaced, 0 refused\n"
    );
    let row = Retained {
        topic: "a".to_owned(),
        publication: PublicationId::new(8).unwrap(),
        retained_at: at(99),
        expires_at: Some(at(99)),
    };
    let open = realmstore::open_read_only(into.to_str().unwrap()).unwrap();
    let txn = open.begin_read().unwrap();
    assert_eq!(open.retained_for(&txn, "a").unwrap()[0].1, row);
}
