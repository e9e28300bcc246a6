//! Event history as WAMP clients ask for it: `wamp.subscription.get_events`.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::query::KeySpan;
use super::{ForeignEntries, HistoryEntry, RealmStore};
use crate::backend::{Backend, Order, ReadTxn};
use crate::key::{Key, KeyBuf};
use crate::record::{Publication, PublicationView, Requester};
use crate::{Error, ErrorKind, PublicationId, Result, SubscriptionId, Timestamp};

/// What part of a subscription's history is asked for, and by whom: the
/// options of `wamp.subscription.get_events` (WAMP advanced profile, "Event
/// History") under their names there. All that are given must hold.
///
/// ```
/// use realmstore_core::GetEvents;
///
/// let newest_ten = GetEvents { reverse: true, limit: Some(10), ..GetEvents::default() };
/// # let _ = newest_ten;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetEvents {
    /// Newest first; else oldest first.
    pub reverse: bool,
    /// How many at most: the newest with [`reverse`](Self::reverse), else the oldest.
    pub limit: Option<usize>,
    /// Only what was first dispatched at this time or later.
    pub from_time: Option<Timestamp>,
    /// Only what was first dispatched later than this.
    pub after_time: Option<Timestamp>,
    /// Only what was first dispatched earlier than this.
    pub before_time: Option<Timestamp>,
    /// Only what was first dispatched at this time or earlier.
    pub until_time: Option<Timestamp>,
    /// Only publications to this topic, for subscriptions to a pattern.
    pub topic: Option<String>,
    /// Only this publication, and what stands behind it.
    pub from_publication: Option<PublicationId>,
    /// Only what stands behind this publication.
    pub after_publication: Option<PublicationId>,
    /// Only what stands before this publication.
    pub before_publication: Option<PublicationId>,
    /// Only this publication, and what stands before it.
    pub until_publication: Option<PublicationId>,
    /// Only what comes behind this place, in the order that is asked for:
    /// where an earlier page ended. No option of WAMP.
    pub cursor: Option<Cursor>,
    /// Who asks: they see only what [admits](crate::record::PublicationView::admits)
    /// them. Unset for operators, who see everything.
    pub requester: Option<Requester>,
    /// How many entries of the history are looked at at most. A page may end
    /// before its limit because of it, with a [cursor](HistoryPage::next) to go
    /// on from. It bounds what `topic` and the requester's filter may cost,
    /// which leave out what they have looked at.
    pub max_examined: Option<usize>,
}

impl GetEvents {
    /// Whether the topic and the requester that are asked for let a publication
    /// through. What is damaged in it lets no requester through.
    ///
    /// # Errors
    /// When there is a topic to compare with, and the publication's is damaged.
    pub fn lets_through(&self, publication: &PublicationView<'_>) -> Result<bool> {
        if let Some(topic) = &self.topic
            && publication.topic()? != topic
        {
            return Ok(false);
        }
        let requester = self.requester.as_ref();
        Ok(requester.is_none_or(|requester| publication.admits(requester)))
    }
}

/// A place in the history of a subscription, to go on from. It stays good
/// when what stood there is gone. As a text it is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    timestamp: Timestamp,
    ordinal: u32,
    publication: PublicationId,
}

impl Cursor {
    fn bytes(self) -> KeyBuf {
        let mut bytes = KeyBuf::new();
        (self.timestamp, self.ordinal, self.publication).encode(&mut bytes);
        bytes
    }

    fn entry(self, subscription: SubscriptionId) -> HistoryEntry {
        HistoryEntry {
            subscription,
            timestamp: self.timestamp,
            ordinal: self.ordinal,
            publication: self.publication,
        }
    }
}

impl From<HistoryEntry> for Cursor {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            timestamp: entry.timestamp,
            ordinal: entry.ordinal,
            publication: entry.publication,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes: Option<KeyBuf> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair)
                    .ok()
                    .filter(|pair| pair.len() == 2)?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect();
        let decoded = bytes.and_then(|bytes| Key::from_bytes(&bytes).ok());
        let (timestamp, ordinal, publication) = decoded.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is no cursor of a history"),
            )
        })?;
        Ok(Self {
            timestamp,
            ordinal,
            publication,
        })
    }
}

/// Some of a subscription's history.
#[derive(Debug, Clone, Default)]
pub struct HistoryPage {
    /// The publications, in the order that was asked for.
    pub rows: Vec<HistoryRow>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// What could not be read, and may be missing for that.
    pub damaged: Vec<Error>,
}

/// A publication in the history of a subscription.
///
/// As serde writes it, it is a row of WAMP's `get_events`: `timestamp`
/// (RFC 3339), `subscription`, `publication`, `details`, `args`, `kwargs`. The
/// details have the topic, and what payload passthru mode needs, but not the
/// publisher: whether that was disclosed is not recorded. A payload of passthru
/// mode is the only one of the `args`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The subscription, under the ID by which it was asked for.
    pub subscription: SubscriptionId,
    /// When the publication was first dispatched under it.
    pub timestamp: Timestamp,
    /// The publication.
    pub publication: Publication,
}

impl<B: Backend> RealmStore<B> {
    /// The history of a subscription, by the rules of WAMP's
    /// `wamp.subscription.get_events`. `None` when no history is kept of it,
    /// which is another thing than a history without anything in it.
    ///
    /// It costs what is looked at, not what is stored nor how many receivers
    /// there were: without a topic and a requester those are the rows that are
    /// returned.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when an option names a publication that is not
    /// in the history, or not any more; [`ErrorKind::InvalidInput`] when the
    /// limit or [`max_examined`](GetEvents::max_examined) is 0.
    pub fn get_events<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        options: &GetEvents,
    ) -> Result<Option<HistoryPage>> {
        if options.max_examined == Some(0) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a page that may look at no entry: max_examined is a positive number",
            ));
        }
        let asked_for = subscription;
        let subscription = self.resolve_subscription(txn, asked_for)?;
        let Some(entries) = self.history_entries(txn, subscription, options)? else {
            return Ok(None);
        };
        let mut page = HistoryPage::default();
        let mut last = None;
        let mut examined = 0;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    page.damaged.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if options.limit == Some(page.rows.len()) || options.max_examined == Some(examined) {
                page.next = last;
                break;
            }
            examined += 1;
            last = Some(entry.into());
            match self.row(txn, asked_for, &entry, options) {
                Ok(row) => page.rows.extend(row),
                Err(error) if error.kind() == ErrorKind::Damaged => page.damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(page))
    }

    /// The entries of a history that [`get_events`](Self::get_events) looks at:
    /// those that times, publications and the cursor leave, in the order that is
    /// asked for, without regard to limits, topic and requester
    /// ([`lets_through`](GetEvents::lets_through)). For whoever reads a history
    /// of any length and does not hold it in memory. `None` when no history is
    /// kept of the subscription, which is no alias here.
    ///
    /// # Errors
    /// As [`get_events`](Self::get_events).
    pub fn history_entries<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        subscription: SubscriptionId,
        options: &GetEvents,
    ) -> Result<Option<impl Iterator<Item = Result<HistoryEntry>> + use<'t, X, B>>> {
        if options.limit == Some(0) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a limit of 0 events: it is a positive number (WAMP event history)",
            ));
        }
        let foreign = self.foreign_entries(txn, subscription)?;
        if !self.has_history(txn, subscription, &foreign)? {
            return Ok(None);
        }
        let order = if options.reverse {
            Order::Descending
        } else {
            Order::Ascending
        };
        let range = self.range(txn, subscription, &foreign, options)?;
        self.entries(txn, foreign, &range, order, None).map(Some)
    }

    /// The row of an entry, when it is asked for.
    fn row<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        entry: &HistoryEntry,
        options: &GetEvents,
    ) -> Result<Option<HistoryRow>> {
        let Some(publication) = self.publications().get(txn, &entry.publication)? else {
            let mut key = KeyBuf::new();
            entry.publication.encode(&mut key);
            return Err(self
                .publications()
                .space()
                .damaged("the history leads to it, and it is not there")
                .key(&key));
        };
        if !options.lets_through(&publication.view()?)? {
            return Ok(None);
        }
        Ok(Some(HistoryRow {
            subscription,
            timestamp: entry.timestamp,
            publication: publication.to_owned()?,
        }))
    }

    /// Whether a history is kept of a subscription: it was said so, or there is one.
    fn has_history<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        foreign: &ForeignEntries,
    ) -> Result<bool> {
        if !foreign.entries.is_empty() || !foreign.damage.is_empty() {
            return Ok(true);
        }
        let (history,) = self.events().companions();
        if history
            .history()
            .has_prefix(txn, |out| subscription.encode(out))?
        {
            return Ok(true);
        }
        match self.subscriptions().get(txn, &subscription)? {
            Some(known) => Ok(known.view()?.keeps_history()? == Some(true)),
            None => Ok(false),
        }
    }

    /// The entries that times, publications and the cursor leave.
    fn range<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        foreign: &ForeignEntries,
        options: &GetEvents,
    ) -> Result<KeySpan> {
        let at = |time: Timestamp| (subscription, time);
        let mut range = KeySpan::of(&subscription);
        range.begin(bound(Bound::Included, options.from_time.map(at)));
        range.begin(bound(Bound::Excluded, options.after_time.map(at)));
        range.end(bound(Bound::Excluded, options.before_time.map(at)));
        range.end(bound(Bound::Included, options.until_time.map(at)));
        let place = |publication: Option<PublicationId>| {
            publication
                .map(|publication| self.place(txn, subscription, foreign, publication))
                .transpose()
        };
        range.begin(bound(Bound::Included, place(options.from_publication)?));
        range.begin(bound(Bound::Excluded, place(options.after_publication)?));
        range.end(bound(Bound::Excluded, place(options.before_publication)?));
        range.end(bound(Bound::Included, place(options.until_publication)?));
        let cursor = options.cursor.map(|cursor| cursor.entry(subscription));
        if options.reverse {
            range.end(bound(Bound::Excluded, cursor));
        } else {
            range.begin(bound(Bound::Excluded, cursor));
        }
        Ok(range)
    }

    /// Where a publication stands in the history of a subscription.
    fn place<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
        foreign: &ForeignEntries,
        publication: PublicationId,
    ) -> Result<HistoryEntry> {
        let is_it = |entry: &&HistoryEntry| entry.publication == publication;
        if let Some(entry) = foreign.entries.iter().find(is_it) {
            return Ok(*entry);
        }
        let (history,) = self.events().companions();
        match history.position(txn, subscription, publication)? {
            Some(position) => Ok(position.entry(subscription, publication)),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "publication {publication} is not in the history of subscription {subscription}, or not any more"
                ),
            )),
        }
    }
}

fn bound<T>(kind: fn(T) -> Bound<T>, value: Option<T>) -> Bound<T> {
    value.map_or(Bound::Unbounded, kind)
}

impl Serialize for HistoryRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let publication = &self.publication;
        let mut row = serializer.serialize_map(None)?;
        row.serialize_entry("timestamp", &self.timestamp.to_string())?;
        row.serialize_entry("subscription", &self.subscription.get())?;
        row.serialize_entry("publication", &publication.publication.get())?;
        row.serialize_entry("details", &Details(publication))?;
        // What is empty says nothing, and may stand beside arguments.
        if let Some(payload) = publication
            .payload
            .as_ref()
            .filter(|payload| !payload.is_empty())
        {
            row.serialize_entry("args", &[crate::cbor::Value::Bytes(payload.clone())])?;
        }
        for (name, arguments) in [("args", &publication.args), ("kwargs", &publication.kwargs)] {
            if let Some(arguments) = arguments
                && !arguments.as_ref().as_bytes().is_empty()
            {
                let value = arguments
                    .as_ref()
                    .to_value()
                    .map_err(serde::ser::Error::custom)?;
                row.serialize_entry(name, &value)?;
            }
        }
        row.end()
    }
}

/// The details of an event, as a row of history has them.
struct Details<'p>(&'p Publication);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(publication) = self;
        let mut details = serializer.serialize_map(None)?;
        details.serialize_entry("topic", &publication.topic)?;
        if let Some(name) = publication.enc_algo.and_then(|algo| algo.name()) {
            details.serialize_entry("enc_algo", name)?;
        }
        if let Some(key) = &publication.enc_key {
            details.serialize_entry("enc_key", &crate::cbor::Value::Bytes(key.clone()))?;
        }
        if let Some(name) = publication.enc_serializer.and_then(|enc| enc.name()) {
            details.serialize_entry("enc_serializer", name)?;
        }
        details.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::Cbor;

    #[test]
    fn an_empty_payload_beside_arguments_is_not_in_a_row() {
        let mut publication = Publication::new(
            PublicationId::from_stored(2),
            Timestamp::UNIX_EPOCH,
            "com.a",
        );
        publication.payload = Some(Vec::new());
        publication.args = Some(Cbor::serialize(&[7]).unwrap());
        let row = HistoryRow {
            subscription: SubscriptionId::from_stored(1),
            timestamp: Timestamp::UNIX_EPOCH,
            publication,
        };
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json.matches("args").count(), 1, "{json}");
        assert!(json.contains(r#""args":[7]"#), "{json}");
    }
}
