//! A process under load is killed in the middle of its commits, again and again.
//!
//! What it reported as committed must be there, every commit wholly or not at
//! all, and every index must agree with its table. The kill is `SIGKILL`: it
//! shows what survives the end of the process, not of the machine.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use realmstore_core::{
    Backend, Error, Event, HistoryQuery, Order, Publication, PublicationId, RealmStore, Session,
    SessionId, SubscriptionId, Timestamp, Uuid, WriteTxn,
};

use crate::Engine;

/// Where the process that is killed has its store.
const STORE: &str = "CONFORMANCE_CRASH_STORE";

/// How often it is killed, unless `CONFORMANCE_CRASH_ROUNDS` says otherwise.
const ROUNDS: u32 = 10;

const SUBSCRIPTIONS: u64 = 5;
const RECEIVERS: u64 = 3;

/// Commit `number`: a session, a publication, and its events, over all tables and indexes.
fn commit<B: Backend>(store: &RealmStore<B>, number: u64) {
    let at = Timestamp::from_nanos(number);
    let mut txn = store.begin_write().unwrap();
    let session = Session {
        oid: Uuid::from_u128(number.into()),
        authid: Some(format!("authid-{}", number % 3)),
        ..Session::new(SessionId::from_stored(number), at)
    };
    store.session_joined(&mut txn, &session).unwrap();
    let id = PublicationId::from_stored(number);
    let mut publication = Publication::new(id, at, "com.example.crash");
    publication.payload = Some(vec![number as u8; 200 + (number % 4000) as usize]);
    store.store_publication(&mut txn, &publication).unwrap();
    let events: Vec<Event> = (1..=RECEIVERS)
        .map(|receiver| Event {
            receiver: Some(SessionId::from_stored(receiver)),
            ..Event::new(
                SubscriptionId::from_stored(1 + number % SUBSCRIPTIONS),
                at,
                id,
            )
        })
        .collect();
    store.store_events(&mut txn, &events).unwrap();
    txn.commit().unwrap();
}

/// The process that is killed: commits for ever, and reports each number once
/// its commit has returned. Does nothing but in that process.
pub fn the_process_that_is_killed<E: Engine>() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let store = RealmStore::attach(E::open(Path::new(&path)).unwrap()).unwrap();
    let first = 1 + newest(&store);
    for number in first.. {
        commit(&store, number);
        let mut out = std::io::stdout().lock();
        writeln!(out, "committed {number}")
            .and_then(|()| out.flush())
            .unwrap();
    }
}

fn newest<B: Backend>(store: &RealmStore<B>) -> u64 {
    let txn = store.begin_read().unwrap();
    let mut scan = store
        .publications()
        .range(&txn, .., Order::Descending)
        .unwrap();
    scan.next()
        .unwrap()
        .map_or(0, |entry| entry.key().unwrap().get())
}

pub fn every_acknowledged_commit_survives_a_kill_and_none_is_half_there<E: Engine>() {
    let rounds = std::env::var("CONFORMANCE_CRASH_ROUNDS")
        .map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut acknowledged = 0;
    for round in 0..rounds {
        // Some kills come while the store is being opened, some in the first commits, some late.
        let delay = Duration::from_millis(u64::from(round * 37 % 150));
        let is_early = round % 4 == 3;
        acknowledged = kill_after(&path, delay, is_early).max(acknowledged);
        let store = RealmStore::attach(E::open(&path).unwrap()).unwrap();
        let found = newest(&store);
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "round {round}: {acknowledged} commits were acknowledged, {found} are there"
        );
        assert_commits(&store, 1..found + 1);
        acknowledged = found;
    }
    assert!(
        acknowledged > u64::from(rounds),
        "the process hardly came to commit: {acknowledged}"
    );
}

/// Runs the process on a store, kills it some time after its first commit, or
/// after its start, and returns the last number that it reported.
fn kill_after(path: &Path, delay: Duration, is_early: bool) -> u64 {
    let this: PathBuf = std::env::current_exe().unwrap();
    let mut child = Command::new(this)
        .args([
            "crash::the_process_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reports = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut note = |line: String| {
        // The test harness prints lines of its own.
        if let Some((_, number)) = line.split_once("committed ") {
            last = number.parse().unwrap();
        }
        last > 0
    };
    while !is_early
        && !note(
            reports
                .next()
                .expect("the process ended by itself")
                .unwrap(),
        )
    {}
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in reports {
        note(line.unwrap());
    }
    last
}

/// Whether the store holds these commits, all of each, and nothing else.
fn assert_commits<B: Backend>(store: &RealmStore<B>, numbers: Range<u64>) {
    let txn = store.begin_read().unwrap();
    let count = numbers.end - numbers.start;
    assert!(store.is_adopted(&txn).unwrap());
    assert_eq!(store.sessions().count(&txn).unwrap(), count);
    assert_eq!(store.publications().count(&txn).unwrap(), count);
    assert_eq!(store.events().count(&txn).unwrap(), count * RECEIVERS);
    assert_eq!(
        store.idx_sessions_by_session_id().count(&txn).unwrap(),
        count
    );
    assert_eq!(store.idx_sessions_by_authid().count(&txn).unwrap(), count);
    for number in numbers.clone() {
        let id = PublicationId::from_stored(number);
        let publication = store
            .publications()
            .get(&txn, &id)
            .unwrap()
            .unwrap()
            .to_owned()
            .unwrap();
        let payload = publication.payload.unwrap();
        assert_eq!(payload.len(), 200 + (number % 4000) as usize);
        assert!(payload.iter().all(|byte| *byte == number as u8));
        let session = store.session_by_id(&txn, SessionId::from_stored(number), Timestamp::MAX);
        let session = session.unwrap().unwrap().to_owned().unwrap();
        assert_eq!(session.oid, Uuid::from_u128(number.into()));
    }
    let mut by_authid = BTreeSet::new();
    for authid in ["authid-0", "authid-1", "authid-2"] {
        for session in store.sessions_by_authid(&txn, authid).unwrap() {
            by_authid.insert(session.unwrap().view().unwrap().session().unwrap().get());
        }
    }
    assert!(by_authid.into_iter().eq(numbers.clone()));
    for subscription in 0..SUBSCRIPTIONS {
        let id = SubscriptionId::from_stored(1 + subscription);
        let expected = numbers
            .clone()
            .filter(|number| number % SUBSCRIPTIONS == subscription);
        let history = store.history(&txn, id, HistoryQuery::default()).unwrap();
        let history: Vec<_> = history.collect::<Result<_, Error>>().unwrap();
        assert!(
            history
                .iter()
                .map(|entry| entry.publication.get())
                .eq(expected.clone())
        );
        let events = store.events_of(&txn, id, HistoryQuery::default()).unwrap();
        let events: Vec<_> = events.collect::<Result<_, Error>>().unwrap();
        let expected =
            expected.flat_map(|number| (1..=RECEIVERS).map(move |receiver| (number, receiver)));
        let found = events.iter().map(|event| {
            (
                event.publication.get(),
                event.receiver.unwrap_or_default().get(),
            )
        });
        assert!(found.eq(expected));
    }
}
