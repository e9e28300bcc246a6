//! `purge`: take off what is too much, too old, or of somebody.

use std::ops::ControlFlow;

use realmstore_core::store::{Forgotten, Purge, Purged, Removed};
use realmstore_core::{Backend, Limits, Location, ReadTxn, RealmStore, Timestamp};

use crate::cli::{Age, PurgeArgs, WriteArgs};
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::json::Object;
use crate::output::{Output, warn};
use crate::progress::Progress;
use crate::subscription::{self, SubscriptionArgs};
use crate::table::{Column, List, bytes, grouped, numbers, texts};
use crate::{Outcome, open_to_write};

const COLUMNS: &[Column] = &[
    texts("SUBSCRIPTION"),
    numbers("ENTRIES"),
    numbers("EVENTS"),
    numbers("PUBLICATIONS"),
    numbers("BYTES"),
];

/// Purges the store at a location, or says what would go.
pub(crate) fn run<E: Engines>(
    engines: &E,
    location: &Location,
    wanted: &PurgeArgs,
    writing: WriteArgs,
    json: bool,
    output: &mut Output,
) -> Result<Outcome> {
    if wanted.dry_run {
        let store = RealmStore::attach(engines.read(location)?)?;
        let txn = store.begin_read()?;
        let report = Report {
            json,
            is_plan: true,
        };
        return match &wanted.authid {
            Some(authid) => report.forgotten(&store.plan_forget_authid(&txn, authid)?, output),
            None => {
                let purge = wanted.purge(&store, &txn)?;
                report.purged(&store.plan_purge(&txn, &purge)?, output)
            }
        };
    }
    let store = open_to_write(engines, location, writing)?;
    let report = Report {
        json,
        is_plan: false,
    };
    let progress = Progress::of_records();
    match &wanted.authid {
        Some(authid) => {
            let done = store.forget_authid(authid, |so_far| {
                let published = so_far.published;
                progress.set(
                    published.events + published.publications + so_far.received + so_far.sessions,
                );
                ControlFlow::Continue(())
            })?;
            drop(progress);
            report.forgotten(&done, output)
        }
        None => {
            let purge = wanted.purge(&store, &store.begin_read()?)?;
            let done = store.purge(&purge, |so_far| {
                let total = so_far.total();
                progress.set(total.events + total.publications);
                ControlFlow::Continue(())
            })?;
            drop(progress);
            report.purged(&done, output)
        }
    }
}

impl PurgeArgs {
    /// What is to be purged, in the store.
    fn purge<B: Backend, X: ReadTxn>(&self, store: &RealmStore<B>, txn: &X) -> Result<Purge> {
        let now = Timestamp::now();
        let subscription = match (&self.uri, self.subscription) {
            (Some(uri), _) => {
                let named =
                    SubscriptionArgs::to_uri(uri.clone(), self.match_policy, self.realm.clone());
                Some(subscription::resolve(store, txn, &named)?)
            }
            (None, id) => id,
        };
        let max_age = match self.older_than {
            None => None,
            Some(Age::Duration(age)) => Some(age),
            Some(Age::Since(time)) => {
                let age = now.as_nanos().checked_sub(time.as_nanos());
                let age = age.ok_or_else(|| Failure::new(format!("{time} is yet to come")))?;
                Some(std::time::Duration::from_nanos(age))
            }
        };
        let limits = Limits {
            max_count: self.max_count,
            max_age,
            max_bytes: self.max_bytes.map(|bytes| bytes.0),
        };
        Ok(Purge {
            subscription,
            limits: (!limits.is_none()).then_some(limits),
            now,
        })
    }
}

/// How it is said what went.
struct Report {
    json: bool,
    is_plan: bool,
}

impl Report {
    fn purged(&self, purged: &Purged, output: &mut Output) -> Result<Outcome> {
        let mut list = List::new(output, self.json, COLUMNS);
        for (subscription, removed) in &purged.subscriptions {
            list.add(
                || {
                    let mut object = Object::new();
                    object.insert("subscription".to_owned(), subscription.get().into());
                    insert(&mut object, removed);
                    object
                },
                || cells(&subscription.to_string(), removed),
            )?;
        }
        if !self.json && !purged.subscriptions.is_empty() {
            list.add(Object::new, || cells("all", &purged.total()))?;
            list.finish("subscriptions")?;
        }
        if self.json {
            let mut object = Object::new();
            object.insert("retained_expired".to_owned(), purged.expired.into());
            object.insert(
                "unreferenced_publications".to_owned(),
                purged.unreferenced.publications.into(),
            );
            insert(&mut object, &purged.total());
            self.mark(&mut object);
            output.json(&object)?;
            return Ok(Outcome::Done);
        }
        let (went, verb) = self.words();
        if purged.expired > 0 {
            output.line(format_args!(
                "{} publications had expired and {verb} not retained any more; {} of them {went}.",
                grouped(purged.expired),
                grouped(purged.retained.publications),
            ))?;
        }
        if purged.unreferenced.publications > 0 {
            output.line(format_args!(
                "{} publications {went} that no history had, {}.",
                grouped(purged.unreferenced.publications),
                bytes(purged.unreferenced.bytes)
            ))?;
        }
        let is_nothing = purged.total() == Removed::default() && purged.expired == 0;
        self.end(is_nothing, output)
    }

    fn forgotten(&self, forgotten: &Forgotten, output: &mut Output) -> Result<Outcome> {
        let published = &forgotten.published;
        if self.json {
            let mut object = Object::new();
            for (name, number) in [
                ("sessions", forgotten.sessions),
                ("received", forgotten.received),
                ("lists", forgotten.lists),
                ("quarantined", forgotten.quarantined),
                ("unreadable", forgotten.unreadable),
            ] {
                object.insert(name.to_owned(), number.into());
            }
            insert(&mut object, published);
            self.mark(&mut object);
            output.json(&object)?;
        } else {
            let (went, _) = self.words();
            for (number, what) in [
                (forgotten.sessions, "sessions"),
                (
                    published.publications,
                    "publications of theirs, with all that there is of them",
                ),
                (published.events, "events of these"),
                (forgotten.received, "receivers of what others published"),
                (
                    forgotten.lists,
                    "publications' lists that they were on (only the authid)",
                ),
                (forgotten.quarantined, "rows of the quarantine"),
            ] {
                if number > 0 {
                    output.line(format_args!("{} {what} {went}.", grouped(number)))?;
                }
            }
        }
        if forgotten.unreadable > 0 {
            warn(format_args!(
                "{} records cannot be read, or not be written again without a loss; what they have of the authid stays. \
                 `realmstore repair`, and then this again, takes care of those that are damaged",
                grouped(forgotten.unreadable)
            ));
        }
        let others = [
            forgotten.sessions,
            forgotten.received,
            forgotten.lists,
            forgotten.quarantined,
        ];
        let is_nothing = *published == Removed::default() && others == [0; 4];
        if !self.json {
            self.end(is_nothing, output)?;
        }
        Ok(if forgotten.unreadable > 0 {
            Outcome::Found
        } else {
            Outcome::Done
        })
    }

    fn mark(&self, object: &mut Object) {
        object.insert("dry_run".to_owned(), self.is_plan.into());
    }

    fn words(&self) -> (&'static str, &'static str) {
        if self.is_plan {
            ("would go", "would be")
        } else {
            ("went", "are")
        }
    }

    fn end(&self, is_nothing: bool, output: &mut Output) -> Result<Outcome> {
        output.line(match (is_nothing, self.is_plan) {
            (true, _) => "There is nothing to remove.",
            (false, true) => "Nothing was changed.",
            (false, false) => {
                "What they took on disk is used again; `realmstore compact` gives it back."
            }
        })?;
        Ok(Outcome::Done)
    }
}

fn insert(object: &mut Object, removed: &Removed) {
    for (name, number) in [
        ("entries", removed.entries),
        ("events", removed.events),
        ("publications", removed.publications),
        ("bytes", removed.bytes),
    ] {
        object.insert(name.to_owned(), number.into());
    }
}

fn cells(name: &str, removed: &Removed) -> Vec<String> {
    vec![
        name.to_owned(),
        grouped(removed.entries),
        grouped(removed.events),
        grouped(removed.publications),
        bytes(removed.bytes),
    ]
}
