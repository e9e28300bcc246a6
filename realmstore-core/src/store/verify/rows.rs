//! What is wrong with a row, and which rows should be there because of it.

use std::collections::HashSet;

use super::super::history::{HistoryEntry, Position};
use super::super::stamp;
use super::super::tables::{
    SessionsByAuthid, SessionsByLeaving, SessionsBySessionId, SubscriptionsByUri,
};
use super::Severity;
use super::records::{CrossbarEvent, Cure, Judged, Keyed, bytes_of, judge};
use super::tables::{Kind, Tables, node_of, version_of};
use crate::backend::{Order, ReadTxn};
use crate::directory::DirectoryEntry;
use crate::key::{Key, KeyBuf};
use crate::record::{Event, Publication, Quarantined, Record, Session, SessionView};
use crate::table::{Index, Slot, Space, Table, ViewOf};
use crate::{PublicationId, Result, SubscriptionId, Timestamp};

/// How many rows at either end of a slot are looked at to tell what it holds.
const SAMPLE: usize = 100;

/// What there is to say of a row.
#[derive(Debug, Default)]
pub(in super::super) struct Verdict {
    pub(in super::super) problems: Vec<(Severity, String)>,
    pub(in super::super) cure: Cure,
    /// Rows elsewhere that should lead here and do not.
    pub(in super::super) missing: Vec<MissingRow>,
    /// The publication of an event, where it is not there.
    pub(in super::super) lost: Option<Lost>,
}

/// A row that is not there.
#[derive(Debug)]
pub(in super::super) struct MissingRow {
    pub(in super::super) severity: Severity,
    pub(in super::super) kind: Kind,
    /// Without the slot.
    pub(in super::super) key: KeyBuf,
    pub(in super::super) value: KeyBuf,
}

/// A publication that an event leads to, and that is not there.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Lost {
    pub(in super::super) publication: PublicationId,
    /// Whether the quarantine knows of it.
    pub(in super::super) is_known: bool,
}

impl Verdict {
    fn wrong(severity: Severity, problem: impl Into<String>, cure: Cure) -> Self {
        Self {
            problems: vec![(severity, problem.into())],
            cure,
            ..Self::default()
        }
    }

    /// A row that is damaged, and goes to the quarantine.
    fn no_row(problem: impl Into<String>) -> Self {
        Self::wrong(Severity::Error, problem, Cure::MoveAside)
    }
}

/// Looks at rows, as a transaction sees them.
pub(in super::super) struct Check<'t, X> {
    pub(super) txn: &'t X,
    pub(super) tables: &'t Tables,
    is_adopted: bool,
    /// Publications that the quarantine knows of.
    known_losses: &'t HashSet<PublicationId>,
    /// The publication that was looked for last, and whether it is there.
    last: Option<(PublicationId, bool)>,
}

impl<'t, X: ReadTxn> Check<'t, X> {
    pub(in super::super) fn new(
        txn: &'t X,
        tables: &'t Tables,
        known_losses: &'t HashSet<PublicationId>,
        is_adopted: bool,
    ) -> Self {
        Self {
            txn,
            tables,
            is_adopted,
            known_losses,
            last: None,
        }
    }

    /// What there is to say of a row. `key` comes without the slot.
    pub(in super::super) fn row(
        &mut self,
        kind: Kind,
        key: &[u8],
        value: &[u8],
    ) -> Result<Verdict> {
        match kind {
            Kind::Directory => self.directory_entry(key, value),
            Kind::Meta => self.meta(key, value),
            Kind::Quarantine => Ok(verdict(judge::<Quarantined>(key, value)).0),
            Kind::Sessions => self.session(key, value),
            Kind::Publications => Ok(verdict(judge::<Publication>(key, value)).0),
            Kind::CrossbarEvents => {
                let (verdict, event) = verdict(judge::<CrossbarEvent>(key, value));
                self.with_publication(verdict, event.map(|event| event.0))
            }
            Kind::Events => {
                let (verdict, event) = verdict(judge::<Event>(key, value));
                self.with_publication(verdict, event)
            }
            Kind::Subscriptions => self.subscription(key, value),
            Kind::Retained => self.retained(key, value),
            Kind::SessionsBySessionId => self.index_row::<SessionsBySessionId>(kind, key, value),
            Kind::SessionsByAuthid => self.index_row::<SessionsByAuthid>(kind, key, value),
            Kind::SessionsByLeaving => self.index_row::<SessionsByLeaving>(kind, key, value),
            Kind::SubscriptionsByUri => self.index_row::<SubscriptionsByUri>(kind, key, value),
            Kind::Positions => self.position(key, value),
            Kind::History => self.history(key, value),
        }
    }

    fn directory_entry(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let slot = match key.try_into().map(Slot::from_be_bytes) {
            Ok(slot) if slot != 0 => slot,
            _ => return Ok(Verdict::no_row("is no entry of the directory")),
        };
        let entry = DirectoryEntry::read(slot, value);
        let oid = match entry.oid {
            Some(oid) if !self.tables.is_lost(&entry) => oid,
            oid => {
                let problem = match oid {
                    Some(oid) => format!("has the name of a table of ours, but its OID is {oid}"),
                    None => "the entry of a table cannot be read".to_owned(),
                };
                return Ok(Verdict::wrong(Severity::Error, problem, Cure::Leave));
            }
        };
        match self.tables.directory.slot(oid) {
            Some(first) if first != slot => {
                let cure = if is_empty(self.txn, slot)? {
                    Cure::MoveAside
                } else {
                    Cure::Leave
                };
                Ok(Verdict::wrong(
                    Severity::Error,
                    format!("table {oid} has slot {first} already"),
                    cure,
                ))
            }
            _ if self.tables.kind_of(slot).is_none() => Ok(Verdict::wrong(
                Severity::Remark,
                format!("table {oid} is another program's, and is not looked into"),
                Cure::Leave,
            )),
            _ => Ok(Verdict::default()),
        }
    }

    fn meta(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        if key == stamp::KEY {
            return Ok(match u64::from_bytes(value) {
                Ok(_) => Verdict::default(),
                Err(error) => Verdict::wrong(
                    Severity::Warning,
                    format!(
                        "the stamp of the last commit cannot be read ({error}): answers are made without our indexes of sessions"
                    ),
                    Cure::MoveAside,
                ),
            });
        }
        if node_of(key).is_some() {
            return Ok(match Timestamp::from_bytes(value) {
                Ok(_) => Verdict::default(),
                Err(error) => Verdict::no_row(format!(
                    "when the node was last alive cannot be read: {error}"
                )),
            });
        }
        let Some(oid) = version_of(key) else {
            return Ok(Verdict::no_row(
                "is neither the stamp, nor the version of a table, nor when a node was last alive",
            ));
        };
        if value.len() == size_of::<u32>() {
            return Ok(Verdict::default());
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.oid() == Some(oid));
        let cure = match kind.and_then(|kind| Some((kind, kind.version()?))) {
            Some((kind, version)) if self.is_of_known_form(kind)? => {
                Cure::Replace(version.to_be_bytes().to_vec())
            }
            _ => Cure::Leave,
        };
        Ok(Verdict::wrong(
            Severity::Error,
            "the version of a table's layout has not 4 bytes",
            cure,
        ))
    }

    /// Whether nothing in a table says that its layout is another one.
    fn is_of_known_form(&self, kind: Kind) -> Result<bool> {
        match self.tables.slot(kind) {
            // What is damaged in it is its versions.
            _ if kind == Kind::Meta => Ok(true),
            None => Ok(true),
            Some(slot) => Ok(is_empty(self.txn, slot)? || fits(self.txn, self.tables, kind, slot)?),
        }
    }

    fn session(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let (mut verdict, session) = verdict(judge::<Session>(key, value));
        let Some(session) = session else {
            return Ok(verdict);
        };
        session
            .with_bytes(|bytes| self.rows_of_session(&mut verdict, key, &Session::view(bytes)?))?;
        Ok(verdict)
    }

    /// The rows by which a session should be found.
    fn rows_of_session(
        &self,
        verdict: &mut Verdict,
        oid: &[u8],
        session: &SessionView<'_>,
    ) -> Result<()> {
        let by_id = index_key::<SessionsBySessionId>(session, oid)?;
        let by_authid = index_key::<SessionsByAuthid>(session, oid)?;
        let by_leaving = index_key::<SessionsByLeaving>(session, oid)?;
        if let Some(key) = by_id {
            let kind = Kind::SessionsBySessionId;
            match self
                .tables
                .space(kind)
                .get(self.txn, |out| out.extend_from_slice(&key))?
            {
                None => verdict.missing.push(MissingRow {
                    severity: Severity::Error,
                    kind,
                    key,
                    value: KeyBuf::from_slice(oid),
                }),
                Some(owner) if owner.as_ref() != oid => {
                    let row = self.index_row::<SessionsBySessionId>(kind, &key, owner.as_ref())?;
                    // What leads elsewhere is named where it stands.
                    if row.problems.is_empty() {
                        verdict.problems.push((
                            Severity::Warning,
                            format!(
                                "session {} has the same session ID and time of joining, and is found by them instead",
                                Kind::Sessions.key_text(owner.as_ref())
                            ),
                        ));
                    }
                }
                Some(_) => {}
            }
        }
        let severity = if self.is_adopted {
            Severity::Error
        } else {
            Severity::Remark
        };
        self.must_have(verdict, severity, Kind::SessionsByAuthid, by_authid)?;
        self.must_have(verdict, severity, Kind::SessionsByLeaving, by_leaving)
    }

    /// Looks for a row without a value that should be there.
    pub(super) fn must_have(
        &self,
        verdict: &mut Verdict,
        severity: Severity,
        kind: Kind,
        key: Option<KeyBuf>,
    ) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let row = self
            .tables
            .space(kind)
            .get(self.txn, |out| out.extend_from_slice(&key))?;
        if row.is_none() {
            verdict.missing.push(MissingRow {
                severity,
                kind,
                key,
                value: KeyBuf::new(),
            });
        }
        Ok(())
    }

    fn with_publication(&mut self, mut verdict: Verdict, event: Option<Event>) -> Result<Verdict> {
        let Some(Event { publication, .. }) = event else {
            return Ok(verdict);
        };
        let is_there = match self.last {
            Some((last, is_there)) if last == publication => is_there,
            _ => {
                let space = self.tables.space(Kind::Publications);
                space
                    .get(self.txn, |out| publication.encode(out))?
                    .is_some()
            }
        };
        self.last = Some((publication, is_there));
        if !is_there {
            verdict.lost = Some(Lost {
                publication,
                is_known: self.known_losses.contains(&publication),
            });
        }
        Ok(verdict)
    }

    fn index_row<I: Index>(&self, kind: Kind, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let primary = match primary_key::<I>(key, value) {
            Ok(primary) => primary,
            Err(problem) => return Ok(Verdict::no_row(problem)),
        };
        // Crossbar.io trusts its index, and a row may be all that is left of a
        // session. Whoever follows a row of ours compares it with the session,
        // and only in an adopted store should it be right. Nobody but us
        // writes subscriptions.
        let severity = match kind {
            Kind::SessionsBySessionId => Severity::Error,
            Kind::SubscriptionsByUri => Severity::Warning,
            _ if self.is_adopted => Severity::Warning,
            _ => Severity::Remark,
        };
        let (of, what) = match kind {
            Kind::SubscriptionsByUri => (Kind::Subscriptions, "subscription"),
            _ => (Kind::Sessions, "session"),
        };
        let named = of.key_text(primary);
        let records = self.tables.space(of);
        let Some(record) = records.get(self.txn, |out| out.extend_from_slice(primary))? else {
            return Ok(Verdict::wrong(
                severity,
                format!("leads to {what} {named}, which is not there"),
                Cure::MoveAside,
            ));
        };
        let of_record = <I::Table as Table>::Record::view(record.as_ref())
            .and_then(|record| index_key::<I>(&record, primary));
        Ok(match of_record {
            Ok(found) if found.as_deref() != Some(key) => Verdict::wrong(
                severity,
                format!("leads to {what} {named}, which is another one"),
                Cure::MoveAside,
            ),
            // A record that cannot be read is named itself.
            _ => Verdict::default(),
        })
    }

    fn position(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let (publication, subscription) = match Key::from_bytes(key) {
            Ok(place) => place,
            Err(error) => return Ok(Verdict::no_row(error.to_string())),
        };
        let position = match Position::from_bytes(value) {
            Ok(position) => position,
            Err(error) => {
                return Ok(Verdict::no_row(format!(
                    "its value is no position: {error}"
                )));
            }
        };
        if !self.has_event(subscription, position.first, publication)? {
            return Ok(Verdict::no_row(format!(
                "leads to an event at {} that is not there",
                position.first
            )));
        }
        let mut verdict = Verdict::default();
        let row = bytes_of(&position.entry(subscription, publication));
        let history = self.tables.space(Kind::History);
        if history
            .get(self.txn, |out| out.extend_from_slice(&row))?
            .is_none()
        {
            verdict.missing.push(MissingRow {
                severity: Severity::Error,
                kind: Kind::History,
                key: row,
                value: KeyBuf::new(),
            });
        }
        Ok(verdict)
    }

    fn history(&self, key: &[u8], value: &[u8]) -> Result<Verdict> {
        let entry = match HistoryEntry::from_bytes(key) {
            Ok(entry) => entry,
            Err(error) => return Ok(Verdict::no_row(error.to_string())),
        };
        if !value.is_empty() {
            return Ok(Verdict::no_row(
                "has a value, which rows of the history have not",
            ));
        }
        let HistoryEntry {
            subscription,
            timestamp,
            ordinal,
            publication,
        } = entry;
        if !self.has_event(subscription, timestamp, publication)? {
            return Ok(Verdict::no_row("leads to no event"));
        }
        let positions = self.tables.space(Kind::Positions);
        let position = positions
            .get(self.txn, |out| (publication, subscription).encode(out))?
            .and_then(|value| Position::from_bytes(value.as_ref()).ok());
        match position {
            Some(Position { first, .. })
                if first < timestamp && self.has_event(subscription, first, publication)? =>
            {
                Ok(Verdict::no_row(format!(
                    "is not the publication's first event, which was at {first}"
                )))
            }
            Some(position) if position.first == timestamp && position.ordinal != ordinal => {
                Ok(Verdict::no_row(format!(
                    "is the publication's second row at that time, it has number {}",
                    position.ordinal
                )))
            }
            // A position that is wrong is named itself.
            _ => Ok(Verdict::default()),
        }
    }

    fn has_event(
        &self,
        subscription: SubscriptionId,
        time: Timestamp,
        publication: PublicationId,
    ) -> Result<bool> {
        let place = (subscription, time, publication);
        let mut scan = self.tables.space(Kind::Events).scan_prefix(
            self.txn,
            |out| place.encode(out),
            Order::Ascending,
        )?;
        while let Some((key, _)) = scan.next()? {
            if key.len() == bytes_of(&(place, 0u64)).len() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn verdict<R: Keyed>(judged: Judged<R>) -> (Verdict, Option<R>) {
    let severe = |problem| (Severity::Error, problem);
    let verdict = Verdict {
        problems: judged.problems.into_iter().map(severe).collect(),
        cure: judged.cure,
        ..Verdict::default()
    };
    (verdict, judged.stays)
}

/// The key of the row by which an index should lead to a record, without the slot.
pub(super) fn index_key<I: Index>(
    record: &ViewOf<'_, I::Table>,
    primary: &[u8],
) -> Result<Option<KeyBuf>> {
    Ok(I::key(record)?.map(|key| {
        let mut row = bytes_of(&key);
        if !I::UNIQUE {
            row.extend_from_slice(primary);
        }
        row
    }))
}

/// The primary key that a row of an index leads to, or what is wrong with its form.
fn primary_key<'r, I: Index>(mut key: &'r [u8], value: &'r [u8]) -> Result<&'r [u8], String> {
    I::Key::decode(&mut key).map_err(|error| error.to_string())?;
    let (primary, rest) = if I::UNIQUE {
        (value, key)
    } else {
        (key, value)
    };
    if !rest.is_empty() {
        return Err(if I::UNIQUE {
            "damaged key: it is too long".to_owned()
        } else {
            "has a value, which rows of this index have not".to_owned()
        });
    }
    match <I::Table as Table>::Key::from_bytes(primary) {
        Ok(_) => Ok(primary),
        Err(_) => Err("leads to what is no key of a record".to_owned()),
    }
}

/// Whether a slot has no rows.
pub(in super::super) fn is_empty<X: ReadTxn>(txn: &X, slot: Slot) -> Result<bool> {
    let mut scan = Space::new(Some(slot), "").scan_all(txn, Order::Ascending)?;
    Ok(scan.next()?.is_none())
}

/// Whether a slot has rows, and its first and last ones are sound rows of a table.
pub(in super::super) fn fits<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    kind: Kind,
    slot: Slot,
) -> Result<bool> {
    let tables = tables.with(kind, slot);
    let nothing = HashSet::new();
    let mut check = Check::new(txn, &tables, &nothing, true);
    let mut is_any = false;
    for order in [Order::Ascending, Order::Descending] {
        let mut scan = tables.space(kind).scan_all(txn, order)?;
        for _ in 0..SAMPLE {
            let Some((key, value)) = scan.next()? else {
                break;
            };
            is_any = true;
            if !check.row(kind, key, value)?.problems.is_empty() {
                return Ok(false);
            }
        }
    }
    Ok(is_any)
}

/// Tables that a slot without an entry of its own that can be read holds beyond
/// doubt: those that the directory lacks and whose rows are what it has.
pub(in super::super) fn recognise<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    slot: Slot,
) -> Result<Option<Kind>> {
    let mut found = None;
    for kind in Kind::ALL {
        if tables.slot(kind).is_none() && fits(txn, tables, kind, slot)? {
            if found.is_some() {
                return Ok(None);
            }
            found = Some(kind);
        }
    }
    Ok(found)
}
