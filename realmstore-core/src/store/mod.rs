//! The realm store: its tables, attached to a database, and what routers and
//! operators ask of it.

mod adopt;
mod copy;
mod foreign;
mod history;
mod query;
mod stamp;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;
use std::vec;

use uuid::Uuid;

pub use self::adopt::Adoption;
pub use self::copy::{Copied, copy, measure};
pub use self::foreign::CROSSBAR_EVENTS_OID;
use self::foreign::ForeignEvents;
pub use self::history::{EventChange, History, HistoryEntry};
pub use self::query::HistoryQuery;
use self::query::Merge;
use self::stamp::Stamp;
pub use self::tables::{
    AuthidKey, EventKey, Events, Publications, Sessions, SessionsByAuthid, SessionsBySessionId,
};
use crate::backend::{Backend, KeyRange, Order, ReadTxn, WriteTxn};
use crate::directory::{Directory, ExistingSlots, Slots, SlotsToMake, meta_space};
use crate::key::Key;
use crate::record::{Event, Publication, Record, Session};
use crate::table::{Guard, Index, IndexHandle, IndexScan, Space, Table, TableHandle};
use crate::{Error, ErrorKind, PublicationId, Result, SessionId, SubscriptionId, Timestamp};

/// The persistent store of a WAMP realm, on any engine.
///
/// It gives its tables ([`sessions`](Self::sessions),
/// [`publications`](Self::publications), [`events`](Self::events)) for typed
/// access, and the operations that routers and operators need. Every one takes
/// the transaction it works in, so that several are one commit.
///
/// A file that Crossbar.io wrote can be attached as it is. It lacks our
/// indexes and has events of its own; every answer includes them, in order, but
/// takes longer, until [`adopt`](Self::adopt) has moved them.
pub struct RealmStore<B> {
    db: B,
    sessions: TableHandle<Sessions>,
    publications: TableHandle<Publications>,
    events: TableHandle<Events>,
    foreign_events: OnceLock<ForeignEvents>,
    meta: Space,
}

impl<B: Backend> RealmStore<B> {
    /// Attaches to a database: finds the tables in it, or makes those that are
    /// missing. In a database that was opened read-only nothing is made;
    /// tables that are missing read as empty.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when the database holds something else than
    /// tables, or what may be an entry of one of ours in the directory cannot
    /// be read: nothing is then changed. [`ErrorKind::Unsupported`] when the
    /// store has another version of one of our tables.
    pub fn attach(db: B) -> Result<Self> {
        if db.info()?.read_only {
            let txn = db.begin_read()?;
            let directory = Directory::of_store(&txn)?;
            let tables = Tables::attach(&mut ExistingSlots::new(&txn, &directory))?;
            drop(txn);
            return Self::with(db, tables, &directory);
        }
        let mut txn = db.begin_write()?;
        let mut directory = Directory::of_store(&txn)?;
        ForeignEvents::find(&directory)?;
        let found = directory.entries().len();
        let stamp = Stamp::read(&meta_space(&directory), &txn)?;
        let tables = Tables::attach(&mut SlotsToMake::new(&mut txn, &mut directory))?;
        let stamp = match (found, directory.entries().len()) {
            (0, _) => Stamp::Current,
            (before, now) if before == now => stamp,
            // What was just made is not complete where there were records before.
            _ => Stamp::Stale,
        };
        if directory.entries().len() > found {
            stamp.carry_over(&meta_space(&directory), &mut txn)?;
            txn.commit()?;
        } else {
            drop(txn);
        }
        Self::with(db, tables, &directory)
    }

    fn with(db: B, tables: Tables, directory: &Directory) -> Result<Self> {
        let foreign = ForeignEvents::find(directory)?;
        Ok(Self {
            db,
            sessions: tables.sessions,
            publications: tables.publications,
            events: tables.events,
            foreign_events: foreign
                .slot()
                .map_or_else(OnceLock::new, |_| foreign.into()),
            meta: meta_space(directory),
        })
    }

    /// The sessions, by OID.
    pub fn sessions(&self) -> &TableHandle<Sessions> {
        &self.sessions
    }

    /// The index of sessions by WAMP session ID and time of joining.
    pub fn idx_sessions_by_session_id(&self) -> &IndexHandle<SessionsBySessionId> {
        &self.sessions.companions().0
    }

    /// The index of sessions by authid and time of joining. In a file that
    /// Crossbar.io wrote it is not complete until [`adopt`](Self::adopt);
    /// [`sessions_by_authid`](Self::sessions_by_authid) knows that.
    pub fn idx_sessions_by_authid(&self) -> &IndexHandle<SessionsByAuthid> {
        &self.sessions.companions().1
    }

    /// The publications, by ID.
    pub fn publications(&self) -> &TableHandle<Publications> {
        &self.publications
    }

    /// Our own table of events. In a file that Crossbar.io wrote there are
    /// others beside it; [`events_of`](Self::events_of) has them all.
    pub fn events(&self) -> &TableHandle<Events> {
        &self.events
    }

    /// The database. Write through [`begin_write`](Self::begin_write) rather
    /// than here: what is committed past the store is taken for somebody
    /// else's, and costs it its indexes until [`adopt`](Self::adopt).
    pub fn db(&self) -> &B {
        &self.db
    }

    /// Begins a snapshot. As [`Backend::begin_read`].
    pub fn begin_read(&self) -> Result<B::ReadTxn<'_>> {
        self.db.begin_read()
    }

    /// Begins the write transaction. As [`Backend::begin_write`].
    pub fn begin_write(&self) -> Result<StoreWrite<'_, B>> {
        let txn = self.db.begin_write()?;
        let stamp = Stamp::read(&self.meta, &txn)?;
        Ok(StoreWrite {
            txn,
            meta: self.meta,
            stamp,
            changed: false,
        })
    }

    /// Attaches a table of your own, in the same store and so in the same commits.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store has a newer version of the table.
    pub fn attach_table<T: Table>(&self) -> Result<TableHandle<T>> {
        if self.db.info()?.read_only {
            let txn = self.db.begin_read()?;
            let directory = Directory::read(&txn)?;
            return TableHandle::attach(&mut ExistingSlots::new(&txn, &directory));
        }
        let mut txn = self.begin_write()?;
        let mut directory = Directory::read(&txn)?;
        let table = TableHandle::attach(&mut SlotsToMake::new(&mut txn, &mut directory))?;
        txn.commit()?;
        Ok(table)
    }

    /// Whether all that Crossbar.io wrote is in our own tables and indexes, so
    /// that answers cost no more than what they return.
    pub fn is_adopted<X: ReadTxn>(&self, txn: &X) -> Result<bool> {
        Ok(Stamp::read(&self.meta, txn)? == Stamp::Current)
    }

    /// Stores a session that joined.
    ///
    /// # Errors
    /// [`ErrorKind::Duplicate`] when another session has the same WAMP session
    /// ID and time of joining; [`ErrorKind::InvalidInput`] when it has no OID
    /// or no session ID.
    pub fn session_joined(&self, txn: &mut StoreWrite<'_, B>, session: &Session) -> Result<()> {
        if session.oid.is_nil() || session.session.is_unset() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a session without an OID or a session ID cannot be stored",
            )
            .table(Sessions::NAME));
        }
        self.sessions.put(txn, &session.oid, session)
    }

    /// Notes that a session left: sets `left_at` of the newest session with
    /// that WAMP session ID. Returns its OID; `None` when there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when the session's record cannot be read in
    /// full, [`ErrorKind::Unsupported`] when it has fields that this version
    /// does not know: it is then left as it is.
    pub fn session_left(
        &self,
        txn: &mut StoreWrite<'_, B>,
        session: SessionId,
        left_at: Timestamp,
    ) -> Result<Option<Uuid>> {
        let Some((oid, mut record)) = self
            .newest_session(txn, session, Timestamp::MAX)?
            .map(|(oid, guard)| {
                if guard.view()?.has_unknown_fields() {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("session {oid} has fields that only a newer realmstore knows"),
                    )
                    .table(Sessions::NAME));
                }
                Ok((oid, guard.to_owned()?))
            })
            .transpose()?
        else {
            return Ok(None);
        };
        record.left_at = Some(left_at);
        self.sessions.put(txn, &oid, &record)?;
        Ok(Some(oid))
    }

    /// The latest session with a WAMP session ID that joined at or before a time.
    pub fn session_by_id<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        session: SessionId,
        at: Timestamp,
    ) -> Result<Option<Guard<X::Value<'t>, Session>>> {
        Ok(self
            .newest_session(txn, session, at)?
            .map(|(_, guard)| guard))
    }

    #[allow(clippy::type_complexity, reason = "an OID and the record that has it")]
    fn newest_session<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        session: SessionId,
        at: Timestamp,
    ) -> Result<Option<(Uuid, Guard<X::Value<'t>, Session>)>> {
        let range = (session, Timestamp::UNIX_EPOCH)..=(session, at);
        let mut rows = self
            .idx_sessions_by_session_id()
            .range(txn, range, Order::Descending)?;
        while let Some((key, oid)) = rows.next()? {
            // A row may have outlived its session, or what it said of it; the
            // next one is then the newest. What is damaged is for the caller to see.
            if let Some(guard) = self.sessions.get(txn, &oid)?
                && is_led_to::<_, SessionsBySessionId>(&guard, &key)
            {
                return Ok(Some((oid, guard)));
            }
        }
        Ok(None)
    }

    /// The sessions with an authid, the one that joined last first.
    ///
    /// In a file that is not [adopted](Self::is_adopted) this reads all sessions.
    pub fn sessions_by_authid<'s, 't: 's, X: ReadTxn>(
        &'s self,
        txn: &'t X,
        authid: &'s str,
    ) -> Result<impl Iterator<Item = Result<Guard<X::Value<'t>, Session>>> + use<'s, 't, X, B>>
    {
        let mut oids = if self.is_adopted(txn)? {
            OidsByAuthid::Index(self.idx_sessions_by_authid().prefix(
                txn,
                &(AuthidKey::new(authid),),
                Order::Descending,
            )?)
        } else {
            OidsByAuthid::Sorted(self.oids_with_authid(txn, authid)?.into_iter())
        };
        Ok(std::iter::from_fn(move || {
            loop {
                let (row, oid) = match oids.next().transpose()? {
                    Ok(found) => found,
                    Err(error) => return Some(Err(error)),
                };
                let session = match self.sessions.get(txn, &oid).transpose() {
                    None => continue,
                    Some(Ok(session)) => session,
                    Some(Err(error)) => return Some(Err(error)),
                };
                // The index has the beginning of an authid only.
                match session
                    .view()
                    .and_then(|view| Ok(view.authid()? == Some(authid)))
                {
                    Ok(true)
                        if row
                            .is_none_or(|row| is_led_to::<_, SessionsByAuthid>(&session, &row)) =>
                    {
                        return Some(Ok(session));
                    }
                    Ok(_) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        }))
    }

    /// The OIDs of all sessions with an authid, found without an index. What
    /// is damaged is kept in, for its reader to see.
    fn oids_with_authid<X: ReadTxn>(&self, txn: &X, authid: &str) -> Result<Vec<Uuid>> {
        let mut found = Vec::new();
        let mut scan = self.sessions.range(txn, .., Order::Ascending)?;
        while let Some(entry) = scan.next()? {
            let Ok(oid) = entry.key() else { continue };
            let Ok(view) = entry.view() else {
                found.push((Timestamp::MAX, oid));
                continue;
            };
            if view.authid().is_ok_and(|found| found != Some(authid)) {
                continue;
            }
            found.push((view.joined_at().ok().flatten().unwrap_or_default(), oid));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|(_, oid)| oid).collect())
    }

    /// Stores a publication.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it has both a payload and arguments, or no ID.
    pub fn store_publication(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: &Publication,
    ) -> Result<()> {
        if publication.publication.is_unset() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a publication without an ID cannot be stored",
            )
            .table(Publications::NAME));
        }
        self.publications
            .put(txn, &publication.publication, publication)
    }

    /// Stores events. One that is stored again changes nothing.
    ///
    /// Give all receivers of a publication in one call, one after the other:
    /// the history is then touched once and not for each.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an event without a subscription or a
    /// publication, and those of the engine. Events before it may have been
    /// stored: the transaction must be dropped.
    pub fn store_events<'e>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Result<()> {
        let (history,) = self.events.companions();
        // The events of one publication under one subscription that are stored but not in the history yet.
        let mut run: Option<(EventKey, u64)> = None;
        for event in events {
            if event.subscription.is_unset() || event.publication.is_unset() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "an event without a subscription or a publication cannot be stored",
                )
                .table(Events::NAME));
            }
            let key = EventKey::from(event);
            if !event.with_bytes(|bytes| {
                self.events
                    .space()
                    .insert(txn, |out| key.encode(out), bytes)
            })? {
                self.events.put(txn, &key, event)?;
                continue;
            }
            run = match run {
                Some((first, new))
                    if first.subscription == key.subscription
                        && first.publication == key.publication =>
                {
                    Some((first.min(key), new + 1))
                }
                finished => {
                    if let Some((first, new)) = finished {
                        history.add(txn, &first, new)?;
                    }
                    Some((key, 1))
                }
            };
        }
        match run {
            Some((first, new)) => history.add(txn, &first, new),
            None => Ok(()),
        }
    }

    /// The events of a subscription, Crossbar.io's own among them.
    ///
    /// An event that is damaged comes as an error; the others come all the same.
    pub fn events_of<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        subscription: SubscriptionId,
        query: HistoryQuery,
    ) -> Result<impl Iterator<Item = Result<Event>> + use<'t, X, B>> {
        let (mut foreign, damage) = match self.foreign_events(txn)? {
            Some(events) => events.of_subscription(txn, subscription)?,
            None => Default::default(),
        };
        foreign.retain(|event| query.contains(event.timestamp));
        let mut scan = query.scan(self.events.space(), txn, subscription)?;
        let own = std::iter::from_fn(move || match scan.next().transpose()? {
            Ok((key, value)) => {
                Some(Event::decode(value).map_err(|error| error.table(Events::NAME).key(key)))
            }
            Err(error) => Some(Err(error)),
        });
        Ok(Merge::new(&query, own, foreign, damage, |event| {
            EventKey::from(event)
        }))
    }

    /// The history of a subscription: each publication once, at the time of
    /// its first event under that subscription.
    ///
    /// What it costs grows with the rows that are returned, not with those
    /// that are stored nor with the receivers that each had; in a file that is
    /// not [adopted](Self::is_adopted), also with the events of that
    /// subscription that Crossbar.io wrote.
    pub fn history<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        subscription: SubscriptionId,
        query: HistoryQuery,
    ) -> Result<impl Iterator<Item = Result<HistoryEntry>> + use<'t, X, B>> {
        let (history,) = self.events.companions();
        let (foreign, damage) = match self.foreign_events(txn)? {
            Some(events) => events.of_subscription(txn, subscription)?,
            None => Default::default(),
        };
        let mut first_times: BTreeMap<PublicationId, Timestamp> = BTreeMap::new();
        for event in foreign {
            // They come in order of time: the first is the earliest.
            first_times
                .entry(event.publication)
                .or_insert(event.timestamp);
        }
        let mut listed_earlier = HashSet::new();
        let mut entries = Vec::new();
        for (publication, timestamp) in first_times {
            let own = match history.position(txn, subscription, publication) {
                // A position that cannot be read hides nothing: the publication is listed by what can.
                Err(error) if error.kind() == ErrorKind::Damaged => None,
                own => own?,
            };
            match own {
                Some(own) if own.first <= timestamp => continue,
                Some(_) => {
                    listed_earlier.insert(publication);
                }
                None => {}
            }
            if query.contains(timestamp) {
                entries.push(HistoryEntry {
                    subscription,
                    timestamp,
                    publication,
                });
            }
        }
        entries.sort_unstable();
        let space = *history.history();
        let mut scan = query.scan(&space, txn, subscription)?;
        let own = std::iter::from_fn(move || match scan.next().transpose()? {
            Ok((key, _)) => {
                Some(HistoryEntry::from_bytes(key).map_err(|error| space.damaged(error).key(key)))
            }
            Err(error) => Some(Err(error)),
        })
        .filter(
            move |entry| !matches!(entry, Ok(entry) if listed_earlier.contains(&entry.publication)),
        );
        Ok(Merge::new(&query, own, entries, damage, |entry| *entry))
    }

    /// The subscriptions that have history, by ID. One step for each, however
    /// long its history is.
    pub fn subscriptions<X: ReadTxn>(&self, txn: &X) -> Result<Vec<SubscriptionId>> {
        let (history,) = self.events.companions();
        let mut found: BTreeSet<SubscriptionId> = foreign::subscriptions(history.history(), txn)?
            .into_iter()
            .collect();
        if let Some(events) = self.foreign_events(txn)? {
            found.extend(foreign::subscriptions(events.space(), txn)?);
        }
        Ok(found.into_iter().collect())
    }

    /// Crossbar.io's own events, where there may be any. That its table is
    /// empty takes one step to see, and is never taken on trust.
    fn foreign_events<X: ReadTxn>(&self, txn: &X) -> Result<Option<ForeignEvents>> {
        if let Some(events) = self.foreign_events.get() {
            return Ok(Some(*events));
        }
        // There was no such table when the store was attached. Only somebody else makes one.
        if self.is_adopted(txn)? {
            return Ok(None);
        }
        let events = ForeignEvents::find(&Directory::read(txn)?)?;
        if events.slot().is_none() {
            return Ok(None);
        }
        Ok(Some(*self.foreign_events.get_or_init(|| events)))
    }
}

/// The tables of a realm store, in the order of their slots in a new one.
struct Tables {
    sessions: TableHandle<Sessions>,
    publications: TableHandle<Publications>,
    events: TableHandle<Events>,
}

impl Tables {
    fn attach(slots: &mut dyn Slots) -> Result<Self> {
        Ok(Self {
            sessions: TableHandle::attach(slots)?,
            publications: TableHandle::attach(slots)?,
            events: TableHandle::attach(slots)?,
        })
    }
}

/// Whether a record is still what a row of an index said of it. Of a damaged
/// one that cannot be told, and its reader must see it.
fn is_led_to<V: AsRef<[u8]>, I: Index<Table = Sessions>>(
    session: &Guard<V, Session>,
    row: &I::Key,
) -> bool
where
    I::Key: PartialEq,
{
    match session.view().and_then(|view| I::key(&view)) {
        Ok(key) => key.as_ref() == Some(row),
        Err(_) => true,
    }
}

/// OIDs of sessions that may have an authid, with the rows of the index where they come from it.
enum OidsByAuthid<'t, X: ReadTxn + 't> {
    Index(IndexScan<'t, X, SessionsByAuthid>),
    Sorted(vec::IntoIter<Uuid>),
}

impl<X: ReadTxn> OidsByAuthid<'_, X> {
    fn next(&mut self) -> Result<Option<(Option<(AuthidKey, Timestamp)>, Uuid)>> {
        match self {
            Self::Index(rows) => Ok(rows.next()?.map(|(row, oid)| (Some(row), oid))),
            Self::Sorted(oids) => Ok(oids.next().map(|oid| (None, oid))),
        }
    }
}

/// The write transaction of a realm store. Dropped, it leaves no trace.
pub struct StoreWrite<'b, B: Backend + 'b> {
    txn: B::WriteTxn<'b>,
    meta: Space,
    stamp: Stamp,
    changed: bool,
}

impl<'b, B: Backend> ReadTxn for StoreWrite<'b, B> {
    type Value<'t>
        = <B::WriteTxn<'b> as ReadTxn>::Value<'t>
    where
        Self: 't;
    type Scan<'t>
        = <B::WriteTxn<'b> as ReadTxn>::Scan<'t>
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Value<'_>>> {
        self.txn.get(key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>> {
        self.txn.scan(range, order)
    }

    fn commit_number(&self) -> Option<u64> {
        self.txn.commit_number()
    }
}

impl<B: Backend> WriteTxn for StoreWrite<'_, B> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.changed = true;
        self.txn.put(key, value)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.changed = true;
        self.txn.insert(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.changed = true;
        self.txn.delete(key)
    }

    fn commit(mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        self.stamp.carry_over(&self.meta, &mut self.txn)?;
        self.txn.commit()
    }
}
