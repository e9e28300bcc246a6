//! CBOR (RFC 8949) as it stands in records: kept as bytes, decoded when asked for.

use std::convert::Infallible;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use serde::{Deserialize, Serialize, Serializer};

/// How deep arrays, maps and tags may be nested before decoding refuses, so
/// that no stored bytes can exhaust the stack.
pub const MAX_DEPTH: usize = 128;

/// Bytes that do not read as one CBOR value, or a value that cannot be written as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CborError(String);

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CborError {}

impl From<minicbor::decode::Error> for CborError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(format!("not well-formed CBOR: {error}"))
    }
}

/// One CBOR value, owned, as the bytes that were read or will be written.
///
/// What was read is written back byte for byte, whether it is well-formed or
/// not: the bytes are looked at only when they are decoded.
///
/// ```
/// use realmstore_core::cbor::{Cbor, Value};
///
/// let args = Cbor::serialize(&(46, "text"))?;
/// assert_eq!(args.as_ref().deserialize::<(u8, &str)>()?, (46, "text"));
/// assert_eq!(
///     args.as_ref().to_value()?,
///     Value::Array(vec![Value::Integer(46), Value::Text("text".into())]),
/// );
/// # Ok::<(), realmstore_core::cbor::CborError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cbor(Vec<u8>);

impl Cbor {
    /// Takes bytes as they are. Nothing is checked.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Writes any [`serde`] value. What is nothing, be it `None` or a unit, is
    /// `null`, as it is in JSON and to every other reader of CBOR.
    ///
    /// # Errors
    /// When the value's own `Serialize` fails.
    pub fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, CborError> {
        let mut bytes = Vec::new();
        value
            .serialize(minicbor_serde::Serializer::new(&mut bytes).serialize_unit_as_null(true))
            .map_err(|error| CborError(format!("cannot be written as CBOR: {error}")))?;
        Ok(Self(bytes))
    }

    /// Borrows the bytes for decoding.
    #[allow(
        clippy::should_implement_trait,
        reason = "AsRef cannot return a CborRef"
    )]
    pub fn as_ref(&self) -> CborRef<'_> {
        CborRef(&self.0)
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<&Value> for Cbor {
    fn from(value: &Value) -> Self {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail.
        let Ok(()) = value
            .encode(&mut Encoder::new(&mut bytes))
            .map_err(|_: minicbor::encode::Error<Infallible>| ())
        else {
            return Self(Vec::new());
        };
        Self(bytes)
    }
}

impl fmt::Debug for Cbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// One CBOR value, borrowed out of a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CborRef<'a>(&'a [u8]);

impl<'a> CborRef<'a> {
    /// Takes bytes as they are. Nothing is checked.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are stored.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Copies the bytes.
    pub fn to_owned(self) -> Cbor {
        Cbor(self.0.to_vec())
    }

    /// Decodes into a value of any shape.
    ///
    /// # Errors
    /// When the bytes are not exactly one well-formed CBOR value, or it is
    /// nested deeper than [`MAX_DEPTH`].
    pub fn to_value(self) -> Result<Value, CborError> {
        match self.to_value_and_rest()? {
            (value, []) => Ok(value),
            (_, rest) => Err(CborError(format!(
                "not one CBOR value: it ends {} bytes before the end",
                rest.len()
            ))),
        }
    }

    /// Decodes the value that the bytes begin with, and gives what follows it:
    /// for salvaging records that are damaged at their end.
    ///
    /// # Errors
    /// When the bytes do not begin with a well-formed CBOR value, or it is
    /// nested deeper than [`MAX_DEPTH`].
    pub fn to_value_and_rest(self) -> Result<(Value, &'a [u8]), CborError> {
        let mut decoder = Decoder::new(self.0);
        let value = Value::decode(&mut decoder, 0)?;
        Ok((value, self.0.get(decoder.position()..).unwrap_or_default()))
    }

    /// Decodes into any [`serde`] type, borrowing text and bytes where the type does.
    ///
    /// # Errors
    /// As [`to_value`](Self::to_value), and when the value has another shape than `T`.
    pub fn deserialize<T: Deserialize<'a>>(self) -> Result<T, CborError> {
        // A serde type may recurse without a limit; to_value refuses what is nested too deep.
        self.to_value()?;
        minicbor_serde::from_slice(self.0)
            .map_err(|error| CborError(format!("not of the expected shape: {error}")))
    }
}

impl fmt::Debug for CborRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_value() {
            Ok(value) => value.fmt(f),
            Err(error) => write!(f, "<{} bytes, {error}>", self.0.len()),
        }
    }
}

/// A decoded CBOR value. Nothing that CBOR can say is lost but how long its
/// encoding was (RFC 8949 calls that the serialization, not the data).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`
    Null,
    /// `undefined`
    Undefined,
    /// `true` or `false`
    Bool(bool),
    /// Any other simple value.
    Simple(u8),
    /// An integer from -2^64 to 2^64 - 1.
    Integer(i128),
    /// A number of 16, 32 or 64 bits with a binary point.
    Float(f64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// A map, in the order in which it was written. Keys may be of any kind and may repeat.
    Map(Vec<(Value, Value)>),
    /// A tag and what it is put on; tags 2 and 3 make integers past 64 bits out of byte strings.
    Tag(u64, Box<Value>),
}

/// As the same thing in another format, such as JSON. A tag is left out, and
/// a simple value is its number. Formats to be read by people have no bytes:
/// there they are what WAMP has for them in JSON, a text of `\0` and Base64
/// (WAMP advanced profile, "Binary support in JSON").
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Undefined => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Simple(value) => serializer.serialize_u8(*value),
            Self::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_u64(value),
                (_, Ok(value)) => serializer.serialize_i64(value),
                _ => serializer.serialize_i128(*value),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Bytes(value) if serializer.is_human_readable() => {
                let mut text = String::from("\0");
                STANDARD.encode_string(value, &mut text);
                serializer.serialize_str(&text)
            }
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Map(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
            }
            Self::Tag(_, value) => value.serialize(serializer),
        }
    }
}

impl Value {
    fn decode(decoder: &mut Decoder<'_>, depth: usize) -> Result<Self, CborError> {
        if depth > MAX_DEPTH {
            return Err(CborError(format!("CBOR nested more than {MAX_DEPTH} deep")));
        }
        Ok(match decoder.datatype()? {
            Type::Null => {
                decoder.null()?;
                Self::Null
            }
            Type::Undefined => {
                decoder.undefined()?;
                Self::Undefined
            }
            Type::Bool => Self::Bool(decoder.bool()?),
            Type::Simple => Self::Simple(decoder.simple()?),
            Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int => Self::Integer(decoder.int()?.into()),
            Type::F16 => Self::Float(decoder.f16()?.into()),
            Type::F32 => Self::Float(decoder.f32()?.into()),
            Type::F64 => Self::Float(decoder.f64()?),
            Type::Bytes | Type::BytesIndef => {
                let mut bytes = Vec::new();
                for chunk in decoder.bytes_iter()? {
                    bytes.extend_from_slice(chunk?);
                }
                Self::Bytes(bytes)
            }
            Type::String | Type::StringIndef => {
                let mut text = String::new();
                for chunk in decoder.str_iter()? {
                    text.push_str(chunk?);
                }
                Self::Text(text)
            }
            Type::Array | Type::ArrayIndef => {
                let len = decoder.array()?;
                let mut items = Vec::with_capacity(first_capacity(len));
                while more(decoder, len, items.len())? {
                    items.push(Self::decode(decoder, depth + 1)?);
                }
                Self::Array(items)
            }
            Type::Map | Type::MapIndef => {
                let len = decoder.map()?;
                let mut entries = Vec::with_capacity(first_capacity(len));
                while more(decoder, len, entries.len())? {
                    entries.push((
                        Self::decode(decoder, depth + 1)?,
                        Self::decode(decoder, depth + 1)?,
                    ));
                }
                Self::Map(entries)
            }
            Type::Tag => {
                let tag = decoder.tag()?;
                Self::Tag(tag.as_u64(), Box::new(Self::decode(decoder, depth + 1)?))
            }
            unexpected @ (Type::Break | Type::Unknown(_)) => {
                return Err(CborError(format!(
                    "not well-formed CBOR: {unexpected} at byte {} of {}",
                    decoder.position(),
                    decoder.input().len()
                )));
            }
        })
    }

    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Null => encoder.null()?.ok(),
            Self::Undefined => encoder.undefined()?.ok(),
            Self::Bool(value) => encoder.bool(*value)?.ok(),
            Self::Simple(value) => encoder.simple(*value)?.ok(),
            Self::Integer(value) => match minicbor::data::Int::try_from(*value) {
                Ok(value) => encoder.int(value)?.ok(),
                Err(_) => {
                    // RFC 8949 section 3.4.3: tag 2 is n, tag 3 is -1 - n.
                    let (tag, magnitude) = if *value < 0 {
                        (3u64, !*value)
                    } else {
                        (2, *value)
                    };
                    let bytes = magnitude.to_be_bytes();
                    let first = bytes
                        .iter()
                        .position(|&byte| byte != 0)
                        .unwrap_or(bytes.len());
                    encoder.tag(Tag::new(tag))?.bytes(&bytes[first..])?.ok()
                }
            },
            Self::Float(value) => encoder.f64(*value)?.ok(),
            Self::Bytes(bytes) => encoder.bytes(bytes)?.ok(),
            Self::Text(text) => encoder.str(text)?.ok(),
            Self::Array(items) => {
                encoder.array(items.len() as u64)?;
                items.iter().try_for_each(|item| item.encode(encoder))
            }
            Self::Map(entries) => {
                encoder.map(entries.len() as u64)?;
                entries.iter().try_for_each(|(key, value)| {
                    key.encode(encoder)?;
                    value.encode(encoder)
                })
            }
            Self::Tag(tag, value) => {
                encoder.tag(Tag::new(*tag))?;
                value.encode(encoder)
            }
        }
    }
}

/// What a header announces is not believed before it is there.
fn first_capacity(len: Option<u64>) -> usize {
    len.unwrap_or_default().min(64) as usize
}

/// Whether another item follows, and past the break that ends an indefinite length.
fn more(decoder: &mut Decoder<'_>, len: Option<u64>, have: usize) -> Result<bool, CborError> {
    match len {
        Some(len) => Ok((have as u64) < len),
        None if decoder.datatype()? == Type::Break => {
            decoder.set_position(decoder.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(Value::Undefined),
            any::<bool>().prop_map(Value::Bool),
            prop_oneof![0u8..20, 32u8..].prop_map(Value::Simple),
            (-(1i128 << 64)..(1i128 << 64)).prop_map(Value::Integer),
            any::<f64>()
                .prop_filter("NaN is not equal to itself", |x| !x.is_nan())
                .prop_map(Value::Float),
            any::<Vec<u8>>().prop_map(Value::Bytes),
            any::<String>().prop_map(Value::Text),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner.clone()), 0..8).prop_map(Value::Map),
                (any::<u64>(), inner).prop_map(|(tag, value)| Value::Tag(tag, Box::new(value))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_survives_its_encoding(value in value()) {
            prop_assert_eq!(Cbor::from(&value).as_ref().to_value().unwrap(), value);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = CborRef::from_bytes(&bytes).to_value();
            let _ = CborRef::from_bytes(&bytes).deserialize::<serde_json::Value>();
        }
    }

    #[test]
    fn null_of_json_is_written_as_null() {
        let json = serde_json::json!([null, {"a": null}]);
        let cbor = Cbor::serialize(&json).unwrap();
        assert_eq!(
            cbor.as_ref().deserialize::<serde_json::Value>().unwrap(),
            json
        );
        assert_eq!(cbor.into_bytes(), [0x82, 0xf6, 0xa1, 0x61, b'a', 0xf6]);
    }

    #[test]
    fn bytes_are_a_text_in_json_and_bytes_in_cbor() {
        let value = Value::Bytes(vec![0x10, 0xe3, 0xff, 0x90]);
        let json = serde_json::to_value(&value).unwrap();
        assert_eq!(json, serde_json::json!("\0EOP/kA=="));
        assert_eq!(Cbor::serialize(&value).unwrap(), Cbor::from(&value));
    }

    #[test]
    fn an_integer_past_64_bits_is_written_as_a_bignum() {
        let bytes = Cbor::from(&Value::Integer(1 << 64)).into_bytes();
        assert_eq!(bytes, [0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let bytes = Cbor::from(&Value::Integer(-(1 << 64) - 1)).into_bytes();
        assert_eq!(bytes, [0xc3, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_the_end_of_the_stack() {
        let bytes = [vec![0x81; 1_000_000], vec![0]].concat();
        let error = CborRef::from_bytes(&bytes)
            .deserialize::<serde_json::Value>()
            .unwrap_err();
        assert!(error.to_string().contains("nested"), "{error}");
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        CborRef::from_bytes(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
            .to_value()
            .unwrap_err();
        CborRef::from_bytes(&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
            .to_value()
            .unwrap_err();
    }

    #[test]
    fn what_follows_a_value_is_an_error() {
        assert!(CborRef::from_bytes(&[0, 0]).to_value().is_err());
        assert!(CborRef::from_bytes(&[]).to_value().is_err());
    }
}
