//! The tables and indexes of a realm store.
//!
//! Sessions, their index by session ID, and publications are those of
//! Crossbar.io (cfxdb), OIDs and bytes, so that it can open the same file.
//! Events are kept in a table of our own, because the keys of cfxdb's are in
//! no order ([`foreign`](super::foreign)).

use std::fmt;

use smallvec::SmallVec;
use uuid::Uuid;

use super::history::History;
use crate::key::{Key, KeyBuf, KeyError, encode_text};
use crate::record::{
    Event, EventView, Publication, Retained, Session, SessionView, Subscription, SubscriptionView,
};
use crate::table::{Index, IndexHandle, Table};
use crate::{PublicationId, Result, SessionId, SubscriptionId, Timestamp};

/// `cfxdb.realmstore._session.Sessions`: session OID → [`Session`].
#[derive(Debug, Clone, Copy)]
pub struct Sessions;

impl Table for Sessions {
    const OID: Uuid = Uuid::from_u128(0x403ecc06_f564_4ea9_92f2_c4c13bd2ba5a);
    const NAME: &'static str = "cfxdb.realmstore._session.Sessions";
    const SCHEMA_VERSION: Option<u32> = None;
    type Key = Uuid;
    type Record = Session;
    type Companions = (
        IndexHandle<SessionsBySessionId>,
        IndexHandle<SessionsByAuthid>,
        IndexHandle<SessionsByLeaving>,
    );
}

/// `cfxdb.realmstore._session.IndexSessionsBySessionId`: (WAMP session ID,
/// joined at) → session OID, unique. A session without a time of joining
/// stands at 0.
#[derive(Debug, Clone, Copy)]
pub struct SessionsBySessionId;

impl Index for SessionsBySessionId {
    const OID: Uuid = Uuid::from_u128(0x0ea1ea1a_45f2_4352_a4a0_1fafff099c96);
    const NAME: &'static str = "cfxdb.realmstore._session.IndexSessionsBySessionId";
    const SCHEMA_VERSION: Option<u32> = None;
    const UNIQUE: bool = true;
    type Table = Sessions;
    type Key = (SessionId, Timestamp);

    fn key(session: &SessionView<'_>) -> Result<Option<Self::Key>> {
        Ok(Some((
            session.session()?,
            session.joined_at()?.unwrap_or_default(),
        )))
    }
}

/// `realmstore.sessions_by_authid`: (authid, joined at), session OID. An index
/// of ours; Crossbar.io does not know it.
#[derive(Debug, Clone, Copy)]
pub struct SessionsByAuthid;

impl Index for SessionsByAuthid {
    const OID: Uuid = Uuid::from_u128(0x5a98ebdc_0c3c_4832_a8c5_63779d5a9201);
    const NAME: &'static str = "realmstore.sessions_by_authid";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    const UNIQUE: bool = false;
    type Table = Sessions;
    type Key = (TextKey, Timestamp);

    fn key(session: &SessionView<'_>) -> Result<Option<Self::Key>> {
        let Some(authid) = session.authid()? else {
            return Ok(None);
        };
        Ok(Some((
            TextKey::new(authid),
            session.joined_at()?.unwrap_or_default(),
        )))
    }
}

/// `realmstore.sessions_by_leaving`: (time of leaving, time of joining),
/// session OID. A session that has not left stands at the end of time. An
/// index of ours; Crossbar.io does not know it.
#[derive(Debug, Clone, Copy)]
pub struct SessionsByLeaving;

impl SessionsByLeaving {
    /// Where sessions stand that have not left.
    pub(super) const OPEN: Timestamp = Timestamp::MAX;
}

impl Index for SessionsByLeaving {
    const OID: Uuid = Uuid::from_u128(0x1f7c44f5_1d0e_4a0b_9d51_5a8b6c1c7d02);
    const NAME: &'static str = "realmstore.sessions_by_leaving";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    const UNIQUE: bool = false;
    type Table = Sessions;
    type Key = (Timestamp, Timestamp);

    fn key(session: &SessionView<'_>) -> Result<Option<Self::Key>> {
        Ok(Some((
            session.left_at()?.unwrap_or(Self::OPEN),
            session.joined_at()?.unwrap_or_default(),
        )))
    }
}

/// The bytes of a text as far as an index holds them: the first 200.
///
/// Authids and URIs may be longer than keys can be, so whoever looks one up
/// compares the record's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextKey(SmallVec<[u8; 64]>);

impl TextKey {
    /// Each byte may take two in a key, and more follows.
    const MAX_LEN: usize = 200;

    /// The key of a text.
    pub fn new(text: &str) -> Self {
        Self(SmallVec::from_slice(
            &text.as_bytes()[..text.len().min(Self::MAX_LEN)],
        ))
    }

    /// The text, where the key holds all of it.
    pub fn whole(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        (text.len() < Self::MAX_LEN).then_some(text)
    }
}

/// As a text in quotes; its last character may be cut.
impl fmt::Display for TextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Key for TextKey {
    fn encode(&self, out: &mut KeyBuf) {
        encode_text(&self.0, out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        crate::key::decode_text(bytes).map(Self)
    }
}

/// `cfxdb.realmstore._publication.Publications`: publication ID → [`Publication`].
#[derive(Debug, Clone, Copy)]
pub struct Publications;

impl Table for Publications {
    const OID: Uuid = Uuid::from_u128(0xdd04931a_753b_4fde_8140_d66b93519c73);
    const NAME: &'static str = "cfxdb.realmstore._publication.Publications";
    const SCHEMA_VERSION: Option<u32> = None;
    type Key = PublicationId;
    type Record = Publication;
    type Companions = ();
}

/// `realmstore.events`: [`EventKey`] → [`Event`], a table of ours.
#[derive(Debug, Clone, Copy)]
pub struct Events;

impl Table for Events {
    const OID: Uuid = Uuid::from_u128(0xac5c412b_78f0_4ccb_a0a6_7941dc8f2d5f);
    const NAME: &'static str = "realmstore.events";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    type Key = EventKey;
    type Record = Event;
    type Companions = (History,);
}

/// Where an event stands: in its subscription, by time. Publication and
/// receiver keep apart what happened in the same nanosecond. All of it comes
/// from the event itself, so the same event has the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventKey {
    /// The event's subscription.
    pub subscription: SubscriptionId,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its publication.
    pub publication: PublicationId,
    /// Its receiver, 0 when it has none.
    pub receiver: SessionId,
}

impl From<&Event> for EventKey {
    fn from(event: &Event) -> Self {
        Self {
            subscription: event.subscription,
            timestamp: event.timestamp,
            publication: event.publication,
            receiver: event.receiver.unwrap_or_default(),
        }
    }
}

impl EventKey {
    /// The place of an event that is read in place.
    ///
    /// # Errors
    /// When one of the four fields is damaged.
    pub fn of(event: &EventView<'_>) -> Result<Self> {
        Ok(Self {
            subscription: event.subscription()?,
            timestamp: event.timestamp()?,
            publication: event.publication()?,
            receiver: event.receiver()?.unwrap_or_default(),
        })
    }
}

impl Key for EventKey {
    fn encode(&self, out: &mut KeyBuf) {
        (
            self.subscription,
            self.timestamp,
            self.publication,
            self.receiver,
        )
            .encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        let (subscription, timestamp, publication, receiver) = Key::decode(bytes)?;
        Ok(Self {
            subscription,
            timestamp,
            publication,
            receiver,
        })
    }
}

/// `realmstore.subscriptions`: subscription ID → [`Subscription`], a table of ours.
#[derive(Debug, Clone, Copy)]
pub struct Subscriptions;

impl Table for Subscriptions {
    const OID: Uuid = Uuid::from_u128(0x7e0b2a54_93c6_4c0f_8f0e_0b7a1f6d2c11);
    const NAME: &'static str = "realmstore.subscriptions";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    type Key = SubscriptionId;
    type Record = Subscription;
    type Companions = (IndexHandle<SubscriptionsByUri>,);
}

/// `realmstore.subscriptions_by_uri`: URI (its beginning), subscription ID.
/// Aliases are not in it.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionsByUri;

impl Index for SubscriptionsByUri {
    const OID: Uuid = Uuid::from_u128(0xb9c1e7d0_6a42_4f5b_a3c8_2d9e5f70c412);
    const NAME: &'static str = "realmstore.subscriptions_by_uri";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    const UNIQUE: bool = false;
    type Table = Subscriptions;
    type Key = (TextKey,);

    fn key(subscription: &SubscriptionView<'_>) -> Result<Option<Self::Key>> {
        Ok(subscription.uri()?.map(|uri| (TextKey::new(uri),)))
    }
}

/// `realmstore.retained`: topic (its beginning), a number that counts up →
/// [`Retained`], a table of ours. The newest publication of a topic is the last.
#[derive(Debug, Clone, Copy)]
pub struct RetainedPublications;

impl Table for RetainedPublications {
    const OID: Uuid = Uuid::from_u128(0x2c5d8f13_e1b7_4a96_b0d4_7f3e6a9c5013);
    const NAME: &'static str = "realmstore.retained";
    const SCHEMA_VERSION: Option<u32> = Some(1);
    type Key = (TextKey, u64);
    type Record = Retained;
    type Companions = ();
}
