//! Retained publications.

use super::field::Field;
use super::{Problem, RecordError, record};
use crate::generated::realmstore::Retained as Generated;
use crate::{PublicationId, Timestamp};

record! {
    /// A publication that is retained: whoever subscribes later, and asks for
    /// it, gets it (WAMP advanced profile, "Event Retention").
    Retained,
    /// A [`Retained`] row, read in place.
    RetainedView<'a>, "retained publication", check |_| Ok(());

    /// Its topic, a URI.
    topic: String | &'a str = VT_TOPIC,
    /// The publication.
    publication: PublicationId | PublicationId = VT_PUBLICATION,
    /// Since when it is retained.
    retained_at: Timestamp | Timestamp = VT_RETAINED_AT,
    /// From when on it is retained no longer; unset when that never comes.
    expires_at: Option<Timestamp> | Option<Timestamp> = VT_EXPIRES_AT,
}
