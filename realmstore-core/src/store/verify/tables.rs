//! The tables that a verification knows, and where they lie.

use std::fmt::Write;

use uuid::Uuid;

use super::super::foreign;
use super::super::history::{self, HistoryEntry};
use super::super::quarantine::Quarantine;
use super::super::tables::{
    EventKey, Events, Publications, RetainedPublications, Sessions, SessionsByAuthid,
    SessionsByLeaving, SessionsBySessionId, Subscriptions, SubscriptionsByUri, TextKey,
};
use super::super::{CROSSBAR_EVENTS_OID, CrossbarEventKey, sessions, stamp};
use crate::backend::ReadTxn;
use crate::directory::{self, Directory, DirectoryEntry};
use crate::key::Key;
use crate::table::{Index, Slot, Space, Table};
use crate::{ErrorKind, PublicationId, Result, SessionId, SubscriptionId, Timestamp};

/// The slot of the directory itself.
const DIRECTORY: Slot = 0;

/// A table or an index whose rows are known. In this order they are verified:
/// what leads to records comes after the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Directory,
    Meta,
    Quarantine,
    Sessions,
    Publications,
    CrossbarEvents,
    Events,
    Subscriptions,
    Retained,
    SessionsBySessionId,
    SessionsByAuthid,
    SessionsByLeaving,
    SubscriptionsByUri,
    Positions,
    History,
}

impl Kind {
    pub(in super::super) const ALL: [Self; 15] = [
        Self::Directory,
        Self::Meta,
        Self::Quarantine,
        Self::Sessions,
        Self::Publications,
        Self::CrossbarEvents,
        Self::Events,
        Self::Subscriptions,
        Self::Retained,
        Self::SessionsBySessionId,
        Self::SessionsByAuthid,
        Self::SessionsByLeaving,
        Self::SubscriptionsByUri,
        Self::Positions,
        Self::History,
    ];

    /// The table with an OID; the directory has none, and stands for what is not known.
    pub(in super::super) fn of(oid: Option<Uuid>) -> Self {
        let known = Self::ALL.into_iter().find(|kind| kind.oid() == oid);
        known.unwrap_or(Self::Directory)
    }

    /// The name that findings have for it.
    pub(in super::super) fn label(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Meta => "meta",
            Self::Quarantine => "quarantine",
            Self::Sessions => "sessions",
            Self::Publications => "publications",
            Self::CrossbarEvents => "crossbar_events",
            Self::Events => "events",
            Self::Subscriptions => "subscriptions",
            Self::Retained => "retained",
            Self::SessionsBySessionId => "sessions_by_session_id",
            Self::SessionsByAuthid => "sessions_by_authid",
            Self::SessionsByLeaving => "sessions_by_leaving",
            Self::SubscriptionsByUri => "subscriptions_by_uri",
            Self::Positions => "history_positions",
            Self::History => "history",
        }
    }

    /// What the directory knows it by; it does not list itself.
    pub(in super::super) fn oid(self) -> Option<Uuid> {
        Some(match self {
            Self::Directory => return None,
            Self::Meta => directory::META_OID,
            Self::Quarantine => Quarantine::OID,
            Self::Sessions => Sessions::OID,
            Self::Publications => Publications::OID,
            Self::CrossbarEvents => CROSSBAR_EVENTS_OID,
            Self::Events => Events::OID,
            Self::Subscriptions => Subscriptions::OID,
            Self::Retained => RetainedPublications::OID,
            Self::SessionsBySessionId => SessionsBySessionId::OID,
            Self::SessionsByAuthid => SessionsByAuthid::OID,
            Self::SessionsByLeaving => SessionsByLeaving::OID,
            Self::SubscriptionsByUri => SubscriptionsByUri::OID,
            Self::Positions => history::POSITIONS_OID,
            Self::History => history::HISTORY_OID,
        })
    }

    /// Its name in the directory.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Directory => directory::NAME,
            Self::Meta => directory::META_NAME,
            Self::Quarantine => Quarantine::NAME,
            Self::Sessions => Sessions::NAME,
            Self::Publications => Publications::NAME,
            Self::CrossbarEvents => foreign::NAME,
            Self::Events => Events::NAME,
            Self::Subscriptions => Subscriptions::NAME,
            Self::Retained => RetainedPublications::NAME,
            Self::SessionsBySessionId => SessionsBySessionId::NAME,
            Self::SessionsByAuthid => SessionsByAuthid::NAME,
            Self::SessionsByLeaving => SessionsByLeaving::NAME,
            Self::SubscriptionsByUri => SubscriptionsByUri::NAME,
            Self::Positions => history::POSITIONS_NAME,
            Self::History => history::HISTORY_NAME,
        }
    }

    /// The version of its layout that is known; `None` for what has none.
    pub(in super::super) fn version(self) -> Option<u32> {
        match self {
            Self::Meta => Some(directory::META_VERSION),
            Self::Quarantine => Quarantine::SCHEMA_VERSION,
            Self::SessionsByAuthid => SessionsByAuthid::SCHEMA_VERSION,
            Self::SessionsByLeaving => SessionsByLeaving::SCHEMA_VERSION,
            Self::Events => Events::SCHEMA_VERSION,
            Self::Subscriptions => Subscriptions::SCHEMA_VERSION,
            Self::SubscriptionsByUri => SubscriptionsByUri::SCHEMA_VERSION,
            Self::Retained => RetainedPublications::SCHEMA_VERSION,
            Self::Positions | Self::History => history::VERSION,
            _ => None,
        }
    }

    /// A key (without the slot) as people write it; in hexadecimal when it is none of this table.
    pub(in super::super) fn key_text(self, key: &[u8]) -> String {
        let text = match self {
            Self::Directory => key
                .try_into()
                .ok()
                .map(|slot| Slot::from_be_bytes(slot).to_string()),
            Self::Meta => meta_key_text(key),
            Self::Quarantine => u64::from_bytes(key).ok().map(|number| number.to_string()),
            Self::Sessions => <Uuid as Key>::from_bytes(key)
                .ok()
                .map(|oid| oid.to_string()),
            Self::Publications => PublicationId::from_bytes(key).ok().map(|id| id.to_string()),
            Self::CrossbarEvents => CrossbarEventKey::from_bytes(key)
                .map(|key| format!("{} at {}", key.subscription, key.timestamp)),
            Self::Events => EventKey::from_bytes(key).ok().map(event_text),
            Self::SessionsBySessionId => <(SessionId, Timestamp)>::from_bytes(key)
                .ok()
                .map(|(session, joined_at)| format!("{session} at {joined_at}")),
            Self::SessionsByAuthid => authid_text(key),
            Self::SessionsByLeaving => leaving_text(key),
            Self::Subscriptions => SubscriptionId::from_bytes(key)
                .ok()
                .map(|id| id.to_string()),
            Self::SubscriptionsByUri => <(TextKey, SubscriptionId)>::from_bytes(key)
                .ok()
                .map(|(uri, subscription)| format!("{uri} subscription {subscription}")),
            Self::Retained => <(TextKey, u64)>::from_bytes(key)
                .ok()
                .map(|(topic, number)| format!("{topic} number {number}")),
            Self::Positions => <(PublicationId, SubscriptionId)>::from_bytes(key).ok().map(
                |(publication, subscription)| format!("{subscription} publication {publication}"),
            ),
            Self::History => HistoryEntry::from_bytes(key).ok().map(|entry| {
                format!(
                    "{} at {} publication {}",
                    entry.subscription, entry.timestamp, entry.publication
                )
            }),
        };
        text.unwrap_or_else(|| hex(key))
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to memory cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn event_text(key: EventKey) -> String {
    let mut text = format!(
        "{} at {} publication {}",
        key.subscription, key.timestamp, key.publication
    );
    if !key.receiver.is_unset() {
        let _ = write!(text, " receiver {}", key.receiver);
    }
    text
}

fn authid_text(key: &[u8]) -> Option<String> {
    let (authid, joined_at, oid) = <(TextKey, Timestamp, Uuid)>::from_bytes(key).ok()?;
    Some(format!("{authid} at {joined_at} session {oid}"))
}

fn leaving_text(key: &[u8]) -> Option<String> {
    let (left_at, joined_at, oid) = <(Timestamp, Timestamp, Uuid)>::from_bytes(key).ok()?;
    Some(if left_at == SessionsByLeaving::OPEN {
        format!("open since {joined_at} session {oid}")
    } else {
        format!("{left_at} since {joined_at} session {oid}")
    })
}

fn meta_key_text(key: &[u8]) -> Option<String> {
    if key == stamp::KEY {
        return Some("stamp".to_owned());
    }
    if let Some(node) = node_of(key) {
        return Some(format!("last alive: node {node}"));
    }
    let table = version_of(key)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.oid() == Some(table));
    let name = kind.map_or_else(|| table.to_string(), |kind| kind.label().to_owned());
    Some(format!("version of {name}"))
}

/// The table whose version stands under a key of the meta table.
pub(super) fn version_of(key: &[u8]) -> Option<Uuid> {
    oid_behind(directory::VERSION_KEY, key)
}

/// The node of which a key of the meta table says when it was last alive.
pub(super) fn node_of(key: &[u8]) -> Option<Uuid> {
    oid_behind(sessions::ALIVE_KEY, key)
}

fn oid_behind(first: u8, key: &[u8]) -> Option<Uuid> {
    let oid = key.strip_prefix(&[first])?;
    <Uuid as Key>::from_bytes(oid).ok()
}

/// Where the tables of a store lie, as far as its directory can be read.
#[derive(Clone)]
pub(in super::super) struct Tables {
    pub(in super::super) directory: Directory,
    slots: [Option<Slot>; Kind::ALL.len()],
}

impl Tables {
    /// # Errors
    /// [`ErrorKind::Damaged`] for what is no realm store at all,
    /// [`ErrorKind::Unsupported`] when a table of ours has another version.
    pub(in super::super) fn find<X: ReadTxn>(txn: &X) -> Result<Self> {
        let directory = Directory::of_store(txn)?;
        let slots = Kind::ALL.map(|kind| match kind.oid() {
            Some(oid) => directory.slot(oid),
            None => Some(DIRECTORY),
        });
        for kind in Kind::ALL {
            let (Some(oid), Some(version)) = (kind.oid(), kind.version()) else {
                continue;
            };
            match directory::check_version(txn, &directory, oid, kind.name(), version) {
                // The row that cannot be read is named where it stands.
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                checked => checked?,
            }
        }
        Ok(Self { directory, slots })
    }

    pub(in super::super) fn slot(&self, kind: Kind) -> Option<Slot> {
        self.slots[kind as usize]
    }

    pub(in super::super) fn space(&self, kind: Kind) -> Space {
        Space::new(self.slot(kind), kind.name())
    }

    /// The same, with a table taken to be in a slot.
    pub(in super::super) fn with(&self, kind: Kind, slot: Slot) -> Self {
        let mut tables = self.clone();
        tables.slots[kind as usize] = Some(slot);
        tables
    }

    /// Whether an entry of the directory may be what is left of a table: it
    /// cannot be read, or has the name of one that is not found by its OID.
    pub(in super::super) fn is_lost(&self, entry: &DirectoryEntry) -> bool {
        let is_named = |kind: &Kind| entry.name.as_deref() == Some(kind.name());
        let named = Kind::ALL.into_iter().find(is_named);
        entry.oid.is_none() || named.is_some_and(|kind| self.slot(kind).is_none())
    }

    /// The known table that lives in a slot.
    pub(in super::super) fn kind_of(&self, slot: Slot) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| self.slot(*kind) == Some(slot))
    }
}
