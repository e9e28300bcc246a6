//! The records of a realm store, each in two forms: an owned struct, and a
//! view over its bytes.
//!
//! A *view* ([`SessionView`], [`PublicationView`], [`EventView`]) borrows the
//! bytes that an engine lends and reads a field when it is asked for it. It is
//! safe on any bytes whatsoever: a field that does not lie inside of the
//! record, or is not what it should be, is a [`RecordError`] that names it.
//!
//! The bytes are FlatBuffers, field for field those that Crossbar.io (cfxdb)
//! writes; [`Subscription`], [`Retained`] and [`Quarantined`] are ours.
//! `schema/realmstore.fbs` is their schema. An unset field is absent.
//! Fields without which a record is nobody's (its IDs, its time) are no
//! `Option`: they read as 0 when they are absent, as they do everywhere else
//! in FlatBuffers.
//!
//! ```
//! use realmstore_core::record::{Publication, Record};
//! use realmstore_core::{PublicationId, Timestamp};
//!
//! let mut publication = Publication::new(PublicationId::new(145182023210062)?, Timestamp::now(), "com.example.a");
//! publication.retain = Some(false);
//!
//! let bytes = publication.to_bytes()?;
//! let view = Publication::view(&bytes)?;
//! assert_eq!(view.topic()?, "com.example.a");
//! assert_eq!(view.retain()?, Some(false));
//! assert_eq!(view.acknowledge()?, None);
//! assert_eq!(view.to_owned()?, publication);
//! # Ok::<(), realmstore_core::Error>(())
//! ```

mod event;
mod field;
mod flat;
mod publication;
mod quarantined;
mod retained;
mod session;
mod subscription;

use std::cell::RefCell;
use std::fmt;

use flatbuffers::{FlatBufferBuilder, WIPOffset};

pub use self::event::{Event, EventView};
pub use self::field::{SessionIds, Texts};
pub use self::publication::{EncAlgo, EncSerializer, Publication, PublicationView, Requester};
pub use self::quarantined::{Quarantined, QuarantinedView};
pub use self::retained::{Retained, RetainedView};
pub use self::session::{Session, SessionView};
pub use self::subscription::{MatchPolicy, Subscription, SubscriptionView};
use crate::{Error, ErrorKind, Result};

/// A field of a stored record that does not read as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError {
    /// The kind of record: `session`, `publication`, `event`.
    pub record: &'static str,
    /// The field; empty when no field can be found at all.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            "" => write!(f, "damaged {}: {}", self.record, self.problem),
            field => write!(f, "damaged {}: {field} {}", self.record, self.problem),
        }
    }
}

impl std::error::Error for RecordError {}

/// What can be wrong with a field of a stored record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// It points outside of the record.
    OutOfBounds,
    /// A text is not UTF-8.
    NotUtf8,
    /// What should be a UUID has not 16 bytes.
    NotAUuid,
    /// What should be CBOR is not well-formed.
    NotCbor,
    /// A field that must be there is not.
    Missing,
    /// A number stands for one of several things, and this is none of them.
    UnknownCode,
    /// A list of session IDs whose length cfxdb lost when it wrote the record.
    /// It reads as empty: for `eligible` that admits nobody; for `exclude`
    /// nobody can tell who was excluded, so show the record to nobody either.
    LostLength,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfBounds => "points outside of the record",
            Self::NotUtf8 => "is not UTF-8",
            Self::NotAUuid => "is not a UUID of 16 bytes",
            Self::NotCbor => "is not well-formed CBOR",
            Self::Missing => "is missing",
            Self::UnknownCode => "is a code that stands for nothing",
            Self::LostLength => {
                "has lost its length (written so by cfxdb), its session IDs are not to be had"
            }
        })
    }
}

/// A kind of record that a table can hold. Tables of your own may hold records
/// of your own in any encoding; the three of a realm store are FlatBuffers.
pub trait Record: Sized {
    /// What reads the record's bytes in place.
    type View<'a>;

    /// A view of stored bytes. Costs next to nothing: fields are checked when they are read.
    ///
    /// # Errors
    /// When not even the places of the fields can be found.
    fn view(bytes: &[u8]) -> Result<Self::View<'_>>;

    /// Decodes the whole record.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] at the first field that cannot be read.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// Encodes the record into a buffer that is used again and again, and
    /// lends the bytes to `use_bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the
    /// record contradicts itself, and whatever `use_bytes` fails with.
    fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> Result<T>) -> Result<T>;

    /// Encodes the record into bytes of their own.
    ///
    /// # Errors
    /// As [`with_bytes`](Self::with_bytes).
    fn to_bytes(&self) -> Result<Vec<u8>> {
        self.with_bytes(|bytes| Ok(bytes.to_vec()))
    }
}

/// Raw bytes, for tables without a record of their own.
impl Record for Vec<u8> {
    type View<'a> = &'a [u8];

    fn view(bytes: &[u8]) -> Result<&[u8]> {
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }

    fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        use_bytes(self)
    }
}

/// A builder that has grown beyond this is not kept for the next record.
const KEPT_CAPACITY: usize = 1 << 20;

/// What a record may hold: FlatBuffers end at 2 GiB, and the table and the
/// alignment of its parts take some of that.
const MAX_WEIGHT: usize = (2 << 30) - (1 << 20);

fn too_large(record: &str, weight: usize) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("a {record} of {weight} bytes is larger than the 2 GiB that a record can have"),
    )
}

thread_local! {
    static BUILDER: RefCell<FlatBufferBuilder<'static>> = RefCell::new(FlatBufferBuilder::new());
}

/// Lends the thread's FlatBuffers builder; a fresh one when it is lent already.
fn with_builder<T>(
    build: impl FnOnce(
        &mut FlatBufferBuilder<'static>,
    ) -> WIPOffset<flatbuffers::TableFinishedWIPOffset>,
    use_bytes: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    fn finish<'b>(
        builder: &'b mut FlatBufferBuilder<'static>,
        build: impl FnOnce(
            &mut FlatBufferBuilder<'static>,
        ) -> WIPOffset<flatbuffers::TableFinishedWIPOffset>,
    ) -> &'b [u8] {
        builder.reset();
        let root = build(builder);
        builder.finish_minimal(root);
        builder.finished_data()
    }
    BUILDER.with(|builder| match builder.try_borrow_mut() {
        Ok(mut builder) => {
            let bytes = finish(&mut builder, build);
            let large = bytes.len() > KEPT_CAPACITY;
            let result = use_bytes(bytes);
            if large {
                *builder = FlatBufferBuilder::new();
            }
            result
        }
        Err(_) => use_bytes(finish(&mut FlatBufferBuilder::new(), build)),
    })
}

/// Defines a record from the list of its fields: the owned struct, the view
/// with a method for each field, and how one becomes the other. A field's line
/// is `name: type in the struct | type in the view = place`; how it is read and
/// written follows from its type alone ([`field::Field`]).
macro_rules! record {
    (
        $(#[$doc:meta])*
        $record:ident, $(#[$view_doc:meta])* $view:ident<$a:lifetime>, $name:literal, check $check:expr;
        $($(#[$field_doc:meta])* $field:ident: $type:ty | $borrowed:ty = $vt:ident,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        pub struct $record {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        $(#[$view_doc])*
        #[derive(Clone, Copy)]
        pub struct $view<$a>($crate::record::flat::Table<$a>);

        impl<$a> $view<$a> {
            $(
                $(#[$field_doc])*
                ///
                /// # Errors
                /// When this field is damaged.
                #[inline]
                pub fn $field(&self) -> Result<$borrowed, RecordError> {
                    <$type>::read(self.0, Generated::$vt).map_err(|problem| damaged(stringify!($field), problem))
                }
            )*

            /// Decodes the whole record.
            ///
            /// # Errors
            /// At the first field that cannot be read.
            pub fn to_owned(&self) -> Result<$record, RecordError> {
                Ok($record {
                    $($field: <$type>::own(self.$field()?).map_err(|problem| damaged(stringify!($field), problem))?,)*
                })
            }

            /// Checks every field, the well-formedness of CBOR included, and
            /// decodes what can be read. Each field that is not as it should be
            /// is reported; it comes out as far as it can be read. A record is
            /// sound when nothing is reported.
            pub fn salvage(&self) -> ($record, Vec<RecordError>) {
                let mut damage = Vec::new();
                let mut note = |field, checked: Result<(), Problem>| match checked {
                    Ok(()) => true,
                    Err(problem) => {
                        damage.push(damaged(field, problem));
                        false
                    }
                };
                let record = $record {
                    $($field: if note(stringify!($field), <$type>::check(self.0, Generated::$vt)) {
                        <$type>::read(self.0, Generated::$vt).and_then(<$type>::own).unwrap_or_default()
                    } else {
                        <$type>::salvage(self.0, Generated::$vt)
                    },)*
                };
                (record, damage)
            }

            /// Whether the record holds fields that this version does not
            /// know. It must then not be written again, or they would be lost.
            pub fn has_unknown_fields(&self) -> bool {
                self.0.known_fields() > [$(stringify!($field)),*].len()
            }
        }

        impl std::fmt::Debug for $view<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.salvage().0.fmt(f)
            }
        }

        impl $crate::record::Record for $record {
            type View<'a> = $view<'a>;

            #[inline]
            fn view(bytes: &[u8]) -> $crate::Result<$view<'_>> {
                $crate::record::flat::Table::root(bytes).map($view).map_err(|problem| damaged("", problem).into())
            }

            fn decode(bytes: &[u8]) -> $crate::Result<Self> {
                Ok(Self::view(bytes)?.to_owned()?)
            }

            fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> $crate::Result<T>) -> $crate::Result<T> {
                let check: fn(&Self) -> $crate::Result<()> = $check;
                check(self)?;
                let mut weight = 0usize;
                $(weight = weight.saturating_add(Field::weight(&self.$field));)*
                if weight > $crate::record::MAX_WEIGHT {
                    return Err($crate::record::too_large($name, weight));
                }
                $crate::record::with_builder(
                    |builder| {
                        let record = self;
                        $(let $field = (record.$field.distance() == $crate::record::field::Distance::Last).then(|| record.$field.prepare(builder));)*
                        $(let $field = match $field {
                            None if record.$field.distance() == $crate::record::field::Distance::Far => Some(record.$field.prepare(builder)),
                            prepared => prepared,
                        };)*
                        $(let $field = $field.unwrap_or_else(|| record.$field.prepare(builder));)*
                        let table = builder.start_table();
                        for width in [8, 4, 1] {
                            $(if <$type as Field>::WIDTH == width {
                                <$type as Field>::push($field, builder, Generated::$vt);
                            })*
                        }
                        builder.end_table(table)
                    },
                    use_bytes,
                )
            }
        }

        fn damaged(field: &'static str, problem: Problem) -> RecordError {
            RecordError { record: $name, field, problem }
        }
    };
}
use record;
