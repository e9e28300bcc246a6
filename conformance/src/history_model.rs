//! What the history of subscriptions is, in plain vectors: as the WAMP advanced
//! profile reads ("Event History", "Pattern-based Subscription", "Subscriber
//! Black- and Whitelisting"), and where that is silent, as
//! [`RealmStore`](realmstore_core::RealmStore) promises.
//!
//! It has nothing in common with the store but the types in which questions and
//! answers are put.

use realmstore_core::{
    ErrorKind, GetEvents, HistoryRow, MatchPolicy, Publication, PublicationId, Requester,
    SessionId, SubscriptionId, Timestamp,
};

/// What was recorded, in the order in which it was.
#[derive(Debug, Clone, Default)]
pub struct HistoryModel {
    entries: Vec<Entry>,
    /// Subscriptions that are known by name, and what was said of them.
    known: Vec<(SubscriptionId, Option<bool>)>,
    /// An ID, and the subscription that it stands for.
    aliases: Vec<(SubscriptionId, SubscriptionId)>,
    /// How many entries there ever were.
    recorded: u64,
}

/// A publication in the history of a subscription.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place among all that was ever recorded.
    pub number: u64,
    pub subscription: SubscriptionId,
    pub timestamp: Timestamp,
    pub publication: Publication,
}

impl HistoryModel {
    /// Makes a subscription known. `keeps_history` is what was said of it.
    pub fn know(&mut self, subscription: SubscriptionId, keeps_history: Option<bool>) {
        self.known.retain(|(known, _)| *known != subscription);
        self.known.push((subscription, keeps_history));
    }

    /// Lets an ID stand for a subscription.
    pub fn alias(
        &mut self,
        alias: SubscriptionId,
        subscription: SubscriptionId,
    ) -> Result<(), ErrorKind> {
        let subscription = self.resolve(subscription);
        if alias == subscription {
            return Ok(());
        }
        if !self.is_known(subscription) {
            return Err(ErrorKind::NotFound);
        }
        if self.is_known(alias) || !self.entries_of(alias).is_empty() {
            return Err(ErrorKind::InvalidInput);
        }
        self.aliases.retain(|(known, _)| *known != alias);
        self.aliases.push((alias, subscription));
        Ok(())
    }

    /// The subscription that an ID stands for.
    pub fn resolve(&self, id: SubscriptionId) -> SubscriptionId {
        for (alias, subscription) in &self.aliases {
            if *alias == id {
                return *subscription;
            }
        }
        id
    }

    fn is_known(&self, id: SubscriptionId) -> bool {
        self.known.iter().any(|(known, _)| *known == id)
    }

    /// The history of a subscription, oldest first.
    pub fn entries_of(&self, subscription: SubscriptionId) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        entries.retain(|entry| entry.subscription == subscription);
        entries
    }

    /// Records that a publication was dispatched under a subscription, to
    /// however many receivers. Only the first time counts.
    pub fn record(&mut self, publication: &Publication, id: SubscriptionId, timestamp: Timestamp) {
        let subscription = self.resolve(id);
        let entries = self.entries_of(subscription);
        for entry in &entries {
            if entry.publication.publication == publication.publication {
                return;
            }
        }
        let timestamp = match entries.last() {
            Some(last) if last.timestamp > timestamp => last.timestamp,
            _ => timestamp,
        };
        self.recorded += 1;
        self.entries.push(Entry {
            number: self.recorded,
            subscription,
            timestamp,
            publication: publication.clone(),
        });
    }

    /// Takes a publication off the history of a subscription.
    pub fn remove(&mut self, subscription: SubscriptionId, publication: PublicationId) {
        self.entries.retain(|entry| {
            entry.subscription != subscription || entry.publication.publication != publication
        });
    }

    /// The number of the last entry that was recorded.
    pub fn last_number(&self) -> u64 {
        self.recorded
    }

    /// What is asked for, but for the cursor and `max_examined`, which are no
    /// matter of the specification; `None` where no history is kept.
    pub fn get_events(
        &self,
        asked_for: SubscriptionId,
        options: &GetEvents,
    ) -> Result<Option<Vec<Entry>>, ErrorKind> {
        if options.limit == Some(0) {
            return Err(ErrorKind::InvalidInput);
        }
        let subscription = self.resolve(asked_for);
        let history = self.entries_of(subscription);
        let said_so = self.known.contains(&(subscription, Some(true)));
        if history.is_empty() && !said_so {
            return Ok(None);
        }
        // Where a publication stands in the history.
        let position = |publication: PublicationId| {
            history
                .iter()
                .position(|entry| entry.publication.publication == publication)
                .ok_or(ErrorKind::NotFound)
        };
        let from_publication = options.from_publication.map(position).transpose()?;
        let after_publication = options.after_publication.map(position).transpose()?;
        let before_publication = options.before_publication.map(position).transpose()?;
        let until_publication = options.until_publication.map(position).transpose()?;

        let mut selected = Vec::new();
        for (index, entry) in history.iter().enumerate() {
            let wanted = options.from_time.is_none_or(|time| entry.timestamp >= time)
                && options.after_time.is_none_or(|time| entry.timestamp > time)
                && options
                    .before_time
                    .is_none_or(|time| entry.timestamp < time)
                && options
                    .until_time
                    .is_none_or(|time| entry.timestamp <= time)
                && options
                    .topic
                    .as_ref()
                    .is_none_or(|topic| entry.publication.topic == *topic)
                && from_publication.is_none_or(|from| index >= from)
                && after_publication.is_none_or(|after| index > after)
                && before_publication.is_none_or(|before| index < before)
                && until_publication.is_none_or(|until| index <= until)
                && options
                    .requester
                    .as_ref()
                    .is_none_or(|requester| may_see(requester, &entry.publication));
            if wanted {
                selected.push(entry.clone());
            }
        }
        if options.reverse {
            selected.reverse();
        }
        if let Some(limit) = options.limit {
            selected.truncate(limit);
        }
        Ok(Some(selected))
    }
}

/// Whether somebody who asks for history is shown a publication.
pub fn may_see(requester: &Requester, publication: &Publication) -> bool {
    let mut sees = true;
    // A session is somebody while it lasts. Whoever joined later is no session
    // of that time, and nobody can say who they were then.
    let session: Option<SessionId> = match requester.session {
        Some((session, joined_at)) if joined_at <= publication.timestamp => Some(session),
        _ => None,
    };
    if let Some(eligible) = &publication.eligible {
        sees &= session.is_some_and(|session| eligible.contains(&session));
    }
    if let Some(exclude) = &publication.exclude {
        sees &= session.is_some_and(|session| !exclude.contains(&session));
    }
    if let Some(eligible) = &publication.eligible_authid {
        sees &= names(eligible, requester.authid.as_ref());
    }
    if let Some(exclude) = &publication.exclude_authid {
        sees &= !names(exclude, requester.authid.as_ref());
    }
    if let Some(eligible) = &publication.eligible_authrole {
        sees &= names(eligible, requester.authrole.as_ref());
    }
    if let Some(exclude) = &publication.exclude_authrole {
        sees &= !names(exclude, requester.authrole.as_ref());
    }
    sees
}

fn names(list: &[String], name: Option<&String>) -> bool {
    name.is_some_and(|name| list.contains(name))
}

/// Whether a subscription to a URI gets what is published to a topic.
pub fn matches(policy: MatchPolicy, uri: &str, topic: &str) -> bool {
    match policy {
        MatchPolicy::Exact => topic == uri,
        MatchPolicy::Prefix => topic.starts_with(uri),
        MatchPolicy::Wildcard => {
            let pattern: Vec<&str> = uri.split('.').collect();
            let components: Vec<&str> = topic.split('.').collect();
            pattern.len() == components.len()
                && pattern
                    .iter()
                    .zip(&components)
                    .all(|(wanted, component)| wanted.is_empty() || wanted == component)
        }
    }
}

/// The rows of an answer.
pub fn rows(asked_for: SubscriptionId, entries: &[Entry]) -> Vec<HistoryRow> {
    entries
        .iter()
        .map(|entry| HistoryRow {
            subscription: asked_for,
            timestamp: entry.timestamp,
            publication: entry.publication.clone(),
        })
        .collect()
}
