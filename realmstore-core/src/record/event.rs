//! Events: what was dispatched to whom, under which subscription.

use super::field::Field;
use super::{Problem, RecordError, record};
use crate::generated::realmstore::Event as Generated;
use crate::{PublicationId, SessionId, SubscriptionId, Timestamp};

record! {
    /// One dispatch of a publication under a subscription: a WAMP `EVENT`.
    /// A publication with three receivers makes three events; one without any
    /// receiver makes one event that has none.
    Event,
    /// An [`Event`], read in place.
    EventView<'a>, "event", check |_| Ok(());

    /// When the event was dispatched.
    timestamp: Timestamp | Timestamp = VT_TIMESTAMP,
    /// The subscription under which it was dispatched.
    subscription: SubscriptionId | SubscriptionId = VT_SUBSCRIPTION,
    /// What was dispatched.
    publication: PublicationId | PublicationId = VT_PUBLICATION,
    /// The session that it was sent to; unset when nobody was there to receive it.
    receiver: Option<SessionId> | Option<SessionId> = VT_RECEIVER,
    /// Whether it was a retained publication, sent because the receiver subscribed.
    retained: Option<bool> | Option<bool> = VT_RETAINED,
    /// Whether the receiver was to acknowledge it.
    acknowledged_delivery: Option<bool> | Option<bool> = VT_ACKNOWLEDGED_DELIVERY,
}

impl Event {
    /// An event with nothing optional set.
    pub fn new(
        subscription: SubscriptionId,
        timestamp: Timestamp,
        publication: PublicationId,
    ) -> Self {
        Self {
            timestamp,
            subscription,
            publication,
            ..Self::default()
        }
    }
}
