//! What is wrong with subscriptions, their aliases, and what is retained.

use super::super::tables::{SubscriptionsByUri, TextKey};
use super::Severity;
use super::records::{Cure, judge};
use super::rows::{Check, Verdict, index_key, verdict};
use super::tables::Kind;
use crate::backend::{Order, ReadTxn};
use crate::key::Key;
use crate::record::{Publication, Record, Retained, Subscription};
use crate::{Result, SubscriptionId};

/// How many aliases one after the other are followed. None at all should be.
const MAX_ALIASES: usize = 64;

/// Where an alias leads.
enum AliasEnd {
    /// To a subscription: it has a record, or a history.
    Subscription(SubscriptionId),
    /// To a record that cannot be read, which is named itself.
    Unknown,
    /// To itself, or to nothing that is there.
    Nothing,
}

impl<X: ReadTxn> Check<'_, X> {
    /// A subscription, or an alias of one.
    pub(super) fn subscription(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let (mut verdict, stays) = verdict(judge::<Subscription>(key, value));
        let Some(mut subscription) = stays else {
            return Ok(verdict);
        };
        if let Some(target) = subscription.alias_of {
            let is_plain = subscription
                == Subscription {
                    subscription: subscription.subscription,
                    alias_of: Some(target),
                    ..Subscription::default()
                };
            let problem = match self.end_of_aliases(subscription.subscription, target)? {
                AliasEnd::Subscription(end) if end != target => {
                    subscription.alias_of = Some(end);
                    format!("stands for {target}, which itself only stands for {end}")
                }
                AliasEnd::Subscription(_) | AliasEnd::Unknown if !is_plain => {
                    format!("stands for {target}, and says what it is itself")
                }
                AliasEnd::Subscription(_) | AliasEnd::Unknown => return Ok(verdict),
                AliasEnd::Nothing => {
                    verdict.problems.push((
                        Severity::Error,
                        format!("stands for {target}, which is no subscription"),
                    ));
                    verdict.cure = Cure::MoveAside;
                    return Ok(verdict);
                }
            };
            let alias = Subscription {
                subscription: subscription.subscription,
                alias_of: subscription.alias_of,
                ..Subscription::default()
            };
            verdict.problems.push((Severity::Error, problem));
            verdict.cure = Cure::Replace(alias.to_bytes()?);
            return Ok(verdict);
        }
        let row = subscription.with_bytes(|bytes| {
            index_key::<SubscriptionsByUri>(&Subscription::view(bytes)?, key)
        })?;
        self.must_have(&mut verdict, Severity::Error, Kind::SubscriptionsByUri, row)?;
        if let Some(first) = self.first_of_its_name(&subscription)? {
            verdict.problems.push((
                Severity::Warning,
                format!("subscription {first} has the same realm, URI and match policy, and is found by them instead"),
            ));
        }
        Ok(verdict)
    }

    /// Where an alias leads, over how many others it may.
    fn end_of_aliases(&self, alias: SubscriptionId, target: SubscriptionId) -> Result<AliasEnd> {
        let mut id = target;
        for _ in 0..MAX_ALIASES {
            if id == alias {
                return Ok(AliasEnd::Nothing);
            }
            let record = self
                .tables
                .space(Kind::Subscriptions)
                .get(self.txn, |out| id.encode(out))?;
            let Some(record) = record else {
                // The history that it had is found by it all the same.
                return Ok(if self.has_events(id)? {
                    AliasEnd::Subscription(id)
                } else {
                    AliasEnd::Nothing
                });
            };
            match Subscription::view(record.as_ref()).map(|view| view.alias_of()) {
                Ok(Ok(None)) => return Ok(AliasEnd::Subscription(id)),
                Ok(Ok(Some(next))) => id = next,
                _ => return Ok(AliasEnd::Unknown),
            }
        }
        Ok(AliasEnd::Nothing)
    }

    /// Whether there is any event of a subscription, ours or Crossbar.io's.
    fn has_events(&self, subscription: SubscriptionId) -> Result<bool> {
        for kind in [Kind::Events, Kind::CrossbarEvents] {
            let mut scan = self.tables.space(kind).scan_prefix(
                self.txn,
                |out| subscription.encode(out),
                Order::Ascending,
            )?;
            if scan.next()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Another subscription to the same, where that is the one that is found.
    fn first_of_its_name(&self, subscription: &Subscription) -> Result<Option<SubscriptionId>> {
        let Some(uri) = &subscription.uri else {
            return Ok(None);
        };
        let name = |subscription: &Subscription| {
            let policy = subscription.match_policy.unwrap_or_default();
            (subscription.realm.clone(), subscription.uri.clone(), policy)
        };
        let own = name(subscription);
        let uri = TextKey::new(uri);
        let mut rows = self.tables.space(Kind::SubscriptionsByUri).scan_prefix(
            self.txn,
            |out| uri.encode(out),
            Order::Ascending,
        )?;
        while let Some((row, _)) = rows.next()? {
            let Ok((_, id)) = <(TextKey, SubscriptionId)>::from_bytes(row) else {
                continue;
            };
            if id >= subscription.subscription {
                break;
            }
            let other = self
                .tables
                .space(Kind::Subscriptions)
                .get(self.txn, |out| id.encode(out))?;
            let other = other.and_then(|other| Subscription::decode(other.as_ref()).ok());
            if other.is_some_and(|other| name(&other) == own) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// What is retained for a topic.
    pub(super) fn retained(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let (mut verdict, stays) = verdict(judge::<Retained>(key, value));
        let Some(retained) = stays else {
            return Ok(verdict);
        };
        let id = retained.publication;
        let publication = self
            .tables
            .space(Kind::Publications)
            .get(self.txn, |out| id.encode(out))?;
        let problem = match publication {
            None => format!("leads to publication {id}, which is not there"),
            Some(publication) => match Publication::view(publication.as_ref()) {
                Ok(view) if view.topic().is_ok_and(|topic| topic != retained.topic) => {
                    format!("leads to publication {id}, which is of another topic")
                }
                // A publication that cannot be read is named itself.
                _ => return Ok(verdict),
            },
        };
        verdict.problems.push((Severity::Error, problem));
        verdict.cure = Cure::MoveAside;
        Ok(verdict)
    }
}
