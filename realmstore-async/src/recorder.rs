//! What the writer knows beside the store: which subscriptions keep history,
//! and for which node it writes.

use realmstore_core::store::Subscriptions;
use realmstore_core::table::Table;
use realmstore_core::{
    Backend, Delivery, Dispatch, Error, ErrorKind, Event, MatchPolicy, Order, RealmStore, Result,
    StoreWrite, Subscription, SubscriptionId, Timestamp, Uuid, WriteTxn,
};

use crate::event_history::EventHistory;
use crate::registry::Registry;

/// Records what happens in a realm, as far as it is to be kept.
pub(crate) struct Recorder {
    realm: String,
    node: Option<Uuid>,
    /// Whether only what is in the registry is kept.
    is_selective: bool,
    registry: Registry,
    /// Subscriptions that the transaction in progress has heard of first.
    /// Until it is committed nobody knows their IDs.
    new: Vec<(SubscriptionId, String, MatchPolicy)>,
}

/// What was found and done when a store was started.
pub(crate) struct Started {
    pub(crate) recorder: Recorder,
    /// The sessions of the own node that were closed.
    pub(crate) closed: Vec<Uuid>,
}

impl Recorder {
    /// Brings the store up to what is configured, in one commit.
    pub(crate) fn start<B: Backend>(
        store: &RealmStore<B>,
        realm: &str,
        node: Option<Uuid>,
        history: Option<&EventHistory>,
    ) -> Result<Started> {
        let now = Timestamp::now();
        let mut txn = store.begin_write()?;
        let closed = match node {
            Some(node) => store.close_left_open(&mut txn, node)?,
            None => Vec::new(),
        };
        if let Some(history) = history {
            configure(store, &mut txn, realm, history, now)?;
        }
        let mut recorder = Self {
            realm: realm.to_owned(),
            node,
            is_selective: history.is_some(),
            registry: Registry::default(),
            new: Vec::new(),
        };
        for known in subscriptions_of(store, &txn, realm)? {
            if let Some(uri) = &known.uri
                && (!recorder.is_selective || known.keeps_history == Some(true))
            {
                let policy = known.match_policy.unwrap_or_default();
                recorder.registry.add(known.subscription, uri, policy);
            }
        }
        recorder.note_alive(store, &mut txn)?;
        txn.commit()?;
        Ok(Started { recorder, closed })
    }

    /// Takes note that a transaction begins; one before it that was not
    /// committed has never been.
    pub(crate) fn begin(&mut self) {
        self.new.clear();
    }

    /// Takes note that it was committed.
    pub(crate) fn committed(&mut self) {
        for (subscription, uri, policy) in self.new.drain(..) {
            self.registry.add(subscription, &uri, policy);
        }
    }

    pub(crate) fn note_alive<B: Backend>(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
    ) -> Result<()> {
        match self.node {
            Some(node) => store.note_alive(txn, node, Timestamp::now()),
            None => Ok(()),
        }
    }

    pub(crate) fn subscription_id<B: Backend>(
        &mut self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        uri: &str,
        policy: MatchPolicy,
        now: Timestamp,
    ) -> Result<SubscriptionId> {
        let id = store.subscription_id(txn, &self.realm, uri, policy, now)?;
        if !self.is_selective && !self.registry.contains(id) {
            self.new.push((id, uri.to_owned(), policy));
        }
        Ok(id)
    }

    /// Records a publication under every subscription that keeps history and
    /// matches its topic, whether anybody received it there or not.
    pub(crate) fn dispatch<B: Backend>(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        dispatch: &Dispatch,
    ) -> Result<()> {
        let publication = &dispatch.publication;
        let mut delivered = Vec::with_capacity(dispatch.deliveries.len());
        for delivery in &dispatch.deliveries {
            delivered.push(store.subscription_to_write(txn, delivery.subscription)?);
        }
        let unreceived: Vec<Delivery> = self
            .registry
            .matching(&publication.topic)
            .filter(|subscription| !delivered.contains(subscription))
            .map(|subscription| Delivery {
                subscription,
                timestamp: publication.timestamp,
                ..Delivery::default()
            })
            .collect();
        let kept = dispatch
            .deliveries
            .iter()
            .zip(&delivered)
            .filter(|(_, subscription)| self.keeps(**subscription))
            .map(|(delivery, _)| delivery)
            .chain(&unreceived);
        if self.is_selective && dispatch.retain.is_none() && kept.clone().next().is_none() {
            return Ok(());
        }
        store.record_deliveries(txn, publication, kept, dispatch.retain)
    }

    pub(crate) fn event<B: Backend>(
        &self,
        store: &RealmStore<B>,
        txn: &mut StoreWrite<'_, B>,
        event: &Event,
    ) -> Result<()> {
        if self.keeps(store.subscription_to_write(txn, event.subscription)?) {
            store.record_event(txn, event)?;
        }
        Ok(())
    }

    /// Whether the events of a subscription are stored. One without an ID is
    /// for the store to refuse.
    fn keeps(&self, subscription: SubscriptionId) -> bool {
        !self.is_selective || subscription.is_unset() || self.registry.contains(subscription)
    }
}

/// Gives every subscription that keeps history its limits, and takes it from those that do not.
fn configure<B: Backend>(
    store: &RealmStore<B>,
    txn: &mut StoreWrite<'_, B>,
    realm: &str,
    history: &EventHistory,
    now: Timestamp,
) -> Result<()> {
    let mut kept = Vec::with_capacity(history.rules().len());
    for rule in history.rules() {
        let id = store.subscription_id(txn, realm, &rule.uri, rule.match_policy, now)?;
        kept.push((id, rule));
    }
    for known in subscriptions_of(store, txn, realm)? {
        let rule = kept.iter().find(|(id, _)| *id == known.subscription);
        let limit =
            |of: fn(&crate::HistoryRule) -> Option<u64>| rule.and_then(|(_, rule)| of(rule));
        let record = Subscription {
            keeps_history: Some(rule.is_some()),
            max_count: limit(|rule| rule.max_count),
            max_age: limit(|rule| rule.max_age),
            max_bytes: limit(|rule| rule.max_bytes),
            ..known.clone()
        };
        if record != known {
            store
                .subscriptions()
                .put(txn, &record.subscription, &record)?;
        }
    }
    Ok(())
}

/// The subscriptions of a realm that are known by name. A record that cannot
/// be read is left as it is.
fn subscriptions_of<B: Backend>(
    store: &RealmStore<B>,
    txn: &StoreWrite<'_, B>,
    realm: &str,
) -> Result<Vec<Subscription>> {
    let mut found = Vec::new();
    let mut scan = store.subscriptions().range(txn, .., Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        match entry.view().and_then(|view| {
            let is_known = view.alias_of()?.is_none() && !view.has_unknown_fields();
            Ok(is_known && view.realm()? == Some(realm))
        }) {
            Ok(true) => found.push(entry.to_owned()?),
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::Damaged => damaged(&error),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn damaged(error: &Error) {
    tracing::warn!(%error, table = Subscriptions::NAME, "a subscription cannot be read");
}
