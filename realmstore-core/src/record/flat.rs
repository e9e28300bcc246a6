//! Reading a FlatBuffers table without trusting a byte of it, and paying only
//! for the fields that are asked for.
//!
//! The verifier of the `flatbuffers` crate looks at every field of a record
//! before the first can be read, which costs more than fetching the record.
//! Here each access checks just what it touches: that the offset, the vtable
//! slot and the length lie inside of the record, that a text is UTF-8. The
//! layout is that of the FlatBuffers internals document.

use super::Problem;

/// The root table of a record.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    table: usize,
    /// The whole vtable, its own four bytes of sizes included, so that the
    /// generated `VT_` constants are positions in it.
    vtable: &'a [u8],
}

impl<'a> Table<'a> {
    #[inline]
    pub(super) fn root(bytes: &'a [u8]) -> Result<Self, Problem> {
        let table = read_u32(bytes, 0)? as usize;
        let to_vtable = i64::from(read_u32(bytes, table)? as i32);
        let vtable = usize::try_from(table as i64 - to_vtable).map_err(|_| Problem::OutOfBounds)?;
        let size = usize::from(u16::from_le_bytes(array(bytes, vtable)?));
        if size < 4 {
            return Err(Problem::OutOfBounds);
        }
        Ok(Self {
            bytes,
            table,
            vtable: slice(bytes, vtable, size)?,
        })
    }

    /// The number of fields that this record's writer knew of at most.
    pub(super) fn known_fields(self) -> usize {
        (self.vtable.len() - 4) / 2
    }

    /// Where a field's value is, or `None` when it was not written.
    #[inline]
    fn position(self, vt: u16) -> Option<usize> {
        let slot = self.vtable.get(usize::from(vt)..usize::from(vt) + 2)?;
        match u16::from_le_bytes([slot[0], slot[1]]) {
            0 => None,
            offset => Some(self.table + usize::from(offset)),
        }
    }

    #[inline]
    pub(super) fn scalar<const N: usize>(self, vt: u16) -> Result<Option<[u8; N]>, Problem> {
        match self.position(vt) {
            None => Ok(None),
            Some(position) => array(self.bytes, position).map(Some),
        }
    }

    /// Follows a field's offset to a vector: its length and where its items begin.
    #[inline]
    fn vector(self, vt: u16) -> Result<Option<(usize, usize)>, Problem> {
        let Some(position) = self.position(vt) else {
            return Ok(None);
        };
        follow(self.bytes, position).map(Some)
    }

    #[inline]
    pub(super) fn bytes(self, vt: u16) -> Result<Option<&'a [u8]>, Problem> {
        let Some((start, len)) = self.vector(vt)? else {
            return Ok(None);
        };
        slice(self.bytes, start, len).map(Some)
    }

    #[inline]
    pub(super) fn text(self, vt: u16) -> Result<Option<&'a str>, Problem> {
        let Some(bytes) = self.bytes(vt)? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Problem::NotUtf8)
    }

    pub(super) fn numbers(self, vt: u16) -> Result<Option<Numbers<'a>>, Problem> {
        let Some((start, len)) = self.vector(vt)? else {
            return Ok(None);
        };
        let size = len.checked_mul(8).ok_or(Problem::OutOfBounds)?;
        let items = slice(self.bytes, start, size)?;
        Ok(Some(Numbers {
            items,
            lost_length: len == 0 && self.lost_length(start),
        }))
    }

    pub(super) fn texts(self, vt: u16) -> Result<Option<Texts<'a>>, Problem> {
        let Some((start, len)) = self.vector(vt)? else {
            return Ok(None);
        };
        let size = len.checked_mul(4).ok_or(Problem::OutOfBounds)?;
        slice(self.bytes, start, size)?;
        Ok(Some(Texts {
            bytes: self.bytes,
            start,
            len,
            budget: self.bytes.len(),
        }))
    }

    /// Whether the vector of IDs at `start`, whose length reads as 0, is one
    /// whose length cfxdb wrote to the last four bytes of the record instead.
    /// Only what looks in every way like that is taken for it: a length is
    /// there, that many items fit, and each is an ID.
    fn lost_length(self, start: usize) -> bool {
        let Some(end) = self.bytes.last_chunk::<4>() else {
            return false;
        };
        let len = u32::from_le_bytes(*end) as usize;
        if len == 0 {
            return false;
        }
        let Some(Ok(items)) = len
            .checked_mul(8)
            .map(|size| slice(self.bytes, start, size))
        else {
            return false;
        };
        Numbers {
            items,
            lost_length: false,
        }
        .all(|id| (1..=1 << 53).contains(&id))
    }
}

/// The numbers of a `[uint64]`.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    items: &'a [u8],
    pub(super) lost_length: bool,
}

impl Iterator for Numbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (item, rest) = self.items.split_first_chunk::<8>()?;
        self.items = rest;
        Some(u64::from_le_bytes(*item))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.items.len() / 8;
        (len, Some(len))
    }
}

impl ExactSizeIterator for Numbers<'_> {}

/// The texts of a `[string]`.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    bytes: &'a [u8],
    start: usize,
    len: usize,
    /// The bytes that the texts to come may have. Each has its own in a record
    /// as it is written; a forged one could give every item the same long text.
    budget: usize,
}

impl<'a> Iterator for Texts<'a> {
    type Item = Result<&'a str, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.len = self.len.checked_sub(1)?;
        let position = self.start;
        self.start += 4;
        Some(follow(self.bytes, position).and_then(|(start, len)| {
            self.budget = self.budget.checked_sub(len).ok_or(Problem::OutOfBounds)?;
            std::str::from_utf8(slice(self.bytes, start, len)?).map_err(|_| Problem::NotUtf8)
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl ExactSizeIterator for Texts<'_> {}

/// Follows the offset at `position` to a vector: where its items begin, and how many they are.
#[inline]
fn follow(bytes: &[u8], position: usize) -> Result<(usize, usize), Problem> {
    let vector = position
        .checked_add(read_u32(bytes, position)? as usize)
        .ok_or(Problem::OutOfBounds)?;
    let len = read_u32(bytes, vector)? as usize;
    Ok((vector + 4, len))
}

#[inline]
fn read_u32(bytes: &[u8], position: usize) -> Result<u32, Problem> {
    array(bytes, position).map(u32::from_le_bytes)
}

#[inline]
fn array<const N: usize>(bytes: &[u8], position: usize) -> Result<[u8; N], Problem> {
    bytes
        .get(position..)
        .and_then(|bytes| bytes.first_chunk())
        .copied()
        .ok_or(Problem::OutOfBounds)
}

#[inline]
fn slice(bytes: &[u8], start: usize, len: usize) -> Result<&[u8], Problem> {
    start
        .checked_add(len)
        .and_then(|end| bytes.get(start..end))
        .ok_or(Problem::OutOfBounds)
}
