//! Beside the real cfxdb, the Python library by which Crossbar.io keeps its
//! realm stores: each opens, reads and writes what the other wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use common::as_cfxdb::{assert_same, expected, exported, records};
use common::python::{lmdb_of, peer};
use common::{clean_lines, lines, run_on, stderr, text};
use realmstore::cbor::{Cbor, Value as CborValue};
use realmstore::{
    EncAlgo, EncSerializer, Event, Publication, PublicationId, RealmStore, Session, SessionId,
    SubscriptionId, Timestamp, Uuid, WriteTxn,
};
use serde_json::{Value, json};

/// What cfxdb reads.
fn dump(store: &Path) -> Value {
    serde_json::from_slice(&peer("dump", store, &[]).stdout).unwrap()
}

/// The rows of the index by session ID, as cfxdb reads them.
fn index_rows(dump: &Value) -> BTreeSet<String> {
    dump["index"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect()
}

/// The rows that the index should have.
fn index_rows_of(dump: &Value) -> BTreeSet<String> {
    let sessions = dump["sessions"].as_array().unwrap();
    sessions
        .iter()
        .map(|row| json!([row[1]["session"], row[1]["joined_at"], row[0]]).to_string())
        .collect()
}

fn path_in(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("store")
}

fn open(store: &Path) -> RealmStore<impl realmstore::Backend> {
    realmstore::open(store.to_str().unwrap()).unwrap()
}

#[test]
fn what_cfxdb_wrote_is_exported_as_cfxdb_reads_it() {
    let mut damaged = 0;
    for seed in 1..=5 {
        let directory = tempfile::tempdir().unwrap();
        let store = path_in(&directory);
        peer("make", &store, &[&seed.to_string()]);
        let dump = dump(&store);
        let before = std::fs::read(store.join("data.mdb")).unwrap();

        assert_same(&exported(&store), &expected(&dump));

        // Those whose lists cfxdb lost are marked, and named.
        let output = run_on(&store, "export", &[]);
        let complaints = stderr(&output);
        for line in lines(&output)
            .iter()
            .filter(|line| !line["damaged"].is_null())
        {
            damaged += 1;
            let record = &line["record"];
            assert!(
                record["exclude"] == json!([]) || record["eligible"] == json!([]),
                "{line}"
            );
            assert!(
                complaints.contains(&record["publication"].to_string()),
                "{complaints}"
            );
        }
        assert!(before == std::fs::read(store.join("data.mdb")).unwrap());
    }
    assert!(
        damaged > 0,
        "cfxdb damaged nothing: the test shows less than it should"
    );
}

#[test]
fn cfxdb_reads_and_writes_a_compacted_store_as_before() {
    for lmdb in ["0.9", "1.0"] {
        let directory = tempfile::tempdir().unwrap();
        let store = path_in(&directory);
        peer("make", &store, &["1", "--lmdb", lmdb]);
        for seed in 2..=3 {
            peer("add", &store, &[&seed.to_string()]);
        }
        let expected = dump(&store);
        let size = std::fs::metadata(store.join("data.mdb")).unwrap().len();
        text(&run_on(&store, "compact", &[]));
        assert!(std::fs::metadata(store.join("data.mdb")).unwrap().len() < size);
        assert_eq!(lmdb_of(&store), lmdb);
        assert!(dump(&store) == expected, "{lmdb}");
        peer("add", &store, &["5"]);
        assert_same(&exported(&store), &self::expected(&dump(&store)));
    }
}

fn session(number: u64) -> Session {
    let maybe = |bit: u64| number & (1 << bit) != 0;
    let text = |bit, name: &str| maybe(bit).then(|| format!("{name}-✓-{number}"));
    let uuid = |bit| maybe(bit).then(|| Uuid::from_u128(u128::from(number) << 64 | 7));
    let map = |bit| {
        maybe(bit).then(|| {
            Cbor::from(&CborValue::Map(vec![
                (
                    CborValue::Text("n".into()),
                    CborValue::Integer(number.into()),
                ),
                (
                    CborValue::Text("b".into()),
                    CborValue::Bytes(number.to_be_bytes().into()),
                ),
                (CborValue::Text("f".into()), CborValue::Float(0.5)),
                (CborValue::Text("none".into()), CborValue::Null),
            ]))
        })
    };
    Session {
        arealm_oid: uuid(0),
        left_at: maybe(1).then(|| Timestamp::from_nanos(1_800_000_000_000_000_000 + number)),
        node_oid: uuid(2),
        node_authid: text(3, "node"),
        worker_name: text(4, "worker"),
        worker_pid: maybe(5).then_some(-1),
        transport: map(1),
        proxy_node_oid: uuid(0),
        proxy_node_authid: text(1, "proxy"),
        proxy_worker_name: text(2, "proxy worker"),
        proxy_worker_pid: maybe(3).then_some(0),
        proxy_transport: map(4),
        // cfxdb cannot read a session without a realm.
        realm: Some("realm1".to_owned()),
        authid: text(0, "authid"),
        authrole: text(5, "role"),
        authmethod: maybe(2).then(String::new),
        authprovider: text(4, "provider"),
        authextra: map(3),
        ..Session::new(
            SessionId::from_stored(1 + number),
            Timestamp::from_nanos(1_700_000_000_000_000_000 + number),
        )
    }
}

fn publication(number: u64) -> Publication {
    let maybe = |bit: u64| number & (1 << bit) != 0;
    let flag = |bit: u64| [None, Some(false), Some(true), None][(number >> bit & 3) as usize];
    let ids = |bit, len: u64| {
        maybe(bit).then(|| {
            (0..len)
                .map(|id| SessionId::from_stored(number + id))
                .collect()
        })
    };
    let texts = |bit, len| maybe(bit).then(|| vec![format!("ü{number}"); len]);
    let mut publication = Publication {
        publisher: maybe(0).then(|| SessionId::from_stored(number)),
        acknowledge: flag(0),
        retain: flag(1),
        exclude_me: flag(2),
        // Lists of an odd length and of none among them.
        exclude: ids(3, number % 4),
        exclude_authid: texts(4, 1),
        exclude_authrole: texts(5, 2),
        eligible: ids(4, number % 3),
        eligible_authid: texts(2, 0),
        eligible_authrole: texts(1, 3),
        ..Publication::new(
            PublicationId::from_stored(1 + number),
            Timestamp::from_nanos(1_700_000_000_000_000_000 + number),
            format!("com.example.{number}"),
        )
    };
    if maybe(5) {
        publication.payload = Some(vec![0, 255, number as u8]);
        publication.enc_algo = Some(EncAlgo(number as u8 % 5));
        publication.enc_key = Some(b"key".to_vec());
        publication.enc_serializer = Some(EncSerializer(number as u8 % 7));
    } else {
        publication.args = maybe(0).then(|| Cbor::serialize(&(number, "x", [1.5])).unwrap());
        publication.kwargs = maybe(1).then(|| Cbor::from(&CborValue::Map(vec![])));
    }
    publication
}

#[test]
fn what_we_wrote_is_read_by_cfxdb() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory);
    let store = open(&path);
    let mut txn = store.begin_write().unwrap();
    for number in 0..64 {
        store.session_joined(&mut txn, &session(number)).unwrap();
        store
            .store_publication(&mut txn, &publication(number))
            .unwrap();
        let event = Event::new(
            SubscriptionId::new(7).unwrap(),
            Timestamp::from_nanos(number),
            PublicationId::from_stored(1 + number),
        );
        store.store_events(&mut txn, [&event]).unwrap();
    }
    txn.commit().unwrap();
    drop(store);

    let [sessions, publications, events] = exported(&path);
    assert_eq!(
        (sessions.len(), publications.len(), events.len()),
        (64, 64, 64)
    );
    let dump = dump(&path);
    let [read_sessions, read_publications, _] = expected(&dump);
    assert_same(
        &[&sessions, &publications].map(Clone::clone),
        &[read_sessions, read_publications],
    );
    assert_eq!(index_rows(&dump), index_rows_of(&dump));
    assert_eq!(index_rows(&dump).len(), 64);

    // cfxdb has attached a table of its own to our file: everything is still there.
    assert_eq!(exported(&path), [sessions, publications, events]);
}

#[test]
fn a_store_of_cfxdb_that_we_wrote_to_still_opens_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = path_in(&directory);
    peer("make", &path, &["11"]);
    let [before, _, all_events] = expected(&dump(&path));
    assert!(!all_events.is_empty());

    let store = open(&path);
    let leaving = before
        .values()
        .find(|session| session["left_at"].is_null())
        .unwrap();
    let leaving = SessionId::from_stored(leaving["session"].as_u64().unwrap());
    let left_at = Timestamp::from_nanos(1_900_000_000_000_000_000);
    let mut txn = store.begin_write().unwrap();
    for number in 0..64 {
        store.session_joined(&mut txn, &session(number)).unwrap();
        store
            .store_publication(&mut txn, &publication(number))
            .unwrap();
    }
    assert!(
        store
            .session_left(&mut txn, leaving, left_at)
            .unwrap()
            .is_some()
    );
    txn.commit().unwrap();
    let adoption = store
        .adopt(
            |_| ControlFlow::Continue(()),
            |key, error| panic!("{key:?} {error}"),
        )
        .unwrap();
    assert_eq!(adoption.events_moved, all_events.len() as u64);
    drop(store);

    let read = dump(&path);
    let [sessions, publications, events] = exported(&path);
    let [read_sessions, read_publications, read_events] = expected(&read);
    assert_eq!(sessions.len(), 40 + 64);
    assert_eq!(read_sessions, sessions);
    assert_eq!(read_publications, publications);
    assert_eq!(index_rows(&read), index_rows_of(&read));
    assert!(
        read_sessions
            .values()
            .any(|session| session["left_at"] == json!(left_at.as_nanos()))
    );
    assert!(read_events.is_empty(), "the events were moved");
    assert_eq!(events, all_events);

    // And once more: cfxdb writes on, knowing nothing of our tables, and all of it is in our answers.
    peer("add", &path, &["12"]);
    let read = dump(&path);
    let [sessions, publications, events] = exported(&path);
    let [read_sessions, read_publications, read_events] = expected(&read);
    assert_eq!(sessions.len(), 40 + 64 + 40);
    assert_eq!(read_sessions, sessions);
    assert_eq!(read_publications, publications);
    assert!(!read_events.is_empty());
    assert_eq!(events.len(), all_events.len() + read_events.len());
    assert!(
        read_events
            .iter()
            .all(|(key, event)| events.get(key) == Some(event))
    );

    let store = open(&path);
    let txn = store.begin_read().unwrap();
    assert!(!store.is_adopted(&txn).unwrap());
    for authid in (0..6).map(|number| format!("authid-{number}")) {
        let found = store
            .sessions_by_authid(&txn, &authid)
            .unwrap()
            .map(Result::unwrap);
        let wanted = sessions
            .values()
            .filter(|session| session["authid"] == authid.as_str())
            .count();
        assert_eq!(found.count(), wanted, "{authid}");
    }
}

#[test]
fn what_was_exported_edited_and_imported_is_read_by_cfxdb_in_both_formats() {
    for lmdb in ["0.9", "1.0"] {
        let directory = tempfile::tempdir().unwrap();
        let store = path_in(&directory);
        peer("make", &store, &["21", "--lmdb", lmdb]);
        assert_eq!(lmdb_of(&store), lmdb);
        let [_, _, first_events] = expected(&dump(&store));
        let mut wanted = lines(&run_on(&store, "export", &[]));

        // One session leaves, another one joins, and publishes what a third one gets.
        let leaving = wanted
            .iter_mut()
            .find(|line| line["table"] == "sessions" && line["record"]["left_at"].is_null())
            .unwrap();
        leaving["record"]["left_at"] = json!("2030-01-02T03:04:05.000000006Z");
        let leaving = leaving.clone();
        let mut joining = leaving.clone();
        joining["record"]["oid"] = json!("6d4ad0a6-2b0e-4d31-9a2c-3c3f65a1a9a1");
        joining["record"]["session"] = json!(9_007_199_254_740_992_u64);
        joining["record"]["joined_at"] = json!("2030-01-02T03:04:05.000000007Z");
        joining["record"].as_object_mut().unwrap().remove("left_at");
        let publication = json!({"table": "publications", "record": {
            "timestamp": "2030-01-02T03:04:05.000000008Z", "publication": 4711, "publisher": 9_007_199_254_740_992_u64,
            "topic": "com.example.imported", "args": ["\u{0}AP8=", {"list": [1, -2, 0.5, null]}],
            "exclude": [1, 2, 3], "eligible_authrole": ["frontend"],
        }});
        let event = json!({"table": "events", "record": {
            "timestamp": "2030-01-02T03:04:05.000000009Z", "subscription": 7, "publication": 4711, "receiver": 8,
        }});
        let written = [leaving, joining, publication, event];
        let file = directory.path().join("edited.jsonl");
        std::fs::write(
            &file,
            written.each_ref().map(|line| format!("{line}\n")).concat(),
        )
        .unwrap();
        text(&run_on(
            &store,
            "import",
            &[file.to_str().unwrap(), "--replace"],
        ));
        wanted.extend(written.into_iter().skip(1));

        // All of it is in our answers, and cfxdb reads all of it but the event, which is in our own table.
        let wanted = records(wanted);
        assert_same(&exported(&store), &wanted);
        assert_eq!(lmdb_of(&store), lmdb);
        let read = dump(&store);
        let [read_sessions, read_publications, read_events] = expected(&read);
        assert_same(&wanted[..2], &[read_sessions, read_publications]);
        assert_eq!(index_rows(&read), index_rows_of(&read));
        assert_eq!(index_rows(&read).len(), 41);
        assert!(
            read_events
                .iter()
                .all(|(key, event)| first_events.get(key) == Some(event))
        );
        let rows = clean_lines(&run_on(&store, "history", &["7", "--json"]));
        assert_eq!(rows.len(), 1);
        assert_eq!(
            rows[0]["args"],
            json!(["\u{0}AP8=", {"list": [1, -2, 0.5, null]}])
        );

        // cfxdb writes on, knowing nothing of our tables, and both are in our answers.
        peer("add", &store, &["22"]);
        assert_eq!(lmdb_of(&store), lmdb);
        let read = dump(&store);
        let [read_sessions, read_publications, read_events] = expected(&read);
        let [sessions, publications, events] = exported(&store);
        assert_eq!(
            (sessions.len(), publications.len()),
            (40 + 1 + 40, 100 + 1 + 100)
        );
        assert_same(
            &[sessions, publications],
            &[read_sessions, read_publications],
        );
        assert_eq!(index_rows(&read), index_rows_of(&read));
        let [_, _, mut all_events] = wanted;
        let before = all_events.len();
        all_events.extend(read_events);
        assert!(all_events.len() > before);
        assert_same(&[events], &[all_events]);
    }
}
