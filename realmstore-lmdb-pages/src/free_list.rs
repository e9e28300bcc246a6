//! LMDB's list of free pages: a tree of lists, by the transaction that freed
//! them.

use std::ops::Range;

use realmstore_core::{ErrorKind, Result};

use crate::bytes::u64_at;
use crate::cursor::{Cursor, node};
use crate::error::Fault;
use crate::page::{Content, Page};
use crate::snapshot::Snapshot;

/// Whether the list names every page of `missing`, which are those behind the
/// end of the file. A list that cannot be read to its end names nothing.
pub(crate) fn names_all(snapshot: &Snapshot<'_>, missing: &Range<u64>) -> Result<bool> {
    match free_among(snapshot, missing) {
        Ok(free) => Ok(free == missing.end - missing.start),
        Err(fault) => match fault.into_error(snapshot.file().path()) {
            error if error.kind() == ErrorKind::Damaged => Ok(false),
            error => Err(error),
        },
    }
}

/// How many different ones of these pages are free.
fn free_among(snapshot: &Snapshot<'_>, pages: &Range<u64>) -> Result<u64, Fault> {
    let mut free = Vec::new();
    let mut read = 0;
    let mut cursor = Cursor::new(snapshot, snapshot.meta.free);
    cursor.seek_first()?;
    while let Some((page, index)) = cursor.leaf() {
        let bytes = list_bytes(snapshot, page, index)?;
        // More than the whole file can only be the same list over and over.
        read += bytes.len() as u64;
        if read > snapshot.file().len()? {
            return Err(Fault::page(
                page.number(),
                "has a list that is referred to twice",
            ));
        }
        let list = list(&bytes).map_err(|what| Fault::page(page.number(), what))?;
        free.extend(list.filter(|page| pages.contains(page)));
        cursor.advance()?;
    }
    free.sort_unstable();
    free.dedup();
    Ok(free.len() as u64)
}

/// The bytes of one list.
pub(crate) fn list_bytes(
    snapshot: &Snapshot<'_>,
    page: &Page,
    index: usize,
) -> Result<Vec<u8>, Fault> {
    let (bytes, place) = match node(page, index)?.content {
        Content::Large(value) => snapshot.large_value(&value)?,
        Content::Value(place) => (page.bytes().clone(), place),
        Content::Child(_) => return Err(Fault::page(page.number(), "is not a leaf")),
    };
    Ok(bytes.get(place).unwrap_or_default().to_vec())
}

/// The page numbers in a list: their count comes first, and there may be room
/// behind them.
pub(crate) fn list(bytes: &[u8]) -> Result<impl Iterator<Item = u64>, &'static str> {
    let room = (bytes.len() / 8).saturating_sub(1) as u64;
    match u64_at(bytes, 0) {
        count if bytes.len() >= 8 && count <= room => {
            Ok((1..=count as usize).map(|index| u64_at(bytes, index * 8)))
        }
        _ => Err("has a list of free pages that ends before its last one"),
    }
}
