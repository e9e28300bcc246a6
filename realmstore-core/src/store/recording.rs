//! Recording as it happens: a publication and all whom it was dispatched to,
//! in one step, in the order of arrival.

use smallvec::SmallVec;

use super::history::{HistoryEntry, Place};
use super::tables::{EventKey, Events, Publications};
use super::{RealmStore, StoreWrite, check_event};
use crate::backend::{Backend, ReadTxn};
use crate::key::Key;
use crate::record::{Event, Publication, Record};
use crate::table::Table;
use crate::{Error, ErrorKind, Result, SessionId, SubscriptionId, Timestamp};

/// A publication, and whom it was dispatched to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dispatch {
    /// The publication.
    pub publication: Publication,
    /// To whom it went, by subscription.
    pub deliveries: Vec<Delivery>,
    /// Whether it is retained for those who subscribe later. That is for the
    /// broker to decide, who may decline what a publisher asks for.
    pub retain: Option<Retain>,
}

/// The dispatch of a publication under one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The subscription, or an alias of it.
    pub subscription: SubscriptionId,
    /// When it was dispatched.
    pub timestamp: Timestamp,
    /// The sessions that it was sent to. None at all where nobody was there to
    /// receive it: it is in the history all the same.
    pub receivers: Vec<SessionId>,
    /// Whether it was a retained publication, sent because the receiver subscribed.
    pub retained: Option<bool>,
    /// Whether the receivers were to acknowledge it.
    pub acknowledged_delivery: Option<bool>,
}

/// For how long a publication is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retain {
    /// From when on it is not retained any more; unset when that never comes.
    pub expires_at: Option<Timestamp>,
}

impl<B: Backend> RealmStore<B> {
    /// Records a publication and all its deliveries as they happen.
    ///
    /// The history of a subscription is in the order of these calls: where a
    /// clock was set back, the events of a publication that is new to the
    /// history are given the time of the one before, and those that have the
    /// same time stay in the order in which they came.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the publication has both a payload and
    /// arguments, or it or a subscription has no ID: nothing is then stored.
    /// After any other error the transaction can only be dropped.
    pub fn record(&self, txn: &mut StoreWrite<'_, B>, dispatch: &Dispatch) -> Result<()> {
        self.record_deliveries(
            txn,
            &dispatch.publication,
            &dispatch.deliveries,
            dispatch.retain,
        )
    }

    /// As [`record`](Self::record), with the parts of a [`Dispatch`] at hand.
    pub fn record_deliveries<'d>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: &Publication,
        deliveries: impl IntoIterator<Item = &'d Delivery> + Clone,
        retain: Option<Retain>,
    ) -> Result<()> {
        let mut subscriptions = deliveries.clone().into_iter().map(|to| to.subscription);
        let unset = if publication.publication.is_unset() {
            Some((Publications::NAME, "a publication without an ID"))
        } else if subscriptions.any(SubscriptionId::is_unset) {
            Some((Events::NAME, "an event without a subscription"))
        } else {
            None
        };
        if let Some((table, what)) = unset {
            let message = format!("{what} cannot be stored");
            return Err(Error::new(ErrorKind::InvalidInput, message).table(table));
        }
        self.publications
            .put(txn, &publication.publication, publication)?;
        let recorded = self.record_rest(txn, publication, deliveries, retain);
        if recorded.is_err() {
            txn.break_off();
        }
        recorded
    }

    fn record_rest<'d>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: &Publication,
        deliveries: impl IntoIterator<Item = &'d Delivery>,
        retain: Option<Retain>,
    ) -> Result<()> {
        for delivery in deliveries {
            let event = Event {
                retained: delivery.retained,
                acknowledged_delivery: delivery.acknowledged_delivery,
                ..Event::new(
                    delivery.subscription,
                    delivery.timestamp,
                    publication.publication,
                )
            };
            let receivers = delivery.receivers.iter().copied();
            self.record_events(txn, event, receivers)?;
        }
        match retain {
            Some(retain) => self.retain(txn, publication, retain),
            None => Ok(()),
        }
    }

    /// Records an event as it happens: as [`record`](Self::record), for a
    /// publication that is stored already.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it has no subscription or no
    /// publication: nothing is then stored. After any other error the
    /// transaction can only be dropped.
    pub fn record_event(&self, txn: &mut StoreWrite<'_, B>, event: &Event) -> Result<()> {
        check_event(event)?;
        let recorded = self.record_events(txn, event.clone(), event.receiver);
        if recorded.is_err() {
            txn.break_off();
        }
        recorded
    }

    /// Records an event for each receiver, or the one without any.
    fn record_events(
        &self,
        txn: &mut StoreWrite<'_, B>,
        mut event: Event,
        receivers: impl IntoIterator<Item = SessionId>,
    ) -> Result<()> {
        event.subscription = self.subscription_to_write(txn, event.subscription)?;
        let (history,) = self.events.companions();
        let mut receivers: SmallVec<[Option<SessionId>; 8]> =
            receivers.into_iter().map(Some).collect();
        receivers.sort_unstable();
        receivers.dedup();
        if receivers.is_empty() {
            receivers.push(None);
        }
        let (end, ordinal) = self.end_of_history(txn, event.subscription, event.timestamp)?;
        let entry = HistoryEntry {
            subscription: event.subscription,
            timestamp: end,
            ordinal,
            publication: event.publication,
        };
        if history.begin(txn, &entry, receivers.len() as u64)? {
            event.timestamp = end;
            for receiver in receivers {
                event.receiver = receiver;
                let key = EventKey::from(&event);
                let space = self.events.space();
                event.with_bytes(|bytes| space.put_new(txn, |out| key.encode(out), bytes))?;
            }
            return Ok(());
        }
        let position = history.position(txn, event.subscription, event.publication);
        if let Ok(Some(position)) = &position {
            event.timestamp = event.timestamp.max(position.first);
        }
        let mut new = 0;
        for receiver in receivers {
            event.receiver = receiver;
            let key = EventKey::from(&event);
            let space = self.events.space();
            if event.with_bytes(|bytes| space.insert(txn, |out| key.encode(out), bytes))? {
                new += 1;
            } else {
                self.events.put(txn, &key, &event)?;
            }
        }
        if new == 0 {
            return Ok(());
        }
        let first = EventKey {
            receiver: SessionId::default(),
            ..EventKey::from(&event)
        };
        match position {
            Ok(stored) => history.add_to(txn, stored, &first, ordinal, new),
            // It is counted anew.
            Err(error) if error.kind() == ErrorKind::Damaged => {
                history.add(txn, &first, new, Place::Behind)
            }
            Err(error) => Err(error),
        }
    }

    /// The time and the ordinal of what is put at the end of a history.
    fn end_of_history(
        &self,
        txn: &mut StoreWrite<'_, B>,
        subscription: SubscriptionId,
        time: Timestamp,
    ) -> Result<(Timestamp, u32)> {
        let last = match txn.recent().end(subscription) {
            Some(known) => known,
            None => {
                let last = self.last_entry(txn, subscription)?;
                txn.recent_mut().note_end(subscription, last);
                last
            }
        };
        Ok(match last {
            Some((last, ordinal)) if last >= time => match ordinal.checked_add(1) {
                Some(ordinal) => (last, ordinal),
                None => (Timestamp::from_nanos(last.as_nanos().saturating_add(1)), 0),
            },
            _ => (time, 0),
        })
    }

    /// When the last entry of a history was dispatched, and its ordinal.
    pub(super) fn last_entry<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
    ) -> Result<Option<(Timestamp, u32)>> {
        let (history,) = self.events.companions();
        let own = history.last(txn, subscription)?;
        let foreign = self.foreign_entries(txn, subscription)?;
        let last = own.into_iter().chain(foreign.entries.last().copied()).max();
        Ok(last.map(|entry| (entry.timestamp, entry.ordinal)))
    }
}
