//! What a write transaction has done so far, to be done again in a larger map.

use heed::RwTxn;
use realmstore_core::writer_lock::Scratch;

use crate::Entries;

const PUT: u8 = 0;
const DELETE: u8 = 1;

/// The length of a key and of a value before them.
const LENGTHS: usize = 2 + 4;

/// Puts and deletes in their order, in one flat buffer: each is a tag, the
/// lengths of key and value, the key, and the value.
#[derive(Default)]
pub(crate) struct RedoLog(Vec<u8>);

impl RedoLog {
    /// Remembers a put. Keys and values are no longer than LMDB takes, which
    /// is what their lengths are stored in.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(PUT, key, value);
    }

    /// Remembers a delete.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.push(DELETE, key, &[]);
    }

    /// Does everything again.
    pub(crate) fn replay(&self, entries: Entries, txn: &mut RwTxn<'_>) -> heed::Result<()> {
        let mut rest = self.0.as_slice();
        while let Some((tag, key, value)) = take_change(&mut rest) {
            match tag {
                PUT => entries.put(txn, key, value)?,
                _ => drop(entries.delete(txn, key)?),
            }
        }
        Ok(())
    }

    fn push(&mut self, tag: u8, key: &[u8], value: &[u8]) {
        self.0.reserve(1 + LENGTHS + key.len() + value.len());
        self.0.push(tag);
        self.0.extend_from_slice(&(key.len() as u16).to_ne_bytes());
        self.0
            .extend_from_slice(&(value.len() as u32).to_ne_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
    }
}

impl Scratch for RedoLog {
    fn reset(&mut self) {
        self.0.reset();
    }
}

fn take_change<'l>(rest: &mut &'l [u8]) -> Option<(u8, &'l [u8], &'l [u8])> {
    let tag = *rest.split_off_first()?;
    let lengths: &[u8; LENGTHS] = rest.split_off(..LENGTHS)?.try_into().ok()?;
    let [k0, k1, v0, v1, v2, v3] = *lengths;
    let key = rest.split_off(..usize::from(u16::from_ne_bytes([k0, k1])))?;
    let value = rest.split_off(..u32::from_ne_bytes([v0, v1, v2, v3]) as usize)?;
    Some((tag, key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_went_in() {
        let mut log = RedoLog::default();
        log.put(b"a", b"one");
        log.delete(b"bb");
        log.put(b"ccc", b"");
        let mut rest = log.0.as_slice();
        assert_eq!(take_change(&mut rest), Some((PUT, &b"a"[..], &b"one"[..])));
        assert_eq!(take_change(&mut rest), Some((DELETE, &b"bb"[..], &b""[..])));
        assert_eq!(take_change(&mut rest), Some((PUT, &b"ccc"[..], &b""[..])));
        assert_eq!(take_change(&mut rest), None);
    }
}
