//! Retention: what is too much, too old or expired goes, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use proptest::prelude::*;
use realmstore_core::directory::Directory;
use realmstore_core::record::Record;
use realmstore_core::store::{Purge, Purged, Removed, Severity, Step, verify};
use realmstore_core::{
    Backend, Delivery, Dispatch, ErrorKind, Event, HistoryQuery, Limits, Order, Publication,
    PublicationId, ReadTxn, RealmStore, Retain, Retention, Session, SessionId, Subscription,
    SubscriptionId, Timestamp, WriteTxn,
};

use crate::{Engine, Fresh, property};

fn subscription(id: u64) -> SubscriptionId {
    SubscriptionId::from_stored(id)
}

fn publication(id: u64) -> PublicationId {
    PublicationId::from_stored(id)
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn count(max_count: u64) -> Limits {
    Limits {
        max_count: Some(max_count),
        ..Limits::default()
    }
}

fn age(nanos: u64) -> Limits {
    Limits {
        max_age: Some(Duration::from_nanos(nanos)),
        ..Limits::default()
    }
}

fn delivery(sub: u64, time: u64, receivers: impl IntoIterator<Item = u64>) -> Delivery {
    Delivery {
        subscription: subscription(sub),
        timestamp: at(time),
        receivers: receivers.into_iter().map(SessionId::from_stored).collect(),
        ..Delivery::default()
    }
}

fn dispatch(publ: u64, time: u64, deliveries: Vec<Delivery>) -> Dispatch {
    Dispatch {
        publication: Publication {
            payload: Some(vec![7; (publ % 5) as usize * 40]),
            ..Publication::new(
                publication(publ),
                at(time),
                format!("com.example.{}", publ % 3),
            )
        },
        deliveries,
        retain: None,
    }
}

fn record<B: Backend>(store: &RealmStore<B>, dispatches: impl IntoIterator<Item = Dispatch>) {
    let mut txn = store.begin_write().unwrap();
    for dispatch in dispatches {
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
}

fn set_limits<B: Backend>(store: &RealmStore<B>, sub: u64, limits: Limits) {
    let mut record = Subscription {
        subscription: subscription(sub),
        uri: Some(format!("com.example.{sub}")),
        realm: Some("realm1".to_owned()),
        ..Subscription::default()
    };
    limits.set_on(&mut record);
    let mut txn = store.begin_write().unwrap();
    store
        .subscriptions()
        .put(&mut txn, &subscription(sub), &record)
        .unwrap();
    txn.commit().unwrap();
}

fn history<B: Backend>(store: &RealmStore<B>, sub: u64) -> Vec<u64> {
    let txn = store.begin_read().unwrap();
    store
        .history(&txn, subscription(sub), HistoryQuery::default())
        .unwrap()
        .map(|entry| entry.unwrap().publication.get())
        .collect()
}

fn events<B: Backend>(store: &RealmStore<B>) -> u64 {
    let txn = store.begin_read().unwrap();
    store.events().count(&txn).unwrap()
}

fn publications<B: Backend>(store: &RealmStore<B>) -> Vec<u64> {
    let txn = store.begin_read().unwrap();
    let mut found = Vec::new();
    let mut scan = store
        .publications()
        .range(&txn, .., Order::Ascending)
        .unwrap();
    while let Some(entry) = scan.next().unwrap() {
        found.push(entry.key().unwrap().get());
    }
    found
}

/// What is damaged, by table and key.
fn damage<B: Backend>(db: &B) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    verify(db, |finding| {
        if finding.severity != Severity::Remark {
            found.insert((finding.table, finding.key));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

fn step<B: Backend>(
    store: &RealmStore<B>,
    retention: &mut Retention,
    now: u64,
    budget: u64,
) -> Step {
    let mut txn = store.begin_write().unwrap();
    let step = retention.step(store, &mut txn, at(now), budget).unwrap();
    txn.commit().unwrap();
    step
}

/// Takes steps until nothing is left to do; says how many.
fn settle<B: Backend>(
    store: &RealmStore<B>,
    retention: &mut Retention,
    now: u64,
    budget: u64,
) -> u64 {
    for steps in 1..100_000 {
        if !step(store, retention, now, budget).more {
            return steps;
        }
    }
    panic!("it never comes to an end");
}

fn purge<B: Backend>(store: &RealmStore<B>, options: Purge) -> Purged {
    let planned = {
        let txn = store.begin_read().unwrap();
        store.plan_purge(&txn, &options).unwrap()
    };
    let mut batches = 0;
    let done = store
        .purge(&options, |_| {
            batches += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(done, planned, "what was done is what was said");
    assert_eq!(damage(store.db()), BTreeSet::new());
    done
}

#[derive(Debug, Clone)]
enum Operation {
    /// A publication: to which subscriptions, and with how many receivers each.
    Record(Vec<(u64, u64)>, bool),
    /// An earlier publication is sent to somebody who subscribed later.
    Redeliver(usize, u64),
    Wait(u64),
    Step(u64),
    Limit(u64, Limits),
    Commit,
    Drop,
    Restart,
}

fn limits() -> impl Strategy<Value = Limits> {
    let one_in_two = |range| prop::option::of(range);
    (
        one_in_two(0..6u64),
        one_in_two(0..40u64),
        one_in_two(0..900u64),
    )
        .prop_map(|(max_count, max_age, max_bytes)| Limits {
            max_count,
            max_age: max_age.map(Duration::from_nanos),
            max_bytes,
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    let to = prop::collection::vec((1u64..4, 0u64..4), 1..4);
    prop_oneof![
        8 => (to, prop::bool::weighted(0.2)).prop_map(|(to, retain)| Operation::Record(to, retain)),
        2 => (any::<usize>(), 1u64..4).prop_map(|(publ, sub)| Operation::Redeliver(publ, sub)),
        2 => (0u64..20).prop_map(Operation::Wait),
        3 => (0u64..200).prop_map(Operation::Step),
        2 => (1u64..4, limits()).prop_map(|(sub, limits)| Operation::Limit(sub, limits)),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Drop),
        1 => Just(Operation::Restart),
    ]
}

#[derive(Debug, Clone, Default)]
struct Model {
    now: u64,
    /// The histories, oldest first.
    histories: BTreeMap<u64, Vec<(u64, u64)>>,
    bytes: BTreeMap<u64, u64>,
    retained: BTreeMap<String, u64>,
    limits: BTreeMap<u64, Limits>,
    next: u64,
}

impl Model {
    /// Lets go what is too much.
    fn trim(&mut self) {
        for (sub, limits) in &self.limits {
            let history = self.histories.entry(*sub).or_default();
            let is_too_much = |history: &[(u64, u64)]| {
                let bytes: u64 = history.iter().map(|(publ, _)| self.bytes[publ]).sum();
                let Some((_, oldest)) = history.first() else {
                    return false;
                };
                limits
                    .max_count
                    .is_some_and(|max| history.len() as u64 > max)
                    || limits.max_bytes.is_some_and(|max| bytes > max)
                    || limits.max_age.is_some_and(|max| {
                        oldest + max.as_nanos() as u64 > u64::MAX / 2
                            || oldest + (max.as_nanos() as u64) < self.now
                    })
            };
            while is_too_much(history) {
                history.remove(0);
            }
        }
    }

    fn publications(&self) -> BTreeSet<u64> {
        let listed = self.histories.values().flatten().map(|(publ, _)| *publ);
        listed.chain(self.retained.values().copied()).collect()
    }
}

pub fn limits_agree_with_a_model<E: Engine>() {
    let mut runner = property(file!(), 48);
    let operations = prop::collection::vec(operation(), 1..60);
    runner
        .run(&(operations, 1u64..300), |(operations, budget)| {
            let store = Fresh::new::<E>().realm();
            let mut retention = Retention::new();
            let mut model = Model {
                now: 1000,
                next: 1,
                ..Model::default()
            };
            let mut committed = model.clone();
            let mut txn = store.begin_write().unwrap();
            for operation in operations {
                match operation {
                    Operation::Record(to, retain) => {
                        let publ = model.next;
                        model.next += 1;
                        let mut seen = BTreeSet::new();
                        let deliveries = to
                            .into_iter()
                            .filter(|(sub, _)| seen.insert(*sub))
                            .map(|(sub, receivers)| delivery(sub, model.now, 1..=receivers))
                            .collect();
                        let mut dispatch = dispatch(publ, model.now, deliveries);
                        dispatch.retain = retain.then(Retain::default);
                        store.record(&mut txn, &dispatch).unwrap();
                        model
                            .bytes
                            .insert(publ, dispatch.publication.to_bytes().unwrap().len() as u64);
                        for sub in seen {
                            let history = model.histories.entry(sub).or_default();
                            history.push((publ, model.now));
                        }
                        if retain {
                            model.retained.insert(dispatch.publication.topic, publ);
                        }
                    }
                    Operation::Redeliver(which, sub) => {
                        // What is in a history still is not to be left to chance.
                        txn.commit().unwrap();
                        settle(&store, &mut retention, model.now, budget);
                        model.trim();
                        committed = model.clone();
                        txn = store.begin_write().unwrap();
                        let there: Vec<u64> = model.publications().into_iter().collect();
                        if there.is_empty() {
                            continue;
                        }
                        let publ = there[which % there.len()];
                        model.now += 1;
                        let event = Event {
                            receiver: Some(SessionId::from_stored(1000 + model.now)),
                            ..Event::new(subscription(sub), at(model.now), publication(publ))
                        };
                        store.record_event(&mut txn, &event).unwrap();
                        let history = model.histories.entry(sub).or_default();
                        if !history.iter().any(|(listed, _)| *listed == publ) {
                            history.push((publ, model.now));
                        }
                    }
                    Operation::Wait(nanos) => model.now += nanos,
                    Operation::Step(budget) => {
                        retention
                            .step(&store, &mut txn, at(model.now), budget)
                            .unwrap();
                    }
                    Operation::Limit(sub, limits) => {
                        txn.commit().unwrap();
                        settle(&store, &mut retention, model.now, budget);
                        model.trim();
                        set_limits(&store, sub, limits);
                        model.limits.insert(sub, limits);
                        settle(&store, &mut retention, model.now, budget);
                        model.trim();
                        committed = model.clone();
                        txn = store.begin_write().unwrap();
                    }
                    Operation::Commit => {
                        txn.commit().unwrap();
                        committed = model.clone();
                        txn = store.begin_write().unwrap();
                    }
                    Operation::Drop => {
                        drop(txn);
                        txn = store.begin_write().unwrap();
                        model = Model {
                            now: model.now,
                            next: model.next,
                            ..committed.clone()
                        };
                    }
                    Operation::Restart => retention = Retention::new(),
                }
            }
            txn.commit().unwrap();
            settle(&store, &mut retention, model.now, budget);
            model.trim();
            for sub in 1..4 {
                let expected: Vec<u64> = model
                    .histories
                    .get(&sub)
                    .into_iter()
                    .flatten()
                    .map(|(publ, _)| *publ)
                    .collect();
                prop_assert_eq!(history(&store, sub), expected, "subscription {}", sub);
            }
            let there: BTreeSet<u64> = publications(&store).into_iter().collect();
            prop_assert_eq!(there, model.publications());
            prop_assert_eq!(damage(store.db()), BTreeSet::new());
            Ok(())
        })
        .unwrap();
}

pub fn the_newest_stay_and_nothing_of_the_others<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    set_limits(&store, 1, count(3));
    let mut retention = Retention::new();
    for publ in 1..=10 {
        let mut txn = store.begin_write().unwrap();
        let to_two = vec![delivery(1, publ * 10, 1..=4), delivery(2, publ * 10, [])];
        let deliveries = if publ == 4 {
            to_two
        } else {
            vec![delivery(1, publ * 10, 1..=4)]
        };
        store
            .record(&mut txn, &dispatch(publ, publ * 10, deliveries))
            .unwrap();
        let step = retention.step(&store, &mut txn, at(1000), 1000).unwrap();
        txn.commit().unwrap();
        assert!(!step.more, "{step:?}");
        let expected: Vec<u64> = (publ.saturating_sub(2).max(1)..=publ).collect();
        assert_eq!(history(&store, 1), expected, "after each batch");
    }
    assert_eq!(publications(&store), [4, 8, 9, 10]);
    assert_eq!(events(&store), 13);
    assert_eq!(damage(store.db()), BTreeSet::new());
}

pub fn each_limit_is_kept<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut retention = Retention::new();
    record(
        &store,
        (1..=20).map(|publ| dispatch(publ, publ * 10, vec![delivery(1, publ * 10, [])])),
    );
    settle(&store, &mut retention, 200, 50);
    assert_eq!(history(&store, 1).len(), 20, "nothing is limited");
    set_limits(&store, 1, age(100));
    settle(&store, &mut retention, 200, 50);
    assert_eq!(
        history(&store, 1),
        Vec::from_iter(10..=20),
        "100 is not too old yet"
    );
    settle(&store, &mut retention, 201, 50);
    assert_eq!(
        history(&store, 1),
        Vec::from_iter(11..=20),
        "nothing was written, but time went on"
    );
    let bytes = |publ| {
        dispatch(publ, publ * 10, vec![])
            .publication
            .to_bytes()
            .unwrap()
            .len() as u64
    };
    let last_four: u64 = (17..=20).map(bytes).sum();
    for (max_bytes, left) in [(last_four, 4), (last_four - 1, 3), (0, 0)] {
        let limits = Limits {
            max_bytes: Some(max_bytes),
            ..Limits::default()
        };
        set_limits(&store, 1, limits);
        settle(&store, &mut retention, 201, 50);
        assert_eq!(history(&store, 1).len(), left);
    }
    assert_eq!(publications(&store), [0; 0]);
    assert_eq!(damage(store.db()), BTreeSet::new());
}

pub fn what_is_retained_stays_until_it_expires<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    set_limits(&store, 1, count(0));
    for (publ, expires_at) in [(1, None), (2, Some(at(500))), (3, Some(at(900)))] {
        let mut dispatch = dispatch(publ, 100, vec![delivery(1, 100, [5])]);
        dispatch.retain = Some(Retain { expires_at });
        record(&store, [dispatch]);
    }
    settle(&store, &mut Retention::new(), 499, 100);
    assert_eq!(history(&store, 1), [0; 0]);
    assert_eq!(publications(&store), [1, 2, 3]);
    settle(&store, &mut Retention::new(), 500, 100);
    assert_eq!(publications(&store), [1, 3]);
    let mut retention = Retention::new();
    settle(&store, &mut retention, 500, 100);
    let later = Timestamp::from_nanos(61_000_000_000);
    settle(&store, &mut retention, later.as_nanos(), 100);
    assert_eq!(
        publications(&store),
        [1],
        "it is looked for again and again"
    );
    assert_eq!(damage(store.db()), BTreeSet::new());
}

pub fn events_that_came_late_or_between_others_go_as_well<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    // A thousand receivers of one, among them those of others, and late ones.
    let mut txn = store.begin_write().unwrap();
    for publ in 1..=3 {
        store
            .store_publication(&mut txn, &dispatch(publ, publ, vec![]).publication)
            .unwrap();
    }
    let event = |time: u64, publ: u64, receiver: u64| Event {
        receiver: Some(SessionId::from_stored(receiver)),
        ..Event::new(subscription(1), at(time), publication(publ))
    };
    for receiver in 1..=1000 {
        let interleaved = [1, 2, 3].map(|publ| event(receiver * 10 + publ, publ, receiver));
        store.store_events(&mut txn, &interleaved).unwrap();
    }
    txn.commit().unwrap();
    record(
        &store,
        (4..=300).map(|publ| dispatch(publ, publ * 1000, vec![delivery(1, publ * 1000, [1])])),
    );
    let mut txn = store.begin_write().unwrap();
    for receiver in 2001..2010 {
        store
            .record_event(&mut txn, &event(receiver * 1000, 1, receiver))
            .unwrap();
    }
    txn.commit().unwrap();
    assert_eq!(events(&store), 3000 + 297 + 9);
    set_limits(&store, 1, count(299));
    for (restarts, budget) in [(true, 400), (false, 40), (false, 100_000)] {
        let limit = history(&store, 1).len() as u64 - 1;
        set_limits(&store, 1, count(limit));
        let mut retention = Retention::new();
        for steps in 0.. {
            assert!(steps < 2000, "it never comes to an end");
            let step = step(&store, &mut retention, 1, budget);
            if !step.more {
                break;
            }
            if restarts && [4, 8].contains(&steps) {
                retention = Retention::new();
            }
            if steps % 50 == 0 {
                assert_eq!(damage(store.db()), BTreeSet::new());
            }
        }
        assert_eq!(history(&store, 1).len() as u64, limit);
        assert_eq!(damage(store.db()), BTreeSet::new());
    }
    assert_eq!(history(&store, 1)[0], 4);
    assert_eq!(events(&store), 297, "no event of those that went is left");
}

pub fn a_step_costs_its_budget_however_much_is_stored<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    for batch in 0..10 {
        let publ = |number: u64| batch * 2000 + number;
        record(
            &store,
            (1..=2000).map(|number| {
                let publ = publ(number);
                dispatch(publ, publ * 10, vec![delivery(1, publ * 10, 1..=3)])
            }),
        );
    }
    set_limits(&store, 1, count(100));
    let mut retention = Retention::new();
    let calls = &store.db().calls;
    let budget = 1000;
    let mut steps = 0;
    loop {
        calls.take();
        let step = step(&store, &mut retention, 1, budget);
        let spent = calls.take().total();
        assert!(spent < 4 * budget + 1000, "{spent} calls for {budget} rows");
        steps += 1;
        if !step.more {
            break;
        }
    }
    assert!(steps > 100, "{steps}");
    assert_eq!(history(&store, 1), Vec::from_iter(19_901..=20_000));
    assert_eq!(events(&store), 300);
    // From then on what comes is what it costs.
    for publ in 20_001..20_010 {
        let mut txn = store.begin_write().unwrap();
        let dispatch = dispatch(publ, publ * 10, vec![delivery(1, publ * 10, 1..=3)]);
        store.record(&mut txn, &dispatch).unwrap();
        calls.take();
        let step = retention.step(&store, &mut txn, at(1), budget).unwrap();
        let spent = calls.take().total();
        txn.commit().unwrap();
        assert!(
            !step.more && step.removed.entries == 1 && step.removed.events == 3,
            "{step:?}"
        );
        assert!(spent < 80, "{spent} calls to replace one entry");
    }
    assert_eq!(damage(store.db()), BTreeSet::new());
}

pub fn a_step_that_is_not_committed_does_not_count<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    set_limits(&store, 1, count(5));
    let mut retention = Retention::new();
    let to = |publ: u64| dispatch(publ, publ * 10, vec![delivery(1, publ * 10, [1])]);
    record(&store, (1..=5).map(to));
    settle(&store, &mut retention, 1, 1000);
    for _ in 0..3 {
        let mut txn = store.begin_write().unwrap();
        for publ in 6..=9 {
            store.record(&mut txn, &to(publ)).unwrap();
        }
        let step = retention.step(&store, &mut txn, at(1), 1000).unwrap();
        assert_eq!(step.removed.entries, 4);
        drop(txn);
    }
    settle(&store, &mut retention, 1, 1000);
    assert_eq!(history(&store, 1), [1, 2, 3, 4, 5]);
    // Nor does what came and went without a step.
    record(&store, [to(6)]);
    let mut txn = store.begin_write().unwrap();
    for publ in [2, 3] {
        let event = Event {
            receiver: Some(SessionId::from_stored(1)),
            ..Event::new(subscription(1), at(publ * 10), publication(publ))
        };
        let key = (&event).into();
        assert!(store.events().delete(&mut txn, &key).unwrap());
    }
    txn.commit().unwrap();
    settle(&store, &mut retention, 1, 1000);
    assert_eq!(history(&store, 1), [1, 4, 5, 6]);
    record(&store, (7..=8).map(to));
    settle(&store, &mut retention, 1, 1000);
    assert_eq!(history(&store, 1), [4, 5, 6, 7, 8]);
}

fn slot_named<B: Backend>(db: &B, name: &str) -> u16 {
    let txn = db.begin_read().unwrap();
    let directory = Directory::read(&txn).unwrap();
    let mut entries = directory.entries().iter();
    entries
        .find(|entry| entry.name.as_deref() == Some(name))
        .unwrap()
        .slot
}

fn raw_key(slot: u16, numbers: &[u64]) -> Vec<u8> {
    let mut key = slot.to_be_bytes().to_vec();
    key.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    key
}

pub fn damaged_histories_are_taken_off_all_the_same<E: Engine>() {
    let position = |first: u64, events: u64| {
        let mut value = first.to_be_bytes().to_vec();
        value.extend(0u32.to_be_bytes());
        value.extend(events.to_be_bytes());
        value
    };
    let cases = [
        (
            "an unreadable position",
            "realmstore.history_positions",
            vec![2, 1],
            Some(vec![1]),
        ),
        (
            "a missing position",
            "realmstore.history_positions",
            vec![2, 1],
            None,
        ),
        (
            "too many events",
            "realmstore.history_positions",
            vec![2, 1],
            Some(position(20, u64::MAX)),
        ),
        (
            "too few events",
            "realmstore.history_positions",
            vec![2, 1],
            Some(position(20, 1)),
        ),
        (
            "no events",
            "realmstore.history_positions",
            vec![2, 1],
            Some(position(20, 0)),
        ),
        (
            "a later time",
            "realmstore.history_positions",
            vec![2, 1],
            Some(position(22, 3)),
        ),
        (
            "an earlier time",
            "realmstore.history_positions",
            vec![2, 1],
            Some(position(1, 3)),
        ),
        (
            "a damaged event",
            "realmstore.events",
            vec![1, 20, 2, 1],
            Some(vec![9]),
        ),
        (
            "a missing publication",
            "cfxdb.realmstore._publication.Publications",
            vec![2],
            None,
        ),
    ];
    for (what, table, key, value) in cases {
        let store = Fresh::new::<E>().realm();
        record(
            &store,
            (1..=5).map(|publ| dispatch(publ, publ * 10, vec![delivery(1, publ * 10, 1..=3)])),
        );
        let mut txn = store.begin_write().unwrap();
        // The second one has events at three times.
        for (time, receiver) in [(21, 4), (45, 5)] {
            let event = Event {
                receiver: Some(SessionId::from_stored(receiver)),
                ..Event::new(subscription(1), at(time), publication(2))
            };
            store.store_events(&mut txn, [&event]).unwrap();
        }
        txn.commit().unwrap();
        let slot = slot_named(store.db(), table);
        let key = raw_key(slot, &key);
        let mut txn = store.db().begin_write().unwrap();
        match value {
            Some(value) => txn.put(&key, &value).unwrap(),
            None => assert!(txn.delete(&key).unwrap(), "{what}"),
        }
        txn.commit().unwrap();
        // What was written past the store is somebody else's.
        store
            .adopt(|_| ControlFlow::Continue(()), |_, _| ())
            .unwrap();
        let before = damage(store.db());
        assert!(!before.is_empty(), "{what}");
        set_limits(&store, 1, count(1));
        let mut retention = Retention::new();
        for steps in 0.. {
            assert!(steps < 200, "{what}: it never comes to an end");
            let more = step(&store, &mut retention, 1, 20).more;
            let now = damage(store.db());
            // Until it is done with, what is damaged is about the same publication.
            assert!(
                now.iter()
                    .all(|(_, key)| key.contains("publication 2") || key == "2"),
                "{what}: {now:?}"
            );
            if !more {
                break;
            }
        }
        assert_eq!(history(&store, 1), [5], "{what}");
        let after = damage(store.db());
        assert!(
            after.is_subset(&before),
            "{what}: {after:?}, before {before:?}"
        );
    }
}

pub fn nothing_goes_where_others_may_refer_to_it<E: Engine>() {
    let fresh = Fresh::new::<E>();
    // A table that is there before ours are.
    let store = fresh.realm();
    record(
        &store,
        (1..=5).map(|publ| dispatch(publ, publ, vec![delivery(1, publ, [1])])),
    );
    set_limits(&store, 1, count(1));
    let meta = slot_named(store.db(), "realmstore.meta");
    let mut key = meta.to_be_bytes().to_vec();
    key.push(0);
    let mut txn = store.db().begin_write().unwrap();
    assert!(txn.delete(&key).unwrap());
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    let error = Retention::new()
        .step(&store, &mut txn, at(1), 100)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("realmstore adopt"), "{error}");
    txn.commit().unwrap();
    let error = store
        .purge(&Purge::default(), |_| ControlFlow::Continue(()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let txn = store.begin_read().unwrap();
    assert!(store.plan_purge(&txn, &Purge::default()).is_err());
    drop(txn);
    assert_eq!(history(&store, 1).len(), 5);
    store
        .adopt(|_| ControlFlow::Continue(()), |_, _| ())
        .unwrap();
    assert_eq!(purge(&store, Purge::default()).total().entries, 4);
}

pub fn a_purge_does_what_it_says<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    for publ in 1..=30 {
        let mut deliveries = vec![delivery(1, publ * 10, 1..=publ % 4)];
        if publ % 2 == 0 {
            deliveries.push(delivery(2, publ * 10, [7]));
        }
        let mut dispatch = dispatch(publ, publ * 10, deliveries);
        if publ % 7 == 0 {
            let expires_at = (publ % 14 == 0).then(|| at(publ * 10 + 1));
            dispatch.publication.topic = format!("com.example.retained.{publ}");
            dispatch.retain = Some(Retain { expires_at });
        }
        record(&store, [dispatch]);
    }
    // Nobody received these: one is old.
    record(
        &store,
        [dispatch(101, 5, vec![]), dispatch(102, 1000, vec![])],
    );
    let mut txn = store.begin_write().unwrap();
    store
        .subscriptions()
        .put(
            &mut txn,
            &subscription(9),
            &Subscription {
                subscription: subscription(9),
                alias_of: Some(subscription(2)),
                ..Subscription::default()
            },
        )
        .unwrap();
    txn.commit().unwrap();
    set_limits(&store, 1, count(20));
    set_limits(&store, 2, Limits::default());

    let nothing = purge(
        &store,
        Purge {
            now: at(1),
            subscription: Some(subscription(2)),
            limits: None,
        },
    );
    assert_eq!(
        nothing.total(),
        Removed::default(),
        "it has no limits of its own"
    );
    let one = purge(
        &store,
        Purge {
            now: at(1),
            subscription: Some(subscription(9)),
            limits: Some(count(10)),
        },
    );
    assert_eq!(one.subscriptions[&subscription(2)].entries, 5);
    assert_eq!(
        one.total().publications,
        0,
        "the other history has them all"
    );
    let stored = purge(
        &store,
        Purge {
            now: at(1000),
            ..Purge::default()
        },
    );
    assert_eq!(stored.subscriptions[&subscription(1)].entries, 10);
    assert_eq!(stored.expired, 2);
    assert_eq!(history(&store, 1).len(), 20);
    // All but the one that is retained for ever.
    assert_eq!(stored.total().publications, 9);
    let old = purge(
        &store,
        Purge {
            now: at(300),
            subscription: None,
            limits: Some(age(50)),
        },
    );
    assert_eq!(old.unreferenced.publications, 1);
    assert_eq!(history(&store, 1), Vec::from_iter(25..=30));
    assert_eq!(history(&store, 2), [26, 28, 30]);
    assert_eq!(publications(&store), [7, 21, 25, 26, 27, 28, 29, 30, 102]);
    let all = purge(
        &store,
        Purge {
            now: at(300),
            subscription: None,
            limits: Some(count(0)),
        },
    );
    assert_eq!(all.total().entries, 9);
    assert_eq!(events(&store), 0);
    assert_eq!(publications(&store), [7, 21, 102]);
}

pub fn a_purge_that_is_stopped_goes_on<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    record(
        &store,
        (1..=4000).map(|publ| dispatch(publ, publ, vec![delivery(1, publ, 1..=2)])),
    );
    let options = Purge {
        limits: Some(count(10)),
        ..Purge::default()
    };
    let mut removed = 0;
    let mut calls = 0;
    loop {
        let done = store.purge(&options, |so_far| {
            assert!(so_far.total().entries <= 1100, "a batch is bounded");
            if so_far.total().entries > 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let done = done.unwrap();
        removed += done.total().entries;
        calls += 1;
        if done.complete {
            break;
        }
        assert_eq!(damage(store.db()), BTreeSet::new());
    }
    assert_eq!((removed, calls > 3), (3990, true), "{calls}");
    assert_eq!(history(&store, 1), Vec::from_iter(3991..=4000));
    assert_eq!(events(&store), 20);
}

fn session(id: u64, joined_at: u64, authid: &str) -> Session {
    Session {
        authid: Some(authid.to_owned()),
        ..Session::new(SessionId::from_stored(id), at(joined_at))
    }
}

pub fn who_is_forgotten_leaves_nothing_but_that_others_were_there<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for session in [
        session(1, 10, "alice"),
        session(2, 10, "bob"),
        // The same ID again, for another one, and for her again.
        session(1, 500, "bob"),
        session(1, 700, "alice"),
        session(3, 10, "alice"),
    ] {
        store.session_joined(&mut txn, &session).unwrap();
    }
    txn.commit().unwrap();
    let published = |publ: u64, time: u64, publisher: u64, deliveries: Vec<Delivery>| {
        let mut dispatch = dispatch(publ, time, deliveries);
        dispatch.publication.publisher = Some(SessionId::from_stored(publisher));
        dispatch
    };
    let texts = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect());
    // Hers: with receivers in two histories, and retained.
    let mut hers = published(
        1,
        100,
        1,
        vec![delivery(1, 100, [2, 3]), delivery(2, 100, [2])],
    );
    hers.retain = Some(Retain::default());
    // Bob's: to her alone, to her and him, to her two sessions, to her and later to him.
    let mut listing = published(2, 110, 2, vec![delivery(1, 110, [1])]);
    listing.publication.exclude_authid = texts(&["alice"]);
    listing.publication.eligible_authid = texts(&["bob", "alice", "alice2"]);
    let to_both = published(3, 120, 2, vec![delivery(1, 120, [1, 2])]);
    let to_her_two = published(4, 130, 2, vec![delivery(1, 130, [1, 3])]);
    let later = published(5, 140, 2, vec![delivery(1, 140, [1])]);
    record(&store, [hers, listing, to_both, to_her_two, later]);
    let mut txn = store.begin_write().unwrap();
    let event = Event {
        receiver: Some(SessionId::from_stored(2)),
        ..Event::new(subscription(1), at(400), publication(5))
    };
    store.record_event(&mut txn, &event).unwrap();
    txn.commit().unwrap();
    // Bob's by the ID that was hers, hers by it again, nobody's.
    record(
        &store,
        [
            published(6, 600, 1, vec![delivery(1, 600, [1])]),
            published(7, 800, 1, vec![delivery(2, 800, [])]),
            published(8, 5, 1, vec![delivery(2, 900, [])]),
        ],
    );
    let planned = {
        let txn = store.begin_read().unwrap();
        store.plan_forget_authid(&txn, "alice").unwrap()
    };
    assert_eq!(history(&store, 2), [1, 7, 8], "a plan changes nothing");
    let done = store
        .forget_authid("alice", |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(done, planned, "what was done is what was said");
    assert_eq!((done.sessions, done.received, done.lists), (3, 5, 1));
    assert_eq!((done.published.publications, done.published.events), (2, 4));
    assert_eq!(damage(store.db()), BTreeSet::new());
    assert_eq!(history(&store, 1), [2, 3, 4, 5, 6], "in their order");
    assert_eq!(history(&store, 2), [8]);
    let txn = store.begin_read().unwrap();
    let left: Vec<_> = store
        .events_of(&txn, subscription(1), HistoryQuery::default())
        .unwrap()
        .map(|event| event.unwrap())
        .map(|event| {
            (
                event.timestamp.as_nanos(),
                event.publication.get(),
                event.receiver.map(SessionId::get),
            )
        })
        .collect();
    let expected = [
        (110, 2, None),
        (120, 3, Some(2)),
        (130, 4, None),
        (140, 5, None),
        (400, 5, Some(2)),
        (600, 6, Some(1)),
    ];
    assert_eq!(left, expected);
    let record = store.publications().get(&txn, &publication(2)).unwrap();
    let record = record.map(|record| record.to_owned().unwrap()).unwrap();
    assert_eq!(record.exclude_authid, Some(vec![]));
    assert_eq!(record.eligible_authid, texts(&["bob", "alice2"]));
    assert_eq!(store.retained().count(&txn).unwrap(), 0);
    let joined = store.sessions_by_authid(&txn, "alice").unwrap().count();
    assert_eq!(joined, 0);
    let mut bytes = Vec::new();
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    for (key, value) in crate::collect(txn.scan(everything, Order::Ascending).unwrap()) {
        bytes.extend(key);
        bytes.push(0xFF);
        bytes.extend(value);
    }
    assert!(
        !bytes.windows(6).any(|window| window == b"alice\0"),
        "nothing in the store has the authid in it"
    );
    drop(txn);
    let again = store
        .forget_authid("alice", |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!((again.sessions, again.received, again.lists), (0, 0, 0));
    let error = store.forget_authid("", |_| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

pub fn to_forget_somebody_may_be_stopped_and_goes_on<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    store
        .session_joined(&mut txn, &session(1, 1, "alice"))
        .unwrap();
    store
        .session_joined(&mut txn, &session(2, 1, "bob"))
        .unwrap();
    txn.commit().unwrap();
    // Some of hers are sent again, long after.
    record(
        &store,
        (1..=3000).map(|publ| {
            let mut dispatch = dispatch(publ, publ * 10, vec![delivery(1, publ * 10, 1..=2)]);
            dispatch.publication.publisher = Some(SessionId::from_stored(1 + publ % 2));
            dispatch
        }),
    );
    let mut txn = store.begin_write().unwrap();
    for publ in (2..1000).step_by(2) {
        let event = Event {
            receiver: Some(SessionId::from_stored(2)),
            ..Event::new(subscription(1), at(100_000 + publ), publication(publ))
        };
        store.record_event(&mut txn, &event).unwrap();
    }
    txn.commit().unwrap();
    for stop_after in 1.. {
        let mut batches = 0;
        let done = store
            .forget_authid("alice", |_| {
                batches += 1;
                if batches == stop_after {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(damage(store.db()), BTreeSet::new());
        if done.complete {
            assert!(stop_after > 3, "it takes some commits");
            break;
        }
    }
    assert_eq!(history(&store, 1), Vec::from_iter((1..=2999).step_by(2)));
    assert_eq!(events(&store), 1500, "only his own are left");
}
