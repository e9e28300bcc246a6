//! The realm store on an engine: sessions, publications, events and history,
//! of our own and as Crossbar.io wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use realmstore_core::directory::Directory;
use realmstore_core::record::Record;
use realmstore_core::store::{
    CROSSBAR_EVENTS_OID, EventKey, Events, Publications, Sessions, SubscriptionsByUri, quarantine,
    repair,
};
use realmstore_core::table::{Index, Table};
use realmstore_core::{
    Backend, Delivery, Dispatch, Error, ErrorKind, Event, HistoryEntry, HistoryQuery, MatchPolicy,
    Order, Publication, PublicationId, ReadTxn, RealmStore, Retain, Session, SessionId,
    Subscription, SubscriptionId, Timestamp, Uuid, WriteTxn,
};

use crate::{Engine, Fresh, findings, property, slot_named};

fn session_id(id: u64) -> SessionId {
    SessionId::from_stored(id)
}

fn subscription(id: u64) -> SubscriptionId {
    SubscriptionId::from_stored(id)
}

fn publication(id: u64) -> PublicationId {
    PublicationId::from_stored(id)
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn event(sub: u64, nanos: u64, publ: u64, receiver: u64) -> Event {
    Event {
        receiver: (receiver > 0).then(|| session_id(receiver)),
        ..Event::new(subscription(sub), at(nanos), publication(publ))
    }
}

fn entry(sub: u64, nanos: u64, publ: u64) -> HistoryEntry {
    HistoryEntry {
        subscription: subscription(sub),
        timestamp: at(nanos),
        ordinal: 0,
        publication: publication(publ),
    }
}

fn session(id: u64, joined_at: u64, authid: &str) -> Session {
    Session {
        authid: Some(authid.to_owned()),
        ..Session::new(session_id(id), at(joined_at))
    }
}

fn history<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    sub: u64,
    query: HistoryQuery,
) -> Vec<HistoryEntry> {
    store
        .history(txn, subscription(sub), query)
        .unwrap()
        .collect::<Result<_, Error>>()
        .unwrap()
}

fn events<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    sub: u64,
    query: HistoryQuery,
) -> Vec<Event> {
    store
        .events_of(txn, subscription(sub), query)
        .unwrap()
        .collect::<Result<_, Error>>()
        .unwrap()
}

fn oids_by_authid<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    authid: &str,
) -> Vec<Uuid> {
    store
        .sessions_by_authid(txn, authid)
        .unwrap()
        .map(|session| session.unwrap().view().unwrap().oid().unwrap())
        .collect()
}

pub fn a_session_joins_and_leaves<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let older = session(7, 100, "alice");
    let newer = session(7, 200, "alice");
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &older).unwrap();
    store.session_joined(&mut txn, &newer).unwrap();
    assert_eq!(
        store
            .session_left(&mut txn, session_id(7), at(300))
            .unwrap(),
        Some(newer.oid)
    );
    assert_eq!(
        store
            .session_left(&mut txn, session_id(8), at(300))
            .unwrap(),
        None
    );
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    let left = store
        .sessions()
        .get(&txn, &newer.oid)
        .unwrap()
        .unwrap()
        .to_owned()
        .unwrap();
    assert_eq!(
        left,
        Session {
            left_at: Some(at(300)),
            ..newer
        }
    );
    assert_eq!(
        store
            .sessions()
            .get(&txn, &older.oid)
            .unwrap()
            .unwrap()
            .to_owned()
            .unwrap(),
        older
    );
}

pub fn the_newest_session_of_an_id_at_a_time<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let sessions = [
        session(7, 100, "a"),
        session(7, 200, "b"),
        session(8, 150, "c"),
    ];
    let mut txn = store.begin_write().unwrap();
    for session in &sessions {
        store.session_joined(&mut txn, session).unwrap();
    }
    let authid = |id, time| {
        let found = store.session_by_id(&txn, session_id(id), at(time)).unwrap();
        found.map(|guard| guard.view().unwrap().authid().unwrap().unwrap().to_owned())
    };
    assert_eq!(authid(7, 99), None);
    assert_eq!(authid(7, 100).as_deref(), Some("a"));
    assert_eq!(authid(7, 199).as_deref(), Some("a"));
    assert_eq!(authid(7, 200).as_deref(), Some("b"));
    assert_eq!(authid(7, u64::MAX).as_deref(), Some("b"));
    assert_eq!(authid(8, u64::MAX).as_deref(), Some("c"));
    assert_eq!(authid(9, u64::MAX), None);
    let duplicate = Session {
        oid: Uuid::from_u128(1),
        ..sessions[0].clone()
    };
    assert_eq!(
        store
            .session_joined(&mut txn, &duplicate)
            .unwrap_err()
            .kind(),
        ErrorKind::Duplicate
    );
}

pub fn sessions_of_an_authid_come_newest_first<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let mut expected = Vec::new();
    for number in 0..50u64 {
        let session = session(
            number + 1,
            number * 37 % 50,
            if number % 2 == 0 { "alice" } else { "alice2" },
        );
        store.session_joined(&mut txn, &session).unwrap();
        if number % 2 == 0 {
            expected.push((session.joined_at, session.oid));
        }
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<Uuid> = expected.into_iter().map(|(_, oid)| oid).collect();
    assert_eq!(oids_by_authid(&store, &txn, "alice"), expected);
    assert!(oids_by_authid(&store, &txn, "alic").is_empty());
    // A session that gets another authid moves.
    let mut moved = store
        .sessions()
        .get(&txn, &expected[0])
        .unwrap()
        .unwrap()
        .to_owned()
        .unwrap();
    moved.authid = Some("bob".to_owned());
    store.sessions().put(&mut txn, &moved.oid, &moved).unwrap();
    assert_eq!(oids_by_authid(&store, &txn, "alice"), expected[1..]);
    assert_eq!(oids_by_authid(&store, &txn, "bob"), expected[..1]);
}

pub fn an_authid_of_any_length_is_found<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let long = "x".repeat(5000);
    let nul = "\0".repeat(300);
    let wide = "\u{10ffff}".repeat(300);
    let authids = ["", "a", "a\0", &long, &format!("{long}y"), &nul, &wide];
    let mut txn = store.begin_write().unwrap();
    let sessions: Vec<Session> = authids
        .iter()
        .enumerate()
        .map(|(number, authid)| session(number as u64 + 1, 100, authid))
        .collect();
    for session in &sessions {
        store.session_joined(&mut txn, session).unwrap();
    }
    for session in &sessions {
        let found = oids_by_authid(&store, &txn, session.authid.as_deref().unwrap());
        assert_eq!(found, [session.oid]);
    }
}

pub fn a_session_that_cannot_be_read_in_full_is_left_as_it_is<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let session = session(7, 100, "alice");
    let mut bytes = session.to_bytes().unwrap();
    let authid = bytes
        .windows(5)
        .position(|window| window == b"alice")
        .unwrap();
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &session).unwrap();
    // Damaged on disk, behind the back of the store.
    bytes[authid] = 0xff;
    let mut key = store.sessions().slot().unwrap().to_be_bytes().to_vec();
    key.extend_from_slice(session.oid.as_bytes());
    txn.put(&key, &bytes).unwrap();
    let error = store
        .session_left(&mut txn, session_id(7), at(300))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("authid is not UTF-8"), "{error}");
    assert_eq!(txn.get(&key).unwrap().unwrap().as_ref(), bytes);
    let found = store
        .session_by_id(&txn, session_id(7), Timestamp::MAX)
        .unwrap()
        .unwrap();
    assert_eq!(found.view().unwrap().oid().unwrap(), session.oid);
}

pub fn records_without_identity_are_refused<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let error = store
        .session_joined(&mut txn, &Session::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = store
        .store_publication(&mut txn, &Publication::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let both = Publication {
        payload: Some(vec![1]),
        args: Some(realmstore_core::cbor::Cbor::from_bytes([0x80])),
        ..Publication::new(publication(7), at(1), "com.example")
    };
    let error = store.store_publication(&mut txn, &both).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains("publication 7 has both a payload and args"),
        "{error}"
    );
}

pub fn an_event_that_is_refused_leaves_those_before_it_in_the_history<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let stored = [
        event(1, 100, 7, 1),
        event(1, 101, 7, 2),
        event(1, 102, 8, 1),
        event(0, 103, 9, 1),
        event(1, 104, 9, 1),
    ];
    let mut txn = store.begin_write().unwrap();
    let error = store.store_events(&mut txn, &stored).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert_eq!(
        history(&store, &txn, 1, HistoryQuery::default()),
        [entry(1, 100, 7), entry(1, 102, 8)]
    );
    assert_eq!(
        events(&store, &txn, 1, HistoryQuery::default()),
        stored[..3]
    );
}

pub fn an_operation_that_fails_half_done_cannot_be_committed<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    // The event itself is inserted; what follows it in the history is a put.
    store.db().calls.puts_fail.store(true, Ordering::Relaxed);
    let error = store
        .store_events(&mut txn, [&event(1, 100, 7, 1)])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    store.db().calls.puts_fail.store(false, Ordering::Relaxed);
    let error = txn.commit().unwrap_err();
    assert!(error.to_string().contains("half done"), "{error}");
    let txn = store.begin_read().unwrap();
    assert!(events(&store, &txn, 1, HistoryQuery::default()).is_empty());
}

pub fn history_lists_a_publication_once_at_its_first_event<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    // Three receivers, the earliest not first; a late one after another publication; none at all.
    let stored = [
        event(1, 110, 70, 3),
        event(1, 100, 70, 1),
        event(1, 105, 70, 2),
        event(1, 120, 60, 1),
        event(1, 130, 70, 4),
        event(1, 125, 80, 0),
        event(2, 90, 70, 1),
    ];
    store.store_events(&mut txn, &stored).unwrap();
    let all = HistoryQuery::default();
    let expected = [entry(1, 100, 70), entry(1, 120, 60), entry(1, 125, 80)];
    assert_eq!(history(&store, &txn, 1, all), expected);
    assert_eq!(history(&store, &txn, 2, all), [entry(2, 90, 70)]);
    assert_eq!(history(&store, &txn, 3, all), []);
    assert_eq!(
        store.subscriptions_with_history(&txn).unwrap(),
        [subscription(1), subscription(2)]
    );
    // Its first event goes: the next one is then the first; with the last one it leaves.
    for (gone, expected) in [
        (
            event(1, 100, 70, 1),
            vec![entry(1, 105, 70), entry(1, 120, 60), entry(1, 125, 80)],
        ),
        (
            event(1, 110, 70, 3),
            vec![entry(1, 105, 70), entry(1, 120, 60), entry(1, 125, 80)],
        ),
        (
            event(1, 105, 70, 2),
            vec![entry(1, 120, 60), entry(1, 125, 80), entry(1, 130, 70)],
        ),
        (
            event(1, 130, 70, 4),
            vec![entry(1, 120, 60), entry(1, 125, 80)],
        ),
    ] {
        assert!(
            store
                .events()
                .delete(&mut txn, &EventKey::from(&gone))
                .unwrap()
        );
        assert_eq!(history(&store, &txn, 1, all), expected);
    }
    assert_eq!(history(&store, &txn, 2, all), [entry(2, 90, 70)]);
}

/// Few subscriptions, times, publications and receivers, so that they meet.
fn some_event() -> impl Strategy<Value = Event> {
    (1u64..4, 0u64..12, 1u64..6, 0u64..4)
        .prop_map(|(sub, time, publ, receiver)| event(sub, time, publ, receiver))
}

fn query() -> impl Strategy<Value = HistoryQuery> {
    let bound = || {
        (0u64..12, 0..3).prop_map(|(time, kind)| match kind {
            0 => Bound::Included(at(time)),
            1 => Bound::Excluded(at(time)),
            _ => Bound::Unbounded,
        })
    };
    (bound(), bound(), any::<bool>(), prop::option::of(0usize..6)).prop_map(
        |(from, until, reverse, limit)| HistoryQuery {
            from,
            until,
            order: if reverse {
                Order::Descending
            } else {
                Order::Ascending
            },
            limit,
        },
    )
}

/// What is asked for, of all that there is.
fn select<T: Clone>(all: &[T], time: impl Fn(&T) -> Timestamp, query: &HistoryQuery) -> Vec<T> {
    let in_time =
        |item: &&T| std::ops::RangeBounds::contains(&(query.from, query.until), &time(item));
    let mut selected: Vec<T> = all.iter().filter(in_time).cloned().collect();
    if query.order == Order::Descending {
        selected.reverse();
    }
    selected.truncate(query.limit.unwrap_or(usize::MAX));
    selected
}

fn history_of(events: &BTreeMap<EventKey, Event>, sub: u64) -> Vec<HistoryEntry> {
    let mut seen = BTreeSet::new();
    events
        .keys()
        .filter(|key| key.subscription == subscription(sub) && seen.insert(key.publication))
        .map(|key| entry(sub, key.timestamp.as_nanos(), key.publication.get()))
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Store(Vec<Event>),
    Delete(Event),
    Ask(u64, HistoryQuery),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec(some_event(), 1..10).prop_map(Step::Store),
        2 => some_event().prop_map(Step::Delete),
        4 => (1u64..4, query()).prop_map(|(sub, query)| Step::Ask(sub, query)),
    ]
}

pub fn history_and_events_agree_with_a_model<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut runner = property(file!(), 256);
    runner
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            let mut txn = store.begin_write().unwrap();
            let mut model: BTreeMap<EventKey, Event> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Store(events) => {
                        store.store_events(&mut txn, &events).unwrap();
                        model.extend(
                            events
                                .into_iter()
                                .map(|event| (EventKey::from(&event), event)),
                        );
                    }
                    Step::Delete(event) => {
                        let key = EventKey::from(&event);
                        prop_assert_eq!(
                            store.events().delete(&mut txn, &key).unwrap(),
                            model.remove(&key).is_some()
                        );
                    }
                    Step::Ask(sub, query) => {
                        let expected: Vec<Event> = model
                            .values()
                            .filter(|event| event.subscription == subscription(sub))
                            .cloned()
                            .collect();
                        prop_assert_eq!(
                            events(&store, &txn, sub, query),
                            select(&expected, |event| event.timestamp, &query)
                        );
                        prop_assert_eq!(
                            history(&store, &txn, sub, query),
                            select(&history_of(&model, sub), |entry| entry.timestamp, &query)
                        );
                    }
                }
            }
            let subscriptions: BTreeSet<_> = model.keys().map(|key| key.subscription).collect();
            prop_assert!(
                store
                    .subscriptions_with_history(&txn)
                    .unwrap()
                    .into_iter()
                    .eq(subscriptions)
            );
            Ok(())
        })
        .unwrap();
}

pub fn events_in_one_nanosecond_are_all_kept<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let stored: Vec<Event> = (1..=5)
        .flat_map(|publ| (0..4).map(move |receiver| event(1, 100, publ, receiver)))
        .collect();
    store.store_events(&mut txn, stored.iter().rev()).unwrap();
    assert_eq!(events(&store, &txn, 1, HistoryQuery::default()), stored);
    assert_eq!(history(&store, &txn, 1, HistoryQuery::default()).len(), 5);
}

pub fn the_same_event_again_changes_nothing<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let stored = [
        event(1, 100, 7, 1),
        event(1, 100, 7, 2),
        event(1, 101, 8, 0),
    ];
    let dump = |store: &RealmStore<E::Backend>| {
        let txn = store.begin_read().unwrap();
        let mut entries = crate::collect(
            txn.scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)
                .unwrap(),
        );
        // The stamp counts commits; all else stays.
        let meta = Directory::read(&txn)
            .unwrap()
            .entries()
            .iter()
            .find(|e| e.name.as_deref() == Some("realmstore.meta"))
            .unwrap()
            .slot;
        entries.retain(|(key, _)| key != &[&meta.to_be_bytes()[..], &[0]].concat());
        entries
    };
    for round in 0..3 {
        let before = dump(&store);
        let mut txn = store.begin_write().unwrap();
        store.store_events(&mut txn, &stored).unwrap();
        store.store_events(&mut txn, &stored).unwrap();
        txn.commit().unwrap();
        if round > 0 {
            assert_eq!(dump(&store), before);
        }
    }
    let txn = store.begin_read().unwrap();
    assert_eq!(events(&store, &txn, 1, HistoryQuery::default()), stored);
    // One event may come to say more than it did; it is still one.
    let acknowledged = Event {
        acknowledged_delivery: Some(true),
        ..stored[0].clone()
    };
    let mut txn = store.begin_write().unwrap();
    store.store_events(&mut txn, [&acknowledged]).unwrap();
    let found = events(&store, &txn, 1, HistoryQuery::default());
    assert_eq!(found, [acknowledged, stored[1].clone(), stored[2].clone()]);
}

pub fn the_newest_ten_of_a_million_events_are_read_without_the_rest<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    // A million events: 250,000 publications of four receivers each.
    for batch in 0..50u64 {
        let mut txn = store.begin_write().unwrap();
        let batch: Vec<Event> = (0..20_000)
            .map(|number| batch * 20_000 + number)
            .map(|number| event(1, 1_000_000 + number * 10, 1 + number / 4, 1 + number % 4))
            .collect();
        store.store_events(&mut txn, &batch).unwrap();
        txn.commit().unwrap();
    }
    let txn = store.begin_read().unwrap();
    let newest_ten = HistoryQuery {
        order: Order::Descending,
        limit: Some(10),
        ..HistoryQuery::default()
    };
    let calls = &store.db().calls;

    calls.take();
    let newest = events(&store, &txn, 1, newest_ten);
    let cost = calls.take();
    let expected: Vec<Event> = (999_990..1_000_000u64)
        .rev()
        .map(|number| event(1, 1_000_000 + number * 10, 1 + number / 4, 1 + number % 4))
        .collect();
    assert_eq!(newest, expected);
    assert!(
        cost.get == 0 && cost.scan + cost.last <= 2 && cost.next <= 12,
        "events: {cost:?}"
    );

    let newest = history(&store, &txn, 1, newest_ten);
    let cost = calls.take();
    let expected: Vec<HistoryEntry> = (249_990..250_000u64)
        .rev()
        .map(|number| entry(1, 1_000_000 + number * 40, 1 + number))
        .collect();
    assert_eq!(newest, expected);
    assert!(
        cost.get == 0 && cost.scan + cost.last <= 2 && cost.next <= 12,
        "history: {cost:?}"
    );
}

/// Writes an event as Crossbar.io does, past the store, into a table of its own.
fn store_as_crossbar<B: Backend>(db: &B, events: &[Event]) {
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.subscription.get(),
                event.timestamp.as_nanos(),
                event.to_bytes().unwrap(),
            )
        })
        .collect();
    store_rows_as_crossbar(db, &rows);
}

fn store_rows_as_crossbar<B: Backend>(db: &B, rows: &[(u64, u64, Vec<u8>)]) {
    let mut txn = db.begin_write().unwrap();
    let directory = Directory::read(&txn).unwrap();
    let slot = directory.slot(CROSSBAR_EVENTS_OID).unwrap_or_else(|| {
        let slot = directory
            .entries()
            .iter()
            .map(|entry| entry.slot)
            .max()
            .unwrap_or(0)
            + 1;
        let entry = [
            &b"\xa1\x63oid\x78\x24"[..],
            CROSSBAR_EVENTS_OID.to_string().as_bytes(),
        ]
        .concat();
        txn.put(&[&[0, 0], &slot.to_be_bytes()[..]].concat(), &entry)
            .unwrap();
        slot
    });
    for (sub, time, bytes) in rows {
        let key = [
            &slot.to_be_bytes()[..],
            &sub.to_be_bytes(),
            &time.to_le_bytes(),
        ]
        .concat();
        txn.put(&key, bytes).unwrap();
    }
    txn.commit().unwrap();
}

/// Events whose little-endian times are in no order; one a subscription and time, as Crossbar.io has them.
fn crossbar_events() -> Vec<Event> {
    (0..600u64)
        .map(|n| {
            event(
                1 + n % 2,
                1_000 + n * 97 % 600,
                1 + n * 97 % 600 / 4,
                1 + n % 5,
            )
        })
        .collect()
}

fn sorted(events: &[Event], sub: u64) -> BTreeMap<EventKey, Event> {
    events
        .iter()
        .filter(|event| event.subscription == subscription(sub))
        .map(|event| (EventKey::from(event), event.clone()))
        .collect()
}

fn assert_answers<B: Backend>(store: &RealmStore<B>, all: &[Event]) {
    let txn = store.begin_read().unwrap();
    for sub in [1, 2, 3] {
        let model = sorted(all, sub);
        let expected: Vec<Event> = model.values().cloned().collect();
        for (from, order, limit) in [
            (Bound::Unbounded, Order::Ascending, None),
            (Bound::Unbounded, Order::Descending, Some(7)),
            (Bound::Excluded(at(1_300)), Order::Ascending, Some(5)),
            (Bound::Included(at(1_300)), Order::Descending, None),
        ] {
            let query = HistoryQuery {
                from,
                order,
                limit,
                ..HistoryQuery::default()
            };
            assert_eq!(
                events(store, &txn, sub, query),
                select(&expected, |event| event.timestamp, &query),
                "{sub} {query:?}"
            );
            assert_eq!(
                history(store, &txn, sub, query),
                select(&history_of(&model, sub), |entry| entry.timestamp, &query),
                "{sub} {query:?}"
            );
        }
    }
    let subscriptions: BTreeSet<_> = all.iter().map(|event| event.subscription).collect();
    assert!(
        store
            .subscriptions_with_history(&txn)
            .unwrap()
            .into_iter()
            .eq(subscriptions)
    );
}

pub fn events_of_crossbar_are_in_every_answer_before_and_after_adoption<E: Engine>() {
    let fresh = Fresh::new::<E>();
    let mut all = crossbar_events();
    store_as_crossbar(&*fresh, &all);
    let store = fresh.realm();
    assert!(!store.is_adopted(&store.begin_read().unwrap()).unwrap());
    assert_answers(&store, &all);

    // Ours among theirs: before, between, of the same publication, the very same event.
    let ours = [
        event(1, 500, 1, 1),
        event(1, 1_050, 9_000, 1),
        event(2, 5_000, 9_001, 1),
        event(3, 1_200, 1, 1),
        all[0].clone(),
    ];
    let mut txn = store.begin_write().unwrap();
    store.store_events(&mut txn, &ours).unwrap();
    txn.commit().unwrap();
    all.extend(ours);
    assert_answers(&store, &all);
    assert!(!store.is_adopted(&store.begin_read().unwrap()).unwrap());

    let done = store
        .adopt(
            |_| ControlFlow::Continue(()),
            |key, error| panic!("{key:?} {error}"),
        )
        .unwrap();
    assert_eq!(
        (done.events_moved, done.events_left, done.complete),
        (600, 0, true)
    );
    assert!(store.is_adopted(&store.begin_read().unwrap()).unwrap());
    assert_answers(&store, &all);
    let store = Fresh {
        store: store.store,
        directory: store.directory,
    };
    assert_eq!(
        store.events().count(&store.begin_read().unwrap()).unwrap(),
        604
    );
    let again = store
        .adopt(
            |_| ControlFlow::Continue(()),
            |key, error| panic!("{key:?} {error}"),
        )
        .unwrap();
    assert_eq!((again.events_moved, again.complete), (0, true));
}

pub fn an_adoption_that_is_stopped_goes_on<E: Engine>() {
    let fresh = Fresh::new::<E>();
    let all: Vec<Event> = (0..25_000u64)
        .map(|n| event(1 + n % 2, 1_000 + n * 7, 1 + n / 2, 1))
        .collect();
    store_as_crossbar(&*fresh, &all);
    let store = fresh.realm();
    let stopped = store
        .adopt(
            |_| ControlFlow::Break(()),
            |key, error| panic!("{key:?} {error}"),
        )
        .unwrap();
    assert!(!stopped.complete);
    assert!(stopped.events_moved > 0 && stopped.events_moved < 25_000);
    assert_answers(&store, &all);
    let mut batches = 0;
    let count = |_: &_| {
        batches += 1;
        ControlFlow::Continue(())
    };
    let done = store
        .adopt(count, |key, error| panic!("{key:?} {error}"))
        .unwrap();
    assert!(batches > 1, "all in one commit");
    assert_eq!(stopped.events_moved + done.events_moved, 25_000);
    assert!(done.complete);
    assert_answers(&store, &all);
}

pub fn events_that_cannot_be_read_stay_and_are_named<E: Engine>() {
    let fresh = Fresh::new::<E>();
    let good = event(1, 1_000, 7, 1);
    // An event that says nothing of itself but the publication has the rest from its key.
    let bare = Event {
        publication: publication(8),
        ..Event::default()
    };
    store_rows_as_crossbar(
        &*fresh,
        &[
            (1, 1_000, good.to_bytes().unwrap()),
            (1, 1_001, vec![1, 2, 3]),
            (1, 1_002, bare.to_bytes().unwrap()),
        ],
    );
    // And a key that is too short to name a subscription.
    let mut txn = fresh.begin_write().unwrap();
    let slot = Directory::read(&txn)
        .unwrap()
        .slot(CROSSBAR_EVENTS_OID)
        .unwrap();
    txn.put(&[&slot.to_be_bytes()[..], &[0, 0, 0]].concat(), &[1, 2, 3])
        .unwrap();
    txn.commit().unwrap();
    let store = fresh.realm();
    let readable = [good, event(1, 1_002, 8, 0)];
    for _ in 0..2 {
        let txn = store.begin_read().unwrap();
        let (read, damaged): (Vec<_>, Vec<_>) = store
            .events_of(&txn, subscription(1), HistoryQuery::default())
            .unwrap()
            .partition(Result::is_ok);
        assert_eq!(
            read.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            readable
        );
        assert_eq!(damaged.len(), 1);
        let error = damaged[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        let key = [&1u64.to_be_bytes()[..], &1_001u64.to_le_bytes()].concat();
        assert_eq!(error.row_key(), Some(&key[..]));
        assert_eq!(
            store.subscriptions_with_history(&txn).unwrap(),
            [subscription(1)]
        );
        drop(txn);
        let mut named = 0;
        let done = store
            .adopt(|_| ControlFlow::Continue(()), |_, _| named += 1)
            .unwrap();
        assert_eq!((done.events_left, named, done.complete), (2, 2, true));
    }
    assert_eq!(
        store.events().count(&store.begin_read().unwrap()).unwrap(),
        2
    );
}

/// What somebody else commits, who knows nothing of our indexes.
pub fn what_others_commit_is_in_every_answer<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let ours = session(1, 100, "alice");
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &ours).unwrap();
    store
        .store_events(&mut txn, [&event(1, 100, 7, 1)])
        .unwrap();
    txn.commit().unwrap();
    assert!(store.is_adopted(&store.begin_read().unwrap()).unwrap());
    assert!(store.begin_read().unwrap().commit_number().is_some());

    let theirs = session(2, 200, "alice");
    let mut txn = store.db().begin_write().unwrap();
    let mut key = store.sessions().slot().unwrap().to_be_bytes().to_vec();
    key.extend_from_slice(theirs.oid.as_bytes());
    txn.put(&key, &theirs.to_bytes().unwrap()).unwrap();
    txn.commit().unwrap();
    store_as_crossbar(store.db(), &[event(1, 90, 7, 2), event(2, 50, 8, 1)]);

    let both = [theirs.oid, ours.oid];
    let all = [event(1, 100, 7, 1), event(1, 90, 7, 2), event(2, 50, 8, 1)];
    assert_eq!(
        oids_by_authid(&store, &store.begin_read().unwrap(), "alice"),
        both
    );
    assert_answers(&store, &all);

    // The next transaction of ours begins with what others wrote. Dropped, it changes nothing.
    let txn = store.begin_write().unwrap();
    assert_eq!(store.events().count(&txn).unwrap(), 3);
    drop(txn);
    assert!(!store.is_adopted(&store.begin_read().unwrap()).unwrap());
    let third = session(3, 300, "alice");
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &third).unwrap();
    txn.commit().unwrap();
    let all_three = [third.oid, theirs.oid, ours.oid];
    assert_eq!(
        oids_by_authid(&store, &store.begin_read().unwrap(), "alice"),
        all_three
    );
    assert_answers(&store, &all);

    let store = Fresh {
        store: store.store,
        directory: store.directory,
    };
    assert!(store.is_adopted(&store.begin_read().unwrap()).unwrap());
    assert_eq!(
        store
            .idx_sessions_by_authid()
            .count(&store.begin_read().unwrap())
            .unwrap(),
        3
    );
    assert_answers(&store, &all);
}

pub fn own_tables_survive_a_reopen<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let session = session(1, 100, "alice");
    let publ = Publication::new(publication(7), at(100), "com.example");
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &session).unwrap();
    store.store_publication(&mut txn, &publ).unwrap();
    store
        .store_events(&mut txn, [&event(1, 100, 7, 1)])
        .unwrap();
    txn.commit().unwrap();
    let slots = |store: &RealmStore<E::Backend>| {
        [
            store.sessions().slot(),
            store.publications().slot(),
            store.events().slot(),
        ]
    };
    let before = slots(&store);
    let Fresh { store, directory } = store;
    drop(store);
    for read_only in [false, true, false] {
        let db = if read_only {
            E::open_read_only(directory.path())
        } else {
            E::open(directory.path())
        };
        let store = RealmStore::attach(db.unwrap()).unwrap();
        assert_eq!(slots(&store), before);
        let txn = store.begin_read().unwrap();
        assert!(store.is_adopted(&txn).unwrap());
        assert_eq!(oids_by_authid(&store, &txn, "alice"), [session.oid]);
        assert_eq!(
            store
                .publications()
                .get(&txn, &publication(7))
                .unwrap()
                .unwrap()
                .to_owned()
                .unwrap(),
            publ
        );
        assert_eq!(
            history(&store, &txn, 1, HistoryQuery::default()),
            [entry(1, 100, 7)]
        );
    }
}

pub fn a_read_only_store_without_our_tables_reads_as_empty<E: Engine>() {
    let fresh = Fresh::new::<E>();
    let all = crossbar_events();
    store_as_crossbar(&*fresh, &all);
    let store = fresh.reopen_read_only::<E>().realm();
    let txn = store.begin_read().unwrap();
    assert_eq!(store.events().slot(), None);
    assert_eq!(store.sessions().count(&txn).unwrap(), 0);
    assert_eq!(store.events().count(&txn).unwrap(), 0);
    assert!(oids_by_authid(&store, &txn, "alice").is_empty());
    assert!(
        store
            .session_by_id(&txn, session_id(1), Timestamp::MAX)
            .unwrap()
            .is_none()
    );
    drop(txn);
    assert_answers(&store, &all);
    assert_eq!(
        store
            .begin_write()
            .err()
            .expect("a read-only store took a writer")
            .kind(),
        ErrorKind::ReadOnly
    );
    let directory = Directory::read(&store.begin_read().unwrap()).unwrap();
    assert_eq!(directory.slot(Sessions::OID), None);
    assert_eq!(directory.slot(Events::OID), None);
}

/// A row of a table, past the store.
fn raw_key(slot: u16, key: &[u8]) -> Vec<u8> {
    [&slot.to_be_bytes()[..], key].concat()
}

pub fn events_that_arrive_behind_an_adoption_are_in_every_answer<E: Engine>() {
    let fresh = Fresh::new::<E>();
    let mut all: Vec<Event> = (0..10_001u64)
        .map(|n| event(7, 1_000 + n, 1 + n, 1))
        .collect();
    store_as_crossbar(&*fresh, &all);
    let store = fresh.realm();
    let late = event(1, 500, 3, 1);
    let mut batches = 0;
    store
        .adopt(
            |_| {
                batches += 1;
                if batches == 1 {
                    store_as_crossbar(store.db(), std::slice::from_ref(&late));
                }
                ControlFlow::Continue(())
            },
            |key, error| panic!("{key:?} {error}"),
        )
        .unwrap();
    all.push(late);
    let txn = store.begin_read().unwrap();
    assert_eq!(
        events(&store, &txn, 1, HistoryQuery::default()),
        all[10_001..]
    );
    assert_eq!(
        history(&store, &txn, 1, HistoryQuery::default()),
        [entry(1, 500, 3)]
    );
    assert_eq!(
        store.subscriptions_with_history(&txn).unwrap(),
        [subscription(1), subscription(7)]
    );
}

pub fn an_adoption_changes_no_answer_even_of_damaged_events<E: Engine>() {
    let fresh = Fresh::new::<E>();
    // The record says another subscription and time than its key.
    let misplaced = event(8, 9_999, 70, 1);
    // A receiver that points outside of the record.
    let mut damaged = event(7, 1_001, 71, 1).to_bytes().unwrap();
    let field = {
        let root = u32::from_le_bytes(damaged[..4].try_into().unwrap()) as usize;
        let back = i32::from_le_bytes(damaged[root..root + 4].try_into().unwrap());
        (root as i64 - i64::from(back)) as usize + 4 + 2 * 3
    };
    damaged[field..field + 2].copy_from_slice(&u16::MAX.to_le_bytes());
    store_rows_as_crossbar(
        &*fresh,
        &[
            (7, 1_000, misplaced.to_bytes().unwrap()),
            (7, 1_001, damaged),
        ],
    );
    let store = fresh.realm();
    let expected = [event(7, 1_000, 70, 1), event(7, 1_001, 71, 0)];
    let answers = |store: &RealmStore<E::Backend>| {
        let txn = store.begin_read().unwrap();
        assert!(events(store, &txn, 8, HistoryQuery::default()).is_empty());
        events(store, &txn, 7, HistoryQuery::default())
    };
    assert_eq!(answers(&store), expected);
    let mut named = Vec::new();
    let done = store
        .adopt(
            |_| ControlFlow::Continue(()),
            |_, error| named.push(error.to_string()),
        )
        .unwrap();
    assert_eq!((done.events_moved, done.events_left), (2, 0));
    assert_eq!(
        named,
        ["damaged event: receiver points outside of the record"]
    );
    assert_eq!(answers(&store), expected);
}

pub fn a_damaged_stamp_only_costs_the_indexes<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let ours = session(1, 100, "alice");
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &ours).unwrap();
    store
        .store_events(&mut txn, [&event(1, 100, 7, 1)])
        .unwrap();
    txn.commit().unwrap();
    let meta = slot_named(store.db(), "realmstore.meta");
    let mut txn = store.db().begin_write().unwrap();
    txn.put(&raw_key(meta, &[0]), &[1, 2]).unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert!(!store.is_adopted(&txn).unwrap());
    assert_eq!(oids_by_authid(&store, &txn, "alice"), [ours.oid]);
    assert_eq!(
        history(&store, &txn, 1, HistoryQuery::default()),
        [entry(1, 100, 7)]
    );
    drop(txn);
    // The next commit of ours finds out what is missing, and makes it good.
    let mut txn = store.begin_write().unwrap();
    store
        .session_joined(&mut txn, &session(2, 200, "bob"))
        .unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert!(store.is_adopted(&txn).unwrap());
    assert_eq!(store.idx_sessions_by_authid().count(&txn).unwrap(), 2);
}

pub fn a_store_that_was_repaired_is_caught_up_with_all_the_same<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    store
        .session_joined(&mut txn, &session(1, 100, "alice"))
        .unwrap();
    txn.commit().unwrap();
    let index = store.idx_sessions_by_authid().slot().unwrap();
    let mut txn = store.db().begin_write().unwrap();
    txn.put(&raw_key(index, b"no row"), b"").unwrap();
    txn.commit().unwrap();
    let theirs = event(1, 90, 7, 2);
    store_as_crossbar(store.db(), std::slice::from_ref(&theirs));

    repair(store.db(), |_| ControlFlow::Continue(())).unwrap();
    assert!(!store.is_adopted(&store.begin_read().unwrap()).unwrap());
    let mut txn = store.begin_write().unwrap();
    store
        .session_joined(&mut txn, &session(2, 200, "bob"))
        .unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert!(store.is_adopted(&txn).unwrap());
    assert_eq!(store.events().count(&txn).unwrap(), 1);
}

/// More than one commit takes, and one that is damaged among them.
pub fn a_writer_catches_up_with_many_events_of_others<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    store
        .session_joined(&mut txn, &session(1, 100, "alice"))
        .unwrap();
    txn.commit().unwrap();
    let all: Vec<Event> = (0..20_001u64)
        .map(|n| event(7, 1_000 + n, 1 + n, 1))
        .collect();
    store_as_crossbar(store.db(), &all);
    let directory = Directory::read(&store.begin_read().unwrap()).unwrap();
    let crossbar = directory.slot(CROSSBAR_EVENTS_OID).unwrap();
    let damaged = raw_key(crossbar, &[[0; 7].as_slice(), &[7], &[9; 8]].concat());
    let mut txn = store.db().begin_write().unwrap();
    txn.put(&damaged, b"no record").unwrap();
    txn.commit().unwrap();

    let mut txn = store.begin_write().unwrap();
    assert_eq!(store.events().count(&txn).unwrap(), 20_001);
    store
        .session_joined(&mut txn, &session(2, 200, "bob"))
        .unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert!(store.is_adopted(&txn).unwrap());
    assert_eq!(txn.get(&damaged).unwrap().unwrap().as_ref(), b"no record");
    let found: Vec<_> = store
        .events_of(&txn, subscription(7), HistoryQuery::default())
        .unwrap()
        .collect();
    assert_eq!(found.iter().filter(|event| event.is_ok()).count(), 20_001);
    assert_eq!(found.iter().filter(|event| event.is_err()).count(), 1);
}

pub fn a_damaged_position_is_counted_anew<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let stored = [
        event(1, 100, 7, 1),
        event(1, 110, 7, 2),
        event(1, 120, 8, 1),
    ];
    store.store_events(&mut txn, &stored).unwrap();
    txn.commit().unwrap();
    let positions = slot_named(store.db(), "realmstore.history_positions");
    let position = raw_key(
        positions,
        &[1u64.to_be_bytes(), 7u64.to_be_bytes()].concat(),
    );
    let all = HistoryQuery::default();
    let listed = [entry(1, 100, 7), entry(1, 120, 8)];
    let mut txn = store.begin_write().unwrap();
    txn.put(&position, &[1]).unwrap();
    assert_eq!(history(&store, &txn, 1, all), listed);
    store
        .store_events(&mut txn, [&event(1, 130, 7, 3)])
        .unwrap();
    assert_eq!(history(&store, &txn, 1, all), listed);
    // Earlier than all that there were, so that it moves in the history.
    txn.put(&position, &[1]).unwrap();
    store.store_events(&mut txn, [&event(1, 90, 7, 4)]).unwrap();
    assert_eq!(
        history(&store, &txn, 1, all),
        [entry(1, 90, 7), entry(1, 120, 8)]
    );
    // A key that is none stands among the events.
    let events_slot = store.events().slot().unwrap();
    let broken = raw_key(
        events_slot,
        &[&1u64.to_be_bytes()[..], &95u64.to_be_bytes()].concat(),
    );
    txn.put(&broken, b"").unwrap();
    let key = EventKey::from(&event(1, 90, 7, 4));
    assert!(store.events().delete(&mut txn, &key).unwrap());
    assert_eq!(history(&store, &txn, 1, all), listed);
    txn.delete(&broken).unwrap();
    txn.put(&position, &[1]).unwrap();
    for (time, receiver) in [(100, 1), (110, 2)] {
        let key = EventKey::from(&event(1, time, 7, receiver));
        assert!(store.events().delete(&mut txn, &key).unwrap());
    }
    assert_eq!(
        history(&store, &txn, 1, all),
        [entry(1, 120, 8), entry(1, 130, 7)]
    );
    let key = EventKey::from(&event(1, 130, 7, 3));
    assert!(store.events().delete(&mut txn, &key).unwrap());
    assert_eq!(history(&store, &txn, 1, all), [entry(1, 120, 8)]);
}

pub fn a_damaged_record_can_be_replaced_and_removed<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let (good, session) = (event(1, 100, 7, 1), session(5, 100, "alice"));
    let mut txn = store.begin_write().unwrap();
    store.store_events(&mut txn, [&good]).unwrap();
    store.session_joined(&mut txn, &session).unwrap();
    let mut key = realmstore_core::key::KeyBuf::new();
    realmstore_core::key::Key::encode(&EventKey::from(&good), &mut key);
    let event_row = raw_key(store.events().slot().unwrap(), &key);
    let session_row = raw_key(store.sessions().slot().unwrap(), session.oid.as_bytes());
    for row in [&event_row, &session_row] {
        txn.put(row, b"zz").unwrap();
    }
    store.store_events(&mut txn, [&good]).unwrap();
    assert_eq!(
        events(&store, &txn, 1, HistoryQuery::default()),
        std::slice::from_ref(&good)
    );
    store.session_joined(&mut txn, &session).unwrap();
    assert_eq!(oids_by_authid(&store, &txn, "alice"), [session.oid]);
    for row in [&event_row, &session_row] {
        txn.put(row, b"zz").unwrap();
    }
    assert!(
        store
            .events()
            .delete(&mut txn, &EventKey::from(&good))
            .unwrap()
    );
    assert!(store.sessions().delete(&mut txn, &session.oid).unwrap());
    assert!(history(&store, &txn, 1, HistoryQuery::default()).is_empty());
    // The row that led to it leads nowhere, and is in nobody's way.
    assert!(oids_by_authid(&store, &txn, "alice").is_empty());
    let again = Session {
        oid: Uuid::from_u128(9),
        ..session
    };
    store.session_joined(&mut txn, &again).unwrap();
    let found = store
        .session_by_id(&txn, session_id(5), Timestamp::MAX)
        .unwrap()
        .unwrap();
    assert_eq!(found.view().unwrap().oid().unwrap(), again.oid);
}

/// A store whose entry of a table is damaged must not be opened as if it had none.
fn refused<E: Engine>(table: &str, damage: impl FnOnce(&mut Vec<u8>)) {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    store
        .session_joined(&mut txn, &session(1, 100, "alice"))
        .unwrap();
    txn.commit().unwrap();
    let slot = slot_named(store.db(), table);
    let Fresh { store, directory } = store;
    let mut txn = store.db().begin_write().unwrap();
    let entry = raw_key(0, &slot.to_be_bytes());
    let mut bytes = txn.get(&entry).unwrap().unwrap().as_ref().to_vec();
    damage(&mut bytes);
    txn.put(&entry, &bytes).unwrap();
    txn.commit().unwrap();
    drop(store);
    for read_only in [true, false] {
        let db = if read_only {
            E::open_read_only(directory.path())
        } else {
            E::open(directory.path())
        };
        let error = RealmStore::attach(db.unwrap())
            .err()
            .expect("the sessions look empty");
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(
            error.to_string().contains(&format!("slot {slot},")),
            "{error}"
        );
    }
}

pub fn a_table_is_not_taken_for_missing_when_its_entry_is_damaged<E: Engine>() {
    // Another OID under its name; nothing that can be read; another slot's number.
    let sessions = Sessions::NAME;
    refused::<E>(sessions, |entry| {
        let oid = entry.windows(4).position(|text| text == b"403e").unwrap();
        entry[oid] = b'5';
    });
    refused::<E>(sessions, |entry| entry[0] = 0xff);
    refused::<E>(sessions, |entry| *entry.last_mut().unwrap() = 9);
    // The table of versions, without which newer tables would be read as old ones.
    refused::<E>("realmstore.meta", |entry| entry[0] = 0xff);
}

pub fn a_database_that_is_no_realm_store_is_refused_and_left_alone<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut txn = store.begin_write().unwrap();
    txn.put(b"accounts", b"theirs").unwrap();
    txn.commit().unwrap();
    let Fresh { store, directory } = store;
    let error = RealmStore::attach(store)
        .err()
        .expect("somebody's database was taken");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let store = E::open(directory.path()).unwrap();
    let txn = store.begin_read().unwrap();
    let everything = txn
        .scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)
        .unwrap();
    assert_eq!(
        crate::collect(everything),
        [(b"accounts".to_vec(), b"theirs".to_vec())]
    );
}

pub fn rows_of_what_a_record_was_before_are_not_followed<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let before = session(5, 100, "alice");
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &before).unwrap();
    let row = raw_key(store.sessions().slot().unwrap(), before.oid.as_bytes());
    txn.put(&row, b"zz").unwrap();
    let after = Session {
        oid: before.oid,
        ..session(6, 200, "alice")
    };
    store.session_joined(&mut txn, &after).unwrap();
    assert_eq!(oids_by_authid(&store, &txn, "alice"), [after.oid]);
    let found = store.session_by_id(&txn, session_id(5), Timestamp::MAX);
    assert!(found.unwrap().is_none());
    assert_eq!(
        store
            .session_left(&mut txn, session_id(5), at(300))
            .unwrap(),
        None
    );
    let another = session(5, 100, "bob");
    store.session_joined(&mut txn, &another).unwrap();
    let found = store.session_by_id(&txn, session_id(5), Timestamp::MAX);
    assert_eq!(
        found.unwrap().unwrap().view().unwrap().oid().unwrap(),
        another.oid
    );
}

pub fn an_adoption_forgets_no_damaged_session<E: Engine>() {
    let fresh = Fresh::new::<E>();
    store_as_crossbar(&*fresh, &[event(1, 100, 7, 1)]);
    let store = fresh.realm();
    let (good, bad) = (session(1, 100, "alice"), session(2, 200, "alice"));
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &good).unwrap();
    let row = raw_key(store.sessions().slot().unwrap(), bad.oid.as_bytes());
    txn.put(&row, b"zz").unwrap();
    txn.commit().unwrap();
    let answers = || {
        let txn = store.begin_read().unwrap();
        let found = store.sessions_by_authid(&txn, "alice").unwrap();
        found.map(|session| session.is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(answers(), [false, true]);
    let mut named = 0;
    let done = store
        .adopt(|_| ControlFlow::Continue(()), |_, _| named += 1)
        .unwrap();
    assert_eq!(
        (done.sessions_indexed, done.sessions_damaged, named),
        (1, 1, 1)
    );
    assert_eq!(answers(), [false, true]);
}

/// The node of some sessions.
const NODE: Uuid = Uuid::from_u128(0x99);

#[derive(Debug, Clone)]
enum Operation {
    Join(Box<Session>),
    Leave(u64, u64),
    Rename(u8, String),
    Forget(u8),
    Store(Vec<Event>),
    Delete(Event),
    Record(Box<Dispatch>),
    Subscribe(String, MatchPolicy),
    Alias(u64, u64),
    ForgetRetained(String),
    Alive(u64),
    CloseLeftOpen,
    Commit,
    Drop,
    Adopt,
}

/// Topics, of which two begin alike for longer than a key can tell.
fn topics() -> [String; 4] {
    let long = "com.example".to_owned() + &"a".repeat(250);
    [
        "com.example".to_owned(),
        "com.example.b".to_owned(),
        long.clone() + "b",
        long,
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::sample::select(topics().to_vec())
}

/// Publications, of which each has one topic whenever it is recorded.
fn dispatch() -> impl Strategy<Value = Dispatch> {
    let delivery = (1u64..6, 0u64..9, prop::collection::vec(1u64..4, 0..3));
    let retain = prop::option::of(prop::option::of(0u64..9));
    let is_listed = any::<bool>();
    let deliveries = prop::collection::vec(delivery, 0..3);
    (6u64..12, deliveries, retain, is_listed).prop_map(|(id, deliveries, retain, is_listed)| {
        Dispatch {
            publication: Publication {
                exclude_authid: is_listed.then(|| vec!["a".to_owned()]),
                ..Publication::new(publication(id), at(id), topics()[id as usize % 4].as_str())
            },
            deliveries: deliveries
                .into_iter()
                .map(|(sub, time, receivers)| Delivery {
                    subscription: subscription(sub),
                    timestamp: at(time),
                    receivers: receivers.into_iter().map(session_id).collect(),
                    ..Delivery::default()
                })
                .collect(),
            retain: retain.map(|expires_at| Retain {
                expires_at: expires_at.map(at),
            }),
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let authid = || prop_oneof![Just("a"), Just("b"), Just("a\0")];
    let joining = (0u8..6, 1u64..4, 0u64..4, authid(), any::<bool>());
    let joins = joining.prop_map(|(oid, id, joined_at, authid, has_authid)| Session {
        oid: Uuid::from_u128(u128::from(oid) + 1),
        authid: has_authid.then(|| authid.to_owned()),
        node_oid: has_authid.then_some(NODE),
        ..session(id, joined_at, "")
    });
    prop_oneof![
        4 => joins.prop_map(Box::new).prop_map(Operation::Join),
        2 => (1u64..4, 0u64..9).prop_map(|(id, at)| Operation::Leave(id, at)),
        1 => (0u8..6, authid()).prop_map(|(oid, authid)| Operation::Rename(oid, authid.to_owned())),
        1 => (0u8..6).prop_map(Operation::Forget),
        4 => prop::collection::vec(some_event(), 1..10).prop_map(Operation::Store),
        3 => some_event().prop_map(Operation::Delete),
        4 => dispatch().prop_map(Box::new).prop_map(Operation::Record),
        2 => (topic(), any::<bool>()).prop_map(|(uri, is_exact)| {
            let policy = if is_exact { MatchPolicy::Exact } else { MatchPolicy::Prefix };
            Operation::Subscribe(uri, policy)
        }),
        2 => (1u64..6, 0u64..4).prop_map(|(alias, of)| Operation::Alias(alias, of)),
        1 => topic().prop_map(Operation::ForgetRetained),
        1 => (0u64..9).prop_map(Operation::Alive),
        1 => Just(Operation::CloseLeftOpen),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Drop),
        1 => Just(Operation::Adopt),
    ]
}

pub fn nothing_is_found_after_any_operations_of_our_own<E: Engine>() {
    let mut runner = property(file!(), 48);
    runner
        .run(&prop::collection::vec(operation(), 1..30), |operations| {
            let store = Fresh::new::<E>().realm();
            let mut txn = store.begin_write().unwrap();
            for publ in 1..6 {
                let publ = Publication::new(publication(publ), at(publ), "com.example");
                store.store_publication(&mut txn, &publ).unwrap();
            }
            txn.commit().unwrap();
            let mut txn = store.begin_write().unwrap();
            let mut known: Vec<SubscriptionId> = Vec::new();
            for operation in operations {
                match operation {
                    Operation::Record(dispatch) => store.record(&mut txn, &dispatch).unwrap(),
                    Operation::Subscribe(uri, policy) => known.push(
                        store
                            .subscription_id(&mut txn, "realm1", &uri, policy, at(1))
                            .unwrap(),
                    ),
                    Operation::Alias(alias, of) => {
                        // One that was dropped, or that has a history, is refused.
                        if let Some(of) = known.get(of as usize) {
                            let aliased =
                                store.alias_subscription(&mut txn, subscription(alias), *of);
                            let kind = aliased.err().map(|error| error.kind());
                            prop_assert!(matches!(
                                kind,
                                None | Some(ErrorKind::NotFound | ErrorKind::InvalidInput)
                            ));
                        }
                    }
                    Operation::ForgetRetained(topic) => {
                        store.forget_retained(&mut txn, &topic).unwrap();
                    }
                    Operation::Alive(time) => store.note_alive(&mut txn, NODE, at(time)).unwrap(),
                    Operation::CloseLeftOpen => {
                        store.close_left_open(&mut txn, NODE).unwrap();
                    }
                    Operation::Join(session) => {
                        // A second session of that identity is refused.
                        let joined = store.session_joined(&mut txn, &session);
                        let kind = joined.err().map(|error| error.kind());
                        prop_assert!(matches!(kind, None | Some(ErrorKind::Duplicate)));
                    }
                    Operation::Leave(id, time) => {
                        store
                            .session_left(&mut txn, session_id(id), at(time))
                            .unwrap();
                    }
                    Operation::Rename(oid, authid) => {
                        let oid = Uuid::from_u128(u128::from(oid) + 1);
                        let found = store.sessions().get(&txn, &oid).unwrap();
                        let found = found.map(|session| session.to_owned().unwrap());
                        if let Some(mut session) = found {
                            session.authid = Some(authid);
                            store.sessions().put(&mut txn, &oid, &session).unwrap();
                        }
                    }
                    Operation::Forget(oid) => {
                        let oid = Uuid::from_u128(u128::from(oid) + 1);
                        store.sessions().delete(&mut txn, &oid).unwrap();
                    }
                    Operation::Store(events) => store.store_events(&mut txn, &events).unwrap(),
                    Operation::Delete(event) => {
                        let key = EventKey::from(&event);
                        store.events().delete(&mut txn, &key).unwrap();
                    }
                    Operation::Commit => {
                        txn.commit().unwrap();
                        txn = store.begin_write().unwrap();
                    }
                    Operation::Drop => {
                        drop(txn);
                        txn = store.begin_write().unwrap();
                    }
                    Operation::Adopt => {
                        txn.commit().unwrap();
                        store
                            .adopt(
                                |_| ControlFlow::Continue(()),
                                |key, error| panic!("{key:?} {error}"),
                            )
                            .unwrap();
                        txn = store.begin_write().unwrap();
                    }
                }
            }
            txn.commit().unwrap();
            prop_assert_eq!(findings(store.db()), []);
            Ok(())
        })
        .unwrap();
}

pub fn a_repair_leaves_nothing_to_find<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for id in 1..=3u64 {
        store
            .session_joined(&mut txn, &session(id, id, "alice"))
            .unwrap();
        let publ = Publication::new(publication(id), at(id), "com.example");
        store.store_publication(&mut txn, &publ).unwrap();
        let events = [event(1, id * 10, id, 1), event(1, id * 10 + 1, id, 2)];
        store.store_events(&mut txn, &events).unwrap();
        let publ = Publication::new(publication(id), at(id), format!("com.{id}"));
        store.retain(&mut txn, &publ, Retain::default()).unwrap();
        store.store_publication(&mut txn, &publ).unwrap();
    }
    let subscribed = Subscription {
        subscription: subscription(8),
        realm: Some("realm1".to_owned()),
        uri: Some("com.example".to_owned()),
        ..Subscription::default()
    };
    let alias = Subscription {
        subscription: subscription(9),
        alias_of: Some(subscription(77)),
        ..Subscription::default()
    };
    for record in [subscribed, alias] {
        let id = record.subscription;
        store.subscriptions().put(&mut txn, &id, &record).unwrap();
    }
    store.note_alive(&mut txn, NODE, at(1)).unwrap();
    txn.commit().unwrap();
    let slot = slot_named(store.db(), Publications::NAME);
    let by_uri = slot_named(store.db(), SubscriptionsByUri::NAME);
    let meta = slot_named(store.db(), "realmstore.meta");
    let by_id = slot_named(
        store.db(),
        "cfxdb.realmstore._session.IndexSessionsBySessionId",
    );
    let positions = slot_named(store.db(), "realmstore.history_positions");
    let mut txn = store.db().begin_write().unwrap();
    txn.put(&raw_key(slot, &2u64.to_be_bytes()), b"no record")
        .unwrap();
    for (slot, key) in [(by_id, [1u64, 1]), (positions, [3, 1])] {
        let key = key.map(u64::to_be_bytes).concat();
        assert!(txn.delete(&raw_key(slot, &key)).unwrap());
    }
    let row = [&b"com.example\0\0"[..], &8u64.to_be_bytes()].concat();
    assert!(txn.delete(&raw_key(by_uri, &row)).unwrap());
    let alive = [&[2][..], NODE.as_bytes()].concat();
    txn.put(&raw_key(meta, &alive), &[7]).unwrap();
    txn.commit().unwrap();
    let named: BTreeSet<_> = findings(store.db())
        .into_iter()
        .map(|finding| (finding.table, finding.key))
        .filter(|(table, _)| !["sessions_by_authid", "sessions_by_leaving"].contains(table))
        .collect();
    let expected = [
        ("history_positions", "1 publication 3"),
        (
            "meta",
            "last alive: node 00000000-0000-0000-0000-000000000099",
        ),
        ("publications", "2"),
        (
            "sessions_by_session_id",
            "1 at 1970-01-01T00:00:00.000000001Z",
        ),
        ("subscriptions", "9"),
        ("subscriptions_by_uri", "\"com.example\" subscription 8"),
    ];
    assert_eq!(
        named,
        expected
            .map(|(table, key)| (table, key.to_owned()))
            .into_iter()
            .collect()
    );

    let done = repair(store.db(), |_| ControlFlow::Continue(())).unwrap();
    assert!(done.complete);
    let left = findings(store.db());
    assert!(
        left.len() == 1 && left[0].table == "events",
        "only that the publication is in the quarantine: {left:?}"
    );
    let txn = store.begin_read().unwrap();
    assert!(store.is_adopted(&txn).unwrap());
    let quarantine = quarantine(&txn).unwrap();
    let mut rows = quarantine.range(&txn, .., Order::Ascending).unwrap();
    let mut kept = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        kept.extend(row.to_owned().unwrap().value);
    }
    assert_eq!(kept.len(), 4, "with what was retained of the publication");
    assert!(kept.contains(&b"no record".to_vec()));
    assert_eq!(history(&store, &txn, 1, HistoryQuery::default()).len(), 3);
}
