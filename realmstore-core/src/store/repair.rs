//! Repairing a store: what is damaged goes to the quarantine, what follows
//! from the rest is made anew.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use super::history::Position;
use super::quarantine::Quarantine;
use super::stamp::Stamp;
use super::verify::history::{COUNTED, compare, count};
use super::verify::rows::{fits, is_empty, recognise};
use super::verify::{Check, Cure, Kind, Tables, is_adopted, known_losses, unlisted_slots};
use super::{StoreWrite, Tables as AllTables};
use crate::backend::{Backend, Order, ReadTxn, WriteTxn};
use crate::directory::{Directory, SlotsToMake, encode_entry, meta_space};
use crate::key::{Key, KeyBuf};
use crate::record::Quarantined;
use crate::table::{Slot, Space, TableHandle, successor};
use crate::{Error, ErrorKind, PublicationId, Result, Timestamp};

/// How many rows one commit looks at.
const BATCH: usize = 10_000;

/// How many bytes of rows one commit changes, about.
const BATCH_BYTES: usize = 8 << 20;

/// What a repair did about something that was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The row was moved aside.
    MovedAside,
    /// The row was moved aside, and what can be read of it, or what it should
    /// have been, took its place.
    Replaced,
    /// A publication that events lead to is not there. The events stay; the
    /// loss is noted in the quarantine.
    LossNoted,
}

/// A row that came into the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// What was done about it.
    pub remedy: Remedy,
    /// The table it stood in, by the names of [`Finding`](super::Finding).
    pub table: &'static str,
    /// Its key, as in a [`Finding`](super::Finding).
    pub key: String,
    /// What was wrong with it, in words.
    pub problem: String,
    /// Its key in the [quarantine](Quarantine).
    pub number: u64,
}

/// What a repair did to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableRepair {
    /// The table, by the names of [`Finding`](super::Finding).
    pub table: &'static str,
    /// Rows that were moved aside.
    pub moved_aside: u64,
    /// Rows that were moved aside, and in whose place something was put.
    pub replaced: u64,
    /// Publications whose loss was noted.
    pub losses_noted: u64,
    /// Rows of indexes that were missing and were made.
    pub made: u64,
}

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// What was done to each table that something was done to.
    pub tables: Vec<TableRepair>,
    /// Whether it came to its end.
    pub complete: bool,
}

/// Repairs a realm store, so that [`verify`](super::verify) finds no damage in it.
///
/// Nothing is deleted: whatever cannot stay where it is goes to the
/// [quarantine](Quarantine), byte for byte, with the reason. What is sound is
/// not touched. What verification calls a remark stays, but for what our indexes
/// of sessions lack.
///
/// * A record that cannot be read at all, or that stands under a key that is
///   none or that is another than its own, is moved aside.
/// * Of a record that can be read in part, and whose identity is that of its
///   key (or is lacking), what can be read takes its place, so that answers do
///   not lose it. A session must have its session ID for that, a publication
///   its topic. CBOR that is not well-formed is left out; text that is not
///   UTF-8 has U+FFFD in its place.
///   Where anything of a publication's lists of receivers was lost, what takes
///   its place has an empty `eligible` and so admits nobody.
/// * Of an event of ours the key says all but how it was delivered: one whose
///   record cannot be read is made anew from its key.
/// * A subscription must be known in full, or it would be another one: it is
///   moved aside where its realm, URI or match policy cannot be read. Its events
///   stay, and its aliases too as long as there are any. An alias of an alias
///   leads to the end of them from then on; one that leads to nothing is moved aside.
/// * What is retained is moved aside where its publication is not there, or is
///   of another topic, or where it cannot be read until when it is retained.
/// * A damaged record with fields of a later version is not rewritten, since
///   they would be lost. It is moved aside whole.
/// * Events whose publication is not there stay: they are all that tells of
///   it. The loss is noted in the quarantine, once for each publication, and
///   verification then remarks on them.
/// * Rows of indexes, history and positions that are wrong are moved aside
///   too, for one may be the only trace of what was lost; those that are
///   missing are made. Of two sessions with the same session ID and time of
///   joining both stay, and the index leads to the one it led to.
/// * An entry of the directory that cannot be read is written anew when the
///   rows of its slot, or its name, leave no doubt whose it was.
///
/// Works in commits of some thousand rows, in bounded memory. What was
/// committed is told to `on_repaired`, which may stop it after that commit;
/// whatever stops it, nothing is lost, and the next call goes on. Until it is
/// complete answers are made without our indexes of sessions. At its end these
/// are complete: the store is then [adopted](crate::RealmStore::is_adopted),
/// unless it is without tables of ours, there are events in Crossbar.io's own
/// table, or somebody else wrote meanwhile.
///
/// # Errors
/// [`ErrorKind::Damaged`] when an entry of the directory that may be one of
/// ours cannot be read, and the rows of its slot do not tell whose it is:
/// nothing is then changed. Otherwise as for [`verify`](super::verify).
pub fn repair<B: Backend>(
    db: &B,
    on_repaired: impl FnMut(&Repaired) -> ControlFlow<()>,
) -> Result<Repair> {
    let is_adopted = {
        let txn = db.begin_read()?;
        is_adopted(&txn, &Tables::find(&txn)?)?
    };
    let mut repairer = Repairer {
        db,
        on_repaired,
        known_losses: HashSet::new(),
        is_adopted,
        done: BTreeMap::new(),
        last_commit: None,
        others_wrote: false,
    };
    let ended = repairer.run()?;
    Ok(Repair {
        tables: repairer.done.into_values().collect(),
        complete: ended.is_continue(),
    })
}

/// A change of a row.
struct Change {
    kind: Kind,
    /// Without the slot.
    key: KeyBuf,
    /// What stands there and goes to the quarantine.
    old: Option<Vec<u8>>,
    /// What is put there.
    new: Option<Vec<u8>>,
    problem: String,
}

impl Change {
    fn size(&self) -> usize {
        let len = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.key.len() + len(&self.old) + len(&self.new)
    }

    /// What becomes of the row; `None` for one that is only made.
    fn remedy(&self) -> Option<Remedy> {
        match (&self.old, &self.new) {
            (Some(_), None) => Some(Remedy::MovedAside),
            (Some(_), Some(_)) => Some(Remedy::Replaced),
            (None, None) => Some(Remedy::LossNoted),
            (None, Some(_)) => None,
        }
    }
}

struct Repairer<'b, B, F> {
    db: &'b B,
    on_repaired: F,
    known_losses: HashSet<PublicationId>,
    /// Whether the store was adopted before.
    is_adopted: bool,
    done: BTreeMap<usize, TableRepair>,
    /// The number of the last commit that was seen.
    last_commit: Option<u64>,
    others_wrote: bool,
}

impl<'b, B: Backend, F: FnMut(&Repaired) -> ControlFlow<()>> Repairer<'b, B, F> {
    /// Repairs everything, until it is told to stop.
    fn run(&mut self) -> Result<ControlFlow<()>> {
        if self.restore_directory()?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        // Versions first: without them tables cannot be attached.
        for kind in [Kind::Meta, Kind::Directory, Kind::Quarantine] {
            if self.pass(kind)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.make_tables()?;
        let txn = self.db.begin_read()?;
        self.known_losses = known_losses(&txn, &Tables::find(&txn)?)?;
        drop(txn);
        // Records, then the rows that lead to them, then the rows that are
        // missing, and aliases of what is not there any more.
        for kind in [
            Kind::Publications,
            Kind::Sessions,
            Kind::CrossbarEvents,
            Kind::Events,
            Kind::Retained,
            Kind::Subscriptions,
            Kind::SessionsBySessionId,
            Kind::SessionsByAuthid,
            Kind::SessionsByLeaving,
            Kind::SubscriptionsByUri,
            Kind::Positions,
        ] {
            if self.pass(kind)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if self.count_positions()?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.others_wrote = false;
        for kind in [
            Kind::History,
            Kind::Positions,
            Kind::Sessions,
            Kind::Subscriptions,
        ] {
            if self.pass(kind)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.finish()?;
        Ok(ControlFlow::Continue(()))
    }

    fn begin(&mut self) -> Result<(StoreWrite<'b, B>, Tables)> {
        let txn = self.db.begin_write()?;
        if self.last_commit.is_some() && txn.commit_number() != self.last_commit {
            self.others_wrote = true;
        }
        self.last_commit = txn.commit_number();
        let tables = Tables::find(&txn)?;
        let meta = tables.space(Kind::Meta);
        let stamp = Stamp::read(&meta, &txn)?;
        Ok((StoreWrite::new(txn, meta, stamp), tables))
    }

    /// Writes the entries of the directory anew that can be told beyond doubt.
    fn restore_directory(&mut self) -> Result<ControlFlow<()>> {
        let (txn, found) = self.begin()?;
        let mut tables = found.clone();
        let mut lost: Vec<(Slot, Option<String>)> = tables
            .directory
            .entries()
            .iter()
            .filter(|entry| tables.is_lost(entry))
            .map(|entry| (entry.slot, entry.name.clone()))
            .collect();
        lost.extend(
            unlisted_slots(&txn, &tables)?
                .into_iter()
                .map(|slot| (slot, None)),
        );
        let mut changes = Vec::new();
        // What is found tells what leads to it: as long as something is found, look again.
        while let Some((slot, kind)) = find_lost(&txn, &tables, &lost)? {
            lost.retain(|(other, _)| *other != slot);
            tables = tables.with(kind, slot);
            let Some(oid) = kind.oid() else { continue };
            let key = KeyBuf::from_slice(&slot.to_be_bytes());
            let old = tables
                .space(Kind::Directory)
                .get(&txn, |out| out.extend_from_slice(&key))?
                .map(|old| old.as_ref().to_vec());
            changes.push(Change {
                kind: Kind::Directory,
                key,
                old,
                new: Some(encode_entry(slot, oid, kind.name())),
                problem: format!("the entry of {} could not be read", kind.name()),
            });
        }
        for kind in Kind::ALL {
            // The quarantine is only looked for when something is moved there.
            if let Some(oid) = kind.oid()
                && kind != Kind::Quarantine
                && tables.slot(kind).is_none()
                && let Some((slot, _)) = lost.iter().find(|(slot, _)| {
                    tables
                        .directory
                        .entries()
                        .iter()
                        .any(|entry| entry.slot == *slot)
                })
                && tables.directory.find(oid, kind.name()).is_err()
            {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!(
                        "the directory of tables is damaged at slot {slot}, which may be this table's, and what the slot holds does not tell; nothing was changed"
                    ),
                )
                .table(kind.name()));
            }
        }
        self.apply(txn, &found, changes)
    }

    /// Makes those tables of ours that a store lost which has others of them.
    fn make_tables(&mut self) -> Result<()> {
        let (txn, tables) = self.begin()?;
        let is_missing = |kind: &Kind| tables.slot(*kind).is_none();
        let is_ours = !is_missing(&Kind::Meta);
        let has_sessions = !is_missing(&Kind::Sessions);
        let wanted = [
            (has_sessions || is_ours, Kind::SessionsBySessionId),
            (is_ours, Kind::Sessions),
            (is_ours, Kind::Publications),
            (is_ours, Kind::SessionsByAuthid),
            (is_ours, Kind::SessionsByLeaving),
            (is_ours, Kind::Subscriptions),
            (is_ours, Kind::SubscriptionsByUri),
            (is_ours, Kind::Retained),
            (is_ours, Kind::Events),
            (is_ours, Kind::Positions),
            (is_ours, Kind::History),
        ];
        drop(txn);
        if !wanted
            .iter()
            .any(|(is_wanted, kind)| *is_wanted && is_missing(kind))
        {
            return Ok(());
        }
        let mut txn = self.db.begin_write()?;
        let mut directory = Directory::read(&txn)?;
        AllTables::attach(&mut SlotsToMake::new(&mut txn, &mut directory))?;
        Stamp::Missing.carry_over(&meta_space(&directory), &mut txn)?;
        txn.commit()
    }

    /// Looks at every row of a table, and does what it needs.
    fn pass(&mut self, kind: Kind) -> Result<ControlFlow<()>> {
        let mut next = KeyBuf::new();
        loop {
            let (txn, tables) = self.begin()?;
            let mut check = Check::new(&txn, &tables, &self.known_losses, self.is_adopted);
            let mut scan = tables.space(kind).scan_from(&txn, &next)?;
            let (mut changes, mut rows, mut bytes) = (Vec::new(), 0, 0);
            let mut losses = HashSet::new();
            let mut is_last = false;
            while rows < BATCH && bytes < BATCH_BYTES {
                let Some((key, value)) = scan.next()? else {
                    is_last = true;
                    break;
                };
                rows += 1;
                next = successor(key);
                let verdict = check.row(kind, key, value)?;
                let found = changes.len();
                let is_remark = verdict
                    .problems
                    .iter()
                    .all(|(severity, _)| *severity == super::Severity::Remark);
                let new = match verdict.cure {
                    Cure::MoveAside => Some(None),
                    Cure::Replace(bytes) => Some(Some(bytes)),
                    Cure::Leave => None,
                };
                if let Some(new) = new.filter(|_| !is_remark) {
                    let problems: Vec<String> = verdict
                        .problems
                        .into_iter()
                        .map(|(_, problem)| problem)
                        .collect();
                    changes.push(Change {
                        kind,
                        key: KeyBuf::from_slice(key),
                        old: Some(value.to_vec()),
                        new,
                        problem: problems.join("; "),
                    });
                }
                changes.extend(verdict.missing.into_iter().map(|row| Change {
                    kind: row.kind,
                    key: row.key,
                    old: None,
                    new: Some(row.value.to_vec()),
                    problem: String::new(),
                }));
                if let Some(lost) = verdict.lost.filter(|lost| !lost.is_known)
                    && losses.insert(lost.publication)
                {
                    let mut id = KeyBuf::new();
                    lost.publication.encode(&mut id);
                    changes.push(Change {
                        kind: Kind::Publications,
                        key: id,
                        old: None,
                        new: None,
                        problem: format!(
                            "is not there; {} {} leads to it",
                            kind.label(),
                            kind.key_text(key)
                        ),
                    });
                }
                bytes += changes[found..].iter().map(Change::size).sum::<usize>();
            }
            drop(scan);
            if self.apply(txn, &tables, changes)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if is_last {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Sets the positions that are not what the events say.
    fn count_positions(&mut self) -> Result<ControlFlow<()>> {
        loop {
            let (txn, tables) = self.begin()?;
            if tables.slot(Kind::Positions).is_none() {
                return Ok(ControlFlow::Continue(()));
            }
            let changes = wrong_positions(&txn, &tables)?;
            // Where there are too many for one commit, this is done again until none is left.
            let is_done = changes.is_empty();
            if self.apply(txn, &tables, changes)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if is_done {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Makes changes, in one commit.
    fn apply(
        &mut self,
        mut txn: StoreWrite<'b, B>,
        tables: &Tables,
        changes: Vec<Change>,
    ) -> Result<ControlFlow<()>> {
        let mut moved = Vec::new();
        let mut made: BTreeMap<usize, u64> = BTreeMap::new();
        for change in &changes {
            let space = tables.space(change.kind);
            // A table that the store does not have lacks no rows.
            if space.slot().is_none() && change.new.is_some() {
                continue;
            }
            let encode = |out: &mut KeyBuf| out.extend_from_slice(&change.key);
            match (&change.old, &change.new) {
                (Some(_), Some(new)) => space.put(&mut txn, encode, new)?,
                (Some(_), None) => drop(space.delete(&mut txn, encode)?),
                (None, Some(new)) => {
                    let is_new = space.insert(&mut txn, encode, new)?;
                    if is_new {
                        *made.entry(change.kind as usize).or_default() += 1;
                    }
                }
                (None, None) => {}
            }
            if let Some(remedy) = change.remedy() {
                moved.push((change, remedy));
            }
        }
        if moved.is_empty() && made.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let repaired = put_in_quarantine(&mut txn, tables, &moved)?;
        if tables.slot(Kind::Meta).is_some() {
            // Our indexes of sessions are relied on again when all is done, or
            // when the next one to write has caught up.
            txn.take_stamp_back();
        }
        txn.commit()?;
        self.last_commit = self.last_commit.map(|last| last + 1);
        for (number, rows) in made {
            self.table(Kind::ALL[number]).made += rows;
        }
        let mut ended = ControlFlow::Continue(());
        for (change, _) in &moved {
            // What leads to it finds it there from now on.
            if change.kind == Kind::Publications {
                self.known_losses
                    .extend(PublicationId::from_bytes(&change.key));
            }
        }
        for (repaired, (change, remedy)) in repaired.iter().zip(&moved) {
            let table = self.table(change.kind);
            *match remedy {
                Remedy::MovedAside => &mut table.moved_aside,
                Remedy::Replaced => &mut table.replaced,
                Remedy::LossNoted => &mut table.losses_noted,
            } += 1;
            // All of the commit is told, for all of it was done.
            if (self.on_repaired)(repaired).is_break() {
                ended = ControlFlow::Break(());
            }
        }
        Ok(ended)
    }

    fn table(&mut self, kind: Kind) -> &mut TableRepair {
        self.done.entry(kind as usize).or_insert(TableRepair {
            table: kind.label(),
            moved_aside: 0,
            replaced: 0,
            losses_noted: 0,
            made: 0,
        })
    }

    /// Sets the stamp, where our indexes are complete and have all there is.
    fn finish(&mut self) -> Result<()> {
        let (mut txn, tables) = self.begin()?;
        let has_tables = [Kind::Meta, Kind::SessionsByAuthid, Kind::SessionsByLeaving]
            .into_iter()
            .all(|kind| tables.slot(kind).is_some());
        let foreign = tables.slot(Kind::CrossbarEvents);
        let has_foreign = match foreign {
            Some(slot) => !is_empty(&txn, slot)?,
            None => false,
        };
        if !has_tables || has_foreign || self.others_wrote || is_adopted(&txn, &tables)? {
            return Ok(());
        }
        txn.set_stamp(Stamp::Current);
        txn.commit()
    }
}

/// A slot of those that nothing is known of, and the table that it must be.
fn find_lost<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    lost: &[(Slot, Option<String>)],
) -> Result<Option<(Slot, Kind)>> {
    let mut recognised = Vec::new();
    for (slot, name) in lost {
        let named = Kind::ALL
            .into_iter()
            .find(|kind| Some(kind.name()) == name.as_deref());
        let kind = match named {
            Some(kind) if tables.slot(kind).is_some() => None,
            Some(kind) if is_empty(txn, *slot)? || fits(txn, tables, kind, *slot)? => Some(kind),
            Some(_) => None,
            None => recognise(txn, tables, *slot)?,
        };
        recognised.extend(kind.map(|kind| (*slot, kind)));
    }
    let is_alone = |(_, kind): &&(Slot, Kind)| {
        recognised.iter().filter(|(_, other)| other == kind).count() == 1
    };
    Ok(recognised.iter().find(is_alone).copied())
}

/// The positions that are not what the events say.
fn wrong_positions<X: ReadTxn>(txn: &X, tables: &Tables) -> Result<Vec<Change>> {
    let mut wrong = BTreeMap::new();
    compare(txn, tables, |place, problem| {
        wrong.entry(place).or_insert(problem);
        if wrong.len() < COUNTED {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if wrong.is_empty() {
        return Ok(Vec::new());
    }
    let counted = count(txn, tables, wrong.keys().copied())?;
    let mut changes = Vec::new();
    for (place, problem) in wrong {
        let mut key = KeyBuf::new();
        place.encode(&mut key);
        let old = tables
            .space(Kind::Positions)
            .get(txn, |out| out.extend_from_slice(&key))?
            .map(|old| old.as_ref().to_vec());
        let ordinal = old
            .as_deref()
            .and_then(|old| Position::from_bytes(old).ok())
            .map(|old| (old.first, old.ordinal));
        let position = counted.get(&place).copied().flatten();
        let new = position.map(|mut position| {
            // The events do not say the order of those at the same time.
            if let Some((first, ordinal)) = ordinal
                && first == position.first
            {
                position.ordinal = ordinal;
            }
            let mut value = KeyBuf::new();
            position.encode(&mut value);
            value.to_vec()
        });
        if old != new {
            changes.push(Change {
                kind: Kind::Positions,
                key,
                old,
                new,
                problem,
            });
        }
    }
    Ok(changes)
}

/// Puts what was moved into the quarantine, and makes it where there is none.
fn put_in_quarantine<B: Backend>(
    txn: &mut StoreWrite<'_, B>,
    tables: &Tables,
    moved: &[(&Change, Remedy)],
) -> Result<Vec<Repaired>> {
    if moved.is_empty() {
        return Ok(Vec::new());
    }
    let mut directory = Directory::read(txn)?;
    let quarantine: TableHandle<Quarantine> =
        TableHandle::attach(&mut SlotsToMake::new(txn, &mut directory))?;
    let mut number = last_number(txn, quarantine.space())?;
    let moved_at = Timestamp::now();
    let mut repaired = Vec::with_capacity(moved.len());
    for (change, remedy) in moved {
        number = number.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Full, "the quarantine has no number left")
                .table(Kind::Quarantine.name())
        })?;
        let slot = tables.slot(change.kind).unwrap_or_default();
        let row = Quarantined {
            moved_at,
            table: change.kind.oid(),
            key: Some(Space::full_key(slot, |out| out.extend_from_slice(&change.key)).to_vec()),
            value: change.old.clone(),
            problem: Some(change.problem.clone()),
        };
        quarantine.put(txn, &number, &row)?;
        repaired.push(Repaired {
            remedy: *remedy,
            table: change.kind.label(),
            key: change.kind.key_text(&change.key),
            problem: change.problem.clone(),
            number,
        });
    }
    Ok(repaired)
}

/// The largest number in the quarantine; 0 when it is empty.
fn last_number<X: ReadTxn>(txn: &X, quarantine: &Space) -> Result<u64> {
    let mut scan = quarantine.scan_all(txn, Order::Descending)?;
    while let Some((key, _)) = scan.next()? {
        if let Ok(number) = u64::from_bytes(key) {
            return Ok(number);
        }
    }
    Ok(0)
}
