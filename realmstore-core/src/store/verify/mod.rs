//! Verifying a store: everything that is damaged in it, by name.

pub(super) mod history;
mod records;
pub(super) mod rows;
mod subscriptions;
pub(super) mod tables;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::ops::{Bound, ControlFlow};

pub(super) use self::records::Cure;
pub(super) use self::rows::{Check, Verdict};
pub(super) use self::tables::{Kind, Tables};
use super::stamp::Stamp;
use super::tables::Publications;
use crate::backend::{Backend, Order, ReadTxn, Scan};
use crate::key::{Key, prefix_end};
use crate::record::{Quarantined, Record};
use crate::table::{Slot, Table};
use crate::{PublicationId, Result};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// How things are, and may be: nothing is wrong.
    Remark,
    /// Something is not as it should be, but nothing is lost and no answer is
    /// wrong: answers may take longer, or have to be asked for in another way.
    Warning,
    /// Damage: something cannot be read, is lost, or is not found.
    Error,
}

impl Severity {
    /// Its name: `error`, `warning`, `remark`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Remark => "remark",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a check has to say of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is. Of [`verify`] these are the tables `directory`, `meta`,
    /// `quarantine`, `sessions`, `publications`, `events`, `crossbar_events`
    /// (Crossbar.io's own table of them), `subscriptions`, `retained`, the
    /// indexes `sessions_by_session_id`, `sessions_by_authid`,
    /// `sessions_by_leaving` and `subscriptions_by_uri`, and `history` and
    /// `history_positions`. Other checks have names of their own, such as that
    /// of a file's pages.
    pub table: &'static str,
    /// The key of the row as people write it, in hexadecimal when it is no key
    /// of that table; empty when it is about the table as a whole.
    pub key: String,
    /// What there is to say, in words.
    pub problem: String,
}

/// What a verification found, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verification {
    /// Rows that were looked at.
    pub rows: u64,
    /// Findings that are errors.
    pub errors: u64,
    /// Findings that are warnings.
    pub warnings: u64,
    /// Findings that are remarks.
    pub remarks: u64,
    /// Whether it came to its end.
    pub complete: bool,
}

impl Verification {
    /// Whether all was looked at and nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.complete && self.errors == 0
    }
}

/// Looks at everything that a realm store holds, as one snapshot has it, and
/// gives each [`Finding`] to `on_finding`, which may stop it.
///
/// * The directory: entries that cannot be read, tables that are in it twice.
///   Slots with rows but no entry are an error when the rows are those of a
///   table that is missing, else a warning. Tables of other programs are a
///   remark and are not looked into.
/// * Every record: FlatBuffers' own verifier, every field, the
///   well-formedness of CBOR, and that it stands under its own key.
/// * Every row of an index, both ways: that it leads to the record it says,
///   and that every record is led to.
///   The index by session ID must always be right: Crossbar.io writes it, and
///   trusts it. Those by authid and by the time of leaving are ours: in a store
///   that is not [adopted](crate::RealmStore::is_adopted) what they lack, and
///   what is too much in them, is a remark, since
///   [`adopt`](crate::RealmStore::adopt) makes them anew; in an adopted one what
///   they lack is an error, and what is too much a warning, since every answer
///   leaves it out. So it always is with the index of subscriptions, which
///   nobody but us writes.
/// * The history of our events, which is counted anew. Nobody but us writes
///   those events, so it must always be right.
/// * Events whose publication is not there: an error, until the
///   [quarantine](super::Quarantine) knows of it.
/// * What is retained: its publication must be there, and be of its topic.
/// * Aliases of subscriptions: each must lead to one that is no alias itself,
///   and that is there. One that has no record any more, but has events, is.
/// * Our own facts about the store, and the quarantine.
///
/// A file as Crossbar.io leaves it has remarks only. It takes memory for the
/// publications in the quarantine (eight bytes each) and for some thousand
/// rows, however large the store is.
///
/// # Errors
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) for what is no realm
/// store, or whose directory has no entry that can be read;
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when it has
/// another version of one of our tables; and those of the engine.
pub fn verify<B: Backend>(
    db: &B,
    on_finding: impl FnMut(Finding) -> ControlFlow<()>,
) -> Result<Verification> {
    let txn = db.begin_read()?;
    let tables = Tables::find(&txn)?;
    let known_losses = known_losses(&txn, &tables)?;
    let mut verifier = Verifier {
        txn: &txn,
        tables: &tables,
        check: Check::new(&txn, &tables, &known_losses, is_adopted(&txn, &tables)?),
        found: Verification::default(),
        on_finding,
        unindexed: BTreeMap::new(),
    };
    let ended = verifier.run()?;
    verifier.found.complete = ended.is_continue();
    Ok(verifier.found)
}

/// The publications that the quarantine knows of.
pub(super) fn known_losses<X: ReadTxn>(txn: &X, tables: &Tables) -> Result<HashSet<PublicationId>> {
    let mut known = HashSet::new();
    let mut scan = tables
        .space(Kind::Quarantine)
        .scan_all(txn, Order::Ascending)?;
    while let Some((_, value)) = scan.next()? {
        known.extend(lost_publication(value));
    }
    Ok(known)
}

/// The publication that a row of the quarantine was.
fn lost_publication(value: &[u8]) -> Option<PublicationId> {
    let row = Quarantined::view(value).ok()?;
    if row.table().ok()? != Some(Publications::OID) {
        return None;
    }
    PublicationId::from_bytes(row.key().ok()??.get(size_of::<Slot>()..)?).ok()
}

/// The slots that have rows, one step for each.
pub(super) fn slots_in_use<X: ReadTxn>(txn: &X) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    let mut start = Some(crate::key::KeyBuf::new());
    while let Some(from) = start {
        let lower = if from.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Included(&from[..])
        };
        let mut scan = txn.scan((lower, Bound::Unbounded), Order::Ascending)?;
        let Some((key, _)) = scan.next()? else { break };
        // A key that is too short for a slot stands before those of the slot that it begins.
        start = match key.first_chunk() {
            Some(slot) => {
                slots.push(Slot::from_be_bytes(*slot));
                prefix_end(slot)
            }
            None => Some(crate::table::successor(key)),
        };
    }
    Ok(slots)
}

/// Slots with rows that the directory says nothing of.
pub(super) fn unlisted_slots<X: ReadTxn>(txn: &X, tables: &Tables) -> Result<Vec<Slot>> {
    let listed: BTreeSet<Slot> = tables
        .directory
        .entries()
        .iter()
        .map(|entry| entry.slot)
        .chain([0])
        .collect();
    let mut slots = slots_in_use(txn)?;
    slots.retain(|slot| !listed.contains(slot));
    Ok(slots)
}

struct Verifier<'t, X, F> {
    txn: &'t X,
    tables: &'t Tables,
    check: Check<'t, X>,
    found: Verification,
    on_finding: F,
    /// Rows that our indexes of sessions lack, and need not have.
    unindexed: BTreeMap<&'static str, (Kind, u64)>,
}

impl<X: ReadTxn, F: FnMut(Finding) -> ControlFlow<()>> Verifier<'_, X, F> {
    /// Looks at everything, until it is told to stop.
    fn run(&mut self) -> Result<ControlFlow<()>> {
        for kind in Kind::ALL {
            if self.walk(kind)?.is_break()
                || kind == Kind::Directory && self.unlisted()?.is_break()
                || kind == Kind::Positions && self.counts()?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        for (kind, sessions) in std::mem::take(&mut self.unindexed).into_values() {
            let problem = format!(
                "{sessions} sessions are not in this index, which `adopt` completes; answers are made without it"
            );
            if self.report(Severity::Remark, kind, "", problem).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn report(
        &mut self,
        severity: Severity,
        kind: Kind,
        key: impl Into<String>,
        problem: impl Into<String>,
    ) -> ControlFlow<()> {
        *match severity {
            Severity::Error => &mut self.found.errors,
            Severity::Warning => &mut self.found.warnings,
            Severity::Remark => &mut self.found.remarks,
        } += 1;
        (self.on_finding)(Finding {
            severity,
            table: kind.label(),
            key: key.into(),
            problem: problem.into(),
        })
    }

    /// Looks at every row of a table.
    fn walk(&mut self, kind: Kind) -> Result<ControlFlow<()>> {
        let mut scan = self
            .tables
            .space(kind)
            .scan_all(self.txn, Order::Ascending)?;
        let (mut rows, mut known_lost) = (0u64, 0u64);
        while let Some((key, value)) = scan.next()? {
            rows += 1;
            self.found.rows += 1;
            let verdict = self.check.row(kind, key, value)?;
            if verdict.lost.is_some_and(|lost| lost.is_known) {
                known_lost += 1;
            }
            if self.report_row(kind, key, verdict).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if known_lost > 0 {
            let problem = format!("{known_lost} lead to publications that are in the quarantine");
            if self.report(Severity::Remark, kind, "", problem).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if kind == Kind::CrossbarEvents && rows > 0 {
            let problem = format!(
                "{rows} stand in Crossbar.io's own table, in no order; `adopt` puts them in order"
            );
            return Ok(self.report(Severity::Remark, kind, "", problem));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn report_row(&mut self, kind: Kind, key: &[u8], verdict: Verdict) -> ControlFlow<()> {
        for (severity, problem) in verdict.problems {
            self.report(severity, kind, kind.key_text(key), problem)?;
        }
        for row in verdict.missing {
            if row.severity == Severity::Remark {
                self.unindexed
                    .entry(row.kind.label())
                    .or_insert((row.kind, 0))
                    .1 += 1;
                continue;
            }
            let problem = format!(
                "is missing: {} {} is not found",
                kind.label(),
                kind.key_text(key)
            );
            self.report(row.severity, row.kind, row.kind.key_text(&row.key), problem)?;
        }
        match verdict.lost.filter(|lost| !lost.is_known) {
            Some(lost) => self.report(
                Severity::Error,
                kind,
                kind.key_text(key),
                format!(
                    "leads to publication {}, which is not there",
                    lost.publication
                ),
            ),
            None => ControlFlow::Continue(()),
        }
    }

    fn unlisted(&mut self) -> Result<ControlFlow<()>> {
        for slot in unlisted_slots(self.txn, self.tables)? {
            let (severity, whose) = match rows::recognise(self.txn, self.tables, slot)? {
                Some(kind) => (
                    Severity::Error,
                    format!(
                        "they are those of {}, which the directory lacks",
                        kind.name()
                    ),
                ),
                None => (
                    Severity::Warning,
                    "nobody can tell whose they are".to_owned(),
                ),
            };
            let problem = format!("has rows but no entry in the directory: {whose}");
            let slot = slot.to_string();
            if self
                .report(severity, Kind::Directory, slot, problem)
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Counts the history anew.
    fn counts(&mut self) -> Result<ControlFlow<()>> {
        let (txn, tables) = (self.txn, self.tables);
        let mut ended = ControlFlow::Continue(());
        history::compare(txn, tables, |place, problem| {
            let key = records::bytes_of(&place);
            let kind = Kind::Positions;
            ended = self.report(Severity::Error, kind, kind.key_text(&key), problem);
            ended
        })?;
        Ok(ended)
    }
}

/// Whether the stamp is of the last commit.
pub(super) fn is_adopted<X: ReadTxn>(txn: &X, tables: &Tables) -> Result<bool> {
    Ok(Stamp::read(&tables.space(Kind::Meta), txn)? == Stamp::Current)
}
