//! `realmstore purge`: what it says would go, what goes, and what stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::path::Path;

use common::{SUBSCRIPTION, copy_of_recording, lines, run_on, stderr, text};
use realmstore::lmdb::LmdbBackend;
use realmstore::record::Subscription;
use realmstore::{
    Delivery, Dispatch, Limits, MatchPolicy, Publication, PublicationId, RealmStore, Session,
    SessionId, SubscriptionId, Timestamp, WriteTxn,
};
use serde_json::{Value, json};

fn open(directory: &Path) -> RealmStore<LmdbBackend> {
    RealmStore::attach(LmdbBackend::open(directory).unwrap()).unwrap()
}

/// Ten publications of alice, a day apart, each under two subscriptions; the
/// second of these keeps three.
fn store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let now = Timestamp::now().as_nanos();
    let day = 24 * 3600 * 1_000_000_000;
    let mut txn = store.begin_write().unwrap();
    let joined = Timestamp::from_nanos(now - 100 * day);
    let mut session = Session::new(SessionId::new(5).unwrap(), joined);
    session.authid = Some("alice".to_owned());
    store.session_joined(&mut txn, &session).unwrap();
    for (id, uri) in [(1, "com.example.a"), (2, "com.example")] {
        let id = SubscriptionId::new(id).unwrap();
        let mut record = Subscription {
            subscription: id,
            realm: Some("realm1".to_owned()),
            uri: Some(uri.to_owned()),
            match_policy: (id.get() == 2).then_some(MatchPolicy::Prefix),
            ..Subscription::default()
        };
        if id.get() == 2 {
            let limits = Limits {
                max_count: Some(3),
                ..Limits::default()
            };
            limits.set_on(&mut record);
        }
        store.subscriptions().put(&mut txn, &id, &record).unwrap();
    }
    for number in 0..10 {
        let time = Timestamp::from_nanos(now - (10 - number) * day + day / 2);
        let id = PublicationId::new(1 + number).unwrap();
        let deliveries = [1, 2].map(|subscription| Delivery {
            subscription: SubscriptionId::new(subscription).unwrap(),
            timestamp: time,
            receivers: vec![SessionId::new(6).unwrap(), SessionId::new(7).unwrap()],
            ..Delivery::default()
        });
        let dispatch = Dispatch {
            publication: Publication {
                publisher: Some(SessionId::new(5).unwrap()),
                ..Publication::new(id, time, "com.example.a")
            },
            deliveries: deliveries.into(),
            retain: None,
        };
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
    directory
}

fn counts(object: &Value) -> [u64; 3] {
    ["entries", "events", "publications"].map(|name| object[name].as_u64().unwrap())
}

/// Runs a purge dry, then in earnest: both say the same. Gives the total.
fn purge(store: &Path, arguments: &[&str]) -> Value {
    let before = fs::read(store.join("data.mdb")).unwrap();
    let dry = [arguments, &["--dry-run", "--json"]].concat();
    let mut planned = lines(&run_on(store, "purge", &dry));
    assert!(
        before == fs::read(store.join("data.mdb")).unwrap(),
        "a dry run changes nothing"
    );
    let done = lines(&run_on(store, "purge", &[arguments, &["--json"]].concat()));
    for object in &mut planned {
        if object.get("dry_run").is_some() {
            assert_eq!(object["dry_run"], true);
            object["dry_run"] = json!(false);
        }
    }
    assert_eq!(planned, done);
    text(&run_on(store, "verify", &[]));
    done.last().unwrap().clone()
}

#[test]
fn each_limit_takes_what_is_too_much_and_no_more() {
    let directory = store();
    let path = directory.path();
    assert_eq!(
        counts(&purge(path, &[])),
        [7, 14, 0],
        "what stands in the store"
    );
    assert_eq!(counts(&purge(path, &[])), [0, 0, 0]);
    let by_uri = [
        "--uri",
        "com.example",
        "--match",
        "prefix",
        "--max-count",
        "2",
    ];
    assert_eq!(counts(&purge(path, &by_uri)), [1, 2, 0]);
    let by_age = purge(path, &["--subscription", "1", "--older-than", "8d"]);
    assert_eq!(counts(&by_age), [2, 4, 2]);
    let by_size = purge(path, &["--max-bytes", "0", "--uri", "com.example.a"]);
    assert_eq!(counts(&by_size), [8, 16, 6], "two are in the other history");
    let all = purge(path, &["--older-than", &Timestamp::now().to_string()]);
    assert_eq!(counts(&all), [2, 4, 2]);
}

#[test]
fn people_are_told_what_goes_and_what_becomes_of_the_space() {
    let directory = store();
    let path = directory.path();
    let planned = text(&run_on(path, "purge", &["--max-count", "4", "--dry-run"]));
    for expected in ["SUBSCRIPTION", "all", "12", "24", "Nothing was changed."] {
        assert!(planned.contains(expected), "{planned}");
    }
    let done = text(&run_on(path, "purge", &["--max-count", "4"]));
    assert!(done.contains("realmstore compact"), "{done}");
    let done = text(&run_on(path, "purge", &["--max-count", "4"]));
    assert_eq!(done, "There is nothing to remove.\n");
}

#[test]
fn an_authid_is_forgotten() {
    let directory = store();
    let path = directory.path();
    let done = purge(path, &["--authid", "alice"]);
    assert_eq!(done["sessions"], 1);
    assert_eq!(counts(&done), [20, 40, 10]);
    let export = text(&run_on(path, "export", &[]));
    assert!(!export.contains("alice"), "{export}");
    let again = text(&run_on(path, "purge", &["--authid", "alice"]));
    assert_eq!(again, "There is nothing to remove.\n");
}

#[test]
fn a_store_of_crossbar_is_to_be_adopted_first() {
    let directory = copy_of_recording();
    let path = directory.path();
    for arguments in [
        &["--max-count", "1", "--dry-run"][..],
        &["--max-count", "1"],
    ] {
        let refused = run_on(path, "purge", arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            stderr(&refused).contains("realmstore adopt"),
            "{}",
            stderr(&refused)
        );
    }
    text(&run_on(path, "adopt", &[]));
    purge(path, &["--max-count", "2"]);
    let history = lines(&run_on(path, "history", &[SUBSCRIPTION, "--json"]));
    assert_eq!(history.len(), 2);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let directory = store();
    let path = directory.path();
    for (arguments, reason) in [
        (&["--older-than", "30"][..], "no unit of time"),
        (&["--older-than", "2500-01-01T00:00:00Z"], "is yet to come"),
        (&["--older-than", "soon"], "neither a duration"),
        (&["--uri", "com.example.b"], "no subscription to"),
        (&["--match", "prefix"], "--uri"),
        (
            &["--authid", "alice", "--max-count", "1"],
            "cannot be used with",
        ),
        (&["--authid", ""], "nobody's"),
    ] {
        let refused = run_on(path, "purge", arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&refused).contains(reason), "{}", stderr(&refused));
    }
}
