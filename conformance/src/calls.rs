//! What the operations of a realm store cost: the calls to its engine, counted
//! one by one.
//!
//! The numbers are exact, so that whoever changes one says so here. Where others
//! write to an engine's files, each answer from history also looks for a table
//! that they may have made: one step.

use realmstore_core::{
    Backend, Delivery, Dispatch, Event, GetEvents, HistoryQuery, Order, Publication, PublicationId,
    ReadTxn, RealmStore, Session, SessionId, SubscriptionId, Timestamp, WriteTxn,
};

use crate::counting::{Counting, Counts};
use crate::{Engine, Fresh};

/// Looking for a table that somebody else may have made, where somebody else can.
fn foreign<B: Backend>(store: &RealmStore<B>) -> u64 {
    let txn = store.begin_read().unwrap();
    u64::from(txn.commit_number().is_some())
}

/// What something costs, and what it comes to.
fn cost<B: Backend, T>(store: &RealmStore<Counting<B>>, of: impl FnOnce() -> T) -> (Counts, T) {
    store.db().calls.take();
    let result = of();
    (store.db().calls.take(), result)
}

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn subscription(number: u64) -> SubscriptionId {
    SubscriptionId::from_stored(number)
}

fn session(number: u64) -> SessionId {
    SessionId::from_stored(number)
}

fn publication(number: u64) -> Publication {
    let id = PublicationId::from_stored(number);
    Publication::new(id, at(number), "com.example.a")
}

/// A publication to receivers under the first subscription.
fn dispatch(number: u64, receivers: &[u64]) -> Dispatch {
    Dispatch {
        publication: publication(number),
        deliveries: vec![Delivery {
            subscription: subscription(1),
            timestamp: at(number),
            receivers: receivers.iter().copied().map(session).collect(),
            ..Delivery::default()
        }],
        retain: None,
    }
}

/// What it costs to record a publication that is new, under a subscription that is known.
fn new_publication(events: u64) -> Counts {
    Counts {
        put: 1,
        insert: 1,
        put_new: 1 + events,
        ..Counts::default()
    }
}

/// What it costs besides when nothing is known of the subscription: what its ID
/// stands for, and where its history ends.
fn new_subscription<B: Backend>(store: &RealmStore<B>) -> Counts {
    Counts {
        get: 1,
        last: 1 + foreign(store),
        ..Counts::default()
    }
}

/// The publication, its position (which says whether it is new), its row in the
/// history, and its events; nothing is read.
pub fn a_new_publication_is_recorded_without_a_look_at_the_store<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    store.record(&mut txn, &dispatch(1, &[])).unwrap();
    for (number, receivers, events) in [
        (2, &[][..], 1),
        (3, &[1], 1),
        (4, &[1, 2, 3], 3),
        (5, &[4, 4, 5], 2),
    ] {
        let dispatch = dispatch(number, receivers);
        let (cost, recorded) = cost(&store, || store.record(&mut txn, &dispatch));
        recorded.unwrap();
        assert_eq!(cost, new_publication(events), "{receivers:?}");
    }
}

pub fn a_commit_keeps_what_is_known_of_a_subscription_and_a_dropped_transaction_does_not<
    E: Engine,
>() {
    let store = Fresh::new::<E>().counted_realm();
    let known = new_publication(3);
    let unknown = Counts {
        put: known.put,
        insert: known.insert,
        put_new: known.put_new,
        ..new_subscription(&store)
    };
    let mut number = 0;
    let mut record = |txn: &mut _| {
        number += 1;
        let dispatch = dispatch(number, &[1, 2, 3]);
        let (cost, recorded) = cost(&store, || store.record(txn, &dispatch));
        recorded.unwrap();
        cost
    };
    let mut txn = store.begin_write().unwrap();
    assert_eq!(record(&mut txn), unknown, "the first one");
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    assert_eq!(record(&mut txn), known, "after a commit");
    txn.commit().unwrap();
    store.begin_write().unwrap().commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    assert_eq!(record(&mut txn), known, "after a commit of nothing");
    drop(txn);
    let mut txn = store.begin_write().unwrap();
    assert_eq!(record(&mut txn), unknown, "after a dropped transaction");
    assert_eq!(record(&mut txn), known);
}

/// The record and the position are written again, and the insert of the
/// position was in vain.
pub fn a_receiver_that_comes_later_costs_a_look_at_the_position<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    store.record(&mut txn, &dispatch(1, &[1, 2])).unwrap();
    let (again, recorded) = cost(&store, || store.record(&mut txn, &dispatch(1, &[3, 4])));
    recorded.unwrap();
    let expected = Counts {
        get: 1,
        insert: 1 + 2,
        put: 1 + 1,
        ..Counts::default()
    };
    assert_eq!(again, expected);
}

/// One put of a publication; of events an insert each, then what was known of
/// the position, the position and the row in the history.
pub fn stored_events_touch_the_history_once_for_all_receivers<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    let (one, stored) = cost(&store, || {
        store.store_publication(&mut txn, &publication(1))
    });
    stored.unwrap();
    assert_eq!(
        one,
        Counts {
            put: 1,
            ..Counts::default()
        }
    );
    for receivers in [1, 3, 100] {
        let of = PublicationId::from_stored(receivers);
        let events: Vec<Event> = (1..=receivers)
            .map(|receiver| Event {
                receiver: Some(session(receiver)),
                ..Event::new(subscription(1), at(5), of)
            })
            .collect();
        let (cost, stored) = cost(&store, || store.store_events(&mut txn, &events));
        stored.unwrap();
        let expected = Counts {
            insert: receivers,
            get: 1,
            put: 2,
            ..Counts::default()
        };
        assert_eq!(cost, expected, "{receivers} receivers");
    }
}

fn joined(number: u64, at_nanos: u64) -> Session {
    Session {
        authid: Some("joe".to_owned()),
        ..Session::new(session(number), at(at_nanos))
    }
}

/// A session that joins: who has its ID, the record, and a row of each of three
/// indexes. One that leaves: it is found, and read again by the table; then its
/// record, and its row in the index by leaving.
pub fn a_session_costs_its_record_and_a_row_of_each_index<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    let (cost_of_joining, result) = cost(&store, || store.session_joined(&mut txn, &joined(1, 5)));
    result.unwrap();
    let expected = Counts {
        get: 1,
        insert: 1,
        put: 3,
        ..Counts::default()
    };
    assert_eq!(cost_of_joining, expected);
    let (cost_of_leaving, result) =
        cost(&store, || store.session_left(&mut txn, session(1), at(9)));
    assert!(result.unwrap().is_some());
    let expected = Counts {
        last: 1,
        get: 2,
        put: 2,
        delete: 1,
        ..Counts::default()
    };
    assert_eq!(cost_of_leaving, expected);
}

pub fn a_session_is_found_by_one_seek_and_one_get<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    // The same ID a hundred times, and others before and behind it.
    for number in 1..=300 {
        let session = joined(1 + number % 3, number);
        store.session_joined(&mut txn, &session).unwrap();
    }
    let publication = publication(7);
    store.store_publication(&mut txn, &publication).unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    let (by_id, found) = cost(&store, || store.session_by_id(&txn, session(2), at(150)));
    let joined_at = found.unwrap().unwrap().view().unwrap().joined_at().unwrap();
    assert_eq!(joined_at, Some(at(148)));
    let expected = Counts {
        last: 1,
        get: 1,
        ..Counts::default()
    };
    assert_eq!(by_id, expected);
    let (nobody, found) = cost(&store, || store.session_by_id(&txn, session(9), at(150)));
    assert!(found.unwrap().is_none());
    assert_eq!(
        nobody,
        Counts {
            last: 1,
            ..Counts::default()
        }
    );
    let id = publication.publication;
    let (by_key, found) = cost(&store, || store.publications().get(&txn, &id));
    assert!(found.unwrap().is_some());
    assert_eq!(
        by_key,
        Counts {
            get: 1,
            ..Counts::default()
        }
    );
}

/// A store with 100 publications to three receivers each, under the first subscription.
fn with_history<E: Engine>() -> Fresh<RealmStore<Counting<E::Backend>>> {
    let store = Fresh::new::<E>().counted_realm();
    let mut txn = store.begin_write().unwrap();
    for number in 1..=100 {
        store
            .record(&mut txn, &dispatch(number, &[1, 2, 3]))
            .unwrap();
    }
    txn.commit().unwrap();
    store
}

pub fn the_newest_events_cost_a_step_each<E: Engine>() {
    let store = with_history::<E>();
    let foreign = foreign(&store);
    let txn = store.begin_read().unwrap();
    for limit in [1, 10, 300] {
        let steps = Counts {
            scan: 1,
            next: limit,
            ..Counts::default()
        };
        let (cost_of_table, ()) = cost(&store, || {
            let mut scan = store
                .events()
                .prefix(&txn, &subscription(1), Order::Descending)
                .unwrap();
            for _ in 0..limit {
                scan.next().unwrap().unwrap().view().unwrap();
            }
        });
        assert_eq!(cost_of_table, steps);
        let newest = HistoryQuery {
            order: Order::Descending,
            limit: Some(limit as usize),
            ..HistoryQuery::default()
        };
        let (cost, found) = cost(&store, || {
            store
                .events_of(&txn, subscription(1), newest)
                .unwrap()
                .count()
        });
        assert_eq!(found as u64, limit);
        let expected = Counts {
            last: foreign,
            ..steps
        };
        assert_eq!(cost, expected);
    }
}

/// What the ID stands for and whether there is a history; then a step and a
/// publication for each row, and a step to see whether there are more.
pub fn a_page_of_history_costs_a_step_and_a_get_for_each_row<E: Engine>() {
    let store = with_history::<E>();
    let foreign = foreign(&store);
    let txn = store.begin_read().unwrap();
    for reverse in [false, true] {
        for (limit, rows) in [(Some(1), 1), (Some(10), 10), (Some(100), 100), (None, 100)] {
            let options = GetEvents {
                reverse,
                limit,
                ..GetEvents::default()
            };
            let (cost, page) = cost(&store, || {
                store.get_events(&txn, subscription(1), &options).unwrap()
            });
            assert_eq!(page.unwrap().rows.len() as u64, rows);
            let expected = Counts {
                get: 1 + rows,
                last: 1 + foreign,
                scan: 1,
                next: rows + 1,
                ..Counts::default()
            };
            assert_eq!(cost, expected, "{options:?}");
        }
    }
}

/// It is read at the beginning, and written by a commit of anything at all.
pub fn a_transaction_costs_the_stamp<E: Engine>() {
    let store = Fresh::new::<E>().counted_realm();
    let (begin, txn) = cost(&store, || store.begin_write().unwrap());
    assert_eq!(
        begin,
        Counts {
            get: 1,
            ..Counts::default()
        }
    );
    let (commit, result) = cost(&store, || txn.commit());
    result.unwrap();
    assert_eq!(commit, Counts::default(), "nothing was changed");
    let mut txn = store.begin_write().unwrap();
    store.store_publication(&mut txn, &publication(1)).unwrap();
    let (commit, result) = cost(&store, || txn.commit());
    result.unwrap();
    assert_eq!(
        commit,
        Counts {
            put: 1,
            ..Counts::default()
        }
    );
    let (begin, txn) = cost(&store, || store.begin_read().unwrap());
    assert_eq!(begin, Counts::default());
    drop(txn);
}
