//! `retained`: what is retained for those who subscribe later.

use clap::Args;
use realmstore_core::key::{Key, KeyBuf};
use realmstore_core::record::Retained;
use realmstore_core::{
    Backend, GetRetained, MatchPolicy, Publication, ReadTxn, RealmStore, Requester, Timestamp,
};

use crate::failure::Result;
use crate::history::add_publication;
use crate::json::{Object, ToJson};
use crate::lists::{arguments, mark};
use crate::output::{Output, warn};
use crate::requester::RequesterArgs;
use crate::rows::{self, Found, Stored};
use crate::subscription::match_policy;
use crate::table::{Column, List, excerpts, numbers, optional, text, texts, times};

const COLUMNS: &[Column] = &[
    texts("TOPIC"),
    numbers("PUBLICATION"),
    times("RETAINED"),
    times("EXPIRES"),
    excerpts("ARGS"),
];

/// How many topics are asked for at once.
const PAGE: usize = 1000;

/// Which retained publications are asked for.
#[derive(Args)]
pub(crate) struct RetainedArgs {
    /// Only topics that a subscription to this URI or pattern gets
    #[arg(long)]
    uri: Option<String>,
    /// How topics are compared with the URI [default: exact]
    #[arg(long = "match", value_name = "POLICY", requires = "uri", value_parser = match_policy())]
    match_policy: Option<MatchPolicy>,
    #[command(flatten)]
    requester: RequesterArgs,
}

impl RetainedArgs {
    /// What is subscribed to, and how: everything, where nothing is said.
    fn subscription(&self) -> (&str, MatchPolicy) {
        match &self.uri {
            Some(uri) => (uri, self.match_policy.unwrap_or_default()),
            None => ("", MatchPolicy::Prefix),
        }
    }
}

/// Prints what is retained, by topic.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    wanted: &RetainedArgs,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let mut list = List::new(output, json, COLUMNS);
    let (uri, policy) = wanted.subscription();
    match wanted.requester.requester(store, &txn)? {
        Some(requester) => as_seen_by(store, &txn, requester, wanted, &mut list)?,
        None => rows::by_key(store.retained(), &txn, |found| {
            if found.damage.is_empty() && !policy.matches(uri, &found.record.topic) {
                return Ok(());
            }
            let is_damaged = found.warn_of_damage();
            let row = &found.record;
            let publication = publication(store, &txn, row)?;
            let is_damaged = is_damaged | publication.as_ref().is_some_and(Found::warn_of_damage);
            let publication = publication.map(|publication| publication.record);
            add(&mut list, row, publication.as_ref(), is_damaged)
        })?,
    }
    list.finish("retained publications")
}

/// Adds what somebody gets who subscribes now.
fn as_seen_by<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    requester: Requester,
    wanted: &RetainedArgs,
    list: &mut List<'_>,
) -> Result<()> {
    let (uri, match_policy) = wanted.subscription();
    let mut query = GetRetained {
        uri: uri.to_owned(),
        match_policy,
        requester: Some(requester),
        now: Timestamp::now(),
        limit: Some(PAGE),
        after_topic: None,
    };
    loop {
        let page = store.get_retained(txn, &query)?;
        for publication in &page {
            let rows = store.retained_for(txn, &publication.topic)?;
            let mut rows = rows.into_iter().map(|(_, row)| row).rev();
            if let Some(row) = rows.find(|row| row.publication == publication.publication) {
                add(list, &row, Some(publication), false)?;
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => query.after_topic = Some(last.topic.clone()),
            _ => return Ok(()),
        }
    }
}

/// The publication of a row; when it is gone, that is said on standard error.
fn publication<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    row: &Retained,
) -> Result<Option<Found<Publication>>> {
    let Some(publication) = store.publications().get(txn, &row.publication)? else {
        let place = row.key_text();
        warn(format_args!(
            "retained {place}: there is no such publication"
        ));
        return Ok(None);
    };
    let mut key = KeyBuf::new();
    row.publication.encode(&mut key);
    Ok(Some(rows::read(&key, publication.bytes())))
}

fn add(
    list: &mut List<'_>,
    row: &Retained,
    publication: Option<&Publication>,
    is_damaged: bool,
) -> Result<()> {
    let json = || {
        let mut object = row.to_json();
        add_publication(&mut object, publication, &["topic", "publication"]);
        mark(&mut object, is_damaged);
        object
    };
    let cells = || {
        let publication = publication.map_or_else(Object::new, ToJson::to_json);
        vec![
            text(&row.topic),
            row.publication.to_string(),
            row.retained_at.to_string(),
            optional(row.expires_at),
            arguments(&publication),
        ]
    };
    list.add(json, cells)
}
