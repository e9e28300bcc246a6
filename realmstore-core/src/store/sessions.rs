//! Sessions: joining, leaving, and finding them.

use std::vec;

use uuid::Uuid;

use super::tables::{Sessions, SessionsByAuthid, SessionsByLeaving, SessionsBySessionId, TextKey};
use super::{RealmStore, StoreWrite};
use crate::backend::{Backend, Order, ReadTxn, WriteTxn};
use crate::key::{Key, KeyBuf};
use crate::record::Session;
use crate::table::{Guard, Index, IndexHandle, IndexScan, Table};
use crate::{Error, ErrorKind, Result, SessionId, Timestamp};

/// What the keys in the meta table begin with that say when a node was last alive.
pub(super) const ALIVE_KEY: u8 = 2;

impl<B: Backend> RealmStore<B> {
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
        let is_noted = self.sessions.replace(txn, &oid, &record)?;
        Ok(is_noted.then_some(oid))
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
        let index = self.idx_sessions_by_session_id();
        let Some((key, oid)) = index.last(txn, range.clone())? else {
            return Ok(None);
        };
        if let Some(guard) = self.sessions.get(txn, &oid)?
            && is_led_to::<_, SessionsBySessionId>(&guard, &key)
        {
            return Ok(Some((oid, guard)));
        }
        let mut rows = index.range(txn, range, Order::Descending)?;
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
                &(TextKey::new(authid),),
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

    /// The sessions that have not left, by the time of joining.
    ///
    /// In a file that is not [adopted](Self::is_adopted) this reads all sessions.
    pub fn open_sessions<'s, 't: 's, X: ReadTxn>(
        &'s self,
        txn: &'t X,
    ) -> Result<impl Iterator<Item = Result<Guard<X::Value<'t>, Session>>> + use<'s, 't, X, B>>
    {
        self.sessions_leaving_after(txn, Timestamp::MAX, Timestamp::MAX)
    }

    /// The sessions that were there at a time: they had joined by then, and had
    /// not left. Those that left first come first.
    ///
    /// It costs the sessions that left later, and those that have not left; in
    /// a file that is not [adopted](Self::is_adopted) it reads all.
    pub fn sessions_present<'s, 't: 's, X: ReadTxn>(
        &'s self,
        txn: &'t X,
        at: Timestamp,
    ) -> Result<impl Iterator<Item = Result<Guard<X::Value<'t>, Session>>> + use<'s, 't, X, B>>
    {
        let later = Timestamp::from_nanos(at.as_nanos().saturating_add(1));
        self.sessions_leaving_after(txn, later, at)
    }

    /// The sessions that left at a time or later, or have not left, and that had
    /// joined at another.
    fn sessions_leaving_after<'s, 't: 's, X: ReadTxn>(
        &'s self,
        txn: &'t X,
        left: Timestamp,
        joined: Timestamp,
    ) -> Result<impl Iterator<Item = Result<Guard<X::Value<'t>, Session>>> + use<'s, 't, X, B>>
    {
        let wanted = move |(left_at, joined_at): (Timestamp, Timestamp)| {
            left_at >= left && joined_at <= joined
        };
        let mut rows = if self.is_adopted(txn)? {
            ByLeaving::Index(self.idx_sessions_by_leaving().range(
                txn,
                (left, Timestamp::UNIX_EPOCH)..,
                Order::Ascending,
            )?)
        } else {
            ByLeaving::Sorted(self.oids_leaving(txn, wanted)?.into_iter())
        };
        Ok(std::iter::from_fn(move || {
            loop {
                let (row, oid) = match rows.next().transpose()? {
                    Ok(found) => found,
                    Err(error) => return Some(Err(error)),
                };
                if row.is_some_and(|row| !wanted(row)) {
                    continue;
                }
                match self.sessions.get(txn, &oid).transpose() {
                    None => {}
                    Some(Ok(session))
                        if row.is_some_and(|row| {
                            !is_led_to::<_, SessionsByLeaving>(&session, &row)
                        }) => {}
                    Some(session) => return Some(session),
                }
            }
        }))
    }

    /// The OIDs of the sessions whose times of leaving and joining are wanted,
    /// found without an index, in its order. What is damaged is kept in, for
    /// its reader to see.
    fn oids_leaving<X: ReadTxn>(
        &self,
        txn: &X,
        wanted: impl Fn((Timestamp, Timestamp)) -> bool,
    ) -> Result<Vec<Uuid>> {
        let mut found = Vec::new();
        let mut scan = self.sessions.range(txn, .., Order::Ascending)?;
        while let Some(entry) = scan.next()? {
            let Ok(oid) = entry.key() else { continue };
            match entry.view().and_then(|view| SessionsByLeaving::key(&view)) {
                Ok(Some(key)) if wanted(key) => found.push((key, oid)),
                Ok(_) => {}
                Err(_) => found.push(((Timestamp::MAX, Timestamp::MAX), oid)),
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, oid)| oid).collect())
    }

    /// Takes those rows off the index by leaving that say of a session that it
    /// is open, where it is not: Crossbar.io, which does not know of the index,
    /// notes in a session that it has left. Without this all that were open when
    /// we last wrote would be passed by in every later answer.
    pub(super) fn forget_open_rows(&self, txn: &mut StoreWrite<'_, B>) -> Result<()> {
        let by_leaving = self.idx_sessions_by_leaving();
        let Some(slot) = by_leaving.slot() else {
            return Ok(());
        };
        let mut outlived = Vec::new();
        let mut rows = by_leaving.prefix(txn, &(SessionsByLeaving::OPEN,), Order::Ascending)?;
        loop {
            let (row, oid) = match rows.next() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Damaged => continue,
                Err(error) => return Err(error),
            };
            let is_open = match self.sessions.get(txn, &oid)? {
                Some(session) => is_led_to::<_, SessionsByLeaving>(&session, &row),
                None => false,
            };
            if !is_open {
                outlived.push(IndexHandle::<SessionsByLeaving>::row(
                    slot,
                    &row,
                    oid.as_bytes(),
                ));
            }
        }
        drop(rows);
        for row in outlived {
            txn.delete(&row)?;
        }
        Ok(())
    }

    /// Takes note that a node was alive, for [`close_left_open`](Self::close_left_open).
    /// What writes for the node calls it in every commit.
    pub fn note_alive(
        &self,
        txn: &mut StoreWrite<'_, B>,
        node: Uuid,
        now: Timestamp,
    ) -> Result<()> {
        let mut value = KeyBuf::new();
        now.encode(&mut value);
        self.meta.put(txn, |out| alive_key(node, out), &value)
    }

    /// Closes the sessions of a node that its crash left open, and returns
    /// their OIDs: they left when the node was last known to be [alive](Self::note_alive), or
    /// when they joined, if that was later. Sessions of other nodes, and those that do not
    /// say of which they are, stay as they are; so does a session whose record
    /// cannot be read in full.
    pub fn close_left_open(&self, txn: &mut StoreWrite<'_, B>, node: Uuid) -> Result<Vec<Uuid>> {
        let alive = self
            .meta
            .get(txn, |out| alive_key(node, out))?
            .and_then(|value| Timestamp::from_bytes(value.as_ref()).ok())
            .unwrap_or_default();
        let mut left_open = Vec::new();
        for session in self.open_sessions(txn)? {
            let session = match session.and_then(|session| {
                let is_known = !session.view()?.has_unknown_fields();
                is_known.then(|| session.to_owned()).transpose()
            }) {
                Ok(Some(session)) => session,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::Damaged => continue,
                Err(error) => return Err(error),
            };
            if session.node_oid == Some(node) && session.left_at.is_none() {
                left_open.push(session);
            }
        }
        let mut closed = Vec::with_capacity(left_open.len());
        for mut session in left_open {
            session.left_at = Some(alive.max(session.joined_at.unwrap_or_default()));
            if self.sessions.replace(txn, &session.oid, &session)? {
                closed.push(session.oid);
            }
        }
        Ok(closed)
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

/// The key in the meta table under which it says when a node was last alive.
fn alive_key(node: Uuid, out: &mut KeyBuf) {
    out.push(ALIVE_KEY);
    node.encode(out);
}

/// The sessions by the time of leaving, by the index or without it.
enum ByLeaving<'t, X: ReadTxn + 't> {
    Index(IndexScan<'t, X, SessionsByLeaving>),
    Sorted(vec::IntoIter<Uuid>),
}

impl<X: ReadTxn> ByLeaving<'_, X> {
    #[allow(
        clippy::type_complexity,
        reason = "the row of the index and the OID that it has"
    )]
    fn next(&mut self) -> Result<Option<(Option<(Timestamp, Timestamp)>, Uuid)>> {
        match self {
            Self::Index(rows) => Ok(rows.next()?.map(|(row, oid)| (Some(row), oid))),
            Self::Sorted(oids) => Ok(oids.next().map(|oid| (None, oid))),
        }
    }
}

/// The OID of a session that may have an authid, and the row of the index by which it was found.
type Found = (Option<<SessionsByAuthid as Index>::Key>, Uuid);

/// The sessions that may have an authid, by the index or without it.
enum OidsByAuthid<'t, X: ReadTxn + 't> {
    Index(IndexScan<'t, X, SessionsByAuthid>),
    Sorted(vec::IntoIter<Uuid>),
}

impl<X: ReadTxn> OidsByAuthid<'_, X> {
    fn next(&mut self) -> Result<Option<Found>> {
        match self {
            Self::Index(rows) => Ok(rows.next()?.map(|(row, oid)| (Some(row), oid))),
            Self::Sorted(oids) => Ok(oids.next().map(|oid| (None, oid))),
        }
    }
}
