//! Event history, as it is recorded and asked for, against the
//! [model](crate::history_model) of the specification.

use std::ops::ControlFlow;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::test_runner::TestCaseResult;
use realmstore_core::cbor::Cbor;
use realmstore_core::store::Purge;
use realmstore_core::{
    Backend, Cursor, Delivery, Dispatch, EncAlgo, EncSerializer, ErrorKind, Event, GetEvents,
    HistoryPage, HistoryQuery, Limits, MatchPolicy, Publication, PublicationId, ReadTxn,
    RealmStore, Requester, SessionId, StoreWrite, Subscription, SubscriptionId, Timestamp,
    WriteTxn,
};
use serde_json::{Value as Json, json};

use crate::counting::{Counting, Counts};
use crate::history_model::{Entry, HistoryModel, matches, rows};
use crate::{Engine, Fresh, property};

const REALM: &str = "realm1";

/// What is subscribed to.
const SUBSCRIPTIONS: [(&str, MatchPolicy); 3] = [
    ("com.example.a", MatchPolicy::Exact),
    ("com.example", MatchPolicy::Prefix),
    ("com..a", MatchPolicy::Wildcard),
];

/// What is published to: of each subscription there is one that it gets and
/// one that it nearly gets.
const TOPICS: [&str; 6] = [
    "com.example.a",
    "com.example.b",
    "com.other.a",
    "com.examples",
    "com.example.a.b",
    "com.exam.a.a",
];

/// A subscription without a name: nothing is known of it but its ID.
const NAMELESS: u64 = 11;
/// IDs that may come to stand for subscriptions.
const ALIASES: [u64; 2] = [7, 8];

/// 2026-01-01T00:00:00Z. Whatever a case says of time is in nanoseconds from here on.
const START: u64 = 1_767_225_600_000_000_000;
/// What the clock shows when a case begins.
const FIRST_TICK: u64 = 20;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(START + nanos)
}

fn session(id: u64) -> SessionId {
    SessionId::from_stored(id)
}

/// An ID under which something is recorded or asked for.
#[derive(Debug, Clone, Copy)]
enum Target {
    Named(usize),
    Nameless,
    Alias(usize),
}

#[derive(Debug, Clone)]
enum Step {
    /// A publication, by its number, and its dispatches.
    Record {
        publication: usize,
        clock: i64,
        deliveries: Vec<(Target, i64, Vec<u64>)>,
    },
    RecordEvent {
        publication: usize,
        clock: i64,
        target: Target,
        receiver: Option<u64>,
    },
    /// Stores an event as it is, later than all that there is.
    StoreEvent {
        publication: usize,
        target: Target,
    },
    Alias(usize, Target),
    KeepsHistory(usize, Option<bool>),
    /// Removes entries of a history, but never its newest.
    Remove(Target, Vec<Index>),
    Ask(Target, Question, Vec<PageSize>),
    BeginPages(Target, Question),
    NextPage(PageSize),
    Commit,
    Abort,
    /// Commits, and purges a history to so many entries.
    Purge(Target, u64),
    Reopen,
}

/// A limit, and how much is looked at for it.
#[derive(Debug, Clone, Copy)]
struct PageSize {
    limit: Option<usize>,
    max_examined: Option<usize>,
}

/// [`GetEvents`], with places in the history that is there when it is asked.
#[derive(Debug, Clone)]
struct Question {
    reverse: bool,
    limit: Option<usize>,
    times: [Option<Time>; 4],
    topic: Option<&'static str>,
    publications: [Option<Place>; 4],
    requester: Option<Requester>,
}

#[derive(Debug, Clone, Copy)]
enum Time {
    /// That of an entry, or a nanosecond before or after.
    OfEntry(Index, i64),
    Any(u64),
    First,
    Last,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    OfEntry(Index),
    /// Some publication, which may be in the history or not.
    Any(usize),
    Nowhere,
}

const PUBLICATIONS: usize = 12;

/// Publications with IDs in no order, of all kinds of lists.
fn publications() -> impl Strategy<Value = Vec<Publication>> {
    let ids = Just((1..=PUBLICATIONS as u64).collect::<Vec<_>>()).prop_shuffle();
    (ids, prop::collection::vec(publication(), PUBLICATIONS)).prop_map(|(ids, publications)| {
        ids.into_iter()
            .zip(publications)
            .map(|(id, publication)| Publication {
                publication: PublicationId::from_stored(id * 1_000),
                ..publication
            })
            .collect()
    })
}

fn publication() -> impl Strategy<Value = Publication> {
    let sessions = || {
        let list = subsequence(vec![1, 2, 3], 0..=2);
        seldom(list.prop_map(|ids| ids.into_iter().map(session).collect::<Vec<_>>()))
    };
    let texts = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        seldom(subsequence(names, 0..=2))
    };
    (
        select(&TOPICS[..]),
        prop::option::of(any::<u8>()),
        (prop::option::of(1..4u64), prop::option::of(any::<bool>())),
        (sessions(), sessions()),
        (texts(&["ann", "bob", "eve"]), texts(&["ann", "bob", "eve"])),
        (
            texts(&["user", "admin", "guest"]),
            texts(&["user", "admin", "guest"]),
        ),
    )
        .prop_map(
            |(topic, argument, (publisher, exclude_me), sessions, authids, authroles)| {
                Publication {
                    args: argument.map(|argument| Cbor::serialize(&[argument]).unwrap()),
                    publisher: publisher.map(session),
                    exclude_me,
                    exclude: sessions.0,
                    eligible: sessions.1,
                    exclude_authid: authids.0,
                    eligible_authid: authids.1,
                    exclude_authrole: authroles.0,
                    eligible_authrole: authroles.1,
                    ..Publication::new(PublicationId::default(), Timestamp::default(), topic)
                }
            },
        )
}

/// What is most often not there.
fn seldom<T: std::fmt::Debug>(
    strategy: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.2, strategy)
}

fn requester() -> impl Strategy<Value = Requester> {
    let name = |names: &'static [&'static str]| {
        prop::option::weighted(0.8, select(names).prop_map(str::to_owned))
    };
    (
        name(&["ann", "bob"]),
        name(&["user", "admin"]),
        prop::option::weighted(0.8, (1..4u64, FIRST_TICK - 2..FIRST_TICK + 6)),
    )
        .prop_map(|(authid, authrole, joined)| Requester {
            authid,
            authrole,
            session: joined.map(|(id, joined_at)| (session(id), at(joined_at))),
        })
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        8 => (any::<Index>(), -1..=1i64).prop_map(|(index, off)| Time::OfEntry(index, off)),
        2 => (0..FIRST_TICK * 2).prop_map(Time::Any),
        1 => Just(Time::First),
        1 => Just(Time::Last),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        24 => any::<Index>().prop_map(Place::OfEntry),
        2 => (0..PUBLICATIONS).prop_map(Place::Any),
        1 => Just(Place::Nowhere),
    ]
}

/// A question of which each option is given as often as `given` says.
fn question(given: f64) -> impl Strategy<Value = Question> {
    let times = move || prop::option::weighted(given, time());
    let places = move || prop::option::weighted(given, place());
    (
        any::<bool>(),
        prop::option::weighted(given, prop_oneof![1 => Just(0), 20 => 1..6usize]),
        [times(), times(), times(), times()],
        prop::option::weighted(given, select(&TOPICS[..])),
        [places(), places(), places(), places()],
        prop::option::of(requester()),
    )
        .prop_map(
            |(reverse, limit, times, topic, publications, requester)| Question {
                reverse,
                limit,
                times,
                topic,
                publications,
                requester,
            },
        )
}

fn page_size() -> impl Strategy<Value = PageSize> {
    (prop::option::of(1..5usize), prop::option::of(1..6usize)).prop_map(|(limit, max_examined)| {
        PageSize {
            limit,
            max_examined,
        }
    })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => (0..SUBSCRIPTIONS.len()).prop_map(Target::Named),
        2 => Just(Target::Nameless),
        2 => (0..ALIASES.len()).prop_map(Target::Alias),
    ]
}

/// How the clock goes on: often not at all, sometimes back.
fn tick() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 4 => 1..3i64, 2 => -4..0i64]
}

fn record() -> impl Strategy<Value = Step> {
    let delivery = (
        target(),
        prop_oneof![4 => Just(0), 1 => -1..2i64],
        subsequence(vec![1, 2, 3], 0..=3),
    );
    prop_oneof![
        8 => (
            0..PUBLICATIONS,
            tick(),
            prop::collection::vec(delivery, 0..5)
        )
            .prop_map(|(publication, clock, deliveries)| Step::Record {
                publication,
                clock,
                deliveries,
            }),
        2 => (
            0..PUBLICATIONS,
            tick(),
            target(),
            prop::option::of(1..4u64)
        )
            .prop_map(|(publication, clock, target, receiver)| Step::RecordEvent {
                publication,
                clock,
                target,
                receiver,
            }),
        1 => (0..PUBLICATIONS, target())
            .prop_map(|(publication, target)| Step::StoreEvent { publication, target }),
    ]
}

fn step(reopening: bool) -> impl Strategy<Value = Step> {
    let page_sizes = prop::collection::vec(page_size(), 1..4);
    prop_oneof![
        24 => record(),
        2 => (0..ALIASES.len(), target()).prop_map(|(alias, target)| Step::Alias(alias, target)),
        1 => (0..SUBSCRIPTIONS.len(), prop::option::of(any::<bool>()))
            .prop_map(|(named, keeps)| Step::KeepsHistory(named, keeps)),
        2 => (target(), prop::collection::vec(any::<Index>(), 1..4))
            .prop_map(|(target, which)| Step::Remove(target, which)),
        20 => (target(), question(0.15), page_sizes)
            .prop_map(|(target, question, sizes)| Step::Ask(target, question, sizes)),
        3 => (target(), question(0.05))
            .prop_map(|(target, question)| Step::BeginPages(target, question)),
        10 => page_size().prop_map(Step::NextPage),
        1 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => (target(), 1..5u64).prop_map(|(target, count)| Step::Purge(target, count)),
        2 => Just(if reopening { Step::Reopen } else { Step::Commit }),
    ]
}

/// What is known when a case runs, and comes back when a transaction is dropped.
#[derive(Debug, Clone)]
struct State {
    model: HistoryModel,
    named: Vec<SubscriptionId>,
    publications: Vec<Publication>,
    clock: u64,
}

impl State {
    fn new(publications: Vec<Publication>) -> Self {
        Self {
            model: HistoryModel::default(),
            named: Vec::new(),
            publications,
            clock: FIRST_TICK,
        }
    }

    /// Makes the subscriptions known that have names.
    fn name<B: Backend>(&mut self, store: &RealmStore<B>, txn: &mut StoreWrite<'_, B>) {
        for (uri, policy) in SUBSCRIPTIONS {
            let id = store
                .subscription_id(txn, REALM, uri, policy, at(0))
                .unwrap();
            self.model.know(id, None);
            self.named.push(id);
        }
    }

    fn id(&self, target: Target) -> SubscriptionId {
        match target {
            Target::Named(number) => self.named[number],
            Target::Nameless => SubscriptionId::from_stored(NAMELESS),
            Target::Alias(number) => SubscriptionId::from_stored(ALIASES[number]),
        }
    }

    /// The publication of a number, which comes to be when it is first needed.
    fn publish(&mut self, number: usize, clock: i64) -> Publication {
        self.clock = self.clock.saturating_add_signed(clock);
        let publication = &mut self.publications[number];
        if publication.timestamp.is_unset() {
            publication.timestamp = at(self.clock);
        }
        publication.clone()
    }

    /// Whether a router would dispatch a publication there.
    fn is_for(&self, target: Target, publication: &Publication) -> bool {
        let id = self.model.resolve(self.id(target));
        let Some(number) = self.named.iter().position(|named| *named == id) else {
            return true;
        };
        let (uri, policy) = SUBSCRIPTIONS[number];
        let matched = matches(policy, uri, &publication.topic);
        assert_eq!(policy.matches(uri, &publication.topic), matched);
        matched
    }

    /// Records in the store and in the model.
    fn record<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        step: &Step,
    ) {
        match step {
            Step::Record {
                publication,
                clock,
                deliveries,
            } => {
                let publication = self.publish(*publication, *clock);
                let mut dispatch = Dispatch {
                    publication: publication.clone(),
                    ..Dispatch::default()
                };
                for (target, off, receivers) in deliveries {
                    if !self.is_for(*target, &publication) {
                        continue;
                    }
                    let timestamp = at(self.clock.saturating_add_signed(*off));
                    let subscription = self.id(*target);
                    self.model.record(&publication, subscription, timestamp);
                    dispatch.deliveries.push(Delivery {
                        subscription,
                        timestamp,
                        receivers: receivers.iter().copied().map(session).collect(),
                        ..Delivery::default()
                    });
                }
                store.record(txn, &dispatch).unwrap();
            }
            Step::RecordEvent {
                publication,
                clock,
                target,
                receiver,
            } => {
                let publication = self.publish(*publication, *clock);
                if !self.is_for(*target, &publication) {
                    return;
                }
                store.store_publication(txn, &publication).unwrap();
                let event = Event {
                    receiver: receiver.map(session),
                    ..Event::new(self.id(*target), at(self.clock), publication.publication)
                };
                store.record_event(txn, &event).unwrap();
                self.model
                    .record(&publication, event.subscription, event.timestamp);
            }
            Step::StoreEvent {
                publication,
                target,
            } => {
                let publication = self.publish(*publication, 0);
                if !self.is_for(*target, &publication) {
                    return;
                }
                let subscription = self.model.resolve(self.id(*target));
                let later = match self.model.entries_of(subscription).last() {
                    Some(last) => Timestamp::from_nanos(last.timestamp.as_nanos() + 1),
                    None => at(self.clock),
                };
                store.store_publication(txn, &publication).unwrap();
                let event = Event::new(subscription, later, publication.publication);
                store.store_events(txn, [&event]).unwrap();
                self.model.record(&publication, subscription, later);
            }
            other => unreachable!("{other:?} records nothing"),
        }
    }

    fn remove<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        target: Target,
        which: &[Index],
    ) {
        let subscription = self.model.resolve(self.id(target));
        let entries = self.model.entries_of(subscription);
        let Some((_newest, older)) = entries.split_last().filter(|(_, older)| !older.is_empty())
        else {
            return;
        };
        for index in which {
            let publication = index.get(older).publication.publication;
            let events: Vec<Event> = store
                .events_of(txn, subscription, HistoryQuery::default())
                .unwrap()
                .map(Result::unwrap)
                .filter(|event| event.publication == publication)
                .collect();
            for event in &events {
                assert!(store.events().delete(txn, &event.into()).unwrap());
            }
            self.model.remove(subscription, publication);
        }
    }

    fn purge<B: Backend>(&mut self, store: &RealmStore<B>, target: Target, count: u64) {
        let limits = Limits {
            max_count: Some(count),
            ..Limits::default()
        };
        let purge = Purge {
            subscription: Some(self.id(target)),
            limits: Some(limits),
            now: at(self.clock),
        };
        let purged = store.purge(&purge, |_| ControlFlow::Continue(())).unwrap();
        assert!(purged.complete);
        let subscription = self.model.resolve(self.id(target));
        let entries = self.model.entries_of(subscription);
        let too_many = entries.len().saturating_sub(count as usize);
        for entry in &entries[..too_many] {
            self.model
                .remove(subscription, entry.publication.publication);
        }
    }

    /// The options of a question, as things stand.
    fn options(&self, target: Target, question: &Question) -> GetEvents {
        let entries = self.model.entries_of(self.model.resolve(self.id(target)));
        let time = |time: Option<Time>| {
            Some(match time? {
                Time::OfEntry(index, off) if !entries.is_empty() => {
                    let nanos = index.get(&entries).timestamp.as_nanos();
                    Timestamp::from_nanos(nanos.saturating_add_signed(off))
                }
                Time::OfEntry(..) => at(self.clock),
                Time::Any(nanos) => at(nanos),
                Time::First => Timestamp::UNIX_EPOCH,
                Time::Last => Timestamp::MAX,
            })
        };
        let place = |place: Option<Place>| {
            Some(match place? {
                Place::OfEntry(index) if !entries.is_empty() => {
                    index.get(&entries).publication.publication
                }
                Place::Any(number) => self.publications[number].publication,
                Place::OfEntry(_) | Place::Nowhere => PublicationId::MAX,
            })
        };
        let [from_time, after_time, before_time, until_time] = question.times.map(time);
        let [
            from_publication,
            after_publication,
            before_publication,
            until_publication,
        ] = question.publications.map(place);
        GetEvents {
            reverse: question.reverse,
            limit: question.limit,
            from_time,
            after_time,
            before_time,
            until_time,
            topic: question.topic.map(str::to_owned),
            from_publication,
            after_publication,
            before_publication,
            until_publication,
            requester: question.requester.clone(),
            ..GetEvents::default()
        }
    }
}

/// Compares an answer with the model's. Gives the entries of the latter, where
/// there is a history.
fn assert_answer<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    model: &HistoryModel,
    asked_for: SubscriptionId,
    options: &GetEvents,
) -> Result<Option<Vec<Entry>>, TestCaseError> {
    let expected = model.get_events(asked_for, options);
    let found = store.get_events(txn, asked_for, options);
    match (&expected, found) {
        (Ok(Some(expected)), Ok(Some(page))) => {
            prop_assert_eq!(&page.rows, &rows(asked_for, expected), "to {:?}", options);
            prop_assert!(page.damaged.is_empty(), "{:?}", page.damaged);
            let cut_short = options.limit.is_some_and(|limit| page.rows.len() >= limit);
            prop_assert!(
                page.next.is_none() || cut_short,
                "it goes on behind the end"
            );
        }
        (Ok(None), Ok(None)) => {}
        (Err(expected), Err(error)) => prop_assert_eq!(error.kind(), *expected, "{}", error),
        (expected, found) => prop_assert!(
            false,
            "{:?} instead of {:?} to {:?}",
            found,
            expected,
            options
        ),
    }
    Ok(expected.ok().flatten())
}

/// Goes through a history page by page, while it may change.
#[derive(Debug, Clone)]
struct Pages {
    asked_for: SubscriptionId,
    subscription: SubscriptionId,
    options: GetEvents,
    cursor: Option<Cursor>,
    /// The last entry that was on a page.
    last: Option<u64>,
    /// The last entry that there was when the first page was read.
    newest_at_first: Option<u64>,
}

impl Pages {
    fn new(model: &HistoryModel, asked_for: SubscriptionId, options: GetEvents) -> Self {
        Self {
            asked_for,
            subscription: model.resolve(asked_for),
            options: GetEvents {
                limit: None,
                ..options
            },
            cursor: None,
            last: None,
            newest_at_first: None,
        }
    }

    /// Reads a page. Says whether there is another one.
    fn next<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &impl ReadTxn,
        model: &HistoryModel,
        size: PageSize,
    ) -> Result<bool, TestCaseError> {
        let options = GetEvents {
            cursor: self.cursor,
            limit: size.limit,
            max_examined: size.max_examined,
            ..self.options.clone()
        };
        let found = store.get_events(txn, self.asked_for, &options);
        let mut left = match model.get_events(self.asked_for, &self.options) {
            Ok(Some(left)) => left,
            Ok(None) => {
                prop_assert!(matches!(found, Ok(None)), "{:?}", found);
                return Ok(false);
            }
            Err(expected) => {
                prop_assert_eq!(
                    found.map(|_| ()).map_err(|error| error.kind()),
                    Err(expected)
                );
                return Ok(false);
            }
        };
        let newest_at_first = *self.newest_at_first.get_or_insert(model.last_number());
        left.retain(|entry| {
            if self.options.reverse {
                entry.number <= newest_at_first && self.last.is_none_or(|last| entry.number < last)
            } else {
                self.last.is_none_or(|last| entry.number > last)
            }
        });
        let Ok(Some(HistoryPage {
            rows: found,
            next,
            damaged,
        })) = found
        else {
            return Err(TestCaseError::fail(format!("{found:?} to {options:?}")));
        };
        prop_assert!(damaged.is_empty(), "{:?}", damaged);
        prop_assert!(found.len() <= left.len(), "too much, to {:?}", options);
        let on_page = &left[..found.len()];
        prop_assert_eq!(&found, &rows(self.asked_for, on_page), "to {:?}", options);
        for bound in [size.limit, size.max_examined].into_iter().flatten() {
            prop_assert!(found.len() <= bound, "to {:?}", options);
        }
        let is_full = size.limit == Some(found.len());
        if next.is_none() || !is_full && size.max_examined.is_none() {
            prop_assert_eq!(
                found.len(),
                left.len(),
                "some are missing, to {:?}",
                options
            );
            prop_assert_eq!(next, None);
        }
        self.last = on_page.last().map(|entry| entry.number).or(self.last);
        self.cursor = next.map(|cursor| Cursor::from_str(&cursor.to_string()).unwrap());
        prop_assert_eq!(self.cursor, next, "as a text");
        Ok(next.is_some())
    }
}

/// Asks for all at once, and page by page.
fn ask<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    state: &State,
    target: Target,
    question: &Question,
    sizes: &[PageSize],
) -> TestCaseResult {
    let asked_for = state.id(target);
    let options = state.options(target, question);
    assert_answer(store, txn, &state.model, asked_for, &options)?;
    let mut pages = Pages::new(&state.model, asked_for, options);
    // Each page gets on by an entry at least.
    let most = state.model.entries_of(pages.subscription).len() + 1;
    for number in 0.. {
        prop_assert!(number <= most, "pages without an end");
        let size = sizes[number % sizes.len()];
        if !pages.next(store, txn, &state.model, size)? {
            break;
        }
    }
    Ok(())
}

pub fn history_agrees_with_the_specification<E: Engine>() {
    run_random_steps::<E>(false, 64);
}

/// The same, and the store is closed and opened again now and then.
pub fn history_agrees_with_the_specification_over_reopens<E: Engine>() {
    run_random_steps::<E>(true, 24);
}

fn run_random_steps<E: Engine>(reopening: bool, cases: u32) {
    let steps = prop::collection::vec(step(reopening), 1..80);
    property(file!(), cases)
        .run(&(publications(), steps), |(publications, steps)| {
            let mut store = Fresh::new::<E>().realm();
            let mut committed = State::new(publications);
            let mut txn = store.begin_write().unwrap();
            committed.name(&store, &mut txn);
            txn.commit().unwrap();
            let mut pages: Option<Pages> = None;
            let mut steps = steps.iter();
            loop {
                let mut state = committed.clone();
                let mut txn = store.begin_write().unwrap();
                let end = loop {
                    match steps.next() {
                        Some(
                            step @ (Step::Record { .. }
                            | Step::RecordEvent { .. }
                            | Step::StoreEvent { .. }),
                        ) => {
                            state.record(&store, &mut txn, step);
                        }
                        Some(Step::Alias(alias, target)) => {
                            let (alias, subscription) =
                                (state.id(Target::Alias(*alias)), state.id(*target));
                            let found = store.alias_subscription(&mut txn, alias, subscription);
                            let expected = state.model.alias(alias, subscription);
                            prop_assert_eq!(found.map_err(|error| error.kind()), expected);
                            prop_assert_eq!(
                                store.resolve_subscription(&txn, alias).unwrap(),
                                state.model.resolve(alias)
                            );
                        }
                        Some(Step::KeepsHistory(number, keeps_history)) => {
                            let id = state.named[*number];
                            say_whether_history_is_kept(&store, &mut txn, id, *keeps_history);
                            state.model.know(id, *keeps_history);
                        }
                        Some(Step::Remove(target, which)) => {
                            state.remove(&store, &mut txn, *target, which);
                        }
                        Some(Step::Ask(target, question, sizes)) => {
                            ask(&store, &txn, &state, *target, question, sizes)?;
                        }
                        Some(Step::BeginPages(target, question)) => {
                            let options = state.options(*target, question);
                            pages = Some(Pages::new(&state.model, state.id(*target), options));
                        }
                        Some(Step::NextPage(size)) => {
                            // An alias may have come to stand for another subscription.
                            pages = pages.filter(|pages| {
                                state.model.resolve(pages.asked_for) == pages.subscription
                            });
                            if let Some(reading) = &mut pages
                                && !reading.next(&store, &txn, &state.model, *size)?
                            {
                                pages = None;
                            }
                        }
                        end @ (None
                        | Some(
                            Step::Commit | Step::Abort | Step::Purge(..) | Step::Reopen,
                        )) => {
                            break end;
                        }
                    }
                };
                if matches!(end, Some(Step::Abort)) {
                    // A page may have had what never was.
                    pages = None;
                    continue;
                }
                txn.commit().unwrap();
                committed = state;
                match end {
                    Some(Step::Purge(target, count)) => committed.purge(&store, *target, *count),
                    Some(Step::Reopen) => store = reopened::<E>(store),
                    _ => {}
                }
                let snapshot = store.begin_read().unwrap();
                for (number, (uri, policy)) in SUBSCRIPTIONS.into_iter().enumerate() {
                    let found = store
                        .find_subscription(&snapshot, REALM, uri, policy)
                        .unwrap();
                    prop_assert_eq!(
                        found.map(|found| found.subscription),
                        Some(committed.named[number])
                    );
                }
                for target in [Target::Nameless, Target::Alias(0), Target::Alias(1)]
                    .into_iter()
                    .chain((0..SUBSCRIPTIONS.len()).map(Target::Named))
                {
                    for reverse in [false, true] {
                        let options = GetEvents {
                            reverse,
                            ..GetEvents::default()
                        };
                        let asked_for = committed.id(target);
                        assert_answer(&store, &snapshot, &committed.model, asked_for, &options)?;
                    }
                }
                drop(snapshot);
                if end.is_none() {
                    return Ok(());
                }
            }
        })
        .unwrap();
}

fn say_whether_history_is_kept<B: Backend>(
    store: &RealmStore<B>,
    txn: &mut StoreWrite<'_, B>,
    id: SubscriptionId,
    keeps_history: Option<bool>,
) {
    let subscriptions = store.subscriptions();
    let known = subscriptions.get(txn, &id).unwrap().unwrap().to_owned();
    let said = Subscription {
        keeps_history,
        ..known.unwrap()
    };
    subscriptions.put(txn, &id, &said).unwrap();
}

fn reopened<E: Engine>(store: Fresh<RealmStore<E::Backend>>) -> Fresh<RealmStore<E::Backend>> {
    let Fresh { store, directory } = store;
    drop(store);
    let store = E::open(directory.path()).unwrap();
    Fresh { store, directory }.realm()
}

/// `reverse`, `limit`, four times, the topic and four publications.
const OPTIONS: u32 = 11;

pub fn every_combination_of_options_selects_what_the_specification_says<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let steps = prop::collection::vec(record(), 10..40);
    property(file!(), 12)
        .run(
            &(publications(), steps, target(), question(0.98)),
            |(publications, steps, target, question)| {
                let mut state = State::new(publications);
                let mut txn = store.begin_write().unwrap();
                state.name(&store, &mut txn);
                for step in &steps {
                    state.record(&store, &mut txn, step);
                }
                let all = state.options(target, &question);
                for given in 0u32..1 << OPTIONS {
                    let is_given = |option: u32| given & 1 << option != 0;
                    let options = GetEvents {
                        reverse: is_given(0),
                        limit: all.limit.filter(|_| is_given(1)),
                        from_time: all.from_time.filter(|_| is_given(2)),
                        after_time: all.after_time.filter(|_| is_given(3)),
                        before_time: all.before_time.filter(|_| is_given(4)),
                        until_time: all.until_time.filter(|_| is_given(5)),
                        topic: all.topic.clone().filter(|_| is_given(6)),
                        from_publication: all.from_publication.filter(|_| is_given(7)),
                        after_publication: all.after_publication.filter(|_| is_given(8)),
                        before_publication: all.before_publication.filter(|_| is_given(9)),
                        until_publication: all.until_publication.filter(|_| is_given(10)),
                        requester: all.requester.clone(),
                        ..GetEvents::default()
                    };
                    assert_answer(&store, &txn, &state.model, state.id(target), &options)?;
                }
                Ok(())
            },
        )
        .unwrap();
}

pub fn the_example_of_the_specification_has_the_histories_that_it_says<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let subscriptions = [
        ("com.mycompany.log.auth", MatchPolicy::Exact),
        ("com.mycompany.log.basket", MatchPolicy::Exact),
        ("com.mycompany.log", MatchPolicy::Prefix),
    ]
    .map(|(uri, policy)| {
        store
            .subscription_id(&mut txn, REALM, uri, policy, at(0))
            .unwrap()
    });
    for (publication, topic, dispatched) in [
        (5, "auth", vec![0, 2]),
        (4, "basket", vec![1, 2]),
        (3, "basket", vec![1, 2]),
        (2, "basket", vec![1, 2]),
        (1, "checkout", vec![2]),
    ] {
        let deliveries = dispatched.into_iter().map(|number| Delivery {
            subscription: subscriptions[number],
            timestamp: at(1),
            ..Delivery::default()
        });
        let dispatch = Dispatch {
            publication: Publication::new(
                PublicationId::from_stored(publication),
                at(1),
                format!("com.mycompany.log.{topic}"),
            ),
            deliveries: deliveries.collect(),
            retain: None,
        };
        store.record(&mut txn, &dispatch).unwrap();
    }
    let histories = subscriptions.map(|subscription| {
        let page = store
            .get_events(&txn, subscription, &GetEvents::default())
            .unwrap()
            .unwrap();
        let rows = page.rows.iter();
        rows.map(|row| row.publication.publication.get())
            .collect::<Vec<_>>()
    });
    assert_eq!(histories, [vec![5], vec![4, 3, 2], vec![5, 4, 3, 2, 1]]);
}

/// What a publication carries, as WAMP has it in JSON.
#[derive(Debug, Clone)]
enum Payload {
    Arguments(Option<Vec<Json>>, Option<serde_json::Map<String, Json>>),
    /// In passthru mode.
    Opaque(Vec<u8>),
}

fn payload() -> impl Strategy<Value = Payload> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "[a-zé\"\\\\ ]{0,6}".prop_map(Json::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    });
    let map = prop::collection::btree_map("[a-z]{1,3}", value.clone(), 0..3);
    prop_oneof![
        3 => (
            prop::option::of(prop::collection::vec(value, 0..3)),
            prop::option::of(map.prop_map(|map| map.into_iter().collect())),
        )
            .prop_map(|(args, kwargs)| Payload::Arguments(args, kwargs)),
        1 => prop::collection::vec(any::<u8>(), 1..8).prop_map(Payload::Opaque),
    ]
}

pub fn rows_are_written_as_the_specification_has_them<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let rows = (0..1_000_000_000u64, 1..=1u64 << 53, 1..=1u64 << 53);
    property(file!(), 96)
        .run(
            &(rows, select(&TOPICS[..]), payload()),
            |((nanos, subscription, publication), topic, payload)| {
                let mut txn = store.begin_write().unwrap();
                let mut row = json!({
                    "timestamp": format!("2026-01-01T00:00:00.{nanos:09}Z"),
                    "subscription": subscription,
                    "publication": publication,
                    "details": {"topic": topic},
                });
                let mut recorded = Publication {
                    publisher: Some(session(3)),
                    exclude: Some(vec![session(4)]),
                    ..Publication::new(PublicationId::from_stored(publication), at(nanos), topic)
                };
                match payload {
                    Payload::Arguments(args, kwargs) => {
                        recorded.args = args.as_ref().map(|args| Cbor::serialize(args).unwrap());
                        recorded.kwargs = kwargs
                            .as_ref()
                            .map(|kwargs| Cbor::serialize(kwargs).unwrap());
                        if let Some(args) = args {
                            row["args"] = args.into();
                        }
                        if let Some(kwargs) = kwargs {
                            row["kwargs"] = kwargs.into();
                        }
                    }
                    Payload::Opaque(payload) => {
                        // The convention for binary data in JSON.
                        row["args"] = json!([format!("\0{}", STANDARD.encode(&payload))]);
                        row["details"]["enc_algo"] = json!("mqtt");
                        row["details"]["enc_serializer"] = json!("json");
                        recorded.payload = Some(payload);
                        recorded.enc_algo = Some(EncAlgo::MQTT);
                        recorded.enc_serializer = Some(EncSerializer::JSON);
                    }
                }
                let dispatch = Dispatch {
                    publication: recorded,
                    deliveries: vec![Delivery {
                        subscription: SubscriptionId::from_stored(subscription),
                        timestamp: at(nanos),
                        receivers: vec![session(5)],
                        ..Delivery::default()
                    }],
                    retain: None,
                };
                store.record(&mut txn, &dispatch).unwrap();
                let page = store
                    .get_events(
                        &txn,
                        SubscriptionId::from_stored(subscription),
                        &GetEvents::default(),
                    )
                    .unwrap()
                    .unwrap();
                prop_assert_eq!(serde_json::to_value(&page.rows).unwrap(), json!([row]));
                Ok(())
            },
        )
        .unwrap();
}

/// Records publications under a subscription, one a nanosecond.
fn fill<B: Backend>(store: &RealmStore<B>, subscription: u64, publications: u64, receivers: u64) {
    let mut txn = store.begin_write().unwrap();
    for number in 0..publications {
        // Their IDs are in no order.
        let id = subscription << 32 | (number * 7_919 % 1_000_003 + 1);
        let dispatch = Dispatch {
            publication: Publication::new(PublicationId::from_stored(id), at(number), TOPICS[0]),
            deliveries: vec![Delivery {
                subscription: SubscriptionId::from_stored(subscription),
                timestamp: at(number),
                receivers: (1..=receivers).map(session).collect(),
                ..Delivery::default()
            }],
            retain: None,
        };
        store.record(&mut txn, &dispatch).unwrap();
        if number % 10_000 == 9_999 {
            txn.commit().unwrap();
            txn = store.begin_write().unwrap();
        }
    }
    txn.commit().unwrap();
}

/// The calls that each of some questions for ten publications costs: from
/// either end, and from in between by a time, a publication and a cursor.
fn cost_of_ten<B: Backend>(
    store: &RealmStore<Counting<B>>,
    subscription: u64,
) -> Vec<(bool, &'static str, Counts)> {
    let subscription = SubscriptionId::from_stored(subscription);
    let txn = store.begin_read().unwrap();
    let mut costs = Vec::new();
    for reverse in [false, true] {
        let ten = GetEvents {
            reverse,
            limit: Some(10),
            ..GetEvents::default()
        };
        let first = store.get_events(&txn, subscription, &ten).unwrap().unwrap();
        let last = first.rows.last().unwrap();
        let (time, publication) = (last.timestamp, last.publication.publication);
        for (name, options) in [
            ("from the end", ten.clone()),
            (
                "by time",
                GetEvents {
                    after_time: (!reverse).then_some(time),
                    before_time: reverse.then_some(time),
                    ..ten.clone()
                },
            ),
            (
                "by publication",
                GetEvents {
                    after_publication: (!reverse).then_some(publication),
                    before_publication: reverse.then_some(publication),
                    ..ten.clone()
                },
            ),
            (
                "by cursor",
                GetEvents {
                    cursor: first.next,
                    ..ten.clone()
                },
            ),
        ] {
            store.db().calls.take();
            let page = store
                .get_events(&txn, subscription, &options)
                .unwrap()
                .unwrap();
            let calls = store.db().calls.take();
            assert_eq!(page.rows.len(), 10);
            // Ten rows, and a few steps to find them.
            assert!(
                calls.get <= 16 && calls.scan + calls.last <= 3 && calls.next <= 14,
                "{name}: {calls:?}"
            );
            costs.push((reverse, name, calls));
        }
    }
    costs
}

pub fn ten_of_a_history_cost_the_same_with_a_thousand_receivers_as_with_one<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    fill(&store, 1, 40, 1);
    fill(&store, 2, 40, 1_000);
    assert_eq!(cost_of_ten(&store, 1), cost_of_ten(&store, 2));
}

pub fn ten_of_a_hundred_thousand_cost_the_same_as_ten_of_a_thousand<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    fill(&store, 1, 1_000, 1);
    fill(&store, 2, 100_000, 0);
    assert_eq!(cost_of_ten(&store, 1), cost_of_ten(&store, 2));

    // Where a filter leaves out what it looks at, `max_examined` is the bound.
    let txn = store.begin_read().unwrap();
    let nobody = Requester::default();
    for (examined, topic, requester) in [
        (10, Some(TOPICS[1]), None),
        (40, Some(TOPICS[1]), None),
        (10, None, Some(nobody.clone())),
        (40, Some(TOPICS[1]), Some(nobody)),
    ] {
        for reverse in [false, true] {
            let options = GetEvents {
                reverse,
                topic: topic.map(str::to_owned),
                requester: requester.clone(),
                max_examined: Some(examined),
                ..GetEvents::default()
            };
            store.db().calls.take();
            let page = store
                .get_events(&txn, SubscriptionId::from_stored(2), &options)
                .unwrap()
                .unwrap();
            let calls = store.db().calls.take();
            assert_eq!(page.rows.len(), if topic.is_some() { 0 } else { examined });
            assert!(page.next.is_some());
            let bound = examined as u64;
            assert!(
                calls.get <= bound + 5 && calls.scan + calls.last <= 3 && calls.next <= bound + 5,
                "{calls:?} for {examined} entries"
            );
        }
    }
}

pub fn a_limit_of_nothing_is_refused_and_no_history_is_another_thing_than_an_empty_one<
    E: Engine,
>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let (uri, policy) = SUBSCRIPTIONS[0];
    let id = store
        .subscription_id(&mut txn, REALM, uri, policy, at(0))
        .unwrap();
    let all = GetEvents::default();
    assert!(store.get_events(&txn, id, &all).unwrap().is_none());
    say_whether_history_is_kept(&store, &mut txn, id, Some(true));
    let empty = store.get_events(&txn, id, &all).unwrap().unwrap();
    assert!(empty.rows.is_empty() && empty.next.is_none());
    for nothing in [
        GetEvents {
            limit: Some(0),
            ..all.clone()
        },
        GetEvents {
            max_examined: Some(0),
            ..all.clone()
        },
    ] {
        let error = store.get_events(&txn, id, &nothing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let unknown = GetEvents {
        from_publication: Some(PublicationId::MAX),
        ..all
    };
    let error = store.get_events(&txn, id, &unknown).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
