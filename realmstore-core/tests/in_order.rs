//! What was recorded elsewhere keeps its order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use realmstore_core::memory::MemoryBackend;
use realmstore_core::record::Retained;
use realmstore_core::{
    Delivery, Dispatch, Event, GetEvents, GetRetained, HistoryQuery, Publication, PublicationId,
    RealmStore, Requester, SessionId, SubscriptionId, Timestamp, WriteTxn,
};

const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_stored(7);

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn publication(id: u64) -> Publication {
    Publication::new(PublicationId::from_stored(id), at(100), "com.example.a")
}

fn event(id: u64, time: u64, receiver: u64) -> Event {
    Event {
        receiver: Some(SessionId::from_stored(receiver)),
        ..Event::new(SUBSCRIPTION, at(time), PublicationId::from_stored(id))
    }
}

fn store() -> RealmStore<MemoryBackend> {
    RealmStore::attach(MemoryBackend::new()).unwrap()
}

fn store_in_order(store: &RealmStore<MemoryBackend>, events: &[Event]) {
    let mut txn = store.begin_write().unwrap();
    store.store_events_in_order(&mut txn, events).unwrap();
    txn.commit().unwrap();
}

/// The IDs and times of a history.
fn history(store: &RealmStore<MemoryBackend>) -> Vec<(u64, u64)> {
    let txn = store.begin_read().unwrap();
    let entries = store.history(&txn, SUBSCRIPTION, HistoryQuery::default());
    let entries = entries.unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.publication.get(), entry.timestamp.as_nanos()))
        .collect()
}

#[test]
fn events_at_the_same_time_stand_in_the_order_in_which_they_are_given() {
    let store = store();
    store_in_order(
        &store,
        &[event(9, 100, 1), event(9, 100, 2), event(5, 100, 1)],
    );
    // In a later call too, and whatever came later meanwhile; times stay.
    store_in_order(&store, &[event(1, 200, 1)]);
    store_in_order(&store, &[event(3, 100, 1), event(9, 100, 3)]);
    let expected = [(9, 100), (5, 100), (3, 100), (1, 200)];
    assert_eq!(history(&store), expected);
    // One that turns out to be as early as others goes behind them.
    store_in_order(&store, &[event(1, 100, 2)]);
    assert_eq!(history(&store), [(9, 100), (5, 100), (3, 100), (1, 100)]);
    store_in_order(&store, &[event(5, 100, 1), event(1, 200, 1)]);
    assert_eq!(history(&store), [(9, 100), (5, 100), (3, 100), (1, 100)]);
}

#[test]
fn events_that_nobody_has_put_in_an_order_stand_by_their_ids() {
    let store = store();
    let mut txn = store.begin_write().unwrap();
    let events = [event(9, 100, 1), event(5, 100, 1)];
    store.store_events(&mut txn, &events).unwrap();
    txn.commit().unwrap();
    assert_eq!(history(&store), [(5, 100), (9, 100)]);
}

#[test]
fn entries_are_those_that_get_events_has_whatever_the_limit() {
    let store = store();
    let mut txn = store.begin_write().unwrap();
    for id in [9, 5, 7] {
        let mut publication = publication(id);
        publication.eligible_authid = (id == 5).then(|| vec!["joe".to_owned()]);
        let dispatch = Dispatch {
            publication,
            deliveries: vec![Delivery {
                subscription: SUBSCRIPTION,
                timestamp: at(100),
                ..Delivery::default()
            }],
            retain: None,
        };
        store.record(&mut txn, &dispatch).unwrap();
    }
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    let options = GetEvents {
        limit: Some(1),
        from_publication: Some(PublicationId::from_stored(5)),
        requester: Some(Requester::default()),
        ..GetEvents::default()
    };
    let entries = store.history_entries(&txn, SUBSCRIPTION, &options).unwrap();
    let entries: Vec<_> = entries.unwrap().map(Result::unwrap).collect();
    let ids: Vec<_> = entries
        .iter()
        .map(|entry| entry.publication.get())
        .collect();
    assert_eq!(ids, [5, 7]);
    let through: Vec<_> = ids
        .iter()
        .filter(|id| {
            let id = PublicationId::from_stored(**id);
            let stored = store.publications().get(&txn, &id).unwrap().unwrap();
            options.lets_through(&stored.view().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(through, [&7]);
    let page = store.get_events(&txn, SUBSCRIPTION, &options).unwrap();
    let rows = page.unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].publication.publication.get(), 7);
    let of_another = SubscriptionId::from_stored(8);
    let entries = store.history_entries(&txn, of_another, &GetEvents::default());
    assert!(entries.unwrap().is_none());
}

#[test]
fn a_row_is_retained_as_it_says() {
    let store = store();
    let mut txn = store.begin_write().unwrap();
    let row = |id: u64, retained_at: u64| Retained {
        topic: "com.example.a".to_owned(),
        publication: PublicationId::from_stored(id),
        retained_at: at(retained_at),
        expires_at: Some(at(1000)),
    };
    for (id, retained_at) in [(1, 300), (2, 400)] {
        let publication = publication(id);
        store.store_publication(&mut txn, &publication).unwrap();
        let row = row(id, retained_at);
        store.retain_row(&mut txn, &publication, &row).unwrap();
    }
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    let rows = store.retained_for(&txn, "com.example.a").unwrap();
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows, [row(2, 400)]);
    let query = |now| GetRetained {
        uri: "com.example.a".to_owned(),
        now: at(now),
        ..GetRetained::default()
    };
    assert_eq!(store.get_retained(&txn, &query(999)).unwrap().len(), 1);
    assert!(store.get_retained(&txn, &query(1000)).unwrap().is_empty());
}
