//! `sessions`, `publications` and `events`: the records of a table.

use realmstore_core::record::{PublicationView, RecordError, SessionView};
use realmstore_core::{
    Backend, Publication, RealmStore, Session, SessionId, SubscriptionId, Timestamp,
};
use serde_json::Value;

use crate::failure::Result;
use crate::json::{Object, ToJson};
use crate::output::Output;
use crate::rows::{self, Found, Page};
use crate::table::{Column, List, excerpts, numbers, optional, text, texts, times};

/// The columns of a table of sessions.
pub(crate) const SESSION_COLUMNS: &[Column] = &[
    numbers("SESSION"),
    times("JOINED"),
    times("LEFT"),
    texts("AUTHID"),
    texts("AUTHROLE"),
    texts("AUTHMETHOD"),
];
const PUBLICATION_COLUMNS: &[Column] = &[
    times("TIME"),
    numbers("PUBLICATION"),
    numbers("PUBLISHER"),
    texts("TOPIC"),
    excerpts("ARGS"),
];
const EVENT_COLUMNS: &[Column] = &[
    numbers("SUBSCRIPTION"),
    times("TIME"),
    numbers("PUBLICATION"),
    numbers("RECEIVER"),
];

/// Which sessions are asked for.
pub(crate) struct WantedSessions<'a> {
    pub(crate) authid: Option<&'a str>,
    pub(crate) session: Option<SessionId>,
    /// Only those that have not left.
    pub(crate) open: bool,
    /// Only those that had joined by then, and had not left.
    pub(crate) present_at: Option<Timestamp>,
}

impl WantedSessions<'_> {
    fn admit(&self, view: &SessionView<'_>) -> Result<bool, RecordError> {
        if self.session.is_some() && self.session != Some(view.session()?)
            || self.authid.is_some() && self.authid != view.authid()?
        {
            return Ok(false);
        }
        if !self.open && self.present_at.is_none() {
            return Ok(true);
        }
        let left_at = view.left_at()?;
        let was_present = match self.present_at {
            Some(time) => {
                view.joined_at()?.unwrap_or_default() <= time
                    && left_at.is_none_or(|left_at| left_at > time)
            }
            None => true,
        };
        Ok(was_present && (!self.open || left_at.is_none()))
    }
}

/// Prints the sessions by the time of joining.
pub(crate) fn sessions<B: Backend>(
    store: &RealmStore<B>,
    wanted: WantedSessions<'_>,
    page: Page,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, SESSION_COLUMNS);
    let is_wanted = |view: &SessionView<'_>| wanted.admit(view);
    rows::sessions(store, &txn, page, is_wanted, |found| {
        let damaged = found.warn_of_damage();
        list.add(|| marked(&found, damaged), || session_cells(&found.record))
    })?;
    list.finish("sessions")
}

/// The cells of a session, by [`SESSION_COLUMNS`].
pub(crate) fn session_cells(session: &Session) -> Vec<String> {
    vec![
        session.session.to_string(),
        optional(session.joined_at),
        optional(session.left_at),
        optional(session.authid.as_ref()),
        optional(session.authrole.as_ref()),
        optional(session.authmethod.as_ref()),
    ]
}

/// Prints the publications by time.
pub(crate) fn publications<B: Backend>(
    store: &RealmStore<B>,
    topic: Option<&str>,
    page: Page,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, PUBLICATION_COLUMNS);
    let is_wanted = |view: &PublicationView<'_>| match topic {
        Some(topic) => Ok(view.topic()? == topic),
        None => Ok(true),
    };
    rows::publications(store, &txn, page, is_wanted, |found| {
        let damaged = found.warn_of_damage();
        list.add(
            || marked(&found, damaged),
            || publication_cells(&found.record),
        )
    })?;
    list.finish("publications")
}

fn publication_cells(publication: &Publication) -> Vec<String> {
    vec![
        publication.timestamp.to_string(),
        publication.publication.to_string(),
        optional(publication.publisher),
        text(&publication.topic),
        arguments(&publication.to_json()),
    ]
}

/// Prints the events by subscription and time.
pub(crate) fn events<B: Backend>(
    store: &RealmStore<B>,
    subscription: Option<SubscriptionId>,
    page: Page,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, EVENT_COLUMNS);
    rows::events(store, &txn, subscription, page, |found| {
        let damaged = found.warn_of_damage();
        list.add(
            || marked(&found, damaged),
            || {
                let event = &found.record;
                vec![
                    event.subscription.to_string(),
                    event.timestamp.to_string(),
                    event.publication.to_string(),
                    optional(event.receiver),
                ]
            },
        )
    })?;
    list.finish("events")
}

/// What a publication carries, in short.
pub(crate) fn arguments(publication: &Object) -> String {
    let carried: Vec<String> = ["args", "kwargs", "payload"]
        .iter()
        .filter_map(|&field| publication.get(field))
        .filter(|value| !matches!(value, Value::Object(fields) if fields.is_empty()))
        .map(Value::to_string)
        .collect();
    text(&carried.join(" "))
}

/// A record as JSON, with a mark when it could not be read in full.
pub(crate) fn marked<R: ToJson>(found: &Found<R>, damaged: bool) -> Object {
    let mut object = found.record.to_json();
    mark(&mut object, damaged);
    object
}

/// Marks what could not be read in full.
pub(crate) fn mark(object: &mut Object, damaged: bool) {
    if damaged {
        object.insert("damaged".to_owned(), true.into());
    }
}
