//! The broker and dealer of a realm, as far as its store is concerned: who is
//! subscribed is in memory, what happened is in the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realmstore::{
    AsyncRealmStore, Delivery, Dispatch, GetEvents, GetRetained, HistoryPage, MatchPolicy,
    Publication, Requester, Result, Retain, Session, SessionId, SubscriptionId, Timestamp, Uuid,
};

pub(crate) struct Broker {
    store: Arc<dyn AsyncRealmStore>,
    node: Uuid,
    subscriptions: Mutex<Subscriptions>,
}

/// Who is subscribed to what. It is locked for a moment, and never while
/// something is awaited.
#[derive(Default)]
struct Subscriptions {
    exact: HashMap<String, Subscription>,
    /// By prefixes that end with a dot, such as `com.example.`.
    prefix: HashMap<String, Subscription>,
    of_sessions: HashMap<SessionId, Vec<(String, MatchPolicy)>>,
}

struct Subscription {
    id: SubscriptionId,
    receivers: BTreeSet<SessionId>,
}

impl Subscriptions {
    fn by(&mut self, policy: MatchPolicy) -> &mut HashMap<String, Subscription> {
        match policy {
            MatchPolicy::Exact => &mut self.exact,
            _ => &mut self.prefix,
        }
    }

    /// To whom a publication goes. Whoever has two subscriptions that match gets it twice.
    fn deliveries(&self, publication: &Publication) -> Vec<Delivery> {
        let topic = &publication.topic;
        let ends = topic.match_indices('.').map(|(dot, _)| dot + 1);
        let prefixes = ends.filter_map(|end| self.prefix.get(&topic[..end]));
        self.exact
            .get(topic)
            .into_iter()
            .chain(prefixes)
            .map(|subscription| Delivery {
                subscription: subscription.id,
                timestamp: publication.timestamp,
                receivers: subscription
                    .receivers
                    .iter()
                    .copied()
                    .filter(|receiver| Some(*receiver) != publication.publisher)
                    .collect(),
                ..Delivery::default()
            })
            .collect()
    }
}

impl Broker {
    pub(crate) fn new(store: Arc<dyn AsyncRealmStore>, node: Uuid) -> Self {
        Self {
            store,
            node,
            subscriptions: Mutex::default(),
        }
    }

    /// What WAMP calls `HELLO`.
    pub(crate) async fn join(
        &self,
        session: SessionId,
        authid: &str,
        joined_at: Timestamp,
    ) -> Result<()> {
        let session = Session {
            node_oid: Some(self.node),
            realm: Some("realm1".to_owned()),
            authid: Some(authid.to_owned()),
            authrole: Some("user".to_owned()),
            authmethod: Some("anonymous".to_owned()),
            ..Session::new(session, joined_at)
        };
        self.store.session_joined(session).await
    }

    /// `GOODBYE`, or a connection that was lost.
    pub(crate) async fn leave(&self, session: SessionId) -> Result<()> {
        {
            let mut subscriptions = self.subscriptions();
            let own = subscriptions.of_sessions.remove(&session);
            for (uri, policy) in own.into_iter().flatten() {
                if let Some(subscription) = subscriptions.by(policy).get_mut(&uri) {
                    subscription.receivers.remove(&session);
                }
            }
        }
        let left = self.store.session_left(session, Timestamp::now()).await;
        left.map(drop)
    }

    /// `SUBSCRIBE`. The ID is the one that the subscription always had, so that its history is.
    pub(crate) async fn subscribe(
        &self,
        session: SessionId,
        uri: &str,
        policy: MatchPolicy,
    ) -> Result<SubscriptionId> {
        let id = self.store.subscription_id(uri, policy).await?;
        let mut subscriptions = self.subscriptions();
        let subscribed = subscriptions.by(policy);
        let subscription = subscribed
            .entry(uri.to_owned())
            .or_insert_with(|| Subscription {
                id,
                receivers: BTreeSet::new(),
            });
        subscription.receivers.insert(session);
        let own = subscriptions.of_sessions.entry(session).or_default();
        own.push((uri.to_owned(), policy));
        Ok(id)
    }

    /// `PUBLISH`: dispatches a publication, and acknowledges it once it is
    /// stored. Returns how many receivers it had.
    pub(crate) async fn publish(
        &self,
        publication: Publication,
        retain: Option<Retain>,
    ) -> Result<u64> {
        let deliveries = self.subscriptions().deliveries(&publication);
        let receivers = deliveries.iter().map(|to| to.receivers.len() as u64).sum();
        // Here a router sends the events; it need not wait for the store.
        let dispatch = Dispatch {
            publication,
            deliveries,
            retain,
        };
        self.store.store_dispatch(dispatch).await?;
        Ok(receivers)
    }

    /// What a subscriber gets at once who asks for `get_retained`.
    pub(crate) async fn retained(
        &self,
        requester: Requester,
        uri: &str,
        policy: MatchPolicy,
    ) -> Result<Vec<Publication>> {
        let query = GetRetained {
            uri: uri.to_owned(),
            match_policy: policy,
            requester: Some(requester),
            now: Timestamp::now(),
            ..GetRetained::default()
        };
        self.store.get_retained(query).await
    }

    /// `CALL` of `wamp.subscription.get_events`: the newest of a subscription.
    pub(crate) async fn history(
        &self,
        requester: Requester,
        subscription: SubscriptionId,
        limit: usize,
    ) -> Result<Option<HistoryPage>> {
        let options = GetEvents {
            reverse: true,
            limit: Some(limit),
            requester: Some(requester),
            max_examined: Some(10 * limit),
            ..GetEvents::default()
        };
        self.store.get_events(subscription, options).await
    }

    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
