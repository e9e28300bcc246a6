//! `subscriptions`: which subscriptions have history, and of what.

use std::collections::{BTreeSet, HashSet};

use realmstore_core::{
    Backend, Event, PublicationId, ReadTxn, RealmStore, SubscriptionId, Timestamp,
};

use crate::failure::Result;
use crate::json::Object;
use crate::lists::mark;
use crate::output::Output;
use crate::rows::{self, Found, Page};
use crate::table::{Column, List, grouped, numbers, optional, text, texts, times};

const COLUMNS: &[Column] = &[
    numbers("SUBSCRIPTION"),
    numbers("PUBLICATIONS"),
    numbers("EVENTS"),
    times("FIRST"),
    times("LAST"),
    texts("TOPICS"),
];

/// What there is of a subscription.
#[derive(Default)]
struct Summary {
    subscription: SubscriptionId,
    topics: BTreeSet<String>,
    publications: HashSet<PublicationId>,
    events: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    damaged: bool,
}

/// Prints a row for each subscription that has history.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, COLUMNS);
    let mut current: Option<Summary> = None;
    rows::events(store, &txn, None, Page::ALL, |found| {
        let subscription = found.record.subscription;
        if current
            .as_ref()
            .is_none_or(|summary| summary.subscription != subscription)
        {
            let finished = current.replace(Summary {
                subscription,
                ..Summary::default()
            });
            finished.map_or(Ok(()), |summary| add(&mut list, &summary))?;
        }
        current
            .as_mut()
            .map_or(Ok(()), |summary| summary.count(store, &txn, &found))
    })?;
    if let Some(summary) = &current {
        add(&mut list, summary)?;
    }
    list.finish("subscriptions with history")
}

impl Summary {
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
        let mut object = Object::new();
        object.insert("subscription".to_owned(), self.subscription.get().into());
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
        vec![
            self.subscription.to_string(),
            grouped(self.publications.len()),
            grouped(self.events),
            optional(self.first),
            optional(self.last),
            text(&topics.join(", ")),
        ]
    }
}

fn add(list: &mut List<'_>, summary: &Summary) -> Result<()> {
    list.add(|| summary.to_json(), || summary.cells())
}
