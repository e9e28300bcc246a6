//! How each type of a record's field is read and written.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use smallvec::SmallVec;
use uuid::Uuid;

use super::flat::{self, Table};
use super::{EncAlgo, EncSerializer, MatchPolicy, Problem};
use crate::cbor::{Cbor, CborRef};
use crate::{PublicationId, SessionId, SubscriptionId, Timestamp};

/// A type that a record's field can have.
pub(super) trait Field: Sized + Default {
    /// What a view gives: borrowed out of the record.
    type View<'a>;

    /// What is written before the table that will point to it.
    type Prepared: Copy;

    /// The bytes that the field itself takes in the table. Wide fields are
    /// written first, so that no byte is spent on alignment.
    const WIDTH: usize;

    fn read(table: Table<'_>, vt: u16) -> Result<Self::View<'_>, Problem>;

    fn own(view: Self::View<'_>) -> Result<Self, Problem>;

    /// What can still be had of a field that does not read as it should.
    fn salvage(_table: Table<'_>, _vt: u16) -> Self {
        Self::default()
    }

    /// Looks at all of a field, also at what its view would leave for later.
    fn check(table: Table<'_>, vt: u16) -> Result<(), Problem> {
        Self::own(Self::read(table, vt)?).map(drop)
    }

    /// About how many bytes are written for this value beside the table.
    fn weight(&self) -> usize {
        0
    }

    /// Where what is written beside the table stands.
    fn distance(&self) -> Distance {
        Distance::Near
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Self::Prepared;

    fn push(prepared: Self::Prepared, builder: &mut FlatBufferBuilder<'_>, vt: u16);
}

/// How far from the table that points to it something stands in a record.
/// FlatBuffers are built from the end: what is farthest is written first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// Right behind it, in memory that reading the table brings along: names.
    Near,
    /// What is long, or seldom looked at.
    Far,
    /// At the very end of the record.
    Last,
}

/// Numbers. What must be there reads as 0 when it is not, which is how
/// FlatBuffers tells the two apart for everybody else.
macro_rules! scalar {
    ($($type:ty, $raw:ty, $from:expr, $to:expr;)*) => {$(
        impl Field for Option<$type> {
            type View<'a> = Self;
            type Prepared = Self;
            const WIDTH: usize = size_of::<$raw>();

            #[inline]
            fn read(table: Table<'_>, vt: u16) -> Result<Self, Problem> {
                Ok(table.scalar(vt)?.map(|bytes| $from(<$raw>::from_le_bytes(bytes))))
            }

            fn own(view: Self) -> Result<Self, Problem> {
                Ok(view)
            }

            fn prepare(&self, _builder: &mut FlatBufferBuilder<'_>) -> Self {
                *self
            }

            fn push(prepared: Self, builder: &mut FlatBufferBuilder<'_>, vt: u16) {
                if let Some(value) = prepared {
                    builder.push_slot_always::<$raw>(vt, $to(value));
                }
            }
        }
    )*};
}

scalar! {
    bool, u8, |byte| byte != 0, u8::from;
    i32, i32, std::convert::identity, std::convert::identity;
    u64, u64, std::convert::identity, std::convert::identity;
    EncAlgo, u8, EncAlgo, |algo: EncAlgo| algo.0;
    EncSerializer, u8, EncSerializer, |serializer: EncSerializer| serializer.0;
    SessionId, u64, SessionId::from_stored, SessionId::get;
    PublicationId, u64, PublicationId::from_stored, PublicationId::get;
    SubscriptionId, u64, SubscriptionId::from_stored, SubscriptionId::get;
    Timestamp, u64, Timestamp::from_nanos, Timestamp::as_nanos;
}

impl Field for Option<MatchPolicy> {
    type View<'a> = Self;
    type Prepared = Self;
    const WIDTH: usize = size_of::<u8>();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Self, Problem> {
        match table.scalar(vt)? {
            None => Ok(None),
            Some([code]) => match MatchPolicy::from_code(code) {
                Some(policy) => Ok(Some(policy)),
                None => Err(Problem::UnknownCode),
            },
        }
    }

    fn own(view: Self) -> Result<Self, Problem> {
        Ok(view)
    }

    fn prepare(&self, _builder: &mut FlatBufferBuilder<'_>) -> Self {
        *self
    }

    fn push(prepared: Self, builder: &mut FlatBufferBuilder<'_>, vt: u16) {
        if let Some(policy) = prepared {
            builder.push_slot_always(vt, policy.code());
        }
    }
}

macro_rules! required_scalar {
    ($($type:ty),*) => {$(
        impl Field for $type {
            type View<'a> = Self;
            type Prepared = Self;
            const WIDTH: usize = <Option<Self> as Field>::WIDTH;

            #[inline]
            fn read(table: Table<'_>, vt: u16) -> Result<Self, Problem> {
                Ok(<Option<Self> as Field>::read(table, vt)?.unwrap_or_default())
            }

            fn own(view: Self) -> Result<Self, Problem> {
                Ok(view)
            }

            fn prepare(&self, _builder: &mut FlatBufferBuilder<'_>) -> Self {
                *self
            }

            fn push(prepared: Self, builder: &mut FlatBufferBuilder<'_>, vt: u16) {
                <Option<Self> as Field>::push(Some(prepared), builder, vt);
            }
        }
    )*};
}

required_scalar!(SessionId, PublicationId, SubscriptionId, Timestamp);

type Offset = Option<WIPOffset<UnionWIPOffset>>;

/// Fields that are an offset to what was written before.
macro_rules! by_offset {
    () => {
        type Prepared = Offset;
        const WIDTH: usize = 4;

        fn push(prepared: Offset, builder: &mut FlatBufferBuilder<'_>, vt: u16) {
            if let Some(offset) = prepared {
                builder.push_slot_always(vt, offset);
            }
        }
    };
}

impl Field for Option<String> {
    type View<'a> = Option<&'a str>;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Option<&str>, Problem> {
        table.text(vt)
    }

    fn own(view: Option<&str>) -> Result<Self, Problem> {
        Ok(view.map(str::to_owned))
    }

    fn salvage(table: Table<'_>, vt: u16) -> Self {
        table
            .bytes(vt)
            .ok()
            .flatten()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn weight(&self) -> usize {
        self.as_ref().map_or(0, String::len)
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        self.as_ref()
            .map(|text| builder.create_string(text).as_union_value())
    }
}

impl Field for String {
    type View<'a> = &'a str;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<&str, Problem> {
        table.text(vt)?.ok_or(Problem::Missing)
    }

    fn own(view: &str) -> Result<Self, Problem> {
        Ok(view.to_owned())
    }

    fn salvage(table: Table<'_>, vt: u16) -> Self {
        Option::<Self>::salvage(table, vt).unwrap_or_default()
    }

    fn weight(&self) -> usize {
        self.len()
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        Some(builder.create_string(self).as_union_value())
    }
}

impl Field for Option<Uuid> {
    type View<'a> = Self;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Self, Problem> {
        match table.bytes(vt)? {
            // Python writes nothing as an empty vector.
            None | Some([]) => Ok(None),
            Some(bytes) => bytes
                .try_into()
                .map(|bytes| Some(Uuid::from_bytes(bytes)))
                .map_err(|_| Problem::NotAUuid),
        }
    }

    fn own(view: Self) -> Result<Self, Problem> {
        Ok(view)
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        self.as_ref()
            .map(|uuid| builder.create_vector(uuid.as_bytes()).as_union_value())
    }
}

impl Field for Uuid {
    type View<'a> = Self;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Self, Problem> {
        Ok(Option::<Self>::read(table, vt)?.unwrap_or_default())
    }

    fn own(view: Self) -> Result<Self, Problem> {
        Ok(view)
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        Some(*self).prepare(builder)
    }
}

impl Field for Option<Vec<u8>> {
    type View<'a> = Option<&'a [u8]>;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Option<&[u8]>, Problem> {
        table.bytes(vt)
    }

    fn own(view: Option<&[u8]>) -> Result<Self, Problem> {
        Ok(view.map(<[u8]>::to_vec))
    }

    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Vec::len)
    }

    fn distance(&self) -> Distance {
        Distance::Far
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        self.as_ref()
            .map(|bytes| builder.create_vector(bytes).as_union_value())
    }
}

impl Field for Option<Cbor> {
    type View<'a> = Option<CborRef<'a>>;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Option<CborRef<'_>>, Problem> {
        Ok(table.bytes(vt)?.map(CborRef::from_bytes))
    }

    fn own(view: Option<CborRef<'_>>) -> Result<Self, Problem> {
        Ok(view.map(CborRef::to_owned))
    }

    fn check(table: Table<'_>, vt: u16) -> Result<(), Problem> {
        match Self::read(table, vt)? {
            // Python writes nothing as an empty vector.
            Some(cbor) if !cbor.as_bytes().is_empty() => {
                cbor.to_value().map(drop).map_err(|_| Problem::NotCbor)
            }
            _ => Ok(()),
        }
    }

    fn salvage(table: Table<'_>, vt: u16) -> Self {
        Self::read(table, vt).ok().flatten().map(CborRef::to_owned)
    }

    fn weight(&self) -> usize {
        self.as_ref()
            .map_or(0, |cbor| cbor.as_ref().as_bytes().len())
    }

    fn distance(&self) -> Distance {
        Distance::Far
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        self.as_ref().map(|cbor| {
            builder
                .create_vector(cbor.as_ref().as_bytes())
                .as_union_value()
        })
    }
}

/// The session IDs of a list, borrowed out of a record.
#[derive(Clone, Copy)]
pub struct SessionIds<'a>(flat::Numbers<'a>);

impl SessionIds<'_> {
    /// Whether this list reads as empty only because cfxdb lost its length when
    /// it wrote the record. An `eligible` that is empty admits nobody, which is
    /// safe; of an `exclude` nobody can tell whom it named, so the record must
    /// be shown to nobody.
    pub fn lost_length(&self) -> bool {
        self.0.lost_length
    }
}

impl Iterator for SessionIds<'_> {
    type Item = SessionId;

    fn next(&mut self) -> Option<SessionId> {
        self.0.next().map(SessionId::from_stored)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for SessionIds<'_> {}

impl Field for Option<Vec<SessionId>> {
    type View<'a> = Option<SessionIds<'a>>;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Option<SessionIds<'_>>, Problem> {
        Ok(table.numbers(vt)?.map(SessionIds))
    }

    fn own(view: Option<SessionIds<'_>>) -> Result<Self, Problem> {
        match view {
            Some(ids) if ids.lost_length() => Err(Problem::LostLength),
            ids => Ok(ids.map(Iterator::collect)),
        }
    }

    fn salvage(table: Table<'_>, vt: u16) -> Self {
        // A list that cannot be read admits nobody, so it must not come out as no list at all.
        match Self::read(table, vt) {
            Ok(None) => None,
            Ok(Some(ids)) => Some(ids.collect()),
            Err(_) => Some(Vec::new()),
        }
    }

    fn weight(&self) -> usize {
        self.as_ref().map_or(0, |ids| ids.len().saturating_mul(8))
    }

    /// An empty list with nothing behind it cannot be mistaken for one that lost its length.
    fn distance(&self) -> Distance {
        match self {
            Some(ids) if ids.is_empty() => Distance::Last,
            _ => Distance::Far,
        }
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        self.as_ref().map(|ids| {
            builder
                .create_vector_from_iter(ids.iter().map(|id| id.get()))
                .as_union_value()
        })
    }
}

/// The texts of a list, borrowed out of a record. Each is checked when it is reached.
#[derive(Clone, Copy)]
pub struct Texts<'a>(flat::Texts<'a>);

impl<'a> Iterator for Texts<'a> {
    type Item = Result<&'a str, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Texts<'_> {}

impl Field for Option<Vec<String>> {
    type View<'a> = Option<Texts<'a>>;
    by_offset!();

    #[inline]
    fn read(table: Table<'_>, vt: u16) -> Result<Option<Texts<'_>>, Problem> {
        Ok(table.texts(vt)?.map(Texts))
    }

    fn own(view: Option<Texts<'_>>) -> Result<Self, Problem> {
        let Some(texts) = view else {
            return Ok(None);
        };
        // The list lies inside of the record, so this is at most six times as large.
        let mut owned = Vec::with_capacity(texts.len());
        for text in texts {
            owned.push(text?.to_owned());
        }
        Ok(Some(owned))
    }

    fn salvage(table: Table<'_>, vt: u16) -> Self {
        match Self::read(table, vt) {
            Ok(None) => None,
            Ok(Some(texts)) => Some(texts.flatten().map(str::to_owned).collect()),
            Err(_) => Some(Vec::new()),
        }
    }

    fn weight(&self) -> usize {
        let texts = self.iter().flatten();
        texts.fold(0, |weight, text| {
            weight.saturating_add(text.len()).saturating_add(16)
        })
    }

    fn distance(&self) -> Distance {
        Distance::Far
    }

    fn prepare(&self, builder: &mut FlatBufferBuilder<'_>) -> Offset {
        self.as_ref().map(|texts| {
            let texts: SmallVec<[_; 16]> = texts
                .iter()
                .map(|text| builder.create_string(text))
                .collect();
            builder.create_vector(&texts).as_union_value()
        })
    }
}
