//! Subscriptions that outlive the router: what is subscribed to has one ID for ever.

use uuid::Uuid;

use super::tables::{Subscriptions, TextKey};
use super::{RealmStore, StoreWrite};
use crate::backend::{Backend, Order, ReadTxn};
use crate::record::{MatchPolicy, Subscription};
use crate::table::Table;
use crate::{Error, ErrorKind, Result, SubscriptionId, Timestamp};

impl<B: Backend> RealmStore<B> {
    /// The ID of a subscription, as it was first given; `None` for one that was
    /// never heard of. One step, and a record to compare.
    pub fn find_subscription<X: ReadTxn>(
        &self,
        txn: &X,
        realm: &str,
        uri: &str,
        policy: MatchPolicy,
    ) -> Result<Option<Subscription>> {
        let (by_uri,) = self.subscriptions().companions();
        let mut rows = by_uri.prefix(txn, &(TextKey::new(uri),), Order::Ascending)?;
        while let Some((_, id)) = rows.next()? {
            let Some(known) = self.subscriptions().get(txn, &id)? else {
                continue;
            };
            let view = known.view()?;
            if view.uri()? == Some(uri)
                && view.realm()? == Some(realm)
                && view.match_policy()?.unwrap_or_default() == policy
            {
                return Ok(Some(known.to_owned()?));
            }
        }
        Ok(None)
    }

    /// The ID of a subscription: the one that it always had, or a new one, at
    /// random from 1 to 2^53, when it is heard of for the first time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the URI is empty, but for a prefix.
    pub fn subscription_id(
        &self,
        txn: &mut StoreWrite<'_, B>,
        realm: &str,
        uri: &str,
        policy: MatchPolicy,
        now: Timestamp,
    ) -> Result<SubscriptionId> {
        if let Some(known) = self.find_subscription(txn, realm, uri, policy)? {
            return Ok(known.subscription);
        }
        if uri.is_empty() && policy != MatchPolicy::Prefix {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("an empty URI cannot be subscribed to by match policy {policy}"),
            )
            .table(Subscriptions::NAME));
        }
        let subscription = self.free_subscription_id(txn)?;
        let record = Subscription {
            subscription,
            realm: Some(realm.to_owned()),
            uri: Some(uri.to_owned()),
            match_policy: Some(policy),
            created_at: Some(now),
            ..Subscription::default()
        };
        self.subscriptions().put(txn, &subscription, &record)?;
        Ok(subscription)
    }

    /// Lets an ID stand for a subscription that has another one: for routers
    /// that insist on IDs of their own. An ID may stand for another
    /// subscription the next time, as it does after a restart of a router that
    /// counts; what was recorded under it stays with the subscription that it
    /// stood for then.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the ID is a subscription's own, or has
    /// a history itself; [`ErrorKind::NotFound`] when there is no such subscription.
    pub fn alias_subscription(
        &self,
        txn: &mut StoreWrite<'_, B>,
        alias: SubscriptionId,
        subscription: SubscriptionId,
    ) -> Result<()> {
        let refused = |kind, message| Error::new(kind, message).table(Subscriptions::NAME);
        let subscription = self.resolve_subscription(txn, subscription)?;
        if alias == subscription {
            return Ok(());
        }
        if alias.is_unset() {
            return Err(refused(
                ErrorKind::InvalidInput,
                "an alias without an ID cannot be stored".to_owned(),
            ));
        }
        if self.subscriptions().get(txn, &subscription)?.is_none() {
            return Err(refused(
                ErrorKind::NotFound,
                format!("there is no subscription {subscription} that {alias} could stand for"),
            ));
        }
        let is_own = match self.subscriptions().get(txn, &alias)? {
            Some(known) => known.view()?.alias_of()?.is_none(),
            None => self.last_entry(txn, alias)?.is_some(),
        };
        if is_own {
            return Err(refused(
                ErrorKind::InvalidInput,
                format!(
                    "{alias} cannot stand for subscription {subscription}: it is the ID of another one, or has a history itself"
                ),
            ));
        }
        let record = Subscription {
            subscription: alias,
            alias_of: Some(subscription),
            ..Subscription::default()
        };
        self.subscriptions().put(txn, &alias, &record)
    }

    /// The subscription that an ID stands for: itself, unless it is an alias.
    pub fn resolve_subscription<X: ReadTxn>(
        &self,
        txn: &X,
        id: SubscriptionId,
    ) -> Result<SubscriptionId> {
        match self.subscriptions().get(txn, &id)? {
            Some(known) => Ok(known.view()?.alias_of()?.unwrap_or(id)),
            None => Ok(id),
        }
    }

    /// As [`resolve_subscription`](Self::resolve_subscription), and remembers
    /// it: those who write ask again and again.
    pub fn subscription_to_write(
        &self,
        txn: &mut StoreWrite<'_, B>,
        id: SubscriptionId,
    ) -> Result<SubscriptionId> {
        if let Some(known) = txn.recent().stands_for(id) {
            return Ok(known);
        }
        let subscription = self.resolve_subscription(txn, id)?;
        txn.recent_mut().note_stands_for(id, subscription);
        Ok(subscription)
    }

    /// An ID that nothing stands under.
    fn free_subscription_id<X: ReadTxn>(&self, txn: &X) -> Result<SubscriptionId> {
        loop {
            // 53 of its random bits; 0 stands for no ID.
            let bits = Uuid::new_v4().as_u128() >> 75;
            let id = SubscriptionId::from_stored(1 + u64::try_from(bits).unwrap_or_default());
            if self.subscriptions().get(txn, &id)?.is_none() && self.last_entry(txn, id)?.is_none()
            {
                return Ok(id);
            }
        }
    }
}
