//! What is recorded, under which subscriptions, and what a restart finds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_lite::future::block_on;
use realmstore_async::{AsyncOptions, AsyncRealmStore, AsyncStore, EventHistory};
use realmstore_core::memory::MemoryBackend;
use realmstore_core::{
    Backend, Delivery, Dispatch, ErrorKind, Event, GetEvents, GetRetained, MatchPolicy,
    Publication, PublicationId, RealmStore, Retain, Session, SessionId, SubscriptionId, Timestamp,
    Uuid,
};
use realmstore_lmdb::{LmdbBackend, LmdbOptions};

fn memory(options: &AsyncOptions) -> AsyncStore<MemoryBackend> {
    let store = RealmStore::attach(MemoryBackend::new()).unwrap();
    options.start(store).unwrap()
}

fn lmdb(directory: &tempfile::TempDir, options: &AsyncOptions) -> AsyncStore<LmdbBackend> {
    let backend = LmdbOptions::new().open(directory.path()).unwrap();
    options.start(RealmStore::attach(backend).unwrap()).unwrap()
}

fn publication(id: u64, topic: &str) -> Publication {
    Publication::new(
        PublicationId::new(id).unwrap(),
        Timestamp::from_nanos(id * 100),
        topic,
    )
}

fn to(subscription: SubscriptionId, at: u64, receivers: &[u64]) -> Delivery {
    Delivery {
        subscription,
        timestamp: Timestamp::from_nanos(at),
        receivers: receivers
            .iter()
            .map(|id| SessionId::new(*id).unwrap())
            .collect(),
        ..Delivery::default()
    }
}

fn dispatch(publication: Publication, deliveries: Vec<Delivery>) -> Dispatch {
    Dispatch {
        publication,
        deliveries,
        retain: None,
    }
}

/// The publications of a history, by ID; `None` when none is kept.
async fn history<B: Backend>(
    store: &AsyncStore<B>,
    subscription: SubscriptionId,
) -> Option<Vec<u64>> {
    let page = store.get_events(subscription, GetEvents::default()).await;
    let rows = page.unwrap()?.rows;
    Some(
        rows.iter()
            .map(|row| row.publication.publication.get())
            .collect(),
    )
}

#[test]
fn a_publication_is_in_the_history_of_every_subscription_that_matches_received_or_not() {
    block_on(async {
        let store = memory(&AsyncOptions::new().realm("realm1"));
        let exact = store.subscription_id("com.example.a", MatchPolicy::Exact);
        let exact = exact.await.unwrap();
        let prefix = store.subscription_id("com.", MatchPolicy::Prefix);
        let prefix = prefix.await.unwrap();
        let other = store.subscription_id("com..b", MatchPolicy::Wildcard);
        let other = other.await.unwrap();
        let first = dispatch(
            publication(1, "com.example.a"),
            vec![to(exact, 150, &[7, 8])],
        );
        store.store_dispatch(first).await.unwrap();
        let unreceived = dispatch(publication(2, "com.example.b"), Vec::new());
        store.store_dispatch(unreceived).await.unwrap();
        assert_eq!(history(&store, exact).await, Some(vec![1]));
        assert_eq!(history(&store, prefix).await, Some(vec![1, 2]));
        assert_eq!(history(&store, other).await, Some(vec![2]));
    });
}

#[test]
fn what_no_rule_keeps_is_not_stored() {
    block_on(async {
        let rules =
            EventHistory::from_json(r#"[{"uri": "com.kept.", "match": "prefix", "limit": 10}]"#);
        let options = AsyncOptions::new().event_history(rules.unwrap());
        let store = memory(&options);
        let kept = store.subscription_id("com.kept.", MatchPolicy::Prefix);
        let kept = kept.await.unwrap();
        let other = store.subscription_id("com.other", MatchPolicy::Exact);
        let other = other.await.unwrap();
        assert_eq!(history(&store, kept).await, Some(Vec::new()));
        assert_eq!(history(&store, other).await, None);

        let both = dispatch(
            publication(1, "com.kept.a"),
            vec![to(other, 100, &[5]), to(kept, 100, &[5])],
        );
        store.store_dispatch(both).await.unwrap();
        let unkept = dispatch(publication(2, "com.other"), vec![to(other, 200, &[5])]);
        store.store_dispatch(unkept).await.unwrap();
        let event = Event::new(other, Timestamp::from_nanos(300), PublicationId::MAX);
        store.store_event(event).await.unwrap();
        assert_eq!(history(&store, kept).await, Some(vec![1]));
        assert_eq!(history(&store, other).await, None);
        let unkept = PublicationId::new(2).unwrap();
        assert_eq!(store.publication(unkept).await.unwrap(), None);

        let mut retained = dispatch(publication(3, "com.other"), Vec::new());
        retained.retain = Some(Retain::default());
        store.store_dispatch(retained).await.unwrap();
        let query = GetRetained {
            uri: "com.other".to_owned(),
            now: Timestamp::now(),
            ..GetRetained::default()
        };
        let found = store.get_retained(query).await.unwrap();
        assert_eq!(found, [publication(3, "com.other")]);
        assert_eq!(store.forget_retained("com.other").await.unwrap(), 1);
    });
}

#[test]
fn a_delivery_without_a_subscription_is_refused_and_leaves_nothing() {
    block_on(async {
        let rules = EventHistory::from_json("[]").unwrap();
        let store = memory(&AsyncOptions::new().event_history(rules));
        let bad = dispatch(
            publication(1, "com.example"),
            vec![to(SubscriptionId::default(), 100, &[1])],
        );
        let error = store.store_dispatch(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let id = PublicationId::new(1).unwrap();
        assert_eq!(store.publication(id).await.unwrap(), None);
    });
}

#[test]
fn history_is_found_again_after_a_restart_by_name_and_by_alias() {
    let directory = tempfile::tempdir().unwrap();
    let options = AsyncOptions::new().realm("realm1");
    let counted = SubscriptionId::new(1).unwrap();
    block_on(async {
        let store = lmdb(&directory, &options);
        let a = store.subscription_id("com.a", MatchPolicy::Exact);
        let a = a.await.unwrap();
        store.alias_subscription(counted, a).await.unwrap();
        let under_alias = dispatch(publication(1, "com.a"), vec![to(counted, 100, &[5])]);
        store.store_dispatch(under_alias).await.unwrap();
        assert_eq!(history(&store, a).await, Some(vec![1]));
        store.close().await.unwrap();

        let store = lmdb(&directory, &options);
        let again = store.subscription_id("com.a", MatchPolicy::Exact);
        assert_eq!(again.await.unwrap(), a);
        let b = store.subscription_id("com.b", MatchPolicy::Exact);
        let b = b.await.unwrap();
        // A router that counts gives the first one that is subscribed to the ID 1 again.
        store.alias_subscription(counted, b).await.unwrap();
        let under_alias = dispatch(publication(2, "com.b"), vec![to(counted, 200, &[5])]);
        store.store_dispatch(under_alias).await.unwrap();
        assert_eq!(history(&store, a).await, Some(vec![1]));
        assert_eq!(history(&store, counted).await, Some(vec![2]));
        let unreceived = dispatch(publication(3, "com.a"), Vec::new());
        store.store_dispatch(unreceived).await.unwrap();
        assert_eq!(history(&store, a).await, Some(vec![1, 3]));
        store.close().await.unwrap();
    });
}

#[test]
fn rules_can_change_at_every_start() {
    let directory = tempfile::tempdir().unwrap();
    let start = |rules: &str| {
        let rules = EventHistory::from_json(rules).unwrap();
        lmdb(&directory, &AsyncOptions::new().event_history(rules))
    };
    block_on(async {
        let store = start(r#"[{"uri": "com.a", "limit": 5}, {"uri": "com.b"}]"#);
        let a = store.subscription_id("com.a", MatchPolicy::Exact);
        let a = a.await.unwrap();
        store.close().await.unwrap();

        let store = start(r#"[{"uri": "com.b", "max-age": "1h"}]"#);
        assert_eq!(history(&store, a).await, None);
        store.close().await.unwrap();
    });
    let store = RealmStore::attach(LmdbOptions::new().open(directory.path()).unwrap()).unwrap();
    let txn = store.begin_read().unwrap();
    let find = |uri| {
        let found = store.find_subscription(&txn, "", uri, MatchPolicy::Exact);
        let found = found.unwrap().unwrap();
        (found.keeps_history, found.max_count, found.max_age)
    };
    assert_eq!(find("com.a"), (Some(false), None, None));
    assert_eq!(find("com.b"), (Some(true), None, Some(3_600_000_000_000)));
}

#[test]
fn sessions_that_a_crash_left_open_are_closed_and_those_of_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let options = AsyncOptions::new().node(own);
    let session = |id, node| Session {
        node_oid: node,
        ..Session::new(SessionId::new(id).unwrap(), Timestamp::from_nanos(1000))
    };
    let sessions = [
        session(1, Some(own)),
        session(2, Some(other)),
        session(3, None),
        session(4, Some(own)),
    ];
    block_on(async {
        let store = lmdb(&directory, &options);
        assert!(store.closed_at_start().is_empty());
        for session in &sessions {
            store.session_joined(session.clone()).await.unwrap();
        }
        let left_at = Timestamp::from_nanos(2000);
        let left = store.session_left(sessions[3].session, left_at).await;
        assert_eq!(left.unwrap(), Some(sessions[3].oid));
        assert_eq!(store.open_sessions().await.unwrap().len(), 3);
        // Nobody says that the others leave.
        store.close().await.unwrap();

        let before = Timestamp::now();
        let store = lmdb(&directory, &options);
        assert_eq!(store.closed_at_start(), [sessions[0].oid]);
        let open = store.open_sessions().await.unwrap();
        assert_eq!(open.len(), 2);
        assert!(open.contains(&sessions[1]) && open.contains(&sessions[2]));
        let closed = store.session_by_id(sessions[0].session, Timestamp::MAX);
        let left_at = closed.await.unwrap().unwrap().left_at.unwrap();
        assert!(left_at > Timestamp::from_nanos(1000) && left_at < before);
        let there = store.sessions_present(Timestamp::from_nanos(1500));
        assert_eq!(there.await.unwrap().len(), 4);
        store.close().await.unwrap();
    });
}

#[test]
fn a_history_stays_within_its_limits_however_much_comes() {
    block_on(async {
        let rules = EventHistory::from_json(
            r#"[{"uri": "com.a", "limit": 10}, {"uri": "com.", "match": "prefix", "limit": 20}]"#,
        );
        let store = memory(&AsyncOptions::new().event_history(rules.unwrap()));
        let a = store.subscription_id("com.a", MatchPolicy::Exact);
        let a = a.await.unwrap();
        let all = store.subscription_id("com.", MatchPolicy::Prefix);
        let all = all.await.unwrap();
        // All are under way before the first is waited for.
        let mut waiting = Vec::new();
        for id in 1..=1000 {
            let receivers: Vec<u64> = (1..=id % 50).collect();
            let topic = if id % 2 == 0 { "com.a" } else { "com.b" };
            let delivered = vec![to(all, id * 100, &receivers)];
            let mut write = store.store_dispatch(dispatch(publication(id, topic), delivered));
            match futures_lite::future::poll_once(&mut write).await {
                Some(stored) => stored.unwrap(),
                None => waiting.push(write),
            }
        }
        for write in waiting {
            write.await.unwrap();
        }
        let newest = |step: u64, count: u64| -> Vec<u64> {
            (0..count).rev().map(|back| 1000 - back * step).collect()
        };
        assert_eq!(history(&store, a).await, Some(newest(2, 10)));
        assert_eq!(history(&store, all).await, Some(newest(1, 20)));
        // What no history refers to has gone.
        let gone = PublicationId::new(500).unwrap();
        assert_eq!(store.publication(gone).await.unwrap(), None);
    });
}
