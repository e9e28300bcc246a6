//! `get`: one record.

use realmstore_core::key::{Key, KeyBuf};
use realmstore_core::{
    Backend, Order, Publication, PublicationId, ReadTxn, RealmStore, Session, SessionId,
    Subscription, SubscriptionId, Uuid,
};

use crate::cli::RecordKind;
use crate::failure::{Failure, Result};
use crate::lists::marked;
use crate::output::Output;
use crate::rows::{self, Found, Stored};

/// Prints the record of that kind that `key` names.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    kind: RecordKind,
    key: &str,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    match kind {
        RecordKind::Session => {
            let oid = session_oid(store, &txn, key)?;
            let Some(session) = store.sessions().get(&txn, &oid)? else {
                return Err(Failure::new(format!(
                    "there is no session with the OID {oid}"
                )));
            };
            print::<Session>(output, &rows::read(oid.as_bytes(), session.bytes()))
        }
        RecordKind::Publication => {
            let id: PublicationId = key.parse()?;
            let Some(publication) = store.publications().get(&txn, &id)? else {
                return Err(Failure::new(format!("there is no publication {id}")));
            };
            let mut key = KeyBuf::new();
            id.encode(&mut key);
            print::<Publication>(output, &rows::read(&key, publication.bytes()))
        }
        RecordKind::Subscription => {
            let id: SubscriptionId = key.parse()?;
            let Some(subscription) = store.subscriptions().get(&txn, &id)? else {
                return Err(Failure::new(format!(
                    "subscription {id} is not known by name; \
                     `realmstore subscriptions` lists those that have history too"
                )));
            };
            let mut key = KeyBuf::new();
            id.encode(&mut key);
            print::<Subscription>(output, &rows::read(&key, subscription.bytes()))
        }
    }
}

/// The OID that `key` is; or that of the latest session that had the WAMP session ID that `key` is.
fn session_oid<B: Backend, X: ReadTxn>(store: &RealmStore<B>, txn: &X, key: &str) -> Result<Uuid> {
    if let Ok(oid) = Uuid::parse_str(key) {
        return Ok(oid);
    }
    let Ok(id) = key.parse::<SessionId>() else {
        return Err(Failure::new(format!(
            "{key:?} is neither the OID of a session (a UUID) nor a WAMP session ID (1 to 2^53)"
        )));
    };
    let mut rows = store
        .idx_sessions_by_session_id()
        .prefix(txn, &(id,), Order::Descending)?;
    while let Some((_, oid)) = rows.next()? {
        if store.sessions().get(txn, &oid)?.is_some() {
            return Ok(oid);
        }
    }
    Err(Failure::new(format!(
        "there is no session with the WAMP session ID {id}"
    )))
}

fn print<R: Stored>(output: &mut Output, found: &Found<R>) -> Result<()> {
    let damaged = found.warn_of_damage();
    output.pretty_json(&marked(found, damaged))
}
