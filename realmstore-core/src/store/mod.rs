//! The realm store: its tables, attached to a database, and what routers and
//! operators ask of it.

mod adopt;
mod changes;
mod copy;
mod foreign;
mod get_events;
mod history;
mod quarantine;
mod query;
mod recent;
mod recording;
mod repair;
mod retained;
mod retention;
mod sessions;
mod stamp;
mod subscriptions;
mod tables;
mod verify;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

pub use self::adopt::Adoption;
use self::changes::HistoryChanges;
pub use self::copy::{Copied, copy, measure};
use self::foreign::ForeignEvents;
pub use self::foreign::{CROSSBAR_EVENTS_OID, CrossbarEventKey};
pub use self::get_events::{Cursor, GetEvents, HistoryPage, HistoryRow};
use self::history::Place;
pub use self::history::{EventChange, History, HistoryEntry};
pub use self::quarantine::{Quarantine, place_of, quarantine};
pub use self::query::HistoryQuery;
use self::query::{KeySpan, Merge};
use self::recent::RecentState;
pub use self::recording::{Delivery, Dispatch, Retain};
pub use self::repair::{Remedy, Repair, Repaired, TableRepair, repair};
pub use self::retained::{GetRetained, MAX_RETAINED_PER_TOPIC};
pub use self::retention::{Forgotten, Limits, Purge, Purged, Removed, Retention, Step};
use self::stamp::Stamp;
pub use self::tables::{
    EventKey, Events, Publications, RetainedPublications, Sessions, SessionsByAuthid,
    SessionsByLeaving, SessionsBySessionId, Subscriptions, SubscriptionsByUri, TextKey,
};
pub use self::verify::{Finding, Severity, Verification, verify};
pub use self::write::StoreWrite;
use crate::backend::{Backend, Order, ReadTxn, WriteTxn};
use crate::directory::{Directory, ExistingSlots, Slots, SlotsToMake, meta_space};
use crate::key::Key;
use crate::record::{Event, Publication, Record};
use crate::table::{IndexHandle, Space, Table, TableHandle};
use crate::{Error, ErrorKind, PublicationId, Result, SubscriptionId, Timestamp};

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
    subscriptions: TableHandle<Subscriptions>,
    retained: TableHandle<RetainedPublications>,
    foreign_events: OnceLock<ForeignEvents>,
    /// The last slot of a directory that had no table of Crossbar.io's events.
    last_slot: AtomicU16,
    meta: Space,
    changes: HistoryChanges,
    recent: RecentState,
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
            let foreign = ForeignEvents::find(&directory)?;
            let tables = Tables::attach(&mut ExistingSlots::new(&txn, &directory))?;
            drop(txn);
            return Ok(Self::with(db, tables, foreign, &directory));
        }
        let mut txn = db.begin_write()?;
        let mut directory = Directory::of_store(&txn)?;
        let foreign = ForeignEvents::find(&directory)?;
        let found = directory.entries().len();
        let stamp = Stamp::read(&meta_space(&directory), &txn)?;
        let tables = Tables::attach(&mut SlotsToMake::new(&mut txn, &mut directory))?;
        let stamp = match (found, directory.entries().len()) {
            (0, _) => Stamp::Current,
            (before, now) if before == now => stamp,
            // What was just made is not complete where there were records before.
            _ => Stamp::Missing,
        };
        if directory.entries().len() > found {
            stamp.carry_over(&meta_space(&directory), &mut txn)?;
            txn.commit()?;
        } else {
            drop(txn);
        }
        Ok(Self::with(db, tables, foreign, &directory))
    }

    fn with(db: B, tables: Tables, foreign: ForeignEvents, directory: &Directory) -> Self {
        let (history,) = tables.events.companions();
        Self {
            db,
            changes: HistoryChanges::new(history.history().slot(), tables.subscriptions.slot()),
            recent: RecentState::new(history.history().slot(), tables.subscriptions.slot()),
            sessions: tables.sessions,
            publications: tables.publications,
            events: tables.events,
            subscriptions: tables.subscriptions,
            retained: tables.retained,
            foreign_events: foreign
                .slot()
                .map_or_else(OnceLock::new, |_| foreign.into()),
            last_slot: directory
                .entries()
                .last()
                .map_or(0, |entry| entry.slot)
                .into(),
            meta: meta_space(directory),
        }
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

    /// The index of sessions by the time of leaving. As with
    /// [`idx_sessions_by_authid`](Self::idx_sessions_by_authid), it is
    /// [`open_sessions`](Self::open_sessions) and
    /// [`sessions_present`](Self::sessions_present) that know whether it is complete.
    pub fn idx_sessions_by_leaving(&self) -> &IndexHandle<SessionsByLeaving> {
        &self.sessions.companions().2
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

    /// The subscriptions that are known by name, by ID, and aliases of them.
    pub fn subscriptions(&self) -> &TableHandle<Subscriptions> {
        &self.subscriptions
    }

    /// The publications that are retained, by topic.
    pub fn retained(&self) -> &TableHandle<RetainedPublications> {
        &self.retained
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
    ///
    /// Where somebody else has written since our last commit, as Crossbar.io
    /// does beside us, what that was goes into our tables and indexes first,
    /// as part of this transaction. That costs a walk over the sessions, and
    /// what there is to add, while nobody else can write; many events are moved
    /// in commits of their own. A store that was never [adopted](Self::adopt)
    /// stays as it is.
    pub fn begin_write(&self) -> Result<StoreWrite<'_, B>> {
        loop {
            let mut txn = self.begin_write_as_is()?;
            if !txn.is_behind() || self.catch_up(&mut txn)? {
                return Ok(txn);
            }
            txn.commit()?;
        }
    }

    fn begin_write_as_is(&self) -> Result<StoreWrite<'_, B>> {
        let txn = self.db.begin_write()?;
        let stamp = Stamp::read(&self.meta, &txn)?;
        Ok(StoreWrite::new(txn, self.meta, stamp)
            .telling(&self.changes)
            .knowing(&self.recent))
    }

    /// Attaches a table of your own, in the same store and so in the same
    /// commits. An index that is new to a table with records is empty until it
    /// is [rebuilt](IndexHandle::rebuild).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store has another version of the table.
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

    /// Whether our indexes have all that Crossbar.io wrote, so that answers cost
    /// no more than what they return. Events of its own that are damaged, or
    /// that came while the last ones were moved, may still stand in its own
    /// table; they are in every answer.
    pub fn is_adopted<X: ReadTxn>(&self, txn: &X) -> Result<bool> {
        Ok(Stamp::read(&self.meta, txn)? == Stamp::Current)
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
    /// the history is then touched once and not for each. Events are taken as
    /// they are: their times, in whatever order, and the IDs of their
    /// subscriptions, also where one is an alias. To store what happens as it
    /// happens, [`record`](Self::record) it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] at the first event without a subscription or
    /// a publication: those before it are stored. After any other error the
    /// transaction can only be dropped.
    pub fn store_events<'e>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Result<()> {
        self.store_runs_or_break_off(txn, events, Place::First)
    }

    /// Stores events as [`store_events`](Self::store_events), and keeps the order
    /// in which they are given where it is that of a history: a publication that
    /// is new to one stands behind those that are there at the same time.
    ///
    /// For events that were recorded elsewhere, and are read from there in their
    /// order. What happens now is [recorded](Self::record).
    ///
    /// # Errors
    /// As [`store_events`](Self::store_events).
    pub fn store_events_in_order<'e>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Result<()> {
        self.store_runs_or_break_off(txn, events, Place::Behind)
    }

    fn store_runs_or_break_off<'e>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        events: impl IntoIterator<Item = &'e Event>,
        place: Place,
    ) -> Result<()> {
        let stored = self.store_runs(txn, events, place);
        if stored
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::InvalidInput)
        {
            txn.break_off();
        }
        stored
    }

    fn store_runs<'e>(
        &self,
        txn: &mut StoreWrite<'_, B>,
        events: impl IntoIterator<Item = &'e Event>,
        place: Place,
    ) -> Result<()> {
        let (history,) = self.events.companions();
        // The events of one publication under one subscription that are stored but not in the history yet.
        let mut run: Option<(EventKey, u64)> = None;
        let mut refused = Ok(());
        for event in events {
            refused = check_event(event);
            if refused.is_err() {
                break;
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
                        history.add(txn, &first, new, place)?;
                    }
                    Some((key, 1))
                }
            };
        }
        if let Some((first, new)) = run {
            history.add(txn, &first, new, place)?;
        }
        refused
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
        let range = query.range(subscription);
        let mut scan = range.scan(self.events.space(), txn, query.order)?;
        let own = std::iter::from_fn(move || match scan.next().transpose()? {
            Ok((key, value)) => {
                Some(Event::decode(value).map_err(|error| error.table(Events::NAME).key(key)))
            }
            Err(error) => Some(Err(error)),
        });
        let (order, limit) = (query.order, query.limit);
        Ok(Merge::new(order, limit, own, foreign, damage, |event| {
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
        let foreign = self.foreign_entries(txn, subscription)?;
        self.entries(
            txn,
            foreign,
            &query.range(subscription),
            query.order,
            query.limit,
        )
    }

    /// Which publications Crossbar.io's own events have under a subscription,
    /// where they are not in our history at an earlier time.
    fn foreign_entries<X: ReadTxn>(
        &self,
        txn: &X,
        subscription: SubscriptionId,
    ) -> Result<ForeignEntries> {
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
            entries.push(HistoryEntry {
                subscription,
                timestamp,
                ordinal: 0,
                publication,
            });
        }
        entries.sort_unstable();
        Ok(ForeignEntries {
            entries,
            listed_earlier,
            damage,
        })
    }

    /// The entries of a history that are in range.
    fn entries<'t, X: ReadTxn>(
        &self,
        txn: &'t X,
        foreign: ForeignEntries,
        range: &KeySpan,
        order: Order,
        limit: Option<usize>,
    ) -> Result<impl Iterator<Item = Result<HistoryEntry>> + use<'t, X, B>> {
        let ForeignEntries {
            mut entries,
            listed_earlier,
            damage,
        } = foreign;
        entries.retain(|entry| range.contains(entry));
        let (history,) = self.events.companions();
        let space = *history.history();
        let mut scan = range.scan(&space, txn, order)?;
        let own = std::iter::from_fn(move || match scan.next().transpose()? {
            Ok((key, _)) => {
                Some(HistoryEntry::from_bytes(key).map_err(|error| space.damaged(error).key(key)))
            }
            Err(error) => Some(Err(error)),
        })
        .filter(
            move |entry| !matches!(entry, Ok(entry) if listed_earlier.contains(&entry.publication)),
        );
        Ok(Merge::new(order, limit, own, entries, damage, |entry| {
            *entry
        }))
    }

    /// The subscriptions that have history, by ID. One step for each, however
    /// long its history is.
    pub fn subscriptions_with_history<X: ReadTxn>(&self, txn: &X) -> Result<Vec<SubscriptionId>> {
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
    /// empty, or not there, takes one step to see, and is never taken on trust
    /// where others can write.
    fn foreign_events<X: ReadTxn>(&self, txn: &X) -> Result<Option<ForeignEvents>> {
        if let Some(events) = self.foreign_events.get() {
            return Ok(Some(*events));
        }
        // There was no such table when the store was attached. Only somebody else makes one.
        if txn.commit_number().is_none() {
            return Ok(None);
        }
        let last_slot = Directory::last_slot(txn)?;
        if last_slot.is_some_and(|last| last <= self.last_slot.load(Ordering::Relaxed)) {
            return Ok(None);
        }
        let events = ForeignEvents::find(&Directory::read(txn)?)?;
        if events.slot().is_none() {
            if let Some(last) = last_slot {
                self.last_slot.fetch_max(last, Ordering::Relaxed);
            }
            return Ok(None);
        }
        Ok(Some(*self.foreign_events.get_or_init(|| events)))
    }
}

/// Refuses an event that belongs nowhere.
fn check_event(event: &Event) -> Result<()> {
    if event.subscription.is_unset() || event.publication.is_unset() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an event without a subscription or a publication cannot be stored",
        )
        .table(Events::NAME));
    }
    Ok(())
}

/// What Crossbar.io's own events add to the history of a subscription.
struct ForeignEntries {
    /// In order.
    entries: Vec<HistoryEntry>,
    /// Publications that our history has as well, but later.
    listed_earlier: HashSet<PublicationId>,
    damage: Vec<Error>,
}

/// The tables of a realm store, in the order of their slots in a new one.
struct Tables {
    sessions: TableHandle<Sessions>,
    publications: TableHandle<Publications>,
    events: TableHandle<Events>,
    subscriptions: TableHandle<Subscriptions>,
    retained: TableHandle<RetainedPublications>,
}

impl Tables {
    fn attach(slots: &mut dyn Slots) -> Result<Self> {
        Ok(Self {
            sessions: TableHandle::attach(slots)?,
            publications: TableHandle::attach(slots)?,
            events: TableHandle::attach(slots)?,
            subscriptions: TableHandle::attach(slots)?,
            retained: TableHandle::attach(slots)?,
        })
    }
}
