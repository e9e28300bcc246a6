//! What is retained: which publication somebody gets who subscribes later.

use std::collections::BTreeMap;

use proptest::prelude::*;
use realmstore_core::store::MAX_RETAINED_PER_TOPIC;
use realmstore_core::{
    Backend, Delivery, Dispatch, GetRetained, MatchPolicy, Publication, PublicationId, ReadTxn,
    RealmStore, Requester, Retain, SessionId, StoreWrite, SubscriptionId, Timestamp, WriteTxn,
};

use crate::{Engine, Fresh, findings, property};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn publication(number: u64, topic: &str) -> Publication {
    Publication::new(PublicationId::from_stored(number), at(number), topic)
}

/// A publication for some authids only.
fn publication_for(number: u64, topic: &str, authids: &[&str]) -> Publication {
    Publication {
        eligible_authid: Some(authids.iter().map(|&authid| authid.to_owned()).collect()),
        ..publication(number, topic)
    }
}

fn retain<B: Backend>(
    store: &RealmStore<B>,
    txn: &mut StoreWrite<'_, B>,
    publication: Publication,
    expires_at: Option<u64>,
) {
    let dispatch = Dispatch {
        publication,
        deliveries: Vec::new(),
        retain: Some(Retain {
            expires_at: expires_at.map(at),
        }),
    };
    store.record(txn, &dispatch).unwrap();
}

fn query(uri: &str, match_policy: MatchPolicy) -> GetRetained {
    GetRetained {
        uri: uri.to_owned(),
        match_policy,
        now: at(1000),
        ..GetRetained::default()
    }
}

fn get<B: Backend>(store: &RealmStore<B>, txn: &impl ReadTxn, query: &GetRetained) -> Vec<u64> {
    store
        .get_retained(txn, query)
        .unwrap()
        .iter()
        .map(|publication| publication.publication.get())
        .collect()
}

/// What somebody with an authid gets for a topic.
fn get_as<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    topic: &str,
    authid: &str,
) -> Vec<u64> {
    let requester = Requester {
        authid: Some(authid.to_owned()),
        ..Requester::default()
    };
    let query = GetRetained {
        requester: Some(requester),
        ..query(topic, MatchPolicy::Exact)
    };
    get(store, txn, &query)
}

fn is_stored<B: Backend>(store: &RealmStore<B>, txn: &impl ReadTxn, number: u64) -> bool {
    let id = PublicationId::from_stored(number);
    store.publications().get(txn, &id).unwrap().is_some()
}

pub fn the_last_publication_of_a_topic_is_retained<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for (number, topic) in [(1, "com.a"), (2, "com.b"), (3, "com.a"), (4, "com.a.b")] {
        retain(&store, &mut txn, publication(number, topic), None);
    }
    // One that is not to be retained changes nothing.
    let dispatch = Dispatch {
        publication: publication(5, "com.a"),
        ..Dispatch::default()
    };
    store.record(&mut txn, &dispatch).unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    let exact = |uri| query(uri, MatchPolicy::Exact);
    assert_eq!(get(&store, &txn, &exact("com.a")), [3]);
    assert_eq!(get(&store, &txn, &exact("com.b")), [2]);
    assert_eq!(get(&store, &txn, &exact("com")), [0; 0]);
    // Retained again, it stays as it is.
    retain(&store, &mut txn, publication(3, "com.a"), None);
    assert_eq!(get(&store, &txn, &exact("com.a")), [3]);
    assert_eq!(store.forget_retained(&mut txn, "com.a").unwrap(), 1);
    assert_eq!(store.forget_retained(&mut txn, "com.a").unwrap(), 0);
    assert_eq!(get(&store, &txn, &exact("com.a")), [0; 0]);
    assert_eq!(get(&store, &txn, &exact("com.a.b")), [4]);
    txn.commit().unwrap();
    assert_eq!(findings(store.db()), []);
}

pub fn whoever_is_not_admitted_gets_the_last_one_that_was_for_them<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let topic = "com.example";
    retain(&store, &mut txn, publication(1, topic), None);
    retain(
        &store,
        &mut txn,
        publication_for(2, topic, &["joe", "ann"]),
        None,
    );
    retain(&store, &mut txn, publication_for(3, topic, &["joe"]), None);
    let answers = |txn: &StoreWrite<'_, E::Backend>| {
        ["joe", "ann", "eve"].map(|authid| get_as(&store, txn, topic, authid))
    };
    assert_eq!(answers(&txn), [[3], [2], [1]]);
    // The same list in another order takes the place of the one before.
    retain(
        &store,
        &mut txn,
        publication_for(4, topic, &["ann", "joe"]),
        None,
    );
    assert_eq!(answers(&txn), [[4], [4], [1]]);
    assert_eq!(store.retained().count(&txn).unwrap(), 3);
    // One for everybody takes the place of all.
    retain(&store, &mut txn, publication(5, topic), None);
    assert_eq!(answers(&txn), [[5], [5], [5]]);
    assert_eq!(store.retained().count(&txn).unwrap(), 1);
    // An operator sees the last one, whomever it was for.
    retain(&store, &mut txn, publication_for(6, topic, &[]), None);
    assert_eq!(get(&store, &txn, &query(topic, MatchPolicy::Exact)), [6]);
    assert_eq!(answers(&txn), [[5], [5], [5]]);
    txn.commit().unwrap();
    assert_eq!(findings(store.db()), []);
}

pub fn the_publisher_gets_what_it_did_not_exclude_itself_from<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for (number, topic, exclude_me) in [
        (11, "com.a", None),
        (12, "com.b", Some(true)),
        (13, "com.c", Some(false)),
    ] {
        let publication = Publication {
            publisher: Some(SessionId::from_stored(7)),
            exclude_me,
            ..publication(number, topic)
        };
        retain(&store, &mut txn, publication, None);
    }
    let as_session = |id: u64, joined_at: u64| {
        let requester = Requester {
            session: Some((SessionId::from_stored(id), at(joined_at))),
            ..Requester::default()
        };
        let query = GetRetained {
            requester: Some(requester),
            ..query("com.", MatchPolicy::Prefix)
        };
        get(&store, &txn, &query)
    };
    assert_eq!(as_session(7, 5), [13]);
    assert_eq!(as_session(8, 5), [11, 12, 13]);
    // A session that joined later is another one, whatever its ID.
    assert_eq!(as_session(7, 50), [11, 12, 13]);
}

pub fn what_has_expired_is_not_retained<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let topic = "com.example";
    retain(&store, &mut txn, publication(1, topic), Some(30));
    let answer = |txn: &StoreWrite<'_, E::Backend>, now: u64| {
        let query = GetRetained {
            now: at(now),
            ..query(topic, MatchPolicy::Exact)
        };
        get(&store, txn, &query)
    };
    assert_eq!(answer(&txn, 29), [1]);
    assert_eq!(answer(&txn, 30), [0; 0]);
    // The next one to be retained takes what has expired away.
    retain(
        &store,
        &mut txn,
        publication_for(40, topic, &["joe"]),
        Some(60),
    );
    assert_eq!(store.retained().count(&txn).unwrap(), 1);
    assert!(!is_stored(&store, &txn, 1));
    assert_eq!(answer(&txn, 59), [40]);
    assert_eq!(answer(&txn, 60), [0; 0]);
}

/// Topics that begin alike for longer than a key can tell, and others.
fn topics() -> Vec<String> {
    let long = "com.".to_owned() + &"a".repeat(300);
    let mut topics = vec![
        "com".to_owned(),
        "com.a".to_owned(),
        "com.a.b".to_owned(),
        "com.b.b".to_owned(),
        "com.\u{e9}.b".to_owned(),
        "org.a.b".to_owned(),
        long[..200].to_owned(),
        long.clone() + ".a",
        long.clone() + ".b",
        long,
        "com.".to_owned() + &"\u{e9}".repeat(150),
    ];
    topics.sort();
    topics
}

pub fn topics_are_matched_by_each_policy_and_read_page_by_page<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let topics = topics();
    let mut txn = store.begin_write().unwrap();
    // In another order than they are answered in.
    for (number, topic) in topics.iter().enumerate().rev() {
        retain(
            &store,
            &mut txn,
            publication(number as u64 + 1, topic),
            None,
        );
    }
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    let mut uris = topics.clone();
    uris.extend(
        [
            "", "c", "com.", "com..b", ".a.b", "..", "com.a.", ".", "zzz",
        ]
        .map(str::to_owned),
    );
    uris.push(
        topics
            .iter()
            .map(String::as_str)
            .max_by_key(|topic| topic.len())
            .unwrap()[..250]
            .to_owned(),
    );
    for uri in &uris {
        for policy in [
            MatchPolicy::Exact,
            MatchPolicy::Prefix,
            MatchPolicy::Wildcard,
        ] {
            let expected: Vec<u64> = topics
                .iter()
                .enumerate()
                .filter(|(_, topic)| policy.matches(uri, topic))
                .map(|(number, _)| number as u64 + 1)
                .collect();
            let whole = query(uri, policy);
            assert_eq!(get(&store, &txn, &whole), expected, "{policy} {uri:?}");
            for limit in 0..4 {
                let mut page = GetRetained {
                    limit: Some(limit),
                    ..whole.clone()
                };
                let mut found = Vec::new();
                loop {
                    let rows = store.get_retained(&txn, &page).unwrap();
                    assert!(rows.len() <= limit);
                    let Some(last) = rows.last() else { break };
                    page.after_topic = Some(last.topic.clone());
                    found.extend(rows.iter().map(|row| row.publication.get()));
                }
                let expected = if limit == 0 { &[][..] } else { &expected[..] };
                assert_eq!(found, expected, "{policy} {uri:?} by {limit}");
            }
        }
    }
    drop(txn);
    assert_eq!(findings(store.db()), []);
}

pub fn a_topic_retains_so_many_and_the_one_for_everybody_is_among_them<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let topic = "com.example";
    retain(&store, &mut txn, publication(1, topic), None);
    let last = MAX_RETAINED_PER_TOPIC as u64 + 10;
    for number in 2..=last {
        let authid = number.to_string();
        retain(
            &store,
            &mut txn,
            publication_for(number, topic, &[&authid]),
            None,
        );
    }
    assert_eq!(
        store.retained().count(&txn).unwrap(),
        MAX_RETAINED_PER_TOPIC as u64
    );
    assert_eq!(get_as(&store, &txn, topic, "nobody"), [1]);
    assert_eq!(get_as(&store, &txn, topic, &last.to_string()), [last]);
    // The oldest of those with lists went, and whoever they were for gets the one for everybody.
    assert_eq!(get_as(&store, &txn, topic, "2"), [1]);
    assert!(!is_stored(&store, &txn, 2) && is_stored(&store, &txn, last - 1));
    txn.commit().unwrap();
    assert_eq!(findings(store.db()), []);
}

pub fn a_publication_goes_when_nothing_refers_to_it_any_more<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    let topic = "com.example";
    retain(&store, &mut txn, publication(1, topic), None);
    let in_a_history = Dispatch {
        publication: publication(2, topic),
        deliveries: vec![Delivery {
            subscription: SubscriptionId::from_stored(5),
            timestamp: at(2),
            ..Delivery::default()
        }],
        retain: Some(Retain::default()),
    };
    store.record(&mut txn, &in_a_history).unwrap();
    assert!(!is_stored(&store, &txn, 1), "it was superseded");
    retain(&store, &mut txn, publication(3, topic), None);
    assert!(is_stored(&store, &txn, 2), "it is in a history");
    store.forget_retained(&mut txn, topic).unwrap();
    assert!(!is_stored(&store, &txn, 3), "it was forgotten");
    assert!(is_stored(&store, &txn, 2));
    txn.commit().unwrap();
    assert_eq!(findings(store.db()), []);

    // Where Crossbar.io may have events of it, it stays.
    let meta = crate::slot_named(store.db(), "realmstore.meta");
    let mut txn = store.db().begin_write().unwrap();
    txn.delete(&[&meta.to_be_bytes()[..], &[0]].concat())
        .unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    retain(&store, &mut txn, publication(4, topic), None);
    retain(&store, &mut txn, publication(5, topic), None);
    assert!(is_stored(&store, &txn, 4));
    txn.commit().unwrap();
    assert_eq!(
        findings(store.db())
            .iter()
            .filter(|finding| finding.severity == realmstore_core::store::Severity::Error)
            .count(),
        0
    );
}

pub fn what_is_retained_survives_a_reopen<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    retain(&store, &mut txn, publication(1, "com.a"), None);
    retain(
        &store,
        &mut txn,
        publication_for(2, "com.a", &["joe"]),
        Some(2000),
    );
    txn.commit().unwrap();
    let Fresh { store, directory } = store;
    drop(store);
    let store = E::open(directory.path()).unwrap();
    let store = Fresh { store, directory }.realm();
    let mut txn = store.begin_write().unwrap();
    assert_eq!(get_as(&store, &txn, "com.a", "joe"), [2]);
    assert_eq!(get_as(&store, &txn, "com.a", "ann"), [1]);
    retain(&store, &mut txn, publication(3, "com.a"), None);
    assert_eq!(get_as(&store, &txn, "com.a", "joe"), [3]);
}

/// Whatever is retained, everybody gets the last one that was for them and has not expired.
pub fn what_is_retained_agrees_with_a_model<E: Engine>() {
    let mut runner = property(file!(), 48);
    let call = (
        prop::sample::select(topics()),
        prop::option::of(prop::sample::subsequence(vec!["joe", "ann"], 0..=2)),
        prop::option::weighted(0.3, 0u64..60),
        prop::bool::weighted(0.1),
    );
    runner
        .run(&prop::collection::vec(call, 1..40), |calls| {
            let store = Fresh::new::<E>().realm();
            // By topic: what was retained, with whom it was for and until when.
            type Row = (u64, Option<Vec<&'static str>>, Option<u64>);
            let mut model: BTreeMap<String, Vec<Row>> = BTreeMap::new();
            let mut txn = store.begin_write().unwrap();
            for (number, (topic, authids, expires_at, forget)) in (1u64..).zip(calls) {
                let rows = model.entry(topic.clone()).or_default();
                if forget {
                    let left = store.forget_retained(&mut txn, &topic).unwrap();
                    prop_assert_eq!(left, rows.len());
                    rows.clear();
                    continue;
                }
                let publication = match &authids {
                    Some(authids) => publication_for(number, &topic, authids),
                    None => publication(number, &topic),
                };
                retain(&store, &mut txn, publication, expires_at);
                rows.retain(|(_, others, until)| {
                    authids.is_some()
                        && *others != authids
                        && until.is_none_or(|until| until > number)
                });
                rows.push((number, authids, expires_at));
            }
            for authid in ["joe", "ann", "eve"] {
                for now in [0, 20, 1000] {
                    let expected: Vec<u64> = model
                        .values()
                        .filter_map(|rows| {
                            rows.iter().rev().find(|(_, authids, until)| {
                                authids
                                    .as_ref()
                                    .is_none_or(|authids| authids.contains(&authid))
                                    && until.is_none_or(|until| until > now)
                            })
                        })
                        .map(|(number, ..)| *number)
                        .collect();
                    let query = GetRetained {
                        now: at(now),
                        requester: Some(Requester {
                            authid: Some(authid.to_owned()),
                            ..Requester::default()
                        }),
                        ..query("", MatchPolicy::Prefix)
                    };
                    prop_assert_eq!(get(&store, &txn, &query), expected, "{} at {}", authid, now);
                }
            }
            let rows: usize = model.values().map(Vec::len).sum();
            prop_assert_eq!(store.publications().count(&txn).unwrap(), rows as u64);
            txn.commit().unwrap();
            prop_assert_eq!(findings(store.db()), []);
            Ok(())
        })
        .unwrap();
}
