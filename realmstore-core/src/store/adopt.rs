//! Adoption: what Crossbar.io wrote becomes part of our own tables and indexes.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::foreign::{ForeignEvent, ForeignEvents};
use super::stamp::Stamp;
use super::tables::EventKey;
use super::{RealmStore, StoreWrite};
use crate::backend::{Backend, WriteTxn};
use crate::directory::Directory;
use crate::key::KeyBuf;
use crate::record::Record;
use crate::table::successor;
use crate::{Error, Result};

/// How many events one commit moves at most.
const BATCH: usize = 10_000;

/// How many bytes of them, about.
const BATCH_BYTES: usize = 8 << 20;

/// What an adoption has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Adoption {
    /// Events that were moved into the ordered table.
    pub events_moved: u64,
    /// Events that stay where they are because they cannot be read.
    pub events_left: u64,
    /// Sessions that are in the index by authid.
    pub sessions_indexed: u64,
    /// Sessions that cannot be in it because they are damaged. Where there are
    /// any, the index is not relied on, so that they are not left out of
    /// answers in silence.
    pub sessions_damaged: u64,
    /// Whether it came to its end.
    pub complete: bool,
}

/// A batch of foreign events: their keys, and their bytes as they will be stored.
#[derive(Default)]
struct Batch {
    rows: Vec<(KeyBuf, EventKey, Vec<u8>)>,
    /// How many stay where they are.
    left: u64,
    next: KeyBuf,
    is_last: bool,
}

impl<B: Backend> RealmStore<B> {
    /// Moves the events that Crossbar.io wrote into our ordered table and
    /// completes our indexes, so that answers cost no more than what they
    /// return. Crossbar.io can still open the file; it does not see the events
    /// that were moved, and could not read their history before either.
    ///
    /// Works in commits of some thousand events each. After each one
    /// `on_batch` is told how far it is and may stop it; whatever stops it,
    /// nothing is lost and every answer is right, and the next call goes on.
    ///
    /// Events that cannot be read stay where they are; those that can be read
    /// in part are moved as far as they can be read. Both are given to
    /// `on_damage` with their keys.
    pub fn adopt(
        &self,
        mut on_batch: impl FnMut(&Adoption) -> ControlFlow<()>,
        mut on_damage: impl FnMut(&[u8], Error),
    ) -> Result<Adoption> {
        let mut done = Adoption::default();
        let mut next = KeyBuf::new();
        loop {
            let mut txn = self.begin_write_as_is()?;
            let foreign = ForeignEvents::find(&Directory::read(&txn)?)?;
            let batch = read_batch(&foreign, &txn, &next, |key, row| match row {
                Ok(row) => {
                    for damage in &row.damage {
                        on_damage(key, Error::from(*damage));
                    }
                    Some(row)
                }
                Err(error) => {
                    on_damage(key, error);
                    None
                }
            })?;
            self.move_events(&mut txn, &foreign, &batch)?;
            done.events_moved += batch.rows.len() as u64;
            done.events_left += batch.left;
            if batch.is_last {
                // Each index names what is damaged; it is told once.
                let mut damaged = BTreeSet::new();
                let mut note = |key: &[u8], error| {
                    if damaged.insert(KeyBuf::from_slice(key)) {
                        on_damage(key, error);
                    }
                };
                done.sessions_indexed =
                    self.idx_sessions_by_authid()
                        .rebuild(&mut txn, self.sessions(), &mut note)?;
                self.idx_sessions_by_leaving()
                    .rebuild(&mut txn, self.sessions(), &mut note)?;
                done.sessions_damaged = damaged.len() as u64;
                done.complete = true;
                txn.set_stamp(if damaged.is_empty() {
                    Stamp::Current
                } else {
                    Stamp::Missing
                });
            }
            txn.commit()?;
            if on_batch(&done).is_break() || done.complete {
                return Ok(done);
            }
            next = batch.next;
        }
    }

    /// Makes our tables and indexes complete again, in a transaction that
    /// finds them behind what somebody else has written. Says whether it came
    /// to its end; if not, this is to be committed, and called again.
    ///
    /// Events that are damaged stay where they are, for somebody to hear of
    /// them: in [`adopt`](Self::adopt), or in [`verify`](super::verify).
    pub(super) fn catch_up(&self, txn: &mut StoreWrite<'_, B>) -> Result<bool> {
        let foreign = ForeignEvents::find(&Directory::read(txn)?)?;
        let batch = read_batch(&foreign, txn, &[], |_, row| {
            row.ok().filter(|row| row.damage.is_empty())
        })?;
        self.move_events(txn, &foreign, &batch)?;
        if !batch.is_last {
            return Ok(false);
        }
        let mut is_complete = true;
        self.idx_sessions_by_authid()
            .add_missing(txn, self.sessions(), |_, _| is_complete = false)?;
        // Where somebody else has changed a session, its old row stays, and leads nowhere.
        self.idx_sessions_by_leaving()
            .add_missing(txn, self.sessions(), |_, _| is_complete = false)?;
        self.forget_open_rows(txn)?;
        txn.set_stamp(if is_complete {
            Stamp::Current
        } else {
            Stamp::Missing
        });
        Ok(true)
    }

    fn move_events(
        &self,
        txn: &mut StoreWrite<'_, B>,
        foreign: &ForeignEvents,
        batch: &Batch,
    ) -> Result<()> {
        for (foreign_key, key, bytes) in &batch.rows {
            // Where both tables have an event, ours is the one that answers had, if it can be read.
            let ours = self.events().get(txn, key)?.map(|ours| ours.to_owned());
            if !matches!(ours, Some(Ok(_))) {
                self.events().put_bytes(txn, key, bytes)?;
            }
            foreign
                .space()
                .delete(txn, |out| out.extend_from_slice(foreign_key))?;
        }
        Ok(())
    }
}

fn read_batch<X: WriteTxn>(
    foreign: &ForeignEvents,
    txn: &X,
    start: &[u8],
    mut moved: impl FnMut(&[u8], Result<ForeignEvent>) -> Option<ForeignEvent>,
) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut scan = foreign.space().scan_from(txn, start)?;
    let mut size = 0;
    while batch.rows.len() < BATCH && size < BATCH_BYTES {
        let Some((key, value)) = scan.next()? else {
            batch.is_last = true;
            break;
        };
        batch.next = successor(key);
        let Some(row) = moved(key, foreign.read_row(key, value)) else {
            batch.left += 1;
            continue;
        };
        let bytes = if row.is_verbatim {
            value.to_vec()
        } else {
            row.event.to_bytes()?
        };
        size += bytes.len();
        batch
            .rows
            .push((KeyBuf::from_slice(key), EventKey::from(&row.event), bytes));
    }
    Ok(batch)
}
