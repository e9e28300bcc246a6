//! What a router records as it happens: subscriptions that keep their IDs,
//! and publications with their deliveries, in the order of arrival.

use std::collections::BTreeSet;

use proptest::prelude::*;
use realmstore_core::cbor::Cbor;
use realmstore_core::{
    Backend, Delivery, Dispatch, ErrorKind, Event, HistoryEntry, HistoryQuery, MatchPolicy,
    Publication, PublicationId, ReadTxn, RealmStore, Retain, SessionId, SubscriptionId, Timestamp,
    WriteTxn,
};

use crate::{Engine, Fresh, findings, property};

const POLICIES: [MatchPolicy; 3] = [
    MatchPolicy::Exact,
    MatchPolicy::Prefix,
    MatchPolicy::Wildcard,
];

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn id(number: u64) -> SubscriptionId {
    SubscriptionId::from_stored(number)
}

fn publication(number: u64) -> Publication {
    let id = PublicationId::from_stored(number);
    Publication::new(id, at(number), "com.example.a")
}

/// A publication to some receivers under one subscription.
fn dispatch(number: u64, subscription: SubscriptionId, time: u64, receivers: &[u64]) -> Dispatch {
    Dispatch {
        publication: publication(number),
        deliveries: vec![Delivery {
            subscription,
            timestamp: at(time),
            receivers: receivers
                .iter()
                .map(|id| SessionId::from_stored(*id))
                .collect(),
            ..Delivery::default()
        }],
        retain: None,
    }
}

fn history<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    subscription: SubscriptionId,
) -> Vec<HistoryEntry> {
    store
        .history(txn, subscription, HistoryQuery::default())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The publications of a history with their times, in order.
fn places<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    subscription: SubscriptionId,
) -> Vec<(u64, u64)> {
    history(store, txn, subscription)
        .into_iter()
        .map(|entry| (entry.publication.get(), entry.timestamp.as_nanos()))
        .collect()
}

fn events<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    subscription: SubscriptionId,
) -> Vec<Event> {
    store
        .events_of(txn, subscription, HistoryQuery::default())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// URIs that differ late, where the index does not see it any more.
fn uris() -> Vec<String> {
    let long = "com.example.".to_owned() + &"a".repeat(300);
    vec![
        "com.example".to_owned(),
        "com.example.a".to_owned(),
        "com..a".to_owned(),
        long.clone() + ".b",
        long.clone() + ".c",
        long[..200].to_owned(),
        long[..201].to_owned(),
        long,
    ]
}

pub fn a_subscription_has_one_id_for_ever<E: Engine>() {
    subscriptions_keep_their_ids::<E>(|store| store);
}

pub fn a_subscription_has_the_same_id_after_a_reopen<E: Engine>() {
    subscriptions_keep_their_ids::<E>(|store| {
        let Fresh { store, directory } = store;
        drop(store);
        let store = E::open(directory.path()).unwrap();
        Fresh { store, directory }.realm()
    });
}

fn subscriptions_keep_their_ids<E: Engine>(
    again: impl Fn(Fresh<RealmStore<E::Backend>>) -> Fresh<RealmStore<E::Backend>>,
) {
    let all = || {
        let of_realm = |realm: &'static str| {
            uris()
                .into_iter()
                .flat_map(move |uri| POLICIES.map(|policy| (realm, uri.clone(), policy)))
        };
        of_realm("realm1").chain(of_realm("realm2"))
    };
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let mut ids = BTreeSet::new();
    let mut given = Vec::new();
    for (realm, uri, policy) in all() {
        assert_eq!(
            store.find_subscription(&txn, realm, &uri, policy).unwrap(),
            None
        );
        let id = store
            .subscription_id(&mut txn, realm, &uri, policy, at(5))
            .unwrap();
        assert!((1..=1 << 53).contains(&id.get()), "{id} is a WAMP ID");
        assert!(ids.insert(id), "{id} was given twice");
        given.push(id);
    }
    txn.commit().unwrap();
    let store = again(store);
    let mut txn = store.begin_write().unwrap();
    for ((realm, uri, policy), id) in all().zip(given) {
        let known = store.subscription_id(&mut txn, realm, &uri, policy, at(9));
        assert_eq!(known.unwrap(), id, "{realm} {policy} {uri}");
        let known = store.find_subscription(&txn, realm, &uri, policy).unwrap();
        let known = known.unwrap();
        assert_eq!(known.subscription, id);
        assert_eq!(known.uri, Some(uri));
        assert_eq!(known.created_at, Some(at(5)), "when it was first heard of");
        assert_eq!(store.resolve_subscription(&txn, id).unwrap(), id);
    }
    drop(txn);
    assert_eq!(findings(store.db()), []);
}

pub fn only_a_prefix_may_be_empty<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for policy in POLICIES {
        let given = store.subscription_id(&mut txn, "realm1", "", policy, at(1));
        let kind = given.map_err(|error| error.kind()).err();
        let refused = (policy != MatchPolicy::Prefix).then_some(ErrorKind::InvalidInput);
        assert_eq!(kind, refused, "{policy}");
    }
    assert_eq!(store.subscriptions().count(&txn).unwrap(), 1);
}

pub fn an_alias_stands_for_a_subscription_until_it_stands_for_another<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let mut subscribe = |uri| {
        store
            .subscription_id(&mut txn, "realm1", uri, MatchPolicy::Exact, at(1))
            .unwrap()
    };
    let (a, b) = (subscribe("com.example.a"), subscribe("com.example.b"));
    let alias = id(1);
    store.alias_subscription(&mut txn, alias, a).unwrap();
    assert_eq!(store.resolve_subscription(&txn, alias).unwrap(), a);
    // An alias of an alias is one of what that stands for.
    store.alias_subscription(&mut txn, id(2), alias).unwrap();
    assert_eq!(store.resolve_subscription(&txn, id(2)).unwrap(), a);
    // What is recorded by it is in the history of what it stands for then.
    store
        .record(&mut txn, &dispatch(1, alias, 10, &[1]))
        .unwrap();
    store.alias_subscription(&mut txn, alias, b).unwrap();
    store
        .record(&mut txn, &dispatch(2, alias, 11, &[1]))
        .unwrap();
    let event = Event::new(alias, at(12), PublicationId::from_stored(2));
    store.record_event(&mut txn, &event).unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert_eq!(places(&store, &txn, a), [(1, 10)]);
    assert_eq!(places(&store, &txn, b), [(2, 11)]);
    assert_eq!(events(&store, &txn, b).len(), 2);
    assert_eq!(places(&store, &txn, alias), []);
    drop(txn);
    assert_eq!(findings(store.db()), []);
}

pub fn an_id_that_is_somebody_elses_is_refused_as_an_alias<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let mut subscribe = |uri| {
        store
            .subscription_id(&mut txn, "realm1", uri, MatchPolicy::Exact, at(1))
            .unwrap()
    };
    let (a, b) = (subscribe("com.example.a"), subscribe("com.example.b"));
    // This one has a history, and no other name.
    store
        .record(&mut txn, &dispatch(1, id(5), 10, &[]))
        .unwrap();
    let rows = store.subscriptions().count(&txn).unwrap();
    for (alias, of, kind) in [
        (b, a, ErrorKind::InvalidInput),
        (id(5), a, ErrorKind::InvalidInput),
        (SubscriptionId::default(), a, ErrorKind::InvalidInput),
        (id(1), id(99), ErrorKind::NotFound),
        (id(1), id(5), ErrorKind::NotFound),
    ] {
        let refused = store.alias_subscription(&mut txn, alias, of);
        assert_eq!(refused.unwrap_err().kind(), kind, "{alias} for {of}");
    }
    // That it stands for itself need not be said.
    store.alias_subscription(&mut txn, a, a).unwrap();
    assert_eq!(store.subscriptions().count(&txn).unwrap(), rows);
    assert_eq!(store.resolve_subscription(&txn, a).unwrap(), a);
}

pub fn a_history_is_in_the_order_of_arrival_whatever_the_clock_says<E: Engine>() {
    for commits in [false, true] {
        let store = Fresh::new::<E>().realm();
        let mut txn = store.begin_write().unwrap();
        // IDs that are in another order than they come, at times that stand still and go back.
        for (number, time) in [
            (9, 100),
            (3, 100),
            (7, 40),
            (1, 100),
            (8, 101),
            (2, 0),
            (4, 101),
        ] {
            store
                .record(&mut txn, &dispatch(number, id(1), time, &[5]))
                .unwrap();
            if commits {
                txn.commit().unwrap();
                txn = store.begin_write().unwrap();
            }
        }
        txn.commit().unwrap();
        let txn = store.begin_read().unwrap();
        assert_eq!(
            places(&store, &txn, id(1)),
            [
                (9, 100),
                (3, 100),
                (7, 100),
                (1, 100),
                (8, 101),
                (2, 101),
                (4, 101)
            ]
        );
        let ordinals: Vec<_> = history(&store, &txn, id(1))
            .iter()
            .map(|entry| entry.ordinal)
            .collect();
        assert_eq!(ordinals, [0, 1, 2, 3, 0, 1, 2]);
        // The events themselves have the time at which they stand, the publications their own.
        assert!(
            events(&store, &txn, id(1))
                .iter()
                .all(|event| event.timestamp >= at(100))
        );
        let two = store
            .publications()
            .get(&txn, &PublicationId::from_stored(2));
        assert_eq!(
            two.unwrap().unwrap().view().unwrap().timestamp().unwrap(),
            at(2)
        );
        drop(txn);
        assert_eq!(findings(store.db()), []);
    }
}

pub fn receivers_may_come_one_after_the_other<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    store
        .record(&mut txn, &dispatch(1, id(1), 50, &[1, 2]))
        .unwrap();
    store
        .record(&mut txn, &dispatch(2, id(1), 60, &[]))
        .unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    // Later, at the same time, and where the clock was set back.
    for (time, receiver) in [(70, 3), (50, 4), (20, 5), (50, 4)] {
        store
            .record(&mut txn, &dispatch(1, id(1), time, &[receiver]))
            .unwrap();
    }
    let event = Event {
        receiver: Some(SessionId::from_stored(6)),
        ..Event::new(id(1), at(80), PublicationId::from_stored(1))
    };
    store.record_event(&mut txn, &event).unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert_eq!(places(&store, &txn, id(1)), [(1, 50), (2, 60)]);
    let got: Vec<_> = events(&store, &txn, id(1))
        .iter()
        .map(|event| {
            (
                event.publication.get(),
                event.timestamp.as_nanos(),
                event.receiver.map(SessionId::get),
            )
        })
        .collect();
    assert_eq!(
        got,
        [
            (1, 50, Some(1)),
            (1, 50, Some(2)),
            (1, 50, Some(4)),
            (1, 50, Some(5)),
            (2, 60, None),
            (1, 70, Some(3)),
            (1, 80, Some(6)),
        ]
    );
    drop(txn);
    assert_eq!(findings(store.db()), []);
}

pub fn what_is_refused_leaves_nothing<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let before = crate::collect(
        store
            .begin_read()
            .unwrap()
            .scan(
                (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
                realmstore_core::Order::Ascending,
            )
            .unwrap(),
    );
    let good = dispatch(1, id(1), 10, &[1]);
    let mut without_subscription = good.clone();
    without_subscription.deliveries.push(Delivery::default());
    let mut without_id = good.clone();
    without_id.publication.publication = PublicationId::default();
    let mut both = good.clone();
    both.publication.payload = Some(vec![1]);
    both.publication.args = Some(Cbor::from_bytes([0x81, 1]));
    let mut txn = store.begin_write().unwrap();
    for mut refused in [without_subscription, without_id, both] {
        refused.retain = Some(Retain::default());
        let error = store.record(&mut txn, &refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{refused:?}");
    }
    for refused in [
        Event::new(id(0), at(1), PublicationId::from_stored(1)),
        Event::new(id(1), at(1), PublicationId::default()),
    ] {
        let error = store.record_event(&mut txn, &refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let after = crate::collect(
        txn.scan(
            (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
            realmstore_core::Order::Ascending,
        )
        .unwrap(),
    );
    assert_eq!(after, before);
    // And the transaction goes on.
    store.record(&mut txn, &good).unwrap();
    txn.commit().unwrap();
    assert_eq!(
        places(&store, &store.begin_read().unwrap(), id(1)),
        [(1, 10)]
    );
}

/// However publications come, each stands where it first arrived, in times that never go back.
pub fn recordings_agree_with_a_model<E: Engine>() {
    let mut runner = property(file!(), 48);
    let call = (
        1u64..9,
        1u64..3,
        0u64..6,
        prop::collection::vec(1u64..4, 0..3),
        any::<bool>(),
    );
    runner
        .run(&prop::collection::vec(call, 1..40), |calls| {
            let store = Fresh::new::<E>().realm();
            let mut model: [Vec<(u64, u64)>; 2] = Default::default();
            let mut stored: [BTreeSet<(u64, u64, u64)>; 2] = Default::default();
            let mut txn = store.begin_write().unwrap();
            for (number, subscription, time, receivers, commits) in calls {
                store
                    .record(
                        &mut txn,
                        &dispatch(number, id(subscription), time, &receivers),
                    )
                    .unwrap();
                let of = (subscription - 1) as usize;
                let known = model[of].iter().find(|(known, _)| *known == number);
                let time = match (known, model[of].last()) {
                    (Some((_, first)), _) => time.max(*first),
                    (None, Some((_, last))) => time.max(*last),
                    (None, None) => time,
                };
                if known.is_none() {
                    model[of].push((number, time));
                }
                let receivers = if receivers.is_empty() {
                    vec![0]
                } else {
                    receivers
                };
                stored[of].extend(
                    receivers
                        .into_iter()
                        .map(|receiver| (time, number, receiver)),
                );
                if commits {
                    txn.commit().unwrap();
                    txn = store.begin_write().unwrap();
                }
            }
            txn.commit().unwrap();
            let txn = store.begin_read().unwrap();
            for (of, subscription) in [id(1), id(2)].into_iter().enumerate() {
                prop_assert_eq!(&places(&store, &txn, subscription), &model[of]);
                let got: BTreeSet<_> = events(&store, &txn, subscription)
                    .iter()
                    .map(|event| {
                        (
                            event.timestamp.as_nanos(),
                            event.publication.get(),
                            event.receiver.map_or(0, SessionId::get),
                        )
                    })
                    .collect();
                prop_assert_eq!(&got, &stored[of]);
            }
            drop(txn);
            prop_assert_eq!(findings(store.db()), []);
            Ok(())
        })
        .unwrap();
}
