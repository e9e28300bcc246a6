//! `subscriptions`: what is known of each, and which have history, and of what.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use realmstore_core::{
    Backend, Event, PublicationId, ReadTxn, RealmStore, Subscription, SubscriptionId, Timestamp,
};

use crate::failure::Result;
use crate::json::{Object, ToJson};
use crate::lists::mark;
use crate::output::Output;
use crate::rows::{self, Found, Page};
use crate::subscription::subscribed_to;
use crate::table::{
    Column, List, bytes, duration, excerpts, grouped, numbers, optional, text, texts, times,
};

const COLUMNS: &[Column] = &[
    numbers("SUBSCRIPTION"),
    texts("SUBSCRIBED TO"),
    texts("HISTORY"),
    numbers("PUBLICATIONS"),
    numbers("EVENTS"),
    times("FIRST"),
    times("LAST"),
    excerpts("TOPICS"),
];

/// What there is of a subscription.
#[derive(Default)]
struct Summary {
    known: Subscription,
    aliases: Vec<SubscriptionId>,
    topics: BTreeSet<String>,
    publications: HashSet<PublicationId>,
    events: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    damaged: bool,
}

/// Prints a row for each subscription that is known by name, or has history, by ID.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, COLUMNS);
    let mut known = known(store, &txn)?;
    let mut current: Option<Summary> = None;
    rows::events(store, &txn, None, Page::ALL, |found| {
        let subscription = found.record.subscription;
        if current
            .as_ref()
            .is_none_or(|summary| summary.known.subscription != subscription)
        {
            if let Some(finished) = current.take() {
                add(&mut list, &finished)?;
            }
            while let Some(first) = known.first_entry()
                && *first.key() < subscription
            {
                add(&mut list, &first.remove())?;
            }
            current = Some(
                known
                    .remove(&subscription)
                    .unwrap_or_else(|| Summary::of(subscription)),
            );
        }
        current
            .as_mut()
            .map_or(Ok(()), |summary| summary.count(store, &txn, &found))
    })?;
    for summary in current.iter().chain(known.values()) {
        add(&mut list, summary)?;
    }
    list.finish("subscriptions")
}

/// The subscriptions that are known by name, and aliases of those that are not.
fn known<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
) -> Result<BTreeMap<SubscriptionId, Summary>> {
    let mut known: BTreeMap<SubscriptionId, Summary> = BTreeMap::new();
    rows::by_key(store.subscriptions(), txn, |found| {
        let id = found.record.subscription;
        let damaged = found.warn_of_damage();
        let own = found.record.alias_of.unwrap_or(id);
        let summary = known.entry(own).or_insert_with(|| Summary::of(own));
        summary.damaged |= damaged;
        if own == id {
            summary.known = found.record;
        } else {
            summary.aliases.push(id);
        }
        Ok(())
    })?;
    Ok(known)
}

impl Summary {
    fn of(subscription: SubscriptionId) -> Self {
        let known = Subscription {
            subscription,
            ..Subscription::default()
        };
        Self {
            known,
            ..Self::default()
        }
    }

    fn count<B: Backend, X: ReadTxn>(
        &mut self,
        store: &RealmStore<B>,
        txn: &X,
        found: &Found<Event>,
    ) -> Result<()> {
        let event = &found.record;
        self.damaged |= found.warn_of_damage();
        self.events += 1;
        // Events come in the order of time.
        self.first = self.first.or(Some(event.timestamp));
        self.last = Some(event.timestamp);
        if event.publication.is_unset() || !self.publications.insert(event.publication) {
            return Ok(());
        }
        let publication = store.publications().get(txn, &event.publication)?;
        if let Some(topic) = publication
            .and_then(|publication| Some(publication.view().ok()?.topic().ok()?.to_owned()))
        {
            self.topics.insert(topic);
        }
        Ok(())
    }

    fn to_json(&self) -> Object {
        let mut object = self.known.to_json();
        if !self.aliases.is_empty() {
            let ids = self.aliases.iter().map(|id| id.get());
            object.insert("aliases".to_owned(), ids.collect());
        }
        object.insert(
            "topics".to_owned(),
            self.topics.iter().map(String::as_str).collect(),
        );
        object.insert("publications".to_owned(), self.publications.len().into());
        object.insert("events".to_owned(), self.events.into());
        for (name, time) in [("first", self.first), ("last", self.last)] {
            if let Some(time) = time {
                object.insert(name.to_owned(), time.to_string().into());
            }
        }
        mark(&mut object, self.damaged);
        object
    }

    fn cells(&self) -> Vec<String> {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let name = Some(subscribed_to(&self.known)).filter(|name| !name.is_empty());
        vec![
            self.known.subscription.to_string(),
            optional(name),
            self.history(),
            grouped(self.publications.len()),
            grouped(self.events),
            optional(self.first),
            optional(self.last),
            text(&topics.join(", ")),
        ]
    }

    /// Whether a history is kept, and how much of it.
    fn history(&self) -> String {
        let known = &self.known;
        let keeps = known.keeps_history.map(|keeps| {
            if keeps {
                "kept".to_owned()
            } else {
                "not kept".to_owned()
            }
        });
        let limits = [
            known.max_count.map(grouped),
            known.max_age.map(duration),
            known.max_bytes.map(bytes),
        ];
        let limits = limits.into_iter().flatten();
        let words: Vec<String> = keeps
            .into_iter()
            .chain(limits.map(|limit| format!("at most {limit}")))
            .collect();
        optional((!words.is_empty()).then(|| words.join(", ")))
    }
}

/// Adds a row; in a table, one for each alias as well.
fn add(list: &mut List<'_>, summary: &Summary) -> Result<()> {
    list.add(|| summary.to_json(), || summary.cells())?;
    if list.is_json() {
        return Ok(());
    }
    for alias in &summary.aliases {
        list.add(Object::new, || {
            let mut cells = vec![String::new(); COLUMNS.len()];
            let own = summary.known.subscription;
            let words = [alias.to_string(), format!("alias of {own}")];
            for (cell, words) in cells.iter_mut().zip(words) {
                *cell = words;
            }
            cells
        })?;
    }
    Ok(())
}
