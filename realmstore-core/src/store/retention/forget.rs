//! Forgetting somebody: what there is of an authid goes.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use uuid::Uuid;

use super::super::history::HistoryEntry;
use super::super::quarantine::Quarantine;
use super::super::tables::{EventKey, Publications, TextKey};
use super::super::{RealmStore, StoreWrite, quarantine};
use super::sweep::Sweep;
use super::{BATCH, Budget, ROWS_OF_AN_ENTRY, Removed};
use crate::backend::{Backend, Order, ReadTxn, WriteTxn};
use crate::key::{Key, KeyBuf};
use crate::record::{Event, Publication, PublicationView, Quarantined, Record, Texts};
use crate::table::{Table, TableHandle, successor};
use crate::{Error, ErrorKind, PublicationId, Result, SessionId, SubscriptionId, Timestamp};

/// What was removed of somebody so far, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Forgotten {
    /// Their sessions.
    pub sessions: u64,
    /// What they published, with all that there was of it.
    pub published: Removed,
    /// Events that they received. Where one was the first of its publication
    /// in a history, and there was no other at its time, an event without a
    /// receiver has taken its place.
    pub received: u64,
    /// Publications of others that they were taken off the lists of.
    pub lists: u64,
    /// Rows of the quarantine that had the authid in them.
    pub quarantined: u64,
    /// Records that cannot be read, or not be written again without a loss, so
    /// that something of them may be left.
    pub unreadable: u64,
    /// Whether it came to its end.
    pub complete: bool,
}

/// The sessions of somebody.
#[derive(Default)]
struct Person {
    oids: Vec<Uuid>,
    /// When which session IDs were theirs: from the first time on, until before the second.
    times: HashMap<SessionId, Vec<(Timestamp, Timestamp)>>,
    unreadable: u64,
}

impl Person {
    fn had(&self, session: SessionId, at: Timestamp) -> bool {
        let times = self.times.get(&session);
        times.is_some_and(|times| {
            times
                .iter()
                .any(|(from, until)| (*from..*until).contains(&at))
        })
    }

    fn published(&self, publication: &PublicationView<'_>) -> Result<bool> {
        Ok(match publication.publisher()? {
            Some(publisher) => self.had(publisher, publication.timestamp()?),
            None => false,
        })
    }
}

/// What is to be done with some publications.
#[derive(Default)]
struct PublicationsPiece {
    theirs: Vec<PublicationId>,
    listing: Vec<PublicationId>,
    unreadable: u64,
    next: KeyBuf,
    is_last: bool,
}

/// What is to be done with some events.
#[derive(Default)]
struct EventsPiece {
    received: Vec<EventKey>,
    next: KeyBuf,
    is_last: bool,
}

/// What is to be done with some rows of the quarantine.
#[derive(Default)]
struct QuarantinePiece {
    rows: Vec<u64>,
    next: KeyBuf,
    is_last: bool,
}

impl<B: Backend> RealmStore<B> {
    /// Removes what there is of an authid, for whoever has the right to be
    /// forgotten:
    ///
    /// * what was published by its sessions, wholly: with all events, in every
    ///   history, and where it is retained;
    /// * who received what others published, where it was them. That it was
    ///   dispatched, and when, stays;
    /// * the authid on others' lists of who may receive something. A list that
    ///   becomes empty stays, as it then admits nobody;
    /// * rows of the quarantine with the authid in them;
    /// * the sessions themselves, at the end, so that a call that was stopped
    ///   can be made again.
    ///
    /// A session ID is that of a session from its joining until another one
    /// joins with it. What the payload of a publication says of somebody cannot
    /// be known, and session IDs on others' lists stay, since they tell nothing
    /// any more. Sessions that join meanwhile stay, with what is theirs.
    ///
    /// Reads all publications and all events, in commits of some thousand rows.
    /// After each `on_batch` is told what went so far, and may stop it. The
    /// engine may keep the bytes in free pages, until the store is compacted.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] in a store that is not
    /// [adopted](Self::is_adopted), which is then left as it is;
    /// [`ErrorKind::InvalidInput`] for an empty authid.
    pub fn forget_authid(
        &self,
        authid: &str,
        mut on_batch: impl FnMut(&Forgotten) -> ControlFlow<()>,
    ) -> Result<Forgotten> {
        require_authid(authid)?;
        // Catches up with what others wrote, before it is looked at.
        self.begin_removal()?.commit()?;
        let person = self.person(&self.begin_read()?, authid)?;
        let mut done = Forgotten {
            unreadable: person.unreadable,
            ..Forgotten::default()
        };
        let mut next = KeyBuf::new();
        loop {
            let mut txn = self.begin_removal()?;
            let piece = self.publications_of(&txn, &person, authid, &next)?;
            for publication in &piece.listing {
                self.take_off_lists(&mut txn, *publication, authid)?;
            }
            done.lists += piece.listing.len() as u64;
            done.unreadable += piece.unreadable;
            txn.commit()?;
            if self
                .remove_published(&piece.theirs, &mut done, &mut on_batch)?
                .is_break()
                || on_batch(&done).is_break()
            {
                return Ok(done);
            }
            if piece.is_last {
                break;
            }
            next = piece.next;
        }
        let mut next = KeyBuf::new();
        loop {
            let mut txn = self.begin_removal()?;
            let piece = self.events_received(&txn, &person, &next)?;
            for key in &piece.received {
                self.forget_receiver(&mut txn, key)?;
            }
            done.received += piece.received.len() as u64;
            txn.commit()?;
            if on_batch(&done).is_break() {
                return Ok(done);
            }
            if piece.is_last {
                break;
            }
            next = piece.next;
        }
        let mut next = KeyBuf::new();
        loop {
            let mut txn = self.begin_removal()?;
            let rows = quarantine(&txn)?;
            let piece = quarantined_with(&rows, &txn, authid, &next)?;
            for number in &piece.rows {
                forget_quarantined(&rows, &mut txn, *number)?;
            }
            done.quarantined += piece.rows.len() as u64;
            txn.commit()?;
            if on_batch(&done).is_break() {
                return Ok(done);
            }
            if piece.is_last {
                break;
            }
            next = piece.next;
        }
        for oids in person.oids.chunks(1000) {
            let mut txn = self.begin_removal()?;
            for oid in oids {
                done.sessions += u64::from(self.sessions().delete(&mut txn, oid)?);
            }
            txn.commit()?;
            if on_batch(&done).is_break() {
                return Ok(done);
            }
        }
        self.remove_stray_rows(authid)?;
        done.complete = true;
        Ok(done)
    }

    /// Says what [`forget_authid`](Self::forget_authid) would remove from the
    /// store as a transaction sees it.
    ///
    /// # Errors
    /// As [`forget_authid`](Self::forget_authid).
    pub fn plan_forget_authid<X: ReadTxn>(&self, txn: &X, authid: &str) -> Result<Forgotten> {
        require_authid(authid)?;
        self.require_adopted(txn)?;
        let person = self.person(txn, authid)?;
        let mut planned = Forgotten {
            sessions: person.oids.len() as u64,
            unreadable: person.unreadable,
            ..Forgotten::default()
        };
        let (history,) = self.events().companions();
        let mut next = KeyBuf::new();
        loop {
            let piece = self.publications_of(txn, &person, authid, &next)?;
            planned.lists += piece.listing.len() as u64;
            planned.unreadable += piece.unreadable;
            for publication in piece.theirs {
                for (_, position) in history.positions_of(txn, publication)? {
                    planned.published.entries += 1;
                    let events = position.map_or(0, |position| position.events);
                    planned.published.events = planned.published.events.saturating_add(events);
                }
                let bytes = self.stored_bytes(txn, publication)?;
                planned.published.count_publication(bytes);
            }
            if piece.is_last {
                break;
            }
            next = piece.next;
        }
        let mut next = KeyBuf::new();
        loop {
            let piece = self.events_received(txn, &person, &next)?;
            for key in &piece.received {
                let publication = self.publications().get(txn, &key.publication)?;
                let is_theirs = match publication {
                    Some(publication) => publication
                        .view()
                        .and_then(|view| person.published(&view))
                        .unwrap_or(false),
                    None => false,
                };
                planned.received += u64::from(!is_theirs);
            }
            if piece.is_last {
                break;
            }
            next = piece.next;
        }
        let rows = quarantine(txn)?;
        let mut next = KeyBuf::new();
        loop {
            let piece = quarantined_with(&rows, txn, authid, &next)?;
            planned.quarantined += piece.rows.len() as u64;
            if piece.is_last {
                break;
            }
            next = piece.next;
        }
        planned.complete = true;
        Ok(planned)
    }

    /// The sessions of an authid, and when their session IDs were theirs.
    fn person<X: ReadTxn>(&self, txn: &X, authid: &str) -> Result<Person> {
        let mut person = Person::default();
        for session in self.sessions_by_authid(txn, authid)? {
            let session = session.and_then(|session| {
                let view = session.view()?;
                let joined_at = view.joined_at()?.unwrap_or_default();
                Ok((view.oid()?, view.session()?, joined_at))
            });
            let (oid, id, joined_at) = match session {
                Ok(session) => session,
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    person.unreadable += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let until = self.next_joining(txn, id, joined_at)?;
            person.oids.push(oid);
            person.times.entry(id).or_default().push((joined_at, until));
        }
        Ok(person)
    }

    /// When another session joined that had the ID of one that joined at a time.
    fn next_joining<X: ReadTxn>(
        &self,
        txn: &X,
        session: SessionId,
        joined_at: Timestamp,
    ) -> Result<Timestamp> {
        let later = Timestamp::from_nanos(joined_at.as_nanos().saturating_add(1));
        let range = (session, later)..=(session, Timestamp::MAX);
        let mut rows = self
            .idx_sessions_by_session_id()
            .range(txn, range, Order::Ascending)?;
        loop {
            match rows.next() {
                Ok(Some(((_, joined_at), oid))) => {
                    // A row may have outlived its session.
                    if self.sessions().get(txn, &oid)?.is_some() {
                        return Ok(joined_at);
                    }
                }
                Ok(None) => return Ok(Timestamp::MAX),
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Publications from a key on that somebody published, or that list them.
    fn publications_of<X: ReadTxn>(
        &self,
        txn: &X,
        person: &Person,
        authid: &str,
        from: &[u8],
    ) -> Result<PublicationsPiece> {
        let mut piece = PublicationsPiece {
            next: KeyBuf::from_slice(from),
            ..PublicationsPiece::default()
        };
        let mut scan = self.publications().space().scan_from(txn, from)?;
        let mut budget = Budget(BATCH);
        while !budget.is_spent() {
            let Some((key, value)) = scan.next()? else {
                piece.is_last = true;
                break;
            };
            budget.spend(1);
            piece.next = successor(key);
            let Ok(publication) = PublicationId::from_bytes(key) else {
                piece.unreadable += 1;
                continue;
            };
            let judged = Publication::view(value).and_then(|view| {
                Ok((
                    person.published(&view)?,
                    is_on(view.exclude_authid()?, authid) || is_on(view.eligible_authid()?, authid),
                    view.has_unknown_fields(),
                ))
            });
            match judged {
                Ok((true, _, _)) => {
                    budget.spend(ROWS_OF_AN_ENTRY);
                    piece.theirs.push(publication);
                }
                Ok((false, true, false)) if Publication::decode(value).is_ok() => {
                    budget.spend(ROWS_OF_AN_ENTRY);
                    piece.listing.push(publication);
                }
                Ok((false, false, _)) => {}
                _ => piece.unreadable += 1,
            }
        }
        Ok(piece)
    }

    fn take_off_lists(
        &self,
        txn: &mut StoreWrite<'_, B>,
        publication: PublicationId,
        authid: &str,
    ) -> Result<()> {
        let Some(mut record) = self
            .publications()
            .get(txn, &publication)?
            .map(|record| record.to_owned())
            .transpose()?
        else {
            return Ok(());
        };
        let lists = [&mut record.exclude_authid, &mut record.eligible_authid];
        for list in lists.into_iter().flatten() {
            list.retain(|listed| listed != authid);
        }
        self.publications().put(txn, &publication, &record)
    }

    /// Removes publications, with all that there is of them.
    fn remove_published(
        &self,
        publications: &[PublicationId],
        done: &mut Forgotten,
        on_batch: &mut impl FnMut(&Forgotten) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (history,) = self.events().companions();
        let mut sweeps: BTreeMap<SubscriptionId, Sweep> = BTreeMap::new();
        let mut left = publications.iter().peekable();
        while left.peek().is_some() {
            let mut txn = self.begin_removal()?;
            let mut budget = Budget(BATCH);
            while !budget.is_spent()
                && let Some(publication) = left.next()
            {
                for (key, _) in self.retained_rows_of(&txn, *publication)? {
                    self.retained().delete(&mut txn, &key)?;
                }
                let places = history.positions_of(&txn, *publication)?;
                for (subscription, position) in &places {
                    let entry = HistoryEntry {
                        subscription: *subscription,
                        timestamp: position.map_or(Timestamp::default(), |position| position.first),
                        ordinal: position.map_or(0, |position| position.ordinal),
                        publication: *publication,
                    };
                    let sweep = sweeps
                        .entry(*subscription)
                        .or_insert_with(|| Sweep::new(*subscription));
                    sweep.take_off(self, &mut txn, &[entry], &mut budget, &mut done.published)?;
                }
                if places.is_empty() {
                    let released = self.release(&mut txn, *publication)?;
                    done.published.count_publication(released);
                }
            }
            txn.commit()?;
            if on_batch(done).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for mut sweep in sweeps.into_values() {
            while !sweep.is_done() {
                let mut txn = self.begin_removal()?;
                sweep.go_on(self, &mut txn, &mut Budget(BATCH), &mut done.published)?;
                txn.commit()?;
                if on_batch(done).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Events from a key on that somebody received.
    fn events_received<X: ReadTxn>(
        &self,
        txn: &X,
        person: &Person,
        from: &[u8],
    ) -> Result<EventsPiece> {
        let mut piece = EventsPiece {
            next: KeyBuf::from_slice(from),
            ..EventsPiece::default()
        };
        let mut scan = self.events().space().scan_from(txn, from)?;
        let mut budget = Budget(BATCH);
        while !budget.is_spent() {
            let Some((bytes, _)) = scan.next()? else {
                piece.is_last = true;
                break;
            };
            budget.spend(1);
            piece.next = successor(bytes);
            if let Ok(key) = EventKey::from_bytes(bytes)
                && person.had(key.receiver, key.timestamp)
            {
                budget.spend(ROWS_OF_AN_ENTRY);
                piece.received.push(key);
            }
        }
        Ok(piece)
    }

    /// Removes an event, so that nobody can tell who received it, but that it was there.
    fn forget_receiver(&self, txn: &mut StoreWrite<'_, B>, key: &EventKey) -> Result<()> {
        let (history,) = self.events().companions();
        let space = self.events().space();
        let position = history.readable_position(txn, key.subscription, key.publication)?;
        let is_first = position.is_none_or(|position| position.first == key.timestamp);
        let is_alone = is_first && !history.has_other_event_at(txn, key)?;
        if is_alone {
            let stored = space.get(txn, |out| key.encode(out))?;
            let told = stored
                .as_ref()
                .and_then(|bytes| Event::decode(bytes.as_ref()).ok())
                .unwrap_or_default();
            drop(stored);
            let event = Event {
                subscription: key.subscription,
                timestamp: key.timestamp,
                publication: key.publication,
                receiver: None,
                ..told
            };
            let place = EventKey::from(&event);
            event.with_bytes(|bytes| space.put(txn, |out| place.encode(out), bytes))?;
        }
        space.delete(txn, |out| key.encode(out))?;
        match position {
            Some(position) if !is_alone => {
                let entry = position.entry(key.subscription, key.publication);
                history.set_events(txn, &entry, position.events.saturating_sub(1))
            }
            _ => Ok(()),
        }
    }

    /// Removes rows of the index by authid that lead nowhere: they have the authid in them.
    fn remove_stray_rows(&self, authid: &str) -> Result<()> {
        let index = self.idx_sessions_by_authid();
        let mut txn = self.begin_removal()?;
        let mut stray = Vec::new();
        let mut rows = index.prefix(&txn, &(TextKey::new(authid),), Order::Ascending)?;
        loop {
            match rows.next() {
                Ok(Some((key, oid))) => {
                    if self.sessions().get(&txn, &oid)?.is_none() {
                        stray.push((key, oid));
                    }
                }
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        drop(rows);
        index.remove_rows(&mut txn, &stray)?;
        txn.commit()
    }
}

fn require_authid(authid: &str) -> Result<()> {
    if authid.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an empty authid is nobody's, and cannot be forgotten",
        ));
    }
    Ok(())
}

fn is_on(list: Option<Texts<'_>>, authid: &str) -> bool {
    // What cannot be read of a list is found when the record is decoded.
    list.is_some_and(|mut list| list.any(|listed| listed.is_ok_and(|listed| listed == authid)))
}

/// Rows of the quarantine from a key on that have an authid in them.
fn quarantined_with<X: ReadTxn>(
    rows: &TableHandle<Quarantine>,
    txn: &X,
    authid: &str,
    from: &[u8],
) -> Result<QuarantinePiece> {
    let mut piece = QuarantinePiece {
        next: KeyBuf::from_slice(from),
        ..QuarantinePiece::default()
    };
    let authid = authid.as_bytes();
    let mut scan = rows.space().scan_from(txn, from)?;
    for _ in 0..BATCH / ROWS_OF_AN_ENTRY {
        let Some((key, value)) = scan.next()? else {
            piece.is_last = true;
            break;
        };
        piece.next = successor(key);
        let has_it = value.windows(authid.len()).any(|window| window == authid);
        if has_it && let Ok(number) = u64::from_bytes(key) {
            piece.rows.push(number);
        }
    }
    Ok(piece)
}

/// Removes a row of the quarantine. That a publication was lost stays known.
fn forget_quarantined<X: WriteTxn>(
    rows: &TableHandle<Quarantine>,
    txn: &mut X,
    number: u64,
) -> Result<()> {
    let row = rows.get(txn, &number)?.map(|row| row.to_owned());
    match row {
        Some(Ok(row)) if row.table == Some(Publications::OID) => {
            let row = Quarantined {
                value: None,
                problem: None,
                ..row
            };
            rows.put(txn, &number, &row)
        }
        _ => rows.delete(txn, &number).map(drop),
    }
}
