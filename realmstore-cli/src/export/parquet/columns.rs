//! Records as the columns of a table.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Int32Builder, ListBuilder,
    StringBuilder, TimestampNanosecondBuilder, UInt8Builder, UInt64Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::extension::{Json, Uuid as UuidType};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::errors::{ParquetError, Result as ParquetResult};
use realmstore_core::cbor::Cbor;
use realmstore_core::record::Retained;
use realmstore_core::{
    EncAlgo, EncSerializer, Event, MatchPolicy, Publication, PublicationId, Session, SessionId,
    Subscription, SubscriptionId, Timestamp, Uuid,
};

use crate::failure::{Failure, Result};
use crate::fields::for_each_record;
use crate::json::cbor_text;
use crate::output::warn;
use crate::rows::Stored;

/// The column that says which records are damaged.
const DAMAGED: &str = "damaged";

/// The longest value, in bytes. Arrow counts what a column has in 32 bits.
const LONGEST_VALUE: usize = 1 << 30;

/// What a field holds; nothing where it is unset.
pub(super) enum Cell<'r> {
    Flag(Option<bool>),
    Int(Option<i32>),
    Code(Option<u8>),
    Number(Option<u64>),
    Time(Option<Timestamp>),
    Uuid(Option<Uuid>),
    Text(Option<&'r str>),
    Bytes(Option<&'r [u8]>),
    Ids(Option<&'r [SessionId]>),
    Texts(Option<&'r [String]>),
    Cbor(&'r Option<Cbor>),
}

macro_rules! cells {
    ($($type:ty: $cell:expr;)*) => {$(
        impl<'r> From<&'r $type> for Cell<'r> {
            fn from(field: &'r $type) -> Self {
                let cell: fn(&'r $type) -> Self = $cell;
                cell(field)
            }
        }
    )*};
}

cells! {
    Option<bool>: |flag| Cell::Flag(*flag);
    Option<i32>: |number| Cell::Int(*number);
    Option<EncAlgo>: |algo| Cell::Code(algo.map(|algo| algo.0));
    Option<EncSerializer>: |serializer| Cell::Code(serializer.map(|serializer| serializer.0));
    Option<u64>: |number| Cell::Number(*number);
    Option<SubscriptionId>: |id| Cell::Number(id.map(SubscriptionId::get));
    Option<MatchPolicy>: |policy| Cell::Text(policy.map(MatchPolicy::name));
    Option<SessionId>: |id| Cell::Number(id.map(SessionId::get));
    Option<Timestamp>: |time| Cell::Time(*time);
    Option<Uuid>: |uuid| Cell::Uuid(*uuid);
    Option<String>: |text| Cell::Text(text.as_deref());
    Option<Vec<u8>>: |bytes| Cell::Bytes(bytes.as_deref());
    Option<Vec<SessionId>>: |ids| Cell::Ids(ids.as_deref());
    Option<Vec<String>>: |texts| Cell::Texts(texts.as_deref());
    Option<Cbor>: |cbor| Cell::Cbor(cbor);
    // Fields that are no `Option` are unset when they have their default.
    SessionId: |id| Cell::Number(Some(id.get()).filter(|id| *id != 0));
    PublicationId: |id| Cell::Number(Some(id.get()).filter(|id| *id != 0));
    SubscriptionId: |id| Cell::Number(Some(id.get()).filter(|id| *id != 0));
    Timestamp: |time| Cell::Time(Some(*time).filter(|time| !time.is_unset()));
    Uuid: |uuid| Cell::Uuid(Some(*uuid).filter(|uuid| !uuid.is_nil()));
    String: |text| Cell::Text(Some(text.as_str()).filter(|text| !text.is_empty()));
}

/// A record whose fields are the columns of a table.
pub(super) trait Row {
    /// Shows each field with its name, always in the same order.
    fn for_each_field<'r>(
        &'r self,
        visit: impl FnMut(&'static str, Cell<'r>) -> Result<()>,
    ) -> Result<()>;
}

macro_rules! rows {
    ($($record:ident { $($field:ident,)* })*) => {$(
        impl Row for $record {
            fn for_each_field<'r>(
                &'r self,
                mut visit: impl FnMut(&'static str, Cell<'r>) -> Result<()>,
            ) -> Result<()> {
                let $record { $($field),* } = self;
                $(visit(stringify!($field), $field.into())?;)*
                Ok(())
            }
        }
    )*};
}

for_each_record!(rows);

/// A column in the making.
enum Column {
    Flag(BooleanBuilder),
    Int(Int32Builder),
    Code(UInt8Builder),
    Number(UInt64Builder),
    Time(TimestampNanosecondBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Ids(ListBuilder<UInt64Builder>),
    Texts(ListBuilder<StringBuilder>),
    Json(StringBuilder),
}

impl Column {
    /// The column for fields such as this one, and what it is called to be.
    fn of(name: &str, cell: &Cell<'_>) -> (Self, Field) {
        let utc = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let field = |data_type| Field::new(name, data_type, true);
        match cell {
            Cell::Flag(_) => (Self::Flag(BooleanBuilder::new()), field(DataType::Boolean)),
            Cell::Int(_) => (Self::Int(Int32Builder::new()), field(DataType::Int32)),
            Cell::Code(_) => (Self::Code(UInt8Builder::new()), field(DataType::UInt8)),
            Cell::Number(_) => (Self::Number(UInt64Builder::new()), field(DataType::UInt64)),
            Cell::Time(_) => (
                Self::Time(TimestampNanosecondBuilder::new().with_data_type(utc())),
                field(utc()),
            ),
            Cell::Uuid(_) => (
                Self::Uuid(FixedSizeBinaryBuilder::new(UUID_LEN)),
                field(DataType::FixedSizeBinary(UUID_LEN)).with_extension_type(UuidType),
            ),
            Cell::Text(_) => (Self::Text(StringBuilder::new()), field(DataType::Utf8)),
            Cell::Bytes(_) => (Self::Bytes(BinaryBuilder::new()), field(DataType::Binary)),
            Cell::Ids(_) => (
                Self::Ids(ListBuilder::new(UInt64Builder::new())),
                field(DataType::new_list(DataType::UInt64, true)),
            ),
            Cell::Texts(_) => (
                Self::Texts(ListBuilder::new(StringBuilder::new())),
                field(DataType::new_list(DataType::Utf8, true)),
            ),
            Cell::Cbor(_) => (
                Self::Json(StringBuilder::new()),
                field(DataType::Utf8).with_extension_type(Json::default()),
            ),
        }
    }

    /// Adds a value; what it says instead is why it cannot.
    fn add(&mut self, cell: Cell<'_>) -> Result<(), String> {
        match (self, cell) {
            (Self::Flag(column), Cell::Flag(flag)) => column.append_option(flag),
            (Self::Int(column), Cell::Int(number)) => column.append_option(number),
            (Self::Code(column), Cell::Code(code)) => column.append_option(code),
            (Self::Number(column), Cell::Number(id)) => column.append_option(id),
            (Self::Time(column), Cell::Time(time)) => {
                column.append_option(time.and_then(|time| i64::try_from(time.as_nanos()).ok()));
            }
            (Self::Uuid(column), Cell::Uuid(uuid)) => match uuid {
                Some(uuid) => column
                    .append_value(uuid.as_bytes())
                    .map_err(|error| error.to_string())?,
                None => column.append_null(),
            },
            (Self::Text(column), Cell::Text(text)) => {
                check_len(text.map_or(0, str::len))?;
                column.append_option(text);
            }
            (Self::Bytes(column), Cell::Bytes(bytes)) => {
                check_len(bytes.map_or(0, <[u8]>::len))?;
                column.append_option(bytes);
            }
            (Self::Ids(column), Cell::Ids(ids)) => {
                check_len(ids.map_or(0, size_of_val))?;
                column.append_option(ids.map(|ids| ids.iter().map(|id| Some(id.get()))));
            }
            (Self::Texts(column), Cell::Texts(texts)) => {
                check_len(texts.iter().copied().flatten().map(String::len).sum())?;
                column.append_option(texts.map(|texts| texts.iter().map(Some)));
            }
            (Self::Json(column), Cell::Cbor(cbor)) => {
                let text = cbor_text(cbor);
                check_len(text.as_ref().map_or(0, String::len))?;
                column.append_option(text);
            }
            // A field has one type.
            _ => return Err("is of another type than before".to_owned()),
        }
        Ok(())
    }

    fn builder(&mut self) -> &mut dyn ArrayBuilder {
        match self {
            Self::Flag(column) => column,
            Self::Int(column) => column,
            Self::Code(column) => column,
            Self::Number(column) => column,
            Self::Time(column) => column,
            Self::Uuid(column) => column,
            Self::Text(column) | Self::Json(column) => column,
            Self::Bytes(column) => column,
            Self::Ids(column) => column,
            Self::Texts(column) => column,
        }
    }
}

/// The bytes of a UUID.
const UUID_LEN: i32 = 16;

fn check_len(len: usize) -> Result<(), String> {
    if len <= LONGEST_VALUE {
        return Ok(());
    }
    Err(format!(
        "has {len} bytes, of which a column takes {LONGEST_VALUE} at most; JSON Lines have no such limit"
    ))
}

/// The columns of a table in the making.
pub(super) struct Columns<R> {
    schema: SchemaRef,
    columns: Vec<Column>,
    damaged: BooleanBuilder,
    record: PhantomData<fn() -> R>,
}

impl<R: Stored + Row> Columns<R> {
    pub(super) fn new() -> Self {
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        let _ = R::default().for_each_field(|name, cell| {
            let (column, field) = Column::of(name, &cell);
            columns.push(column);
            fields.push(field);
            Ok(())
        });
        fields.push(Field::new(DAMAGED, DataType::Boolean, false));
        Self {
            schema: Arc::new(Schema::new(fields)),
            columns,
            damaged: BooleanBuilder::new(),
            record: PhantomData,
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// How many records are in the columns.
    pub(super) fn len(&self) -> usize {
        self.damaged.len()
    }

    /// Adds a record. A time that Parquet cannot hold is left out, with a warning.
    ///
    /// # Errors
    /// For a value that is too long.
    pub(super) fn add(&mut self, record: &R, is_damaged: bool) -> Result<()> {
        let mut columns = self.columns.iter_mut();
        record.for_each_field(|name, cell| {
            if let Cell::Time(Some(time)) = cell
                && i64::try_from(time.as_nanos()).is_err()
            {
                let (table, key) = (R::TABLE, record.key_text());
                warn(format_args!(
                    "{table} {key}: {name} is left out: {time} is past the year 2262, where the times of Parquet end"
                ));
            }
            let Some(column) = columns.next() else {
                return Ok(());
            };
            column.add(cell).map_err(|problem| {
                Failure::new(format!("{} {}: {name} {problem}", R::TABLE, record.key_text()))
            })
        })?;
        self.damaged.append_value(is_damaged);
        Ok(())
    }

    /// Takes the records out.
    pub(super) fn take(&mut self) -> ParquetResult<RecordBatch> {
        let columns = self.columns.iter_mut();
        let mut arrays: Vec<ArrayRef> = columns.map(|column| column.builder().finish()).collect();
        arrays.push(Arc::new(self.damaged.finish()));
        RecordBatch::try_new(self.schema(), arrays).map_err(ParquetError::from)
    }
}
