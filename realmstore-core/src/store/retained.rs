//! Retained publications: what somebody gets who subscribes later (WAMP
//! advanced profile, "Event Retention").

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::query::KeySpan;
use super::recording::Retain;
use super::retention::ROWS_OF_AN_ENTRY;
use super::tables::TextKey;
use super::{RealmStore, StoreWrite};
use crate::backend::{Backend, Order, ReadTxn};
use crate::key::{Key, KeyBuf};
use crate::record::{MatchPolicy, Publication, PublicationView, Record, Requester, Retained};
use crate::table::successor;
use crate::{PublicationId, Result, SessionId, Timestamp};

/// How many publications are retained for one topic at most: the last one that
/// was for everybody, and later ones that were for some only.
pub const MAX_RETAINED_PER_TOPIC: usize = 64;

/// Which retained publications are asked for, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetRetained {
    /// The URI that is subscribed to.
    pub uri: String,
    /// How topics are compared with it.
    pub match_policy: MatchPolicy,
    /// Who subscribes. Unset for operators, who see everything.
    pub requester: Option<Requester>,
    /// What has expired by then is not retained any more.
    pub now: Timestamp,
    /// How many topics at most.
    pub limit: Option<usize>,
    /// Only topics behind this one: where an earlier answer ended.
    pub after_topic: Option<String>,
}

impl<B: Backend> RealmStore<B> {
    /// Retains a publication, which is stored already, as the last one of its topic.
    ///
    /// One without lists of who may have it takes the place of all before it.
    /// One with lists takes the place of those with the same lists, and stands
    /// beside the others: whoever it does not admit still gets the last one
    /// that admitted them. Of these a topic keeps [`MAX_RETAINED_PER_TOPIC`].
    pub fn retain(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: &Publication,
        retain: Retain,
    ) -> Result<()> {
        let row = Retained {
            topic: publication.topic.clone(),
            publication: publication.publication,
            retained_at: publication.timestamp,
            expires_at: retain.expires_at,
        };
        self.retain_row(txn, publication, &row)
    }

    /// As [`retain`](Self::retain), for a row that says all of it: what another
    /// store retains.
    pub fn retain_row(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: &Publication,
        row: &Retained,
    ) -> Result<()> {
        let rows = self.retained_for(txn, &row.topic)?;
        let next = self.next_retained_number(txn, &row.topic)?;
        let mut kept = Vec::new();
        for (key, before) in rows {
            if before.publication == row.publication {
                self.retained().delete(txn, &key)?;
                continue;
            }
            let is_superseded = before.expires_at.is_some_and(|at| at <= row.retained_at)
                || !has_lists(publication)
                || self.has_same_lists(txn, before.publication, publication)?;
            if is_superseded {
                self.drop_retained(txn, &key, before.publication)?;
            } else {
                kept.push((key, before.publication));
            }
        }
        let too_many = (kept.len() + 1).saturating_sub(MAX_RETAINED_PER_TOPIC);
        // The oldest one may be the one for everybody; it is the last to go.
        for (key, id) in kept.iter().skip(1).take(too_many) {
            self.drop_retained(txn, key, *id)?;
        }
        self.retained()
            .put(txn, &(TextKey::new(&row.topic), next), row)
    }

    /// Retains nothing for a topic any more; says how many publications that were.
    pub fn forget_retained(&self, txn: &mut StoreWrite<'_, B>, topic: &str) -> Result<usize> {
        let rows = self.retained_for(txn, topic)?;
        for (key, row) in &rows {
            self.drop_retained(txn, key, row.publication)?;
        }
        Ok(rows.len())
    }

    /// The retained publications that somebody gets who subscribes now: of
    /// each topic that matches, the last one that [was for
    /// them](PublicationView::was_for), by topic. What cannot be read is for nobody.
    pub fn get_retained<X: ReadTxn>(
        &self,
        txn: &X,
        query: &GetRetained,
    ) -> Result<Vec<Publication>> {
        let mut span = match query.match_policy {
            MatchPolicy::Exact => KeySpan::of(&(TextKey::new(&query.uri),)),
            MatchPolicy::Prefix => KeySpan::of(&TextStart(TextKey::new(&query.uri))),
            MatchPolicy::Wildcard => {
                KeySpan::of(&TextStart(TextKey::new(literal_start(&query.uri))))
            }
        };
        let after = query.after_topic.as_deref();
        span.begin(after.map_or(Bound::Unbounded, |topic| {
            Bound::Included((TextKey::new(topic),))
        }));
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut scan = span.scan(self.retained().space(), txn, Order::Ascending)?;
        // Topics that begin alike stand between each other, all those of one key together.
        let mut group: BTreeMap<(String, Reverse<u64>), PublicationId> = BTreeMap::new();
        let mut key_of_group = None;
        while found.len() < limit {
            let Some((key, value)) = scan.next()? else {
                self.pick(txn, query, &group, limit, &mut found)?;
                break;
            };
            let Ok((topic_key, number)) = <(TextKey, u64)>::from_bytes(key) else {
                continue;
            };
            if key_of_group.as_ref() != Some(&topic_key) {
                self.pick(txn, query, &group, limit, &mut found)?;
                group.clear();
                key_of_group = Some(topic_key);
            }
            let Ok(row) = Retained::decode(value) else {
                continue;
            };
            let is_asked_for = query.match_policy.matches(&query.uri, &row.topic)
                && after.is_none_or(|after| row.topic.as_str() > after)
                && row.expires_at.is_none_or(|at| at > query.now);
            if is_asked_for {
                group.insert((row.topic, Reverse(number)), row.publication);
            }
        }
        Ok(found)
    }

    /// Of each topic the last publication that the requester may have.
    fn pick<X: ReadTxn>(
        &self,
        txn: &X,
        query: &GetRetained,
        group: &BTreeMap<(String, Reverse<u64>), PublicationId>,
        limit: usize,
        found: &mut Vec<Publication>,
    ) -> Result<()> {
        let mut done: Option<&str> = None;
        for ((topic, _), id) in group {
            if found.len() == limit {
                break;
            }
            if done == Some(topic) {
                continue;
            }
            let Some(publication) = self.publications().get(txn, id)? else {
                continue;
            };
            let was_for = |view: PublicationView<'_>| {
                let requester = query.requester.as_ref();
                requester.is_none_or(|requester| view.was_for(requester))
            };
            // One that was stored anew with another topic is not retained for this one.
            let is_of_topic =
                |view: PublicationView<'_>| view.topic().is_ok_and(|of| of == topic.as_str());
            if publication
                .view()
                .is_ok_and(|view| is_of_topic(view) && was_for(view))
                && let Ok(publication) = publication.to_owned()
            {
                found.push(publication);
                done = Some(topic);
            }
        }
        Ok(())
    }

    /// What is retained for a topic, the oldest first. Rows that cannot be read
    /// are left out.
    pub fn retained_for<X: ReadTxn>(
        &self,
        txn: &X,
        topic: &str,
    ) -> Result<Vec<((TextKey, u64), Retained)>> {
        let mut rows = Vec::new();
        let part = (TextKey::new(topic),);
        let mut scan = self.retained().prefix(txn, &part, Order::Ascending)?;
        while let Some(entry) = scan.next()? {
            if let (Ok(key), Ok(row)) = (entry.key(), entry.to_owned())
                && row.topic == topic
            {
                rows.push((key, row));
            }
        }
        Ok(rows)
    }

    fn next_retained_number<X: ReadTxn>(&self, txn: &X, topic: &str) -> Result<u64> {
        let part = (TextKey::new(topic),);
        let mut scan = self.retained().prefix(txn, &part, Order::Descending)?;
        while let Some(entry) = scan.next()? {
            if let Ok((_, number)) = entry.key() {
                return Ok(number.saturating_add(1));
            }
        }
        Ok(0)
    }

    /// Retained publications that have expired, from a key on: as many as may
    /// be removed for a number of rows.
    pub(super) fn expired_rows<X: ReadTxn>(
        &self,
        txn: &X,
        from: &[u8],
        now: Timestamp,
        rows: u64,
    ) -> Result<ExpiredRows> {
        let mut found = ExpiredRows {
            expired: Vec::new(),
            next: KeyBuf::from_slice(from),
            looked_at: 0,
            is_last: false,
        };
        let mut scan = self.retained().space().scan_from(txn, from)?;
        while found.looked_at + found.expired.len() as u64 * ROWS_OF_AN_ENTRY < rows {
            let Some((key, value)) = scan.next()? else {
                found.is_last = true;
                break;
            };
            found.looked_at += 1;
            found.next = successor(key);
            let row = Retained::view(value);
            let row = row.and_then(|row| Ok((row.expires_at()?, row.publication()?)));
            if let (Ok(key), Ok((Some(expires_at), publication))) = (Key::from_bytes(key), row)
                && expires_at <= now
            {
                found.expired.push((key, publication));
            }
        }
        Ok(found)
    }

    /// Whether a publication that is stored has the same lists as another one.
    /// One that cannot be read is for nobody, and in nobody's way.
    fn has_same_lists<X: ReadTxn>(
        &self,
        txn: &X,
        stored: PublicationId,
        other: &Publication,
    ) -> Result<bool> {
        let Some(stored) = self.publications().get(txn, &stored)? else {
            return Ok(true);
        };
        Ok(match stored.to_owned() {
            Ok(stored) => lists(&stored) == lists(other),
            Err(_) => true,
        })
    }

    /// Retains a publication no longer; as [`release`](Self::release).
    pub(super) fn drop_retained(
        &self,
        txn: &mut StoreWrite<'_, B>,
        key: &(TextKey, u64),
        publication: PublicationId,
    ) -> Result<Option<u64>> {
        self.retained().delete(txn, key)?;
        self.release(txn, publication)
    }

    /// Removes a publication that nothing refers to any more: no history, and
    /// no topic that retains it. Gives the number of bytes that were stored of
    /// it, if it did. Where Crossbar.io's events may refer to it, that is in a
    /// store that is not [adopted](Self::is_adopted), it stays.
    pub(super) fn release(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: PublicationId,
    ) -> Result<Option<u64>> {
        let (history,) = self.events().companions();
        if !txn.is_complete() || history.lists(txn, publication)? {
            return Ok(None);
        }
        let Some(bytes) = self.stored_bytes(txn, publication)? else {
            return Ok(None);
        };
        if !self.retained_rows_of(txn, publication)?.is_empty() {
            return Ok(None);
        }
        self.publications().delete(txn, &publication)?;
        Ok(Some(bytes))
    }

    /// How many bytes are stored of a publication; `None` when it is not there.
    pub(super) fn stored_bytes<X: ReadTxn>(
        &self,
        txn: &X,
        publication: PublicationId,
    ) -> Result<Option<u64>> {
        let record = self.publications().get(txn, &publication)?;
        Ok(record.map(|record| record.bytes().len() as u64))
    }

    /// The rows by which a publication is retained.
    pub(super) fn retained_rows_of<X: ReadTxn>(
        &self,
        txn: &X,
        publication: PublicationId,
    ) -> Result<Vec<((TextKey, u64), Retained)>> {
        let topic = match self.publications().get(txn, &publication)? {
            None => None,
            // What cannot be read cannot have been retained either.
            Some(record) => record
                .view()
                .and_then(|view| Ok(view.topic()?.to_owned()))
                .ok(),
        };
        let mut rows = match topic {
            Some(topic) => self.retained_for(txn, &topic)?,
            None => Vec::new(),
        };
        rows.retain(|(_, row)| row.publication == publication);
        Ok(rows)
    }
}

/// Some rows of what is retained.
pub(super) struct ExpiredRows {
    /// Those that have expired, and their publications.
    pub(super) expired: Vec<((TextKey, u64), PublicationId)>,
    /// Where to go on.
    pub(super) next: KeyBuf,
    /// How many rows were looked at.
    pub(super) looked_at: u64,
    /// Whether there are no more.
    pub(super) is_last: bool,
}

/// The beginning of a text, with anything behind it.
struct TextStart(TextKey);

impl Key for TextStart {
    fn encode(&self, out: &mut KeyBuf) {
        self.0.encode(out);
        // Without the two bytes that end a text.
        out.truncate(out.len().saturating_sub(2));
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, crate::key::KeyError> {
        TextKey::decode(bytes).map(Self)
    }
}

/// What all topics begin with that a wildcard pattern matches.
fn literal_start(pattern: &str) -> &str {
    let mut end = 0;
    for component in pattern.split_inclusive('.') {
        if component == "." {
            return &pattern[..end];
        }
        end += component.len();
    }
    pattern
}

/// The lists of a publication, each in an order of its own.
#[derive(PartialEq, Eq)]
struct Lists<'p> {
    sessions: [Option<BTreeSet<SessionId>>; 2],
    names: [Option<BTreeSet<&'p str>>; 4],
}

fn lists(publication: &Publication) -> Lists<'_> {
    let sessions = |list: &Option<Vec<SessionId>>| {
        list.as_ref()
            .map(|list| list.iter().copied().collect::<BTreeSet<_>>())
    };
    Lists {
        sessions: [
            sessions(&publication.exclude),
            sessions(&publication.eligible),
        ],
        names: [
            names(&publication.exclude_authid),
            names(&publication.exclude_authrole),
            names(&publication.eligible_authid),
            names(&publication.eligible_authrole),
        ],
    }
}

fn names(list: &Option<Vec<String>>) -> Option<BTreeSet<&str>> {
    list.as_ref()
        .map(|list| list.iter().map(String::as_str).collect())
}

fn has_lists(publication: &Publication) -> bool {
    let lists = lists(publication);
    lists.sessions.iter().any(Option::is_some) || lists.names.iter().any(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::literal_start;

    #[test]
    fn a_pattern_begins_with_what_stands_before_its_first_empty_component() {
        for (pattern, start) in [
            ("com.example.a", "com.example.a"),
            ("com..a", "com."),
            (".example", ""),
            ("com.example.", "com.example."),
            ("", ""),
            ("..", ""),
        ] {
            assert_eq!(literal_start(pattern), start, "{pattern:?}");
        }
    }
}
