//! What is allocated: on LMDB nothing at all to read a record where it lies,
//! two bounds to begin a scan of any length, and nothing to write a record once
//! buffers have grown.
//!
//! Counted is what Rust allocates on the thread that works. What an engine's
//! own C or C++ allocates is not: LMDB a cursor for each scan, and in a write
//! transaction the pages that it changes; RocksDB iterators, blocks and batches.
//!
//! Of the other engines that much is true: a store in memory and RocksDB lend
//! records as LMDB does. The one makes about four allocations for a row that is
//! written (key, value, and the nodes of its tree), the other keeps what a
//! transaction changes in the nodes of a map, less than one for a row. sled
//! allocates for nearly each row that it reads or writes; nothing of it is
//! asserted here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::hint::black_box;

use realmstore::cbor::Cbor;
use realmstore::record::{EventView, PublicationView, SessionView};
use realmstore::{
    AnyStore, Delivery, Dispatch, ENGINES, EncAlgo, EncSerializer, Engine, Event, GetEvents,
    HistoryQuery, Order, Publication, PublicationId, Session, SessionId, SubscriptionId, Timestamp,
    Uuid, WriteTxn,
};
use tempfile::TempDir;

/// How often Rust allocates, growing what is there included.
fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

fn open(engine: Engine) -> (AnyStore, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    let location = match engine {
        Engine::Memory => "memory:".to_owned(),
        engine => format!("{engine}:{}", path.display()),
    };
    (realmstore::open(&location).unwrap(), directory)
}

/// The engines of this build that lend what they store.
fn lending() -> impl Iterator<Item = Engine> {
    let all = ENGINES.iter().copied();
    all.filter(|engine| *engine != Engine::Sled)
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn session_id(number: u64) -> SessionId {
    SessionId::from_stored(number)
}

fn publication_id(number: u64) -> PublicationId {
    PublicationId::from_stored(number)
}

const SUBSCRIPTION: SubscriptionId = SubscriptionId::MAX;

/// So many names that their list would grow as it is read if its length were not known.
const NAMES: usize = 12;

fn names(count: usize) -> Option<Vec<String>> {
    Some((0..count).map(|number| format!("joe{number}")).collect())
}

/// A publication with every field set but the payload, which excludes arguments.
fn publication(number: u64) -> Publication {
    Publication {
        publisher: Some(session_id(3)),
        args: Some(Cbor::serialize(&(46, "text")).unwrap()),
        kwargs: Some(Cbor::serialize(&[1, 2, 3]).unwrap()),
        payload: None,
        acknowledge: Some(true),
        retain: Some(false),
        exclude_me: Some(false),
        exclude: Some(vec![session_id(1), session_id(2)]),
        exclude_authid: names(NAMES),
        exclude_authrole: names(NAMES),
        eligible: Some(vec![session_id(1), session_id(2)]),
        eligible_authid: names(NAMES),
        eligible_authrole: names(NAMES),
        enc_algo: Some(EncAlgo::OPAQUE),
        enc_key: Some(vec![1, 2, 3]),
        enc_serializer: Some(EncSerializer::CBOR),
        ..Publication::new(publication_id(number), at(number), "com.example.a")
    }
}

/// How many Strings and Vecs it has: the topic, `args`, `kwargs`, `enc_key`, two
/// lists of IDs, and four of names.
const IN_A_PUBLICATION: u64 = 4 + 2 + 4 * (1 + NAMES as u64);

/// A session with every field set.
fn session(number: u64) -> Session {
    let text = || Some("joe@example.com".to_owned());
    let oid = Some(Uuid::from_u128(7));
    let map = || Some(Cbor::serialize(&[("key", "value")]).unwrap());
    Session {
        arealm_oid: oid,
        left_at: None,
        node_oid: oid,
        node_authid: text(),
        worker_name: text(),
        worker_pid: Some(1),
        transport: map(),
        proxy_node_oid: oid,
        proxy_node_authid: text(),
        proxy_worker_name: text(),
        proxy_worker_pid: Some(1),
        proxy_transport: map(),
        realm: text(),
        authid: text(),
        authrole: text(),
        authmethod: text(),
        authprovider: text(),
        authextra: map(),
        ..Session::new(session_id(number), at(number))
    }
}

/// Nine texts, and three of CBOR.
const IN_A_SESSION: u64 = 9 + 3;

fn dispatch(number: u64, receivers: u64) -> Dispatch {
    Dispatch {
        publication: publication(number),
        deliveries: vec![Delivery {
            subscription: SUBSCRIPTION,
            timestamp: at(number),
            receivers: (1..=receivers).map(session_id).collect(),
            retained: Some(false),
            acknowledged_delivery: Some(true),
        }],
        retain: None,
    }
}

fn with_names(mut dispatch: Dispatch, count: usize) -> Dispatch {
    dispatch.publication.eligible_authid = names(count);
    dispatch
}

fn record(store: &AnyStore, dispatches: impl IntoIterator<Item = Dispatch>) {
    let mut txn = store.begin_write().unwrap();
    for dispatch in dispatches {
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
}

fn read_session(view: SessionView<'_>) {
    black_box((
        view.arealm_oid().unwrap(),
        view.oid().unwrap(),
        view.session().unwrap(),
        view.joined_at().unwrap(),
        view.left_at().unwrap(),
        view.node_oid().unwrap(),
        view.node_authid().unwrap(),
        view.worker_name().unwrap(),
        view.worker_pid().unwrap(),
    ));
    black_box((
        view.proxy_node_oid().unwrap(),
        view.proxy_node_authid().unwrap(),
        view.proxy_worker_name().unwrap(),
        view.proxy_worker_pid().unwrap(),
        view.realm().unwrap(),
        view.authid().unwrap(),
        view.authrole().unwrap(),
        view.authmethod().unwrap(),
        view.authprovider().unwrap(),
    ));
    for cbor in [view.transport(), view.proxy_transport(), view.authextra()] {
        black_box(cbor.unwrap().unwrap().as_bytes());
    }
}

fn read_publication(view: PublicationView<'_>) {
    black_box((
        view.timestamp().unwrap(),
        view.publication().unwrap(),
        view.publisher().unwrap(),
        view.topic().unwrap(),
        view.payload().unwrap(),
        view.acknowledge().unwrap(),
        view.retain().unwrap(),
        view.exclude_me().unwrap(),
        view.enc_algo().unwrap(),
        view.enc_key().unwrap(),
        view.enc_serializer().unwrap(),
    ));
    for ids in [view.exclude(), view.eligible()] {
        for id in ids.unwrap().unwrap() {
            black_box(id);
        }
    }
    for names in [
        view.exclude_authid(),
        view.exclude_authrole(),
        view.eligible_authid(),
        view.eligible_authrole(),
    ] {
        for name in names.unwrap().unwrap() {
            black_box(name.unwrap());
        }
    }
    for cbor in [view.args(), view.kwargs()] {
        black_box(cbor.unwrap().unwrap().as_bytes());
    }
}

fn read_event(view: EventView<'_>) {
    black_box((
        view.timestamp().unwrap(),
        view.subscription().unwrap(),
        view.publication().unwrap(),
        view.receiver().unwrap(),
        view.retained().unwrap(),
        view.acknowledged_delivery().unwrap(),
    ));
}

/// A store with a session, and `publications` to three receivers each.
fn filled(engine: Engine, publications: u64) -> (AnyStore, TempDir, Session) {
    let (store, directory) = open(engine);
    let session = session(5);
    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &session).unwrap();
    txn.commit().unwrap();
    record(&store, (1..=publications).map(|number| dispatch(number, 3)));
    (store, directory, session)
}

#[test]
fn every_field_of_a_record_is_read_without_an_allocation() {
    for engine in lending() {
        let (store, _directory, session) = filled(engine, 10);
        let txn = store.begin_read().unwrap();
        let mut events = store
            .events()
            .prefix(&txn, &SUBSCRIPTION, Order::Ascending)
            .unwrap();
        let event = events.next().unwrap().unwrap().key().unwrap();
        let count = allocations(|| {
            let found = store.sessions().get(&txn, &session.oid).unwrap().unwrap();
            read_session(found.view().unwrap());
            let id = publication_id(7);
            let found = store.publications().get(&txn, &id).unwrap().unwrap();
            read_publication(found.view().unwrap());
            let found = store.events().get(&txn, &event).unwrap().unwrap();
            read_event(found.view().unwrap());
        });
        assert_eq!(count, 0, "{engine}");
    }
}

#[test]
fn on_lmdb_a_session_is_found_by_its_id_without_an_allocation() {
    let (store, _directory, session) = filled(Engine::Lmdb, 0);
    let count = allocations(|| {
        let txn = store.begin_read().unwrap();
        let found = store.session_by_id(&txn, session.session, Timestamp::MAX);
        read_session(found.unwrap().unwrap().view().unwrap());
    });
    assert_eq!(count, 0);
}

/// The bounds, and with the engine in memory the way down its tree.
const TO_BEGIN_A_SCAN: u64 = 3;

#[test]
fn a_scan_allocates_to_begin_and_nothing_for_a_row() {
    for engine in lending() {
        let (store, _directory, _) = filled(engine, 1000);
        let txn = store.begin_read().unwrap();
        let newest_events = |rows: usize, with_publications: bool| {
            let mut scan = store
                .events()
                .prefix(&txn, &SUBSCRIPTION, Order::Descending)
                .unwrap();
            for _ in 0..rows {
                let event = scan.next().unwrap().unwrap().view().unwrap();
                read_event(event);
                if with_publications {
                    let id = event.publication().unwrap();
                    let found = store.publications().get(&txn, &id).unwrap().unwrap();
                    read_publication(found.view().unwrap());
                }
            }
        };
        let publications = |rows: usize| {
            let mut scan = store
                .publications()
                .range(&txn, .., Order::Ascending)
                .unwrap();
            for _ in 0..rows {
                read_publication(scan.next().unwrap().unwrap().view().unwrap());
            }
        };
        let history = |rows: usize| {
            let newest = HistoryQuery {
                order: Order::Descending,
                limit: Some(rows),
                ..HistoryQuery::default()
            };
            let entries = store.history(&txn, SUBSCRIPTION, newest).unwrap();
            assert_eq!(entries.map(Result::unwrap).count(), rows);
        };
        for rows in [10, 100, 1000] {
            for (what, count) in [
                ("events", allocations(|| newest_events(rows, false))),
                (
                    "events and their publications",
                    allocations(|| newest_events(rows, true)),
                ),
                ("publications", allocations(|| publications(rows))),
                ("history", allocations(|| history(rows))),
            ] {
                let expected = match engine {
                    Engine::Memory => TO_BEGIN_A_SCAN,
                    _ => TO_BEGIN_A_SCAN - 1,
                };
                assert_eq!(count, expected, "{engine}: {rows} {what}");
            }
        }
    }
}

#[test]
fn on_lmdb_dispatches_are_recorded_without_an_allocation() {
    let (store, _directory) = open(Engine::Lmdb);
    record(&store, (1..=10).map(|number| dispatch(number, 3)));
    // Every record is made before any is counted.
    let dispatches: Vec<Dispatch> = (11..=2010).map(|number| dispatch(number, 3)).collect();
    for dispatches in dispatches.chunks(1000) {
        let mut written = 0;
        let count = allocations(|| {
            let mut txn = store.begin_write().unwrap();
            for dispatch in dispatches {
                store.record(&mut txn, dispatch).unwrap();
            }
            written = txn.rows_written();
            txn.commit().unwrap();
        });
        assert_eq!(
            written,
            6 * 1000,
            "publication, position, history and events"
        );
        assert_eq!(count, 0);
    }
}

/// Receivers are put in order, in place up to 8; where names stand in a record
/// is noted in place up to 16.
#[test]
fn on_lmdb_many_receivers_and_long_lists_allocate_once_each() {
    let (store, _directory) = open(Engine::Lmdb);
    // What is the largest is written once before.
    record(&store, [dispatch(1, 1), with_names(dispatch(2, 1), 1000)]);
    for (number, receivers, names, expected) in [
        (3, 8, 16, 0),
        (4, 9, 16, 1),
        (5, 1000, 16, 1),
        (6, 8, 17, 1),
        (7, 8, 1000, 1),
        (8, 1000, 1000, 2),
    ] {
        let dispatch = with_names(dispatch(number, receivers), names);
        let mut txn = store.begin_write().unwrap();
        let count = allocations(|| store.record(&mut txn, &dispatch).unwrap());
        txn.commit().unwrap();
        assert_eq!(count, expected, "{receivers} receivers, {names} names");
    }
}

#[test]
fn on_lmdb_publications_events_and_sessions_are_stored_without_an_allocation() {
    let (store, _directory, _) = filled(Engine::Lmdb, 10);
    let publications: Vec<Publication> = (1001..=2000).map(publication).collect();
    let events: Vec<Event> = (0..3000)
        .map(|number| Event {
            receiver: Some(session_id(1 + number % 3)),
            ..Event::new(SUBSCRIPTION, at(number), publication_id(1001 + number / 3))
        })
        .collect();
    let sessions: Vec<Session> = (1001..=2000).map(session).collect();
    let count = allocations(|| {
        let mut txn = store.begin_write().unwrap();
        for publication in &publications {
            store.store_publication(&mut txn, publication).unwrap();
        }
        for of_one_publication in events.chunks(3) {
            store.store_events(&mut txn, of_one_publication).unwrap();
        }
        for session in &sessions {
            store.session_joined(&mut txn, session).unwrap();
        }
        txn.commit().unwrap();
    });
    assert_eq!(count, 0);
}

#[test]
fn other_engines_allocate_a_little_for_each_row_that_is_written() {
    for engine in lending().filter(|engine| *engine != Engine::Lmdb) {
        let (store, _directory) = open(engine);
        record(&store, (1..=10).map(|number| dispatch(number, 3)));
        let dispatches: Vec<Dispatch> = (11..=1010).map(|number| dispatch(number, 3)).collect();
        let mut written = 0;
        let count = allocations(|| {
            let mut txn = store.begin_write().unwrap();
            for dispatch in &dispatches {
                store.record(&mut txn, dispatch).unwrap();
            }
            written = txn.rows_written();
            txn.commit().unwrap();
        });
        let bound = match engine {
            Engine::Memory => 4 * written,
            _ => written / 4,
        };
        assert!(count <= bound, "{engine}: {count} for {written} rows");
    }
}

#[test]
fn a_record_is_decoded_with_an_allocation_for_each_of_its_texts_and_lists() {
    let (store, _directory, session) = filled(Engine::Lmdb, 10);
    let txn = store.begin_read().unwrap();
    let id = publication_id(7);
    let found = store.publications().get(&txn, &id).unwrap().unwrap();
    let count = allocations(|| drop(black_box(found.to_owned().unwrap())));
    assert_eq!(count, IN_A_PUBLICATION);
    let found = store.sessions().get(&txn, &session.oid).unwrap().unwrap();
    let count = allocations(|| drop(black_box(found.to_owned().unwrap())));
    assert_eq!(count, IN_A_SESSION);
    let count = allocations(|| {
        let events = store.events_of(&txn, SUBSCRIPTION, HistoryQuery::default());
        assert_eq!(events.unwrap().map(Result::unwrap).count(), 30);
    });
    assert_eq!(count, TO_BEGIN_A_SCAN - 1, "an event has none");
}

/// Each row is a publication, decoded; the list of rows doubles as it grows.
#[test]
fn on_lmdb_a_page_of_history_allocates_what_its_publications_hold() {
    let (store, _directory, _) = filled(Engine::Lmdb, 1000);
    let txn = store.begin_read().unwrap();
    for rows in [1, 10, 100, 1000] {
        let newest = GetEvents {
            reverse: true,
            limit: Some(rows),
            ..GetEvents::default()
        };
        let count = allocations(|| {
            let page = store.get_events(&txn, SUBSCRIPTION, &newest).unwrap();
            assert_eq!(page.unwrap().rows.len(), rows);
        });
        let rest = count - rows as u64 * IN_A_PUBLICATION;
        let doublings = u64::from((rows as u64).div_ceil(4).next_power_of_two().ilog2()) + 1;
        assert_eq!(rest, TO_BEGIN_A_SCAN - 1 + doublings, "{rows} rows");
    }
}
