//! What is wrong with a record, and what can stay of it.

use flatbuffers::InvalidFlatbuffer;
use uuid::Uuid;

use super::super::CrossbarEventKey;
use super::super::tables::{EventKey, TextKey};
use crate::generated::realmstore as generated;
use crate::key::{Key, KeyBuf};
use crate::record::{Problem, Quarantined, Record, RecordError, Retained, Subscription};
use crate::{Event, Publication, PublicationId, Result, Session, SubscriptionId};

/// What a repair does with a row.
#[derive(Debug, Default)]
pub(in super::super) enum Cure {
    /// It stays as it is.
    #[default]
    Leave,
    /// It goes to the quarantine.
    MoveAside,
    /// It goes to the quarantine, and these bytes take its place.
    Replace(Vec<u8>),
}

/// A record that was looked at: what is wrong with it, and what a repair makes of it.
pub(super) struct Judged<R> {
    pub(super) problems: Vec<String>,
    pub(super) cure: Cure,
    /// The record that stays: as it is, or what takes its place.
    pub(super) stays: Option<R>,
}

/// Whether a record says of itself what its key says.
pub(super) enum Identity {
    Same,
    /// It lacks a field that the key has; it was completed by the key.
    Lacking(&'static str),
    /// A field of it says something else.
    Other(&'static str),
    /// The key is none of this table.
    NoKey,
}

/// A kind of record that can be looked at under its key.
pub(super) trait Keyed: Record + Default {
    /// FlatBuffers' own verifier.
    fn verify(bytes: &[u8]) -> Result<(), InvalidFlatbuffer>;

    /// Reads what can be read; says what cannot, and whether there are fields
    /// of a later version.
    fn salvage(view: &Self::View<'_>) -> (Self, Vec<RecordError>, bool);

    /// Compares the record with its key, and completes it by it.
    fn identify(&mut self, key: &[u8]) -> Identity;

    /// Makes of what was read something that can take the record's place;
    /// `false` when nothing can.
    fn mend(&mut self, damage: &[RecordError]) -> bool;

    /// Whether the key alone says enough to stand for a record that cannot be read.
    const KEY_IS_ENOUGH: bool = false;
}

macro_rules! keyed {
    ($record:ident) => {
        fn verify(bytes: &[u8]) -> Result<(), InvalidFlatbuffer> {
            flatbuffers::root::<generated::$record<'_>>(bytes).map(drop)
        }

        fn salvage(view: &Self::View<'_>) -> (Self, Vec<RecordError>, bool) {
            let (record, damage) = view.salvage();
            (record, damage, view.has_unknown_fields())
        }
    };
}

/// Takes a field that a record lacks from its key, and compares it where it has it.
fn compare<T: Copy + PartialEq + Default>(own: &mut T, key: T, name: &'static str) -> Identity {
    if *own == key {
        Identity::Same
    } else if *own == T::default() {
        *own = key;
        Identity::Lacking(name)
    } else {
        Identity::Other(name)
    }
}

impl Identity {
    /// The worse of the two.
    fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Other(_) | Self::NoKey, _) | (_, Self::Same) => self,
            (_, Self::Other(_) | Self::NoKey) | (Self::Same, _) => other,
            _ => self,
        }
    }
}

fn has_damage(damage: &[RecordError], fields: &[&str]) -> bool {
    damage.iter().any(|damage| fields.contains(&damage.field))
}

impl Keyed for Session {
    keyed!(Session);

    fn identify(&mut self, key: &[u8]) -> Identity {
        match <Uuid as Key>::from_bytes(key) {
            Ok(oid) => compare(&mut self.oid, oid, "oid"),
            Err(_) => Identity::NoKey,
        }
    }

    fn mend(&mut self, damage: &[RecordError]) -> bool {
        for damage in damage
            .iter()
            .filter(|damage| damage.problem == Problem::NotCbor)
        {
            match damage.field {
                "transport" => self.transport = None,
                "proxy_transport" => self.proxy_transport = None,
                "authextra" => self.authextra = None,
                _ => {}
            }
        }
        // Without it nobody could tell whose session it was.
        !self.session.is_unset()
    }
}

impl Keyed for Publication {
    keyed!(Publication);

    fn identify(&mut self, key: &[u8]) -> Identity {
        match PublicationId::from_bytes(key) {
            Ok(id) => compare(&mut self.publication, id, "publication"),
            Err(_) => Identity::NoKey,
        }
    }

    fn mend(&mut self, damage: &[RecordError]) -> bool {
        const RECEIVERS: &[&str] = &[
            "exclude_me",
            "exclude",
            "exclude_authid",
            "exclude_authrole",
            "eligible",
            "eligible_authid",
            "eligible_authrole",
        ];
        for damage in damage
            .iter()
            .filter(|damage| damage.problem == Problem::NotCbor)
        {
            match damage.field {
                "args" => self.args = None,
                "kwargs" => self.kwargs = None,
                _ => {}
            }
        }
        if has_damage(damage, RECEIVERS) {
            // Who was to receive it is not known any more: nobody is admitted.
            self.eligible = Some(Vec::new());
        }
        !self.topic.is_empty()
    }
}

impl Keyed for Event {
    keyed!(Event);

    fn identify(&mut self, key: &[u8]) -> Identity {
        let Ok(key) = EventKey::from_bytes(key) else {
            return Identity::NoKey;
        };
        let mut receiver = self.receiver.unwrap_or_default();
        let identity = compare(&mut self.subscription, key.subscription, "subscription")
            .and(compare(&mut self.timestamp, key.timestamp, "timestamp"))
            .and(compare(
                &mut self.publication,
                key.publication,
                "publication",
            ))
            .and(compare(&mut receiver, key.receiver, "receiver"));
        if !receiver.is_unset() {
            self.receiver = Some(receiver);
        }
        identity
    }

    fn mend(&mut self, _damage: &[RecordError]) -> bool {
        true
    }

    /// What the key does not say is how the event was delivered.
    const KEY_IS_ENOUGH: bool = true;
}

/// An event in Crossbar.io's own table, where keys are others.
#[derive(Debug, Default)]
pub(super) struct CrossbarEvent(pub(super) Event);

impl Record for CrossbarEvent {
    type View<'a> = <Event as Record>::View<'a>;

    fn view(bytes: &[u8]) -> Result<Self::View<'_>> {
        Event::view(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Event::decode(bytes).map(Self)
    }

    fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        self.0.with_bytes(use_bytes)
    }
}

impl Keyed for CrossbarEvent {
    fn verify(bytes: &[u8]) -> Result<(), InvalidFlatbuffer> {
        <Event as Keyed>::verify(bytes)
    }

    fn salvage(view: &Self::View<'_>) -> (Self, Vec<RecordError>, bool) {
        let (event, damage, unknown) = <Event as Keyed>::salvage(view);
        (Self(event), damage, unknown)
    }

    fn identify(&mut self, key: &[u8]) -> Identity {
        let Some(CrossbarEventKey {
            subscription,
            timestamp,
        }) = CrossbarEventKey::from_bytes(key)
        else {
            return Identity::NoKey;
        };
        compare(&mut self.0.subscription, subscription, "subscription").and(compare(
            &mut self.0.timestamp,
            timestamp,
            "timestamp",
        ))
    }

    fn mend(&mut self, damage: &[RecordError]) -> bool {
        !has_damage(damage, &["publication"])
    }
}

impl Keyed for Subscription {
    keyed!(Subscription);

    fn identify(&mut self, key: &[u8]) -> Identity {
        match SubscriptionId::from_bytes(key) {
            Ok(id) => compare(&mut self.subscription, id, "subscription"),
            Err(_) => Identity::NoKey,
        }
    }

    /// What it stands for must be known in full: half of it would be another subscription.
    fn mend(&mut self, damage: &[RecordError]) -> bool {
        !has_damage(damage, &["alias_of", "realm", "uri", "match_policy"])
    }
}

impl Keyed for Retained {
    keyed!(Retained);

    fn identify(&mut self, key: &[u8]) -> Identity {
        match <(TextKey, u64)>::from_bytes(key) {
            Ok((topic, _)) if topic == TextKey::new(&self.topic) => Identity::Same,
            Ok(_) => Identity::Other("topic"),
            Err(_) => Identity::NoKey,
        }
    }

    /// What was to be retained for a time only must not be retained for ever.
    fn mend(&mut self, damage: &[RecordError]) -> bool {
        !has_damage(damage, &["topic", "publication", "expires_at"])
    }
}

impl Keyed for Quarantined {
    keyed!(Quarantined);

    fn identify(&mut self, key: &[u8]) -> Identity {
        match u64::from_bytes(key) {
            Ok(_) => Identity::Same,
            Err(_) => Identity::NoKey,
        }
    }

    fn mend(&mut self, damage: &[RecordError]) -> bool {
        !has_damage(damage, &["table", "key", "value"])
    }
}

/// Looks at a record, and decides what of it can stay.
pub(super) fn judge<R: Keyed>(key: &[u8], value: &[u8]) -> Judged<R> {
    let mut problems = Vec::new();
    let (mut record, damage, has_unknown_fields) = match R::view(value) {
        Ok(view) => R::salvage(&view),
        Err(error) => {
            problems.push(error.to_string());
            (R::default(), Vec::new(), false)
        }
    };
    let is_unreadable = !problems.is_empty();
    problems.extend(damage.iter().map(ToString::to_string));
    if problems.is_empty()
        && let Err(error) = R::verify(value)
    {
        let text = error.to_string();
        let reason = text.lines().next().unwrap_or_default();
        problems.push(format!(
            "reads in full, but is no valid FlatBuffer: {reason}"
        ));
    }
    let can_stay = match record.identify(key) {
        Identity::Same => true,
        // That a field cannot be read is said already.
        Identity::Lacking(field) => {
            if !is_unreadable && !has_damage(&damage, &[field]) {
                problems.push(format!("has no {field} of its own, its key has"));
            }
            true
        }
        Identity::Other(field) => {
            problems.push(format!("has another {field} than its key"));
            false
        }
        Identity::NoKey => {
            problems.push("its key is not one of this table".to_owned());
            false
        }
    };
    if problems.is_empty() {
        return Judged {
            problems,
            cure: Cure::Leave,
            stays: Some(record),
        };
    }
    if has_unknown_fields {
        problems
            .push("has fields that only a newer realmstore knows, and is not rewritten".to_owned());
    }
    let mended = can_stay
        && !has_unknown_fields
        && (!is_unreadable || R::KEY_IS_ENOUGH)
        && record.mend(&damage);
    // What a later look would find fault with must not take a record's place.
    let bytes = mended
        .then(|| record.to_bytes().ok())
        .flatten()
        .filter(|bytes| is_sound::<R>(key, bytes));
    match bytes {
        Some(bytes) => Judged {
            problems,
            cure: Cure::Replace(bytes),
            stays: Some(record),
        },
        None => Judged {
            problems,
            cure: Cure::MoveAside,
            stays: None,
        },
    }
}

fn is_sound<R: Keyed>(key: &[u8], value: &[u8]) -> bool {
    let Ok(view) = R::view(value) else {
        return false;
    };
    let (mut record, damage, _) = R::salvage(&view);
    damage.is_empty() && R::verify(value).is_ok() && matches!(record.identify(key), Identity::Same)
}

/// The bytes of a key.
pub(super) fn bytes_of(key: &impl Key) -> KeyBuf {
    let mut bytes = KeyBuf::new();
    key.encode(&mut bytes);
    bytes
}
