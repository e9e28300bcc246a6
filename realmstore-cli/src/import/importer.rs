//! Which records go into the store, and how.

use realmstore_core::directory::Directory;
use realmstore_core::key::{Key, KeyBuf};
use realmstore_core::record::Retained;
use realmstore_core::store::{
    CROSSBAR_EVENTS_OID, CrossbarEventKey, EventKey, RetainedPublications, TextKey,
};
use realmstore_core::table::{Slot, Table};
use realmstore_core::{
    Backend, ErrorKind, Event, HistoryQuery, Order, Publication, ReadTxn, RealmStore, Session,
    StoreWrite, Subscription, WriteTxn,
};
use serde_json::Value;

use crate::failure::Result;
use crate::json::FromJson;
use crate::rows::{self, Stored};

/// How many records one commit takes at most.
const BATCH_RECORDS: usize = 10_000;

/// How many bytes of them, about.
const BATCH_BYTES: usize = 8 << 20;

/// What became of a record that was not refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is new.
    Imported,
    /// The store had it.
    AlreadyThere,
    /// The store had another one under its key.
    Replaced,
}

/// A record on its way into the store.
pub(super) struct Candidate<R> {
    pub(super) record: R,
    /// Whether it is what could be read of a damaged one.
    pub(super) is_damaged: bool,
    /// About how much memory it takes.
    pub(super) bytes: usize,
}

/// A kind of record that can be imported.
pub(super) trait Import: Stored + FromJson + PartialEq {
    /// What it must have and has not.
    fn lacks(&self) -> Option<&'static str>;

    /// Makes of what could be read of a damaged record one that nobody gets to
    /// see for whom it was not meant.
    fn close(&mut self) {}

    /// The record that the store has under this one's key.
    fn stored<B: Backend>(
        &self,
        importer: &mut Importer<'_, B>,
    ) -> Result<Option<rows::Found<Self>>>;

    /// Stores it; the reason, where the store does not take it and is as it was before.
    fn put<B: Backend>(
        self,
        importer: &mut Importer<'_, B>,
        fate: Fate,
    ) -> Result<Result<(), String>>;
}

impl Import for Session {
    fn lacks(&self) -> Option<&'static str> {
        match (self.oid.is_nil(), self.session.is_unset()) {
            (true, _) => Some("oid"),
            (_, true) => Some("session"),
            _ => None,
        }
    }

    fn stored<B: Backend>(
        &self,
        importer: &mut Importer<'_, B>,
    ) -> Result<Option<rows::Found<Self>>> {
        importer.read(importer.store.sessions().slot(), self.oid.as_bytes())
    }

    fn put<B: Backend>(
        self,
        importer: &mut Importer<'_, B>,
        _fate: Fate,
    ) -> Result<Result<(), String>> {
        let store = importer.store;
        let put = store.session_joined(importer.txn()?, &self);
        if matches!(&put, Err(error) if error.kind() == ErrorKind::Duplicate) {
            return Ok(Err(format!(
                "another session has the session ID {} and the same time of joining",
                self.session
            )));
        }
        refused_or_failed(put)
    }
}

impl Import for Publication {
    fn lacks(&self) -> Option<&'static str> {
        self.publication.is_unset().then_some("publication")
    }

    fn stored<B: Backend>(
        &self,
        importer: &mut Importer<'_, B>,
    ) -> Result<Option<rows::Found<Self>>> {
        importer.read(
            importer.store.publications().slot(),
            &bytes_of(&self.publication),
        )
    }

    /// Of lists of receivers, those that cannot be read are empty, and texts
    /// that cannot be read are not in them. For those who are eligible that is
    /// safe. Of those who are excluded nobody can tell that they are all there;
    /// and where not even the topic is, any other field may be missing too.
    fn close(&mut self) {
        let excludes = self.exclude.is_some()
            || self.exclude_authid.is_some()
            || self.exclude_authrole.is_some();
        if excludes || self.topic.is_empty() {
            self.eligible = Some(Vec::new());
        }
    }

    fn put<B: Backend>(
        self,
        importer: &mut Importer<'_, B>,
        _fate: Fate,
    ) -> Result<Result<(), String>> {
        let store = importer.store;
        refused_or_failed(store.store_publication(importer.txn()?, &self))
    }
}

impl Import for Event {
    fn lacks(&self) -> Option<&'static str> {
        match (self.subscription.is_unset(), self.publication.is_unset()) {
            (true, _) => Some("subscription"),
            (_, true) => Some("publication"),
            _ => None,
        }
    }

    fn stored<B: Backend>(
        &self,
        importer: &mut Importer<'_, B>,
    ) -> Result<Option<rows::Found<Self>>> {
        let place = EventKey::from(self);
        if importer
            .events
            .last()
            .is_some_and(|last| place <= EventKey::from(last))
        {
            importer.store_events()?;
        }
        if let Some(found) = importer.read(importer.store.events().slot(), &bytes_of(&place))? {
            return Ok(Some(found));
        }
        // Crossbar.io may have written it, to its own table.
        let key = CrossbarEventKey::from(&place).to_bytes();
        let found = importer.read::<Self>(importer.crossbar_events, &key)?;
        Ok(found.filter(|found| EventKey::from(&found.record) == place))
    }

    fn put<B: Backend>(
        self,
        importer: &mut Importer<'_, B>,
        fate: Fate,
    ) -> Result<Result<(), String>> {
        if fate == Fate::Imported {
            importer.events.push(self);
            return Ok(Ok(()));
        }
        let store = importer.store;
        let key = EventKey::from(&self);
        refused_or_failed(store.events().put(importer.txn()?, &key, &self))
    }
}

impl Import for Subscription {
    fn lacks(&self) -> Option<&'static str> {
        self.subscription.is_unset().then_some("subscription")
    }

    fn stored<B: Backend>(
        &self,
        importer: &mut Importer<'_, B>,
    ) -> Result<Option<rows::Found<Self>>> {
        importer.read(
            importer.store.subscriptions().slot(),
            &bytes_of(&self.subscription),
        )
    }

    fn put<B: Backend>(
        self,
        importer: &mut Importer<'_, B>,
        _fate: Fate,
    ) -> Result<Result<(), String>> {
        let store = importer.store;
        let txn = importer.txn()?;
        let id = self.subscription;
        if self.alias_of.is_some() {
            let newest = HistoryQuery {
                order: Order::Descending,
                limit: Some(1),
                ..HistoryQuery::default()
            };
            if store.history(txn, id, newest)?.next().is_some() {
                return Ok(Err(format!(
                    "{id} cannot stand for another subscription: it has a history itself"
                )));
            }
        }
        if let (Some(realm), Some(uri)) = (&self.realm, &self.uri) {
            let policy = self.match_policy.unwrap_or_default();
            match store.find_subscription(txn, realm, uri, policy) {
                Ok(Some(other)) if other.subscription != id => {
                    return Ok(Err(format!(
                        "subscription {} of the store is to the same URI: it stays the one that is known by it",
                        other.subscription
                    )));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    return Ok(Err(format!(
                        "nobody can tell whether another subscription is to the same URI: {error}"
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
        refused_or_failed(store.subscriptions().put(txn, &id, &self))
    }
}

impl Import for Retained {
    fn lacks(&self) -> Option<&'static str> {
        match (self.topic.is_empty(), self.publication.is_unset()) {
            (true, _) => Some("topic"),
            (_, true) => Some("publication"),
            _ => None,
        }
    }

    /// Nobody can tell any more for how long: not any longer.
    fn close(&mut self) {
        self.expires_at.get_or_insert(self.retained_at);
    }

    fn stored<B: Backend>(
        &self,
        importer: &mut Importer<'_, B>,
    ) -> Result<Option<rows::Found<Self>>> {
        let found = retained_row(importer, self)?;
        Ok(found.map(|(_, found)| found))
    }

    fn put<B: Backend>(
        self,
        importer: &mut Importer<'_, B>,
        fate: Fate,
    ) -> Result<Result<(), String>> {
        let store = importer.store;
        let replace = importer.replace;
        if fate == Fate::Replaced
            && let Some((key, _)) = retained_row(importer, &self)?
        {
            return refused_or_failed(store.retained().put(importer.txn()?, &key, &self));
        }
        let txn = importer.txn()?;
        let id = self.publication;
        let publication = match store.publications().get(txn, &id)? {
            None => return Ok(Err(format!("there is no publication {id}"))),
            Some(publication) => publication.to_owned(),
        };
        let publication = match publication {
            Ok(publication) => publication,
            Err(error) => return Ok(Err(format!("its publication cannot be read: {error}"))),
        };
        let mut rows = store.retained_for(txn, &self.topic)?.into_iter();
        if !replace && rows.any(|(_, row)| row.retained_at > self.retained_at) {
            return Ok(Err(
                "the store retains a later publication for this topic: --replace retains this one"
                    .to_owned(),
            ));
        }
        refused_or_failed(store.retain_row(txn, &publication, &self))
    }
}

/// The row of a topic's retained publication that the store has, with its key:
/// the number in that is the store's own.
fn retained_row<B: Backend>(
    importer: &mut Importer<'_, B>,
    wanted: &Retained,
) -> Result<Option<(<RetainedPublications as Table>::Key, rows::Found<Retained>)>> {
    let store = importer.store;
    let txn = importer.txn()?;
    let topic = (TextKey::new(&wanted.topic),);
    let mut scan = store.retained().prefix(txn, &topic, Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        let found = rows::read::<Retained>(entry.key_bytes(), entry.bytes());
        let (topic, publication) = (&found.record.topic, found.record.publication);
        if let Ok(key) = entry.key()
            && *topic == wanted.topic
            && publication == wanted.publication
        {
            return Ok(Some((key, found)));
        }
    }
    Ok(None)
}

/// What the store refuses before it writes anything is the record's fault;
/// after any other error the transaction can only be dropped.
fn refused_or_failed(put: realmstore_core::Result<()>) -> Result<Result<(), String>> {
    match put {
        Ok(()) => Ok(Ok(())),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn bytes_of(key: &impl Key) -> KeyBuf {
    let mut bytes = KeyBuf::new();
    key.encode(&mut bytes);
    bytes
}

/// Puts records into a store, in commits of bounded size. What has not been
/// committed when this is dropped is not in the store.
pub(super) struct Importer<'s, B: Backend> {
    store: &'s RealmStore<B>,
    replace: bool,
    txn: Option<StoreWrite<'s, B>>,
    /// New events, in the order of their keys, that are not stored yet: the
    /// history is touched once for all receivers of a publication, and those at
    /// the same time stand in it in the order in which they came.
    events: Vec<Event>,
    /// The slot of Crossbar.io's own events, as the transaction sees it.
    crossbar_events: Option<Slot>,
    records: usize,
    bytes: usize,
}

impl<'s, B: Backend> Importer<'s, B> {
    pub(super) fn new(store: &'s RealmStore<B>, replace: bool) -> Self {
        Self {
            store,
            replace,
            txn: None,
            events: Vec::new(),
            crossbar_events: None,
            records: 0,
            bytes: 0,
        }
    }

    /// Takes a record; says what became of it, or why it was refused.
    ///
    /// # Errors
    /// When the store failed: what was not committed is then lost.
    pub(super) fn take<R: Import>(
        &mut self,
        mut candidate: Candidate<R>,
    ) -> Result<Result<Fate, String>> {
        if let Some(field) = candidate.record.lacks() {
            return Ok(Err(format!("{field} is missing, and says which one it is")));
        }
        if candidate.is_damaged {
            candidate.record.close();
        }
        let fate = match candidate.record.stored(self)? {
            None => Fate::Imported,
            Some(mut found) => {
                let is_damaged = !found.damage.is_empty();
                if is_damaged {
                    found.record.close();
                }
                if are_same(&found.record, &candidate.record) {
                    return Ok(Ok(Fate::AlreadyThere));
                }
                if candidate.is_damaged && !is_damaged {
                    return Ok(Err(
                        "it is what is left of a damaged record, and the store has a sound one"
                            .to_owned(),
                    ));
                }
                if !self.replace {
                    let other = if is_damaged { "a damaged" } else { "another" };
                    return Ok(Err(format!(
                        "the store has {other} record under this key: --replace overwrites it"
                    )));
                }
                if found.has_unknown_fields {
                    return Ok(Err(
                        "what it would replace has fields that only a newer realmstore knows"
                            .to_owned(),
                    ));
                }
                Fate::Replaced
            }
        };
        let bytes = candidate.bytes;
        if let Err(reason) = candidate.record.put(self, fate)? {
            return Ok(Err(reason));
        }
        self.records += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.records >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(Ok(fate))
    }

    /// Puts on disk what was taken.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.store_events()?;
        if let Some(txn) = self.txn.take() {
            txn.commit()?;
        }
        (self.records, self.bytes) = (0, 0);
        Ok(())
    }

    fn store_events(&mut self) -> Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.events);
        let store = self.store;
        Ok(store.store_events_in_order(self.txn()?, &events)?)
    }

    fn txn(&mut self) -> Result<&mut StoreWrite<'s, B>> {
        match &mut self.txn {
            Some(txn) => Ok(txn),
            none => {
                let txn = self.store.begin_write()?;
                self.crossbar_events = Directory::read(&txn)?.slot(CROSSBAR_EVENTS_OID);
                Ok(none.insert(txn))
            }
        }
    }

    fn read<R: Stored>(
        &mut self,
        slot: Option<Slot>,
        key: &[u8],
    ) -> Result<Option<rows::Found<R>>> {
        let Some(slot) = slot else { return Ok(None) };
        let value = self.txn()?.get(&rows::full_key(slot, key))?;
        Ok(value.map(|value| rows::read(key, value.as_ref())))
    }
}

/// Whether two records are the same line of an export.
fn are_same<R: Import>(a: &R, b: &R) -> bool {
    let line = |record: &R| Value::from(record.to_json()).to_string();
    a == b || line(a) == line(b)
}
