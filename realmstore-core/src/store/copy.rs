//! Copying a store, byte by byte, to any engine.

use std::ops::{Bound, ControlFlow};

use super::stamp::{self, Stamp};
use crate::backend::{Backend, Order, ReadTxn, Scan, WriteTxn};
use crate::directory::{Directory, meta_space};
use crate::key::KeyBuf;
use crate::{Error, ErrorKind, Result};

/// The bytes of keys and values that one commit copies, about.
const BATCH_BYTES: u64 = 8 << 20;

/// How much was copied, or is there to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Copied {
    /// The entries of the keyspace.
    pub entries: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
}

impl Copied {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// Measures what there is to copy, by walking all of it.
pub fn measure<B: Backend>(source: &B) -> Result<Copied> {
    let txn = source.begin_read()?;
    let mut found = Copied::default();
    let mut entries = Entries::of(&txn)?;
    while let Some((key, value)) = entries.next()? {
        found.add(key, value);
    }
    Ok(found)
}

/// Copies every table of a store, known or not, as one snapshot has it, into
/// an empty store, on whichever engines the two are. The copy is compared with
/// the snapshot before this returns.
///
/// All is copied byte for byte but one entry: the one by which a store knows
/// that nobody else wrote to it, which is about commits and is made anew.
///
/// Works in commits of some megabytes. After each one `on_batch` is told how
/// far it is and may stop it; `None` is then returned, and the destination
/// holds a part.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the destination is not empty,
/// [`ErrorKind::Damaged`] when the copy does not read as the source does.
pub fn copy<S: Backend, D: Backend>(
    source: &S,
    destination: &D,
    mut on_batch: impl FnMut(&Copied) -> ControlFlow<()>,
) -> Result<Option<Copied>> {
    let snapshot = source.begin_read()?;
    if Entries::of(&destination.begin_read()?)?.next()?.is_some() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the destination of a copy must be empty",
        ));
    }
    let mut copied = Copied::default();
    let mut entries = Entries::of(&snapshot)?;
    loop {
        let mut txn = destination.begin_write()?;
        let until = copied.bytes + BATCH_BYTES;
        let mut is_last = true;
        while let Some((key, value)) = entries.next()? {
            txn.put(key, value)?;
            copied.add(key, value);
            if copied.bytes >= until {
                is_last = false;
                break;
            }
        }
        if is_last {
            copy_stamp(&snapshot, &mut txn)?;
        }
        txn.commit()?;
        if on_batch(&copied).is_break() && !is_last {
            return Ok(None);
        }
        if is_last {
            break;
        }
    }
    destination.sync()?;
    compare(&snapshot, &destination.begin_read()?)?;
    Ok(Some(copied))
}

/// What the copy can rely on is what the source could.
fn copy_stamp<S: ReadTxn, D: WriteTxn>(source: &S, destination: &mut D) -> Result<()> {
    let meta = meta_space(&Directory::read(source)?);
    Stamp::read(&meta, source)?.carry_over(&meta, destination)
}

fn compare<S: ReadTxn, D: ReadTxn>(source: &S, copy: &D) -> Result<()> {
    let (mut source, mut copy) = (Entries::of(source)?, Entries::of(copy)?);
    loop {
        let (expected, found) = (source.next()?, copy.next()?);
        if expected != found {
            let (key, _) = expected.or(found).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Damaged,
                "the copy does not read as its source does",
            )
            .key(key));
        }
        if expected.is_none() {
            return Ok(());
        }
    }
}

/// A walk over all entries of a store but the stamp.
struct Entries<'t, X: ReadTxn + 't> {
    scan: X::Scan<'t>,
    stamp: Option<KeyBuf>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'t, X: ReadTxn> Entries<'t, X> {
    fn of(txn: &'t X) -> Result<Self> {
        let stamp = meta_space(&Directory::read(txn)?).slot().map(stamp::key);
        let scan = txn.scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)?;
        Ok(Self {
            scan,
            stamp,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        loop {
            let Some((key, value)) = self.scan.next()? else {
                return Ok(None);
            };
            if self.stamp.as_deref() == Some(key) {
                continue;
            }
            // A lent entry cannot be returned out of a loop that may ask for another.
            self.key.clear();
            self.key.extend_from_slice(key);
            self.value.clear();
            self.value.extend_from_slice(value);
            break;
        }
        Ok(Some((&self.key, &self.value)))
    }
}
