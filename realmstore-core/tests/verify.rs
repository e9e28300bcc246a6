//! Damaged stores: what is wrong is named, a repair makes the store sound,
//! loses no byte, and touches nothing that was sound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use proptest::prelude::*;
use realmstore_core::cbor::Cbor;
use realmstore_core::directory::Directory;
use realmstore_core::key::{Key, KeyBuf};
use realmstore_core::memory::MemoryBackend;
use realmstore_core::record::{MatchPolicy, Quarantined, Record, Retained, Subscription};
use realmstore_core::store::{
    CROSSBAR_EVENTS_OID, EventKey, Finding, GetRetained, Repair, Retain, Severity, TextKey,
    Verification, quarantine, repair, verify,
};
use realmstore_core::{
    Backend, Event, HistoryQuery, Order, Publication, PublicationId, ReadTxn, RealmStore, Scan,
    Session, SessionId, SubscriptionId, Timestamp, Uuid, WriteTxn,
};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const META: &str = "realmstore.meta";
const SESSIONS: &str = "cfxdb.realmstore._session.Sessions";
const BY_ID: &str = "cfxdb.realmstore._session.IndexSessionsBySessionId";
const BY_AUTHID: &str = "realmstore.sessions_by_authid";
const BY_LEAVING: &str = "realmstore.sessions_by_leaving";
const SUBSCRIPTIONS: &str = "realmstore.subscriptions";
const BY_URI: &str = "realmstore.subscriptions_by_uri";
const RETAINED: &str = "realmstore.retained";
const PUBLICATIONS: &str = "cfxdb.realmstore._publication.Publications";
const EVENTS: &str = "realmstore.events";
const HISTORY: &str = "realmstore.history";
const POSITIONS: &str = "realmstore.history_positions";

fn rows(db: &MemoryBackend) -> Rows {
    let txn = db.begin_read().unwrap();
    let mut scan = txn
        .scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)
        .unwrap();
    let mut rows = Rows::new();
    while let Some((key, value)) = scan.next().unwrap() {
        rows.insert(key.to_vec(), value.to_vec());
    }
    rows
}

fn write(db: &MemoryBackend, rows: &Rows) {
    let mut txn = db.begin_write().unwrap();
    for (key, value) in rows {
        txn.put(key, value).unwrap();
    }
    txn.commit().unwrap();
}

fn verified(db: &MemoryBackend) -> (Verification, Vec<Finding>) {
    let mut findings = Vec::new();
    let found = verify(db, |finding| {
        findings.push(finding);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(found.complete);
    (found, findings)
}

fn repaired(db: &MemoryBackend) -> Repair {
    repair(db, |_| ControlFlow::Continue(())).unwrap()
}

fn quarantined(db: &MemoryBackend) -> Vec<Quarantined> {
    let txn = db.begin_read().unwrap();
    let table = quarantine(&txn).unwrap();
    let mut scan = table.range(&txn, .., Order::Ascending).unwrap();
    let mut found = Vec::new();
    while let Some(row) = scan.next().unwrap() {
        found.push(row.to_owned().unwrap());
    }
    found
}

fn slot(db: &MemoryBackend, name: &str) -> u16 {
    let directory = Directory::read(&db.begin_read().unwrap()).unwrap();
    let mut entries = directory.entries().iter();
    entries
        .find(|entry| entry.name.as_deref() == Some(name))
        .unwrap()
        .slot
}

/// A key of a table, with its slot.
fn key(db: &MemoryBackend, table: &str, key: &[u8]) -> Vec<u8> {
    [&slot(db, table).to_be_bytes()[..], key].concat()
}

fn bytes(key: impl Key) -> Vec<u8> {
    let mut bytes = KeyBuf::new();
    key.encode(&mut bytes);
    bytes.to_vec()
}

fn oid(number: u128) -> Uuid {
    Uuid::from_u128(0x1000 + number)
}

fn session(number: u64) -> Session {
    Session {
        oid: oid(number.into()),
        authid: Some(format!("authid{number}")),
        authextra: Some(Cbor::from_bytes([0xa1, 0x61, b'a', 1])),
        ..Session::new(
            SessionId::new(number).unwrap(),
            Timestamp::from_nanos(1000 + number),
        )
    }
}

fn publication(id: u64) -> Publication {
    Publication {
        args: Some(Cbor::from_bytes([0x82, 1, 2])),
        exclude: Some(vec![SessionId::from_stored(9), SessionId::from_stored(8)]),
        exclude_authid: Some(vec!["joe".to_owned()]),
        ..Publication::new(
            PublicationId::new(id).unwrap(),
            Timestamp::from_nanos(id),
            "com.example.topic",
        )
    }
}

fn event(subscription: u64, time: u64, publication: u64, receiver: u64) -> Event {
    Event {
        receiver: Some(SessionId::from_stored(receiver)),
        retained: Some(true),
        ..Event::new(
            SubscriptionId::from_stored(subscription),
            Timestamp::from_nanos(time),
            PublicationId::from_stored(publication),
        )
    }
}

fn event_key(subscription: u64, time: u64, publication: u64, receiver: u64) -> Vec<u8> {
    bytes(EventKey::from(&event(
        subscription,
        time,
        publication,
        receiver,
    )))
}

fn id(number: u64) -> SubscriptionId {
    SubscriptionId::from_stored(number)
}

fn subscription(number: u64) -> Subscription {
    Subscription {
        subscription: id(number),
        realm: Some("realm1".to_owned()),
        uri: Some(format!("com.example.{number}")),
        match_policy: Some(MatchPolicy::Prefix),
        created_at: Some(Timestamp::from_nanos(1)),
        max_count: Some(100),
        ..Subscription::default()
    }
}

fn alias(number: u64, of: u64) -> Subscription {
    Subscription {
        subscription: id(number),
        alias_of: Some(id(of)),
        ..Subscription::default()
    }
}

fn retained(publication: u64) -> Retained {
    Retained {
        topic: "com.example.topic".to_owned(),
        publication: PublicationId::from_stored(publication),
        retained_at: Timestamp::from_nanos(publication),
        expires_at: Some(Timestamp::from_nanos(9000)),
    }
}

fn retained_key(topic: &str, number: u64) -> Vec<u8> {
    bytes((TextKey::new(topic), number))
}

/// A sound store of our own: three sessions, of which one has left; four
/// publications, each with three events under subscription 7 and one under 8,
/// the last of them retained; two subscriptions, of which the second has no
/// events, and two aliases of the first; and when a node was last alive.
fn store() -> MemoryBackend {
    let store = RealmStore::attach(MemoryBackend::new()).unwrap();
    let mut txn = store.begin_write().unwrap();
    for number in 1..=3 {
        store.session_joined(&mut txn, &session(number)).unwrap();
    }
    for id in 1..=4 {
        store.store_publication(&mut txn, &publication(id)).unwrap();
        let events: Vec<Event> = (1..=3).map(|n| event(7, id * 10 + n, id, n)).collect();
        store.store_events(&mut txn, &events).unwrap();
        store
            .store_events(&mut txn, [&event(8, id * 10, id, 1)])
            .unwrap();
    }
    let left_at = Timestamp::from_nanos(5000);
    store
        .session_left(&mut txn, SessionId::from_stored(3), left_at)
        .unwrap();
    for record in [subscription(7), subscription(9), alias(70, 7), alias(71, 7)] {
        store
            .subscriptions()
            .put(&mut txn, &record.subscription, &record)
            .unwrap();
    }
    let retain = Retain {
        expires_at: retained(4).expires_at,
    };
    store.retain(&mut txn, &publication(4), retain).unwrap();
    store.note_alive(&mut txn, oid(500), left_at).unwrap();
    txn.commit().unwrap();
    drop(store.begin_read().unwrap());
    let copy = MemoryBackend::new();
    realmstore_core::store::copy(store.db(), &copy, |_| ControlFlow::Continue(())).unwrap();
    copy
}

/// Damages a store.
type Damage<'d> = &'d dyn Fn(&mut Rows);

/// Damages a sound store, and holds the repair to all that it promises.
#[track_caller]
fn check_repair(
    db: MemoryBackend,
    damage: Damage<'_>,
    expected: &[(Severity, &str, &str)],
) -> MemoryBackend {
    let sound = rows(&db);
    let mut damaged = sound.clone();
    damage(&mut damaged);
    let db = MemoryBackend::new();
    write(&db, &damaged);

    let (found, findings) = verified(&db);
    for (severity, table, key) in expected {
        assert!(
            findings.iter().any(|finding| finding.severity == *severity
                && finding.table == *table
                && finding.key == *key),
            "{severity} {table} {key} is not in {findings:#?}"
        );
    }
    let has_errors = expected.iter().any(|(severity, ..)| *severity == Error);
    assert_eq!(found.errors > 0, has_errors, "{findings:#?}");
    assert_eq!(rows(&db), damaged, "verifying changed the store");

    assert!(repaired(&db).complete);
    let (found, findings) = verified(&db);
    assert_eq!(found.errors, 0, "{findings:#?}");
    let after = rows(&db);
    let kept: Vec<Quarantined> = quarantined(&db);
    // Not a byte is lost, and what was sound is as it was.
    for (key, value) in &damaged {
        let is_stamp = key[..] == [&slot(&db, META).to_be_bytes()[..], &[0]].concat();
        assert!(
            after.get(key) == Some(value)
                || is_stamp
                || kept
                    .iter()
                    .any(|row| row.key.as_ref() == Some(key) && row.value.as_ref() == Some(value)),
            "{key:02x?} is lost"
        );
        if sound.get(key) == Some(value) {
            assert!(
                after.get(key) == Some(value) || is_stamp || is_derived(&db, key),
                "{key:02x?} was sound and was touched"
            );
        }
    }
    // A second repair has nothing to do.
    assert_eq!(repaired(&db).tables, []);
    assert_eq!(rows(&db), after);
    db
}

/// A row that is wrong: its table, the name that findings have for it, key,
/// value, and how it is named.
type WrongRow = (
    &'static str,
    &'static str,
    Vec<u8>,
    Vec<u8>,
    Severity,
    String,
);

/// Whether a row follows from others, and changes with them.
fn is_derived(db: &MemoryBackend, key: &[u8]) -> bool {
    [BY_ID, BY_AUTHID, BY_LEAVING, BY_URI, HISTORY, POSITIONS]
        .iter()
        .any(|table| key[..2] == slot(db, table).to_be_bytes())
}

use Severity::{Error, Remark, Warning};

#[test]
fn a_sound_store_has_no_findings_and_is_not_touched_by_a_repair() {
    let db = store();
    let before = rows(&db);
    assert_eq!(verified(&db).1, []);
    assert_eq!(repaired(&db).tables, []);
    assert_eq!(rows(&db), before);
    let store = RealmStore::attach(db).unwrap();
    assert!(store.is_adopted(&store.begin_read().unwrap()).unwrap());
}

#[test]
fn a_record_that_is_none_is_moved_aside_and_its_events_stay() {
    let db = store();
    let place = key(&db, PUBLICATIONS, &bytes(2u64));
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), b"no record".to_vec())),
        &[(Error, "publications", "2")],
    );
    assert!(!rows(&db).contains_key(&place));
    let remark = |finding: &Finding| (finding.severity, finding.table);
    assert_eq!(
        verified(&db).1.iter().map(remark).collect::<Vec<_>>(),
        [(Remark, "events")]
    );
    let store = RealmStore::attach(db).unwrap();
    let txn = store.begin_read().unwrap();
    let history = store.history(
        &txn,
        SubscriptionId::from_stored(7),
        HistoryQuery::default(),
    );
    assert_eq!(history.unwrap().count(), 4);
}

#[test]
fn a_session_that_is_none_is_moved_aside_with_the_rows_that_led_to_it() {
    let db = store();
    let place = key(&db, SESSIONS, oid(2).as_bytes());
    let db = check_repair(
        db,
        &|rows| rows.get_mut(&place).unwrap().truncate(3),
        &[(Error, "sessions", &oid(2).to_string())],
    );
    let tables: Vec<_> = quarantined(&db)
        .iter()
        .map(|row| row.table.unwrap())
        .collect();
    assert_eq!(tables.len(), 4, "{tables:?}");
}

#[test]
fn an_event_that_is_none_is_made_anew_from_its_key() {
    let db = store();
    let place = key(&db, EVENTS, &event_key(7, 21, 2, 1));
    let named = "7 at 1970-01-01T00:00:00.000000021Z publication 2 receiver 1";
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), Vec::new())),
        &[(Error, "events", named)],
    );
    let event = Event::decode(&rows(&db)[&place]).unwrap();
    assert_eq!(
        event,
        Event {
            retained: None,
            ..self::event(7, 21, 2, 1)
        }
    );
}

#[test]
fn a_record_under_another_key_is_moved_aside() {
    for (table, label, good, bad, text) in [
        (
            SESSIONS,
            "sessions",
            oid(1).as_bytes().to_vec(),
            oid(77).as_bytes().to_vec(),
            oid(77).to_string(),
        ),
        (
            PUBLICATIONS,
            "publications",
            bytes(1u64),
            bytes(77u64),
            "77".to_owned(),
        ),
        (
            EVENTS,
            "events",
            event_key(7, 11, 1, 1),
            event_key(7, 11, 3, 1),
            "7 at 1970-01-01T00:00:00.000000011Z publication 3 receiver 1".to_owned(),
        ),
        (
            PUBLICATIONS,
            "publications",
            bytes(1u64),
            vec![1, 2, 3],
            "0x010203".to_owned(),
        ),
        (
            SESSIONS,
            "sessions",
            oid(1).as_bytes().to_vec(),
            vec![1],
            "0x01".to_owned(),
        ),
        (
            EVENTS,
            "events",
            event_key(7, 11, 1, 1),
            bytes(7u64),
            "0x0000000000000007".to_owned(),
        ),
    ] {
        let db = store();
        let (good, bad) = (key(&db, table, &good), key(&db, table, &bad));
        let db = check_repair(
            db,
            &|rows| {
                let record = rows[&good].clone();
                rows.insert(bad.clone(), record);
            },
            &[(Error, label, &text)],
        );
        assert!(!rows(&db).contains_key(&bad), "{label}");
    }
}

#[test]
fn what_can_be_read_of_a_record_takes_its_place() {
    let db = store();
    let place = key(&db, PUBLICATIONS, &bytes(2u64));
    let broken = Publication {
        args: Some(Cbor::from_bytes([0x82, 1])),
        ..publication(2)
    };
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), broken.to_bytes().unwrap())),
        &[(Error, "publications", "2")],
    );
    let left = Publication::decode(&rows(&db)[&place]).unwrap();
    assert_eq!(
        left,
        Publication {
            args: None,
            ..publication(2)
        }
    );

    let place = key(&db, SESSIONS, oid(1).as_bytes());
    let broken = Session {
        authextra: Some(Cbor::from_bytes([0xff])),
        ..session(1)
    };
    let db = check_repair(
        store(),
        &|rows| drop(rows.insert(place.clone(), broken.to_bytes().unwrap())),
        &[(Error, "sessions", &oid(1).to_string())],
    );
    let left = Session::decode(&rows(&db)[&place]).unwrap();
    assert_eq!(
        left,
        Session {
            authextra: None,
            ..session(1)
        }
    );
}

#[test]
fn a_record_that_lacks_its_identity_gets_it_from_its_key() {
    let db = store();
    let place = key(&db, PUBLICATIONS, &bytes(2u64));
    let without = Publication {
        publication: PublicationId::default(),
        ..publication(2)
    };
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), without.to_bytes().unwrap())),
        &[(Error, "publications", "2")],
    );
    assert_eq!(
        Publication::decode(&rows(&db)[&place]).unwrap(),
        publication(2)
    );
}

#[test]
fn a_publication_whose_receivers_were_lost_admits_nobody_after_a_repair() {
    for name in [
        "publication-lost-exclude.bin",
        "publication-lost-eligible.bin",
    ] {
        let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
        let lost = std::fs::read(path).unwrap();
        let db = store();
        let place = key(&db, PUBLICATIONS, &bytes(123456u64));
        let db = check_repair(
            db,
            &|rows| drop(rows.insert(place.clone(), lost.clone())),
            &[(Error, "publications", "123456")],
        );
        let left = Publication::decode(&rows(&db)[&place]).unwrap();
        assert_eq!(left.eligible, Some(vec![]), "{name}");
        assert!(left.topic.starts_with("com.example"), "{left:?}");
        let kept = quarantined(&db);
        assert_eq!(kept.len(), 1);
        assert!(
            kept[0]
                .problem
                .as_ref()
                .unwrap()
                .contains("lost its length")
        );
    }
    // A text of the list of authids that is no text.
    let db = store();
    let place = key(&db, PUBLICATIONS, &bytes(2u64));
    let mut broken = publication(2).to_bytes().unwrap();
    let at = broken.windows(3).position(|text| text == b"joe").unwrap();
    broken[at] = 0xff;
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), broken.clone())),
        &[(Error, "publications", "2")],
    );
    let left = Publication::decode(&rows(&db)[&place]).unwrap();
    assert_eq!(
        (left.eligible, left.exclude),
        (Some(vec![]), publication(2).exclude)
    );
}

#[test]
fn a_damaged_record_of_a_later_version_is_moved_whole() {
    let db = store();
    let place = key(&db, EVENTS, &event_key(7, 21, 2, 1));
    // Its vtable says that there is one more field.
    let mut later = Event {
        acknowledged_delivery: Some(true),
        ..event(7, 21, 2, 1)
    }
    .to_bytes()
    .unwrap();
    let table = u32::from_le_bytes(*later.first_chunk().unwrap()) as usize;
    let to_vtable = i32::from_le_bytes(*later[table..].first_chunk().unwrap());
    let vtable = (table as i64 - i64::from(to_vtable)) as usize;
    let (head, body) = later.split_at(vtable);
    let mut grown = head.to_vec();
    let size = u16::from_le_bytes(*body.first_chunk().unwrap());
    assert_eq!(size, 16, "the vtable of an event with all of its fields");
    grown.extend_from_slice(body);
    grown[vtable..vtable + 2].copy_from_slice(&(size + 2).to_le_bytes());
    // And its publication is another one.
    later = grown;
    let id = later
        .windows(8)
        .position(|bytes| bytes == 2u64.to_le_bytes())
        .unwrap();
    later[id] = 3;
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), later.clone())),
        &[(
            Error,
            "events",
            "7 at 1970-01-01T00:00:00.000000021Z publication 2 receiver 1",
        )],
    );
    assert!(!rows(&db).contains_key(&place));
}

#[test]
fn events_without_a_publication_stay_and_the_loss_is_noted() {
    let db = store();
    let place = key(&db, PUBLICATIONS, &bytes(2u64));
    let events = slot(&db, EVENTS).to_be_bytes();
    let db = check_repair(
        db,
        &|rows| drop(rows.remove(&place)),
        &[(
            Error,
            "events",
            "7 at 1970-01-01T00:00:00.000000021Z publication 2 receiver 1",
        )],
    );
    assert_eq!(
        rows(&db)
            .keys()
            .filter(|key| key.starts_with(&events))
            .count(),
        16
    );
    let kept = quarantined(&db);
    assert_eq!(kept.len(), 1, "one for all of its events");
    assert_eq!((&kept[0].key, &kept[0].value), (&Some(place), &None));
}

#[test]
fn rows_that_are_missing_are_named_and_made() {
    let at = Timestamp::from_nanos;
    let session = SessionId::from_stored(2);
    let authid = bytes(("authid2".to_owned(), at(1002), oid(2)));
    let (seven, two) = (
        SubscriptionId::from_stored(7),
        PublicationId::from_stored(2),
    );
    for (table, label, row, text) in [
        (
            BY_ID,
            "sessions_by_session_id",
            bytes((session, at(1002))),
            "2 at 1970-01-01T00:00:00.000001002Z".to_owned(),
        ),
        (
            BY_AUTHID,
            "sessions_by_authid",
            authid,
            format!(
                "\"authid2\" at 1970-01-01T00:00:00.000001002Z session {}",
                oid(2)
            ),
        ),
        (
            BY_LEAVING,
            "sessions_by_leaving",
            bytes((Timestamp::MAX, at(1002), oid(2))),
            format!(
                "open since 1970-01-01T00:00:00.000001002Z session {}",
                oid(2)
            ),
        ),
        (
            BY_LEAVING,
            "sessions_by_leaving",
            bytes((at(5000), at(1003), oid(3))),
            format!(
                "1970-01-01T00:00:00.000005000Z since 1970-01-01T00:00:00.000001003Z session {}",
                oid(3)
            ),
        ),
        (
            BY_URI,
            "subscriptions_by_uri",
            bytes((TextKey::new("com.example.7"), seven)),
            "\"com.example.7\" subscription 7".to_owned(),
        ),
        (
            HISTORY,
            "history",
            bytes((seven, at(21), 0u32, two)),
            "7 at 1970-01-01T00:00:00.000000021Z publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((two, seven)),
            "7 publication 2".to_owned(),
        ),
    ] {
        let db = store();
        let sound = rows(&db);
        let row = key(&db, table, &row);
        let db = check_repair(
            db,
            &|rows| drop(rows.remove(&row).unwrap()),
            &[(Error, label, &text)],
        );
        assert_eq!(rows(&db), sound, "{label}");
    }
}

#[test]
fn rows_that_lead_nowhere_or_elsewhere_or_are_none_are_named_and_moved_aside() {
    let at = Timestamp::from_nanos;
    let two = SessionId::from_stored(2);
    let (seven, id) = (
        SubscriptionId::from_stored(7),
        PublicationId::from_stored(2),
    );
    let nowhere = oid(99).as_bytes().to_vec();
    let time = "1970-01-01T00:00:00.000001002Z";
    let cases: Vec<WrongRow> = vec![
        (
            BY_ID,
            "sessions_by_session_id",
            bytes((SessionId::from_stored(5), at(1002))),
            nowhere.clone(),
            Error,
            format!("5 at {time}"),
        ),
        (
            BY_ID,
            "sessions_by_session_id",
            bytes((two, at(1002))),
            oid(1).as_bytes().to_vec(),
            Error,
            format!("2 at {time}"),
        ),
        (
            BY_ID,
            "sessions_by_session_id",
            bytes((two, at(1002))),
            nowhere,
            Error,
            format!("2 at {time}"),
        ),
        (
            BY_ID,
            "sessions_by_session_id",
            bytes((two, at(1002))),
            vec![1, 2],
            Error,
            format!("2 at {time}"),
        ),
        (
            BY_ID,
            "sessions_by_session_id",
            vec![9],
            vec![],
            Error,
            "0x09".to_owned(),
        ),
        (
            BY_AUTHID,
            "sessions_by_authid",
            bytes(("x".to_owned(), at(1002), oid(99))),
            vec![],
            Warning,
            format!("\"x\" at {time} session {}", oid(99)),
        ),
        (
            BY_AUTHID,
            "sessions_by_authid",
            bytes(("x".to_owned(), at(1002), oid(2))),
            vec![],
            Warning,
            format!("\"x\" at {time} session {}", oid(2)),
        ),
        (
            BY_AUTHID,
            "sessions_by_authid",
            bytes(("authid2".to_owned(), at(1002), oid(2))),
            vec![7],
            Error,
            format!("\"authid2\" at {time} session {}", oid(2)),
        ),
        (
            BY_AUTHID,
            "sessions_by_authid",
            vec![b'x', 0, 9],
            vec![],
            Error,
            "0x780009".to_owned(),
        ),
        (
            BY_LEAVING,
            "sessions_by_leaving",
            bytes((at(6000), at(1003), oid(3))),
            vec![],
            Warning,
            format!(
                "1970-01-01T00:00:00.000006000Z since 1970-01-01T00:00:00.000001003Z session {}",
                oid(3)
            ),
        ),
        (
            BY_LEAVING,
            "sessions_by_leaving",
            bytes((Timestamp::MAX, at(1002), oid(99))),
            vec![],
            Warning,
            format!("open since {time} session {}", oid(99)),
        ),
        (
            BY_LEAVING,
            "sessions_by_leaving",
            bytes((Timestamp::MAX, at(1002))),
            vec![],
            Error,
            "0xffffffffffffffff00000000000003ea".to_owned(),
        ),
        (
            BY_URI,
            "subscriptions_by_uri",
            bytes((TextKey::new("com.example.8"), seven)),
            vec![],
            Warning,
            "\"com.example.8\" subscription 7".to_owned(),
        ),
        (
            BY_URI,
            "subscriptions_by_uri",
            bytes((TextKey::new("com.example.7"), self::id(70))),
            vec![],
            Warning,
            "\"com.example.7\" subscription 70".to_owned(),
        ),
        (
            BY_URI,
            "subscriptions_by_uri",
            bytes((TextKey::new("com.example.7"), self::id(99))),
            vec![],
            Warning,
            "\"com.example.7\" subscription 99".to_owned(),
        ),
        (
            BY_URI,
            "subscriptions_by_uri",
            vec![b'c', 0, 0],
            vec![],
            Error,
            "0x630000".to_owned(),
        ),
        (
            HISTORY,
            "history",
            bytes((seven, at(21), 1u32, id)),
            vec![],
            Error,
            "7 at 1970-01-01T00:00:00.000000021Z publication 2".to_owned(),
        ),
        (
            HISTORY,
            "history",
            bytes((seven, at(9), 0u32, id)),
            vec![],
            Error,
            "7 at 1970-01-01T00:00:00.000000009Z publication 2".to_owned(),
        ),
        (
            HISTORY,
            "history",
            bytes((seven, at(22), 0u32, id)),
            vec![],
            Error,
            "7 at 1970-01-01T00:00:00.000000022Z publication 2".to_owned(),
        ),
        (
            HISTORY,
            "history",
            bytes((seven, at(21), 0u32, id)),
            vec![1],
            Error,
            "7 at 1970-01-01T00:00:00.000000021Z publication 2".to_owned(),
        ),
        (
            HISTORY,
            "history",
            vec![0, 1],
            vec![],
            Error,
            "0x0001".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((PublicationId::from_stored(9), seven)),
            bytes((at(21), 0u32, 1u64)),
            Error,
            "7 publication 9".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, SubscriptionId::from_stored(1))),
            bytes((at(21), 0u32, 1u64)),
            Error,
            "1 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, seven)),
            bytes((at(22), 0u32, 3u64)),
            Error,
            "7 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, seven)),
            bytes((at(5), 0u32, 3u64)),
            Error,
            "7 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, seven)),
            bytes((at(21), 0u32, 2u64)),
            Error,
            "7 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, seven)),
            bytes((at(21), 0u32, 4u64)),
            Error,
            "7 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, seven)),
            bytes((at(21), 0u32, 1u64 << 63 | 3)),
            Error,
            "7 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes((id, seven)),
            vec![1, 2, 3],
            Error,
            "7 publication 2".to_owned(),
        ),
        (
            POSITIONS,
            "history_positions",
            bytes(seven),
            vec![],
            Error,
            "0x0000000000000007".to_owned(),
        ),
    ];
    for (table, label, row, value, severity, text) in cases {
        let db = store();
        let sound = rows(&db);
        let quarantine_free = |db: &MemoryBackend| -> Rows {
            let own: Vec<[u8; 2]> = [slot(db, "realmstore.quarantine"), 0, slot(db, META)]
                .map(u16::to_be_bytes)
                .to_vec();
            rows(db)
                .into_iter()
                .filter(|(key, _)| !own.contains(key.first_chunk().unwrap()))
                .collect()
        };
        let row = key(&db, table, &row);
        let db = check_repair(
            db,
            &|rows| drop(rows.insert(row.clone(), value.clone())),
            &[(severity, label, &text)],
        );
        let after = quarantine_free(&db);
        let before: Rows = sound
            .into_iter()
            .filter(|(key, _)| key[..2] != [0, 0] && key[..2] != slot(&db, META).to_be_bytes())
            .collect();
        assert_eq!(after, before, "{label} {text}");
        let kept = quarantined(&db);
        assert!(
            kept.iter()
                .any(|kept| kept.key.as_ref() == Some(&row) && kept.value.as_ref() == Some(&value)),
            "{label} {text}"
        );
        let store = RealmStore::attach(db).unwrap();
        assert!(
            store.is_adopted(&store.begin_read().unwrap()).unwrap(),
            "{label} {text}"
        );
    }
}

#[test]
fn an_alias_leads_to_a_subscription_and_not_to_another_alias() {
    let with_a_name = Subscription {
        uri: Some("com.example.of.its.own".to_owned()),
        realm: Some("realm1".to_owned()),
        ..alias(70, 7)
    };
    for (record, expected) in [
        // It is led to the end,
        (alias(70, 71), Some(alias(70, 7))),
        // says nothing else of itself,
        (with_a_name, Some(alias(70, 7))),
        // and leads to something that is there, but not to itself.
        (alias(70, 99), None),
        (alias(70, 70), None),
        (alias(70, 0), None),
    ] {
        let db = store();
        let place = key(&db, SUBSCRIPTIONS, &bytes(70u64));
        let db = check_repair(
            db,
            &|rows| drop(rows.insert(place.clone(), record.to_bytes().unwrap())),
            &[(Error, "subscriptions", "70")],
        );
        let left = rows(&db)
            .get(&place)
            .map(|left| Subscription::decode(left).unwrap());
        assert_eq!(left, expected, "{record:?}");
    }
    // Two that lead to each other.
    let db = store();
    let place = |number: u64| key(&db, SUBSCRIPTIONS, &bytes(number));
    let places = [place(70), place(71)];
    let db = check_repair(
        store(),
        &|rows| {
            rows.insert(places[0].clone(), alias(70, 71).to_bytes().unwrap());
            rows.insert(places[1].clone(), alias(71, 70).to_bytes().unwrap());
        },
        &[
            (Error, "subscriptions", "70"),
            (Error, "subscriptions", "71"),
        ],
    );
    assert!(places.iter().all(|place| !rows(&db).contains_key(place)));
}

#[test]
fn an_alias_stays_as_long_as_the_subscription_has_a_record_or_events() {
    // Subscription 7 has events, by which its aliases still find them.
    let db = store();
    let place = |number: u64| key(&db, SUBSCRIPTIONS, &bytes(number));
    let (seven, nine, seventy) = (place(7), place(9), place(70));
    let db = check_repair(
        store(),
        &|rows| drop(rows.insert(seven.clone(), b"no record".to_vec())),
        &[(Error, "subscriptions", "7")],
    );
    assert!(rows(&db).contains_key(&seventy) && !rows(&db).contains_key(&seven));
    // Subscription 9 has none; that its record is lost is known only once it is moved.
    let db = check_repair(
        store(),
        &|rows| {
            rows.insert(nine.clone(), b"no record".to_vec());
            rows.insert(seventy.clone(), alias(70, 9).to_bytes().unwrap());
        },
        &[(Error, "subscriptions", "9")],
    );
    assert!(!rows(&db).contains_key(&seventy));
}

#[test]
fn a_subscription_is_known_in_full_or_moved_aside() {
    let db = store();
    let place = key(&db, SUBSCRIPTIONS, &bytes(7u64));
    let damaged = |what: &[u8], with: &[u8]| {
        let mut record = subscription(7).to_bytes().unwrap();
        let at = record.windows(what.len()).position(|part| part == what);
        record[at.unwrap()..][..with.len()].copy_from_slice(with);
        record
    };
    for broken in [
        damaged(b"com.example.7", &[0xff]),
        damaged(b"realm1", &[0xff]),
        alias(7, 9).to_bytes().unwrap()[..20].to_vec(),
        subscription(8).to_bytes().unwrap(),
    ] {
        let db = check_repair(
            store(),
            &|rows| drop(rows.insert(place.clone(), broken.clone())),
            &[(Error, "subscriptions", "7")],
        );
        assert!(!rows(&db).contains_key(&place));
    }
    // Without its ID it has that of its key, and one that only its ID is known of is none the worse.
    let nameless = Subscription {
        subscription: SubscriptionId::default(),
        ..subscription(7)
    };
    let db = check_repair(
        store(),
        &|rows| drop(rows.insert(place.clone(), nameless.to_bytes().unwrap())),
        &[(Error, "subscriptions", "7")],
    );
    assert_eq!(
        Subscription::decode(&rows(&db)[&place]).unwrap(),
        subscription(7)
    );
    let limits = Subscription {
        subscription: id(8),
        max_count: Some(1),
        ..Subscription::default()
    };
    let place = key(&db, SUBSCRIPTIONS, &bytes(8u64));
    let mut with_limits = rows(&store());
    with_limits.insert(place, limits.to_bytes().unwrap());
    let db = MemoryBackend::new();
    write(&db, &with_limits);
    assert_eq!(verified(&db).1, []);
}

#[test]
fn two_subscriptions_to_the_same_both_stay() {
    let db = store();
    let twin = Subscription {
        subscription: id(12),
        ..subscription(9)
    };
    let place = key(&db, SUBSCRIPTIONS, &bytes(12u64));
    let row = key(&db, BY_URI, &bytes((TextKey::new("com.example.9"), id(12))));
    let db = check_repair(
        db,
        &|rows| {
            rows.insert(place.clone(), twin.to_bytes().unwrap());
            rows.insert(row.clone(), vec![]);
        },
        &[(Warning, "subscriptions", "12")],
    );
    assert!(rows(&db).contains_key(&place));
}

#[test]
fn what_is_retained_leads_to_a_publication_of_its_topic() {
    let named = "\"com.example.topic\" number 0";
    let sound = retained_key("com.example.topic", 0);
    let elsewhere = retained_key("com.example", 0);
    let other_topic = Retained {
        topic: "com.example".to_owned(),
        ..retained(4)
    };
    let mut without_end = retained(4).to_bytes().unwrap();
    let at = without_end
        .windows(17)
        .position(|part| part == b"com.example.topic");
    without_end[at.unwrap()] = 0xff;
    for (row, value, text) in [
        (&sound, b"no record".to_vec(), named),
        (&sound, retained(99).to_bytes().unwrap(), named),
        (&sound, retained(0).to_bytes().unwrap(), named),
        (&sound, other_topic.to_bytes().unwrap(), named),
        (&sound, without_end, named),
        (
            &elsewhere,
            other_topic.to_bytes().unwrap(),
            "\"com.example\" number 0",
        ),
        (
            &elsewhere,
            retained(4).to_bytes().unwrap(),
            "\"com.example\" number 0",
        ),
        (
            &bytes(7u64),
            retained(4).to_bytes().unwrap(),
            "0x0000000000000007",
        ),
    ] {
        let db = store();
        let place = key(&db, RETAINED, row);
        let db = check_repair(
            db,
            &|rows| drop(rows.insert(place.clone(), value.clone())),
            &[(Error, "retained", text)],
        );
        assert!(!rows(&db).contains_key(&place), "{text}");
    }
    // A publication that is lost is retained no longer.
    let db = store();
    let mut damaged = rows(&db);
    damaged.remove(&key(&db, PUBLICATIONS, &bytes(4u64)));
    let place = key(&db, RETAINED, &sound);
    let db = MemoryBackend::new();
    write(&db, &damaged);
    assert!(
        verified(&db)
            .1
            .iter()
            .any(|finding| (finding.severity, finding.table, &*finding.key)
                == (Error, "retained", named))
    );
    assert!(repaired(&db).complete && verified(&db).0.is_sound());
    assert!(!rows(&db).contains_key(&place));
    let kept = quarantined(&db);
    assert!(kept.iter().any(
        |row| row.key.as_ref() == Some(&place) && row.value.as_ref() == Some(&damaged[&place])
    ));
}

#[test]
fn two_sessions_with_one_identity_both_stay() {
    let db = store();
    let twin = Session {
        oid: oid(50),
        authid: None,
        ..session(2)
    };
    let place = key(&db, SESSIONS, twin.oid.as_bytes());
    let leaving = bytes((Timestamp::MAX, Timestamp::from_nanos(1002), twin.oid));
    let leaving = key(&db, BY_LEAVING, &leaving);
    let db = check_repair(
        db,
        &|rows| {
            rows.insert(place.clone(), twin.to_bytes().unwrap());
            rows.insert(leaving.clone(), vec![]);
        },
        &[(Warning, "sessions", &oid(50).to_string())],
    );
    assert!(rows(&db).contains_key(&place));
}

#[test]
fn the_directory_is_read_entry_by_entry() {
    // Another program's table is left alone.
    let entry = |rows: &mut Rows, slot: u8, text: &str| {
        let cbor = [&b"\xa1\x63oid\x78\x24"[..], text.as_bytes()].concat();
        rows.insert(vec![0, 0, 0, slot], cbor);
    };
    let db = check_repair(
        store(),
        &|rows| {
            entry(rows, 90, "6d4ad0a6-2b0e-4d31-9a2c-3c3f65a1a9a1");
            rows.insert(vec![0, 90, 1], b"theirs".to_vec());
        },
        &[(Remark, "directory", "90")],
    );
    assert!(rows(&db).contains_key(&[0, 90, 1][..]));
    // So are rows of which nobody can tell whose they are.
    check_repair(
        store(),
        &|rows| drop(rows.insert(vec![0, 91, 1], b"whose".to_vec())),
        &[(Warning, "directory", "91")],
    );
    // A table twice, once without rows.
    check_repair(
        store(),
        &|rows| entry(rows, 92, "dd04931a-753b-4fde-8140-d66b93519c73"),
        &[(Error, "directory", "92")],
    );
    // What is no entry at all.
    check_repair(
        store(),
        &|rows| drop(rows.insert(vec![0, 0, 1, 2, 3], vec![1])),
        &[(Error, "directory", "0x010203")],
    );
}

#[test]
fn an_entry_of_the_directory_is_restored_where_the_rows_leave_no_doubt() {
    for table in [
        SESSIONS,
        BY_ID,
        BY_AUTHID,
        BY_LEAVING,
        PUBLICATIONS,
        EVENTS,
        SUBSCRIPTIONS,
        BY_URI,
        RETAINED,
        HISTORY,
        POSITIONS,
        META,
    ] {
        for missing in [false, true] {
            let db = store();
            let number = slot(&db, table);
            let sound = rows(&db);
            let place = [&[0, 0][..], &number.to_be_bytes()].concat();
            let damage = |rows: &mut Rows| {
                if missing {
                    rows.remove(&place);
                } else {
                    rows.insert(place.clone(), vec![0xff]);
                }
            };
            let db = MemoryBackend::new();
            let mut damaged = sound.clone();
            damage(&mut damaged);
            write(&db, &damaged);
            let (found, findings) = verified(&db);
            assert!(found.errors > 0);
            let named = |finding: &Finding| {
                finding.severity == Error
                    && finding.table == "directory"
                    && finding.key == number.to_string()
            };
            assert!(findings.iter().any(named), "{table}: {findings:#?}");
            repaired(&db);
            let (_, findings) = verified(&db);
            assert_eq!(findings, [], "{table}");
            let after = rows(&db);
            for (key, value) in &sound {
                assert_eq!(after.get(key), Some(value), "{table} {missing} {key:02x?}");
            }
        }
    }
}

#[test]
fn a_table_of_subscriptions_is_taken_for_no_other() {
    for policy in [MatchPolicy::Exact, MatchPolicy::Prefix] {
        let store = RealmStore::attach(MemoryBackend::new()).unwrap();
        let mut txn = store.begin_write().unwrap();
        for uri in ["com.example.a", "com.example.b"] {
            store
                .subscription_id(&mut txn, "realm1", uri, policy, Timestamp::from_nanos(1))
                .unwrap();
        }
        txn.commit().unwrap();
        let sound = rows(store.db());
        let mut damaged = sound.clone();
        let entry = slot(store.db(), SUBSCRIPTIONS).to_be_bytes();
        damaged.remove(&[&[0, 0][..], &entry].concat());
        let db = MemoryBackend::new();
        write(&db, &damaged);
        assert!(repaired(&db).complete);
        assert_eq!(verified(&db).1, [], "{policy}");
        for (key, value) in sound.iter().filter(|(key, _)| key[..2] != [0, 0]) {
            assert_eq!(rows(&db).get(key), Some(value), "{policy}");
        }
    }
}

#[test]
fn an_entry_that_nothing_tells_of_is_an_error_and_nothing_is_changed() {
    let store = RealmStore::attach(MemoryBackend::new()).unwrap();
    let mut damaged = rows(store.db());
    let place = [&[0, 0][..], &slot(store.db(), HISTORY).to_be_bytes()].concat();
    damaged.insert(place, vec![0xff]);
    let db = MemoryBackend::new();
    write(&db, &damaged);
    let error = repair(&db, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(rows(&db), damaged);
}

#[test]
fn our_own_facts_are_looked_at() {
    let db = store();
    let meta = slot(&db, META).to_be_bytes();
    let version = |table: &str| {
        let directory = Directory::read(&db.begin_read().unwrap()).unwrap();
        let mut entries = directory.entries().iter();
        let entry = entries
            .find(|entry| entry.name.as_deref() == Some(table))
            .unwrap();
        [&meta[..], &[1], entry.oid.unwrap().as_bytes()].concat()
    };
    for (row, value, severity, text) in [
        ([&meta[..], &[0]].concat(), vec![1, 2], Warning, "stamp"),
        ([&meta[..], &[9, 9]].concat(), vec![1, 2], Error, "0x0909"),
        ([&meta[..], &[2, 9]].concat(), vec![0; 8], Error, "0x0209"),
        (
            [&meta[..], &[2], oid(500).as_bytes()].concat(),
            vec![1, 2],
            Error,
            &format!("last alive: node {}", oid(500)),
        ),
        (version(EVENTS), vec![1], Error, "version of events"),
        (version(META), vec![], Error, "version of meta"),
    ] {
        let db = check_repair(
            store(),
            &|rows| drop(rows.insert(row.clone(), value.clone())),
            &[(severity, "meta", text)],
        );
        let store = RealmStore::attach(db).unwrap();
        assert!(
            store.is_adopted(&store.begin_read().unwrap()).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn another_version_of_a_table_is_neither_verified_nor_repaired() {
    let db = store();
    let meta = slot(&db, META).to_be_bytes();
    let mut damaged = rows(&db);
    for (key, value) in &mut damaged {
        if key.starts_with(&meta) && key.len() == 19 {
            *value = 2u32.to_be_bytes().to_vec();
        }
    }
    let db = MemoryBackend::new();
    write(&db, &damaged);
    let kind = realmstore_core::ErrorKind::Unsupported;
    assert_eq!(
        verify(&db, |_| ControlFlow::Continue(()))
            .unwrap_err()
            .kind(),
        kind
    );
    assert_eq!(
        repair(&db, |_| ControlFlow::Continue(()))
            .unwrap_err()
            .kind(),
        kind
    );
    assert_eq!(rows(&db), damaged);
}

#[test]
fn a_row_of_the_quarantine_that_is_none_is_named_and_kept() {
    let db = store();
    let place = key(&db, PUBLICATIONS, &bytes(2u64));
    let db = check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), vec![])),
        &[(Error, "publications", "2")],
    );
    let row = key(&db, "realmstore.quarantine", &bytes(1u64));
    check_repair(
        db,
        &|rows| drop(rows.insert(row.clone(), b"no row".to_vec())),
        &[(Error, "quarantine", "1")],
    );
}

/// The sound store, and an event in Crossbar.io's own table beside ours.
fn with_crossbar_events() -> (MemoryBackend, Vec<u8>) {
    let mut all = rows(&store());
    let cbor = [
        &b"\xa1\x63oid\x78\x24"[..],
        CROSSBAR_EVENTS_OID.to_string().as_bytes(),
    ]
    .concat();
    all.insert(vec![0, 0, 0, 80], cbor);
    let mut place = vec![0, 80];
    place.extend_from_slice(&7u64.to_be_bytes());
    place.extend_from_slice(&500u64.to_le_bytes());
    all.insert(place.clone(), event(7, 500, 2, 9).to_bytes().unwrap());
    let db = MemoryBackend::new();
    write(&db, &all);
    (db, place)
}

#[test]
fn events_of_crossbar_are_verified_under_their_own_keys() {
    let (db, place) = with_crossbar_events();
    let remarks = verified(&db).1;
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert_eq!(
        (remarks[0].severity, remarks[0].table),
        (Remark, "crossbar_events")
    );
    let named = "7 at 1970-01-01T00:00:00.000000500Z";
    for broken in [b"none".to_vec(), event(7, 501, 2, 9).to_bytes().unwrap()] {
        let (db, _) = with_crossbar_events();
        let db = check_repair(
            db,
            &|rows| drop(rows.insert(place.clone(), broken.clone())),
            &[(Error, "crossbar_events", named)],
        );
        assert!(!rows(&db).contains_key(&place));
    }
    let (db, _) = with_crossbar_events();
    check_repair(
        db,
        &|rows| drop(rows.insert(place.clone(), event(7, 500, 99, 9).to_bytes().unwrap())),
        &[(Error, "crossbar_events", named)],
    );
}

#[test]
fn a_repair_that_is_stopped_goes_on() {
    let db = store();
    let mut damaged = rows(&db);
    for id in 1..=4u64 {
        damaged.insert(key(&db, PUBLICATIONS, &bytes(id)), vec![]);
        damaged.insert(key(&db, SESSIONS, oid(id.into()).as_bytes()), vec![]);
    }
    let db = MemoryBackend::new();
    write(&db, &damaged);
    let mut told = 0;
    let stopped = repair(&db, |_| {
        told += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert!(!stopped.complete);
    assert_eq!(told, 4, "all of the commit");
    assert!(repaired(&db).complete);
    assert!(verified(&db).0.is_sound());
    let store = RealmStore::attach(db).unwrap();
    assert!(store.is_adopted(&store.begin_read().unwrap()).unwrap());
}

#[test]
fn a_verification_can_be_stopped() {
    let (db, _) = with_crossbar_events();
    let found = verify(&db, |_| ControlFlow::Break(())).unwrap();
    assert!(!found.complete && !found.is_sound());
}

#[test]
fn all_positions_of_a_store_are_made_anew() {
    let db = store();
    let sound = rows(&db);
    let derived = [HISTORY, POSITIONS, BY_ID, BY_AUTHID, BY_LEAVING, BY_URI]
        .map(|table| slot(&db, table).to_be_bytes());
    let db = MemoryBackend::new();
    let left: Rows = sound
        .iter()
        .filter(|(key, _)| !derived.contains(key.first_chunk().unwrap()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    write(&db, &left);
    let done = repaired(&db);
    assert!(
        done.tables
            .iter()
            .all(|table| table.made > 0 && table.moved_aside == 0),
        "{done:?}"
    );
    assert_eq!(rows(&db), sound);
}

/// A sound store with rows in every table: records that cfxdb wrote among them, and a quarantine.
fn with_everything() -> MemoryBackend {
    let (db, place) = with_crossbar_events();
    let mut all = rows(&db);
    let read = |name: &str| {
        std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    for name in [
        "publication.bin",
        "publication-lists.bin",
        "publication-lost-eligible.bin",
    ] {
        let bytes = read(name);
        let id = Publication::view(&bytes).unwrap().publication().unwrap();
        // The two of cfxdb have the same ID.
        let id = id.get() + u64::from(name == "publication-lost-eligible.bin");
        all.insert(key(&db, PUBLICATIONS, &self::bytes(id)), bytes);
    }
    let bytes = read("session.bin");
    let oid = Session::view(&bytes).unwrap().oid().unwrap();
    all.insert(key(&db, SESSIONS, oid.as_bytes()), bytes);
    let bytes = read("event.bin");
    let event = Event::decode(&bytes).unwrap();
    let mut crossbar = place[..2].to_vec();
    crossbar.extend_from_slice(&event.subscription.get().to_be_bytes());
    crossbar.extend_from_slice(&event.timestamp.as_nanos().to_le_bytes());
    all.insert(crossbar, bytes);
    let db = MemoryBackend::new();
    write(&db, &all);
    repaired(&db);
    assert_eq!(verified(&db).0.errors, 0);
    assert!(!quarantined(&db).is_empty());
    db
}

proptest! {
    /// What is verified as sound reads in full, under the key that it says
    /// itself. (A byte of a text, of a number or of CBOR may have become
    /// another one that is as valid: there is nothing that could tell.)
    #[test]
    fn a_flipped_byte_is_named_or_what_it_is_in_still_reads(
        row in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        flip in 1u8..,
        in_key in prop::bool::weighted(0.2),
    ) {
        let db = with_everything();
        let sound = rows(&db);
        let (key, value) = row.get(&sound.iter().collect::<Vec<_>>()).to_owned();
        let (mut new_key, mut new_value) = (key.clone(), value.clone());
        if in_key || value.is_empty() {
            let at = 2 + place.index(key.len() - 2);
            new_key[at] ^= flip;
        } else {
            let at = place.index(value.len());
            new_value[at] ^= flip;
        }
        let mut damaged = sound.clone();
        damaged.remove(key);
        damaged.insert(new_key, new_value);
        let db = MemoryBackend::new();
        write(&db, &damaged);
        let mut findings = Vec::new();
        let Ok(found) = verify(&db, |finding| {
            findings.push(finding);
            ControlFlow::Continue(())
        }) else {
            return Ok(());
        };
        if found.errors == 0 {
            reads_in_full(db);
            return Ok(());
        }
        if repair(&db, |_| ControlFlow::Continue(())).is_err() {
            prop_assert!(findings.iter().any(|finding| finding.table == "directory"));
            prop_assert_eq!(rows(&db), damaged);
            return Ok(());
        }
        let (found, left) = verified(&db);
        // An entry of the directory that nothing tells of stays.
        prop_assert!(found.errors == 0 || left.iter().all(|finding| finding.severity != Error || finding.table == "directory"), "{:#?}\n{:#?}", findings, left);
        if found.errors == 0 {
            let kept = quarantined(&db);
            let after = rows(&db);
            for (key, value) in &damaged {
                let is_stamp = key.len() == 3;
                prop_assert!(after.get(key) == Some(value) || is_stamp
                    || kept.iter().any(|row| row.key.as_ref() == Some(key) && row.value.as_ref() == Some(value)));
            }
            reads_in_full(db);
        }
    }
}

fn reads_in_full(db: MemoryBackend) {
    let store = RealmStore::attach(db).unwrap();
    let txn = store.begin_read().unwrap();
    let mut sessions = store.sessions().range(&txn, .., Order::Ascending).unwrap();
    while let Some(entry) = sessions.next().unwrap() {
        let session = entry.to_owned().unwrap();
        assert_eq!(session.oid, entry.key().unwrap());
        if let Some(authid) = &session.authid {
            let mut found = store.sessions_by_authid(&txn, authid).unwrap();
            assert!(found.any(|found| found.unwrap().to_owned().unwrap() == session));
        }
        let at = session.joined_at.unwrap_or_default();
        assert!(
            store
                .session_by_id(&txn, session.session, at)
                .unwrap()
                .is_some()
        );
    }
    let mut publications = store
        .publications()
        .range(&txn, .., Order::Ascending)
        .unwrap();
    while let Some(entry) = publications.next().unwrap() {
        assert_eq!(entry.to_owned().unwrap().publication, entry.key().unwrap());
    }
    let present = |session: &Session| {
        let mut open = store.open_sessions(&txn).unwrap();
        let is_open = open.any(|open| open.unwrap().to_owned().unwrap() == *session);
        assert_eq!(
            is_open,
            session.left_at.is_none_or(|at| at == Timestamp::MAX)
        );
    };
    let mut sessions = store.sessions().range(&txn, .., Order::Ascending).unwrap();
    while let Some(entry) = sessions.next().unwrap() {
        present(&entry.to_owned().unwrap());
    }
    let mut subscriptions = store
        .subscriptions()
        .range(&txn, .., Order::Ascending)
        .unwrap();
    while let Some(entry) = subscriptions.next().unwrap() {
        let subscription = entry.to_owned().unwrap();
        assert_eq!(subscription.subscription, entry.key().unwrap());
        if let (None, Some(realm), Some(uri)) = (
            subscription.alias_of,
            &subscription.realm,
            &subscription.uri,
        ) {
            let policy = subscription.match_policy.unwrap_or_default();
            let found = store.find_subscription(&txn, realm, uri, policy).unwrap();
            assert!(found.is_some(), "{subscription:?}");
        }
        let end = store
            .resolve_subscription(&txn, subscription.subscription)
            .unwrap();
        assert_eq!(store.resolve_subscription(&txn, end).unwrap(), end);
    }
    let mut retained = store.retained().range(&txn, .., Order::Ascending).unwrap();
    while let Some(entry) = retained.next().unwrap() {
        let row = entry.to_owned().unwrap();
        let query = GetRetained {
            uri: row.topic.clone(),
            ..GetRetained::default()
        };
        let is_kept = row.expires_at.is_none_or(|at| at > Timestamp::default());
        assert_eq!(
            store.get_retained(&txn, &query).unwrap().len(),
            usize::from(is_kept)
        );
    }
    for subscription in store.subscriptions_with_history(&txn).unwrap() {
        let query = HistoryQuery::default();
        for event in store.events_of(&txn, subscription, query).unwrap() {
            assert_eq!(event.unwrap().subscription, subscription);
        }
        for entry in store.history(&txn, subscription, query).unwrap() {
            entry.unwrap();
        }
    }
}
