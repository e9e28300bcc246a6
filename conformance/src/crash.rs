//! A router's store under load is killed in the middle of its commits, again and again.
//!
//! Many callers write at once, so that a commit is made of writes of many of
//! them. What was acknowledged to a caller must be there, and what was not must
//! be there wholly or not at all: a publication, its events, its rows of
//! history. Every index must agree with its table, every history must be in the
//! order of arrival, and the sessions that the kill left open are closed by the
//! next start. The kill is `SIGKILL`: it shows what survives the end of the
//! process, not of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use realmstore_async::{AsyncOptions, AsyncRealmStore, AsyncStore, EventHistory};
use realmstore_core::store::verify;
use realmstore_core::{
    Backend, Delivery, Dispatch, Event, GetRetained, HistoryQuery, MatchPolicy, Order, Publication,
    PublicationId, RealmStore, Retain, Session, SessionId, SubscriptionId, Timestamp, Uuid,
};

use crate::Engine;

/// Where the process that is killed has its store.
const STORE: &str = "CONFORMANCE_CRASH_STORE";

/// How often it was killed on that store.
const RUN: &str = "CONFORMANCE_CRASH_RUN";

/// How often it is killed, unless `CONFORMANCE_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 10;

/// How often it is killed on one store. The next one is new.
const RUNS: u64 = 5;

/// How many callers there are. What a caller writes is told by its number, the
/// number of the run, and that of the write in it.
const CALLERS: u64 = 64;

const REALM: &str = "realm1";

/// The node whose store it is. Two in three sessions are of another, or of none.
const NODE: Uuid = Uuid::from_u128(1);

const LEFT_AT: Timestamp = Timestamp::from_nanos(1_100_000_000_000_000_000);

/// How many publications a history keeps that is limited.
const LIMIT: usize = 100;

const ALL_BY_PREFIX: &str = "com.crash.";
const ALL_BY_WILDCARD: &str = "com..";

fn topic(caller: u64) -> String {
    format!("{ALL_BY_PREFIX}{caller}")
}

/// An ID for what a caller writes.
fn id(run: u64, caller: u64, number: u64) -> u64 {
    (run << 40) | (caller << 32) | (number + 1)
}

fn run_of(id: u64) -> u64 {
    id >> 40
}

fn caller_of(id: u64) -> u64 {
    (id >> 32) & 0xff
}

fn number_of(id: u64) -> u64 {
    (id & 0xffff_ffff) - 1
}

/// A store that the process is killed on.
#[derive(Debug, Clone, Copy)]
struct Trial<'p> {
    path: &'p Path,
    /// Which run it is on this store.
    run: u64,
    /// Whether only some subscriptions keep history, some of these not all of it.
    is_limited: bool,
}

impl Trial<'_> {
    fn start<E: Engine>(&self) -> AsyncStore<E::Backend> {
        let store = RealmStore::attach(E::open(self.path).unwrap()).unwrap();
        let mut options = AsyncOptions::new().realm(REALM).node(NODE);
        if self.is_limited {
            let mut rules = format!(
                r#"[{{"uri": "{ALL_BY_PREFIX}", "match": "prefix", "limit": {LIMIT}}},
                    {{"uri": "{ALL_BY_WILDCARD}", "match": "wildcard", "limit": {LIMIT}}}"#
            );
            for caller in (0..CALLERS).filter(|caller| self.keeps(&topic(*caller))) {
                rules += &format!(r#", {{"uri": "{}"}}"#, topic(caller));
            }
            options = options.event_history(EventHistory::from_json(&(rules + "]")).unwrap());
        }
        options.start(store).unwrap()
    }

    /// Whether all events of a subscription are kept.
    fn keeps(&self, uri: &str) -> bool {
        let of_even_caller = uri
            .strip_prefix(ALL_BY_PREFIX)
            .and_then(|caller| caller.parse().ok())
            .is_some_and(|caller: u64| caller.is_multiple_of(2));
        !self.is_limited || of_even_caller
    }

    /// Whether only the newest events of a subscription are kept.
    fn limits(&self, uri: &str) -> bool {
        self.is_limited && [ALL_BY_PREFIX, ALL_BY_WILDCARD].contains(&uri)
    }
}

/// What a caller writes.
enum Write {
    Name(String, MatchPolicy),
    Alias,
    Join(Session),
    Leave(SessionId),
    Dispatch(Publication, Option<Retain>),
    Publication(Publication),
    /// An event of the publication that was stored before.
    Event(Event),
    Forget,
}

/// A write of a caller, without the IDs that only the store knows.
fn write(run: u64, caller: u64, number: u64) -> Write {
    let own = topic(caller);
    let at = Timestamp::from_nanos(1_000_000_000_000_000_000 + number / 4);
    let publication = |number| {
        let id = id(run, caller, number);
        Publication {
            payload: Some(vec![number as u8; 100 + (id % 3000) as usize]),
            ..Publication::new(PublicationId::from_stored(id), at, topic(caller))
        }
    };
    match number {
        0 => return Write::Name(ALL_BY_PREFIX.to_owned(), MatchPolicy::Prefix),
        1 => return Write::Name(ALL_BY_WILDCARD.to_owned(), MatchPolicy::Wildcard),
        2 => return Write::Name(own, MatchPolicy::Exact),
        3 => return Write::Alias,
        _ => {}
    }
    match number % 8 {
        4 => {
            let id = id(run, caller, number);
            Write::Join(Session {
                oid: Uuid::from_u128(id.into()),
                authid: Some(format!("authid-{caller}")),
                node_oid: [Some(NODE), Some(Uuid::from_u128(2)), None][(caller % 3) as usize],
                ..Session::new(SessionId::from_stored(id), at)
            })
        }
        5 | 6 => Write::Dispatch(publication(number), None),
        7 => Write::Publication(publication(number)),
        0 => Write::Event(Event {
            receiver: Some(SessionId::from_stored(9)),
            ..Event::new(
                SubscriptionId::default(),
                at,
                publication(number - 1).publication,
            )
        }),
        1 => Write::Dispatch(publication(number), Some(Retain::default())),
        2 if number.is_multiple_of(3) => Write::Forget,
        2 => Write::Dispatch(publication(number), None),
        _ => Write::Leave(SessionId::from_stored(id(run, caller, number - 7))),
    }
}

/// The sessions that a publication went to under a subscription; 0 for nobody.
fn receivers(uri: &str, publication: u64) -> Vec<u64> {
    let number = number_of(publication);
    match uri {
        ALL_BY_WILDCARD => vec![0],
        ALL_BY_PREFIX => vec![1, 2],
        _ if number % 8 == 7 => vec![9],
        _ => (1..=1 + number % 3).collect(),
    }
}

/// The process that is killed: writes for ever, and reports each write once it
/// was acknowledged. Does nothing but in that process.
pub fn the_process_that_is_killed<E: Engine>() {
    let (Some(path), Ok(run)) = (std::env::var_os(STORE), std::env::var(RUN)) else {
        return;
    };
    let (run, is_limited) = run.split_once(' ').expect("a run and its kind");
    let trial = Trial {
        path: Path::new(&path),
        run: run.parse().unwrap(),
        is_limited: is_limited.parse().unwrap(),
    };
    let store = Arc::new(trial.start::<E>());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(call(Arc::clone(&store), trial.run, caller));
        }
        callers.join_all().await;
    });
}

async fn call<B: Backend + 'static>(store: Arc<AsyncStore<B>>, run: u64, caller: u64) {
    let alias = SubscriptionId::from_stored(1 + caller);
    let mut named = Vec::new();
    for number in 0.. {
        let mut answer = 0;
        match write(run, caller, number) {
            Write::Name(uri, policy) => {
                let id = store.subscription_id(&uri, policy).await.unwrap();
                answer = id.get();
                named.push(id);
            }
            Write::Alias => store.alias_subscription(alias, named[2]).await.unwrap(),
            Write::Join(session) => store.session_joined(session).await.unwrap(),
            Write::Leave(session) => {
                let left = store.session_left(session, LEFT_AT).await.unwrap();
                assert_eq!(left, Some(Uuid::from_u128(session.get().into())));
            }
            Write::Dispatch(publication, retain) => {
                let to = |subscription, uri: &str| Delivery {
                    subscription,
                    timestamp: publication.timestamp,
                    receivers: receivers(uri, publication.publication.get())
                        .into_iter()
                        .map(SessionId::from_stored)
                        .collect(),
                    ..Delivery::default()
                };
                let own = if number % 2 == 0 { named[2] } else { alias };
                // Under the wildcard nobody receives it.
                let deliveries = vec![to(named[0], ALL_BY_PREFIX), to(own, &publication.topic)];
                let dispatch = Dispatch {
                    publication,
                    deliveries,
                    retain,
                };
                store.store_dispatch(dispatch).await.unwrap();
            }
            Write::Publication(publication) => store.store_publication(publication).await.unwrap(),
            Write::Event(mut event) => {
                event.subscription = named[2];
                store.store_event(event).await.unwrap();
            }
            Write::Forget => {
                store.forget_retained(&topic(caller)).await.unwrap();
            }
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {caller} {number} {answer}")
            .and_then(|()| out.flush())
            .unwrap();
    }
}

/// What the process reported.
#[derive(Default)]
struct Reports {
    /// How many writes of each caller were acknowledged.
    writes: BTreeMap<u64, u64>,
    /// The IDs of subscriptions that it was told.
    ids: Vec<(String, MatchPolicy, u64)>,
}

impl Reports {
    fn note(&mut self, line: &str, run: u64) {
        // The test harness prints lines of its own.
        let Some((_, report)) = line.split_once("acknowledged ") else {
            return;
        };
        let [caller, number, answer] = report
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect::<Vec<u64>>()[..]
        else {
            panic!("no report: {line:?}");
        };
        let acknowledged = self.writes.entry(caller).or_default();
        assert_eq!(*acknowledged, number, "caller {caller} is out of order");
        *acknowledged += 1;
        if let Write::Name(uri, policy) = write(run, caller, number) {
            self.ids.push((uri, policy, answer));
        }
    }
}

/// Runs the process on a store and kills it some time after its start, or
/// after the first write that was acknowledged.
fn kill_after(trial: Trial<'_>, delay: Duration, is_early: bool) -> Reports {
    let this: PathBuf = std::env::current_exe().unwrap();
    let mut child = Command::new(this)
        .args([
            "crash::the_process_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(STORE, trial.path)
        .env(RUN, format!("{} {}", trial.run, trial.is_limited))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let (begun, on_begun) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut reports = Reports::default();
        for line in BufReader::new(out).lines() {
            reports.note(&line.unwrap(), trial.run);
            if !reports.writes.is_empty() {
                let _ = begun.send(());
            }
        }
        reports
    });
    if !is_early {
        on_begun.recv().expect("the process ended by itself");
    }
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// What must be in a store.
#[derive(Default)]
struct Expected {
    sessions: BTreeMap<Uuid, Session>,
    publications: BTreeMap<u64, Publication>,
    /// The publications that were stored by themselves, so that they stay whatever leaves a history.
    stored_alone: BTreeSet<u64>,
    /// The publication that is retained for the topic of each caller.
    retained: BTreeMap<u64, u64>,
    /// The publications of each caller in each history, in order.
    histories: BTreeMap<String, BTreeMap<u64, Vec<u64>>>,
    /// The IDs of subscriptions, once they were told.
    ids: BTreeMap<String, u64>,
}

impl Expected {
    fn add(&mut self, trial: Trial<'_>, caller: u64, number: u64) {
        match write(trial.run, caller, number) {
            Write::Name(..) | Write::Alias => {}
            Write::Join(session) => {
                self.sessions.insert(session.oid, session);
            }
            Write::Leave(session) => {
                let oid = Uuid::from_u128(session.get().into());
                self.sessions.get_mut(&oid).unwrap().left_at = Some(LEFT_AT);
            }
            Write::Dispatch(publication, retain) => {
                let id = publication.publication.get();
                for uri in [ALL_BY_PREFIX, ALL_BY_WILDCARD, &publication.topic] {
                    self.list(trial, uri, id);
                }
                if retain.is_some() {
                    self.retained.insert(caller, id);
                }
                self.publications.insert(id, publication);
            }
            Write::Publication(publication) => {
                let id = publication.publication.get();
                self.stored_alone.insert(id);
                self.publications.insert(id, publication);
            }
            Write::Event(event) => self.list(trial, &topic(caller), event.publication.get()),
            Write::Forget => {
                self.retained.remove(&caller);
            }
        }
    }

    fn list(&mut self, trial: Trial<'_>, uri: &str, publication: u64) {
        if trial.keeps(uri) || trial.limits(uri) {
            let of_callers = self.histories.entry(uri.to_owned()).or_default();
            let own = of_callers.entry(caller_of(publication)).or_default();
            own.push(publication);
        }
    }

    /// Takes note of what the process reported, and of those writes that it
    /// did not come to report and that are there all the same: one of each
    /// caller at most.
    fn note(&mut self, trial: Trial<'_>, reports: &Reports, found: &Found) {
        for (uri, policy, id) in &reports.ids {
            let told = *self.ids.entry(uri.clone()).or_insert(*id);
            assert_eq!(told, *id, "{uri} by {policy} has two IDs");
        }
        for caller in 0..CALLERS {
            let acknowledged = reports.writes.get(&caller).copied().unwrap_or_default();
            for number in 0..acknowledged {
                self.add(trial, caller, number);
            }
            if found.has(&write(trial.run, caller, acknowledged), caller) {
                self.add(trial, caller, acknowledged);
            }
        }
    }

    fn assert_found(&self, trial: Trial<'_>, found: &Found) {
        for (uri, id) in &self.ids {
            assert_eq!(found.ids.get(uri), Some(id), "{uri}");
        }
        assert_same(&self.sessions, &found.sessions, "session");
        assert_eq!(self.retained, found.retained);
        let nothing = BTreeMap::new();
        let mut referred_to = self.stored_alone.clone();
        referred_to.extend(self.retained.values());
        let mut events = 0;
        for (uri, history) in &found.histories {
            assert!(
                history.is_sorted_by_key(|publication| run_of(*publication)),
                "{uri}: what was recorded later stands before what was recorded earlier"
            );
            let expected = self.histories.get(uri).unwrap_or(&nothing);
            let count = expected.values().map(Vec::len).sum::<usize>();
            let left = if trial.limits(uri) { LIMIT } else { count };
            assert_eq!(history.len(), count.min(left), "{uri}");
            let mut of_callers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for publication in history {
                let own = of_callers.entry(caller_of(*publication)).or_default();
                own.push(*publication);
            }
            for (caller, own) in of_callers {
                let expected = expected.get(&caller).map_or(&[][..], Vec::as_slice);
                assert!(
                    expected.ends_with(&own),
                    "{uri}: the publications of caller {caller} are not its last ones in order"
                );
            }
            let received: BTreeSet<(u64, u64)> = history
                .iter()
                .flat_map(|publication| {
                    let to = receivers(uri, *publication).into_iter();
                    to.map(|receiver| (*publication, receiver))
                })
                .collect();
            assert_eq!(found.events[uri], received, "{uri}");
            events += received.len() as u64;
            referred_to.extend(history);
        }
        assert_eq!(found.number_of_events, events);
        let publications = self
            .publications
            .iter()
            .filter(|(id, _)| referred_to.contains(id))
            .map(|(id, publication)| (*id, publication.clone()))
            .collect();
        assert_same(&publications, &found.publications, "publication");
    }
}

/// Says which are missing, too much, or not as they were stored, without printing all.
fn assert_same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
    what: &str,
) {
    for (key, record) in expected {
        assert_eq!(found.get(key), Some(record), "{what} {key:?}");
    }
    for key in found.keys() {
        assert!(expected.contains_key(key), "{what} {key:?} is too much");
    }
}

/// What is in a store.
struct Found {
    sessions: BTreeMap<Uuid, Session>,
    publications: BTreeMap<u64, Publication>,
    retained: BTreeMap<u64, u64>,
    ids: BTreeMap<String, u64>,
    /// The subscriptions that aliases stand for.
    aliases: BTreeMap<u64, u64>,
    /// The publications of each subscription, in order.
    histories: BTreeMap<String, Vec<u64>>,
    /// The publications and receivers of each subscription.
    events: BTreeMap<String, BTreeSet<(u64, u64)>>,
    number_of_events: u64,
}

impl Found {
    /// Verifies a store and reads all of it.
    fn read<B: Backend>(store: &RealmStore<B>) -> Self {
        let verification = verify(store.db(), |finding| panic!("{finding:?}")).unwrap();
        assert!(verification.is_sound());
        let txn = store.begin_read().unwrap();
        assert!(store.is_adopted(&txn).unwrap());
        let mut found = Self {
            sessions: BTreeMap::new(),
            publications: BTreeMap::new(),
            retained: BTreeMap::new(),
            ids: BTreeMap::new(),
            aliases: BTreeMap::new(),
            histories: BTreeMap::new(),
            events: BTreeMap::new(),
            number_of_events: store.events().count(&txn).unwrap(),
        };
        let mut sessions = store.sessions().range(&txn, .., Order::Ascending).unwrap();
        while let Some(entry) = sessions.next().unwrap() {
            let session = entry.to_owned().unwrap();
            found.sessions.insert(entry.key().unwrap(), session);
        }
        let publications = store.publications();
        let mut publications = publications.range(&txn, .., Order::Ascending).unwrap();
        while let Some(entry) = publications.next().unwrap() {
            let publication = entry.to_owned().unwrap();
            found
                .publications
                .insert(entry.key().unwrap().get(), publication);
        }
        let mut subscriptions = vec![
            (ALL_BY_PREFIX.to_owned(), MatchPolicy::Prefix),
            (ALL_BY_WILDCARD.to_owned(), MatchPolicy::Wildcard),
        ];
        for caller in 0..CALLERS {
            let own = topic(caller);
            let alias = SubscriptionId::from_stored(1 + caller);
            let stands_for = store.resolve_subscription(&txn, alias).unwrap();
            found.aliases.insert(alias.get(), stands_for.get());
            let query = GetRetained {
                uri: own.clone(),
                now: Timestamp::now(),
                ..GetRetained::default()
            };
            for publication in store.get_retained(&txn, &query).unwrap() {
                let id = publication.publication.get();
                assert!(found.retained.insert(caller, id).is_none());
            }
            subscriptions.push((own, MatchPolicy::Exact));
        }
        for (uri, policy) in subscriptions {
            let known = store.find_subscription(&txn, REALM, &uri, policy).unwrap();
            let Some(known) = known else { continue };
            let (id, all) = (known.subscription, HistoryQuery::default());
            let history = store.history(&txn, id, all).unwrap();
            let history = history.map(|entry| entry.unwrap().publication.get());
            found.histories.insert(uri.clone(), history.collect());
            let events = store.events_of(&txn, id, all).unwrap();
            let events = events.map(|event| {
                let event = event.unwrap();
                let receiver = event.receiver.unwrap_or_default();
                (event.publication.get(), receiver.get())
            });
            found.events.insert(uri.clone(), events.collect());
            found.ids.insert(uri, id.get());
        }
        found
    }

    /// Whether there is anything of a write.
    fn has(&self, write: &Write, caller: u64) -> bool {
        match write {
            Write::Name(uri, _) => self.ids.contains_key(uri),
            Write::Alias => self.aliases.get(&(1 + caller)) == self.ids.get(&topic(caller)),
            Write::Join(session) => self.sessions.contains_key(&session.oid),
            Write::Leave(session) => {
                let session = self.sessions.get(&Uuid::from_u128(session.get().into()));
                session.is_some_and(|session| session.left_at.is_some())
            }
            Write::Dispatch(publication, _) | Write::Publication(publication) => {
                let id = publication.publication.get();
                self.publications.contains_key(&id)
                    || self.retained.get(&caller) == Some(&id)
                    || self.histories.values().any(|listed| listed.contains(&id))
            }
            Write::Event(event) => {
                let own = self.histories.get(&topic(caller));
                own.is_some_and(|own| own.contains(&event.publication.get()))
            }
            Write::Forget => !self.retained.contains_key(&caller),
        }
    }
}

#[allow(clippy::print_stdout, reason = "what was shown, by --nocapture")]
pub fn every_acknowledged_write_survives_a_kill_and_none_is_half_there<E: Engine>() {
    let rounds = std::env::var("CONFORMANCE_CRASH_ROUNDS")
        .map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let mut acknowledged = 0;
    for round in (0..rounds).step_by(RUNS as usize) {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = Expected::default();
        for run in 0..RUNS.min(rounds - round) {
            let trial = Trial {
                path: &directory.path().join("store"),
                run,
                is_limited: round / RUNS % 2 == 1,
            };
            // Some kills come while the store is being opened, some in the first commits, some late.
            let moment = (Uuid::new_v4().as_u128() % 1000) as u64;
            let is_early = run % 4 == 3;
            let delay = Duration::from_micros(moment * if is_early { 50 } else { 300 });
            let begun = Timestamp::now();
            let reports = kill_after(trial, delay, is_early);
            acknowledged += reports.writes.values().sum::<u64>();
            let store = RealmStore::attach(E::open(trial.path).unwrap()).unwrap();
            let found = Found::read(&store);
            drop(store);
            expected.note(trial, &reports, &found);
            expected.assert_found(trial, &found);
            start_again::<E>(trial, &mut expected, begun);
        }
    }
    println!("{acknowledged} writes were acknowledged before {rounds} kills");
    assert!(
        acknowledged > rounds * CALLERS,
        "the process hardly came to write: {acknowledged}"
    );
}

/// Starts the store as its router would, which closes the sessions that the kill left open.
fn start_again<E: Engine>(trial: Trial<'_>, expected: &mut Expected, begun: Timestamp) {
    let store = trial.start::<E>();
    let closed: BTreeSet<Uuid> = store.closed_at_start().iter().copied().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        for session in expected.sessions.values_mut() {
            let is_left_open = session.node_oid == Some(NODE) && session.left_at.is_none();
            assert_eq!(closed.contains(&session.oid), is_left_open, "{session:?}");
            if is_left_open {
                let found = store.session_by_id(session.session, Timestamp::MAX).await;
                session.left_at = found.unwrap().unwrap().left_at;
                let left_at = session.left_at.unwrap();
                assert!(left_at >= begun && left_at <= Timestamp::now(), "{left_at}");
            }
        }
        let found = store.open_sessions().await.unwrap();
        let found: BTreeSet<Uuid> = found.iter().map(|session| session.oid).collect();
        let open = expected.sessions.values();
        let open = open.filter(|session| session.left_at.is_none());
        assert_eq!(found, open.map(|session| session.oid).collect());
        store.close().await.unwrap();
    });
}
