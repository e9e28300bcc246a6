//! Records as JSON.
//!
//! * Fields have the names and the order of the data model; an unset field is
//!   left out.
//! * Times are RFC 3339 with nine digits, IDs and codes are numbers.
//! * Byte strings follow WAMP's JSON convention: a text of U+0000 and then
//!   Base64.
//! * CBOR becomes the same value in JSON. What JSON cannot hold exactly is
//!   `{"$cbor": "<Base64 of its CBOR>"}`, as far inside as that is possible.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realmstore_core::cbor::{self, Cbor};
use realmstore_core::{
    EncAlgo, EncSerializer, Event, Publication, PublicationId, Session, SessionId, SubscriptionId,
    Timestamp, Uuid,
};
use serde_json::{Number, Value};

/// A JSON object; it keeps its fields in order.
pub(crate) type Object = serde_json::Map<String, Value>;

/// The key of an object that stands for a value that JSON cannot hold.
const CBOR_KEY: &str = "$cbor";

/// A record that can be written as a JSON object.
pub(crate) trait ToJson {
    /// The record's fields, those that are unset left out.
    fn to_json(&self) -> Object;
}

macro_rules! records {
    ($($record:ident { $($field:ident,)* })*) => {$(
        impl ToJson for $record {
            fn to_json(&self) -> Object {
                // All fields by name: one that is new in the model does not compile until it stands here.
                let $record { $($field),* } = self;
                let mut object = Object::new();
                $(if let Some(value) = $field.field_to_json() {
                    object.insert(stringify!($field).to_owned(), value);
                })*
                object
            }
        }
    )*};
}

records! {
    Session {
        arealm_oid, oid, session, joined_at, left_at, node_oid, node_authid, worker_name, worker_pid, transport,
        proxy_node_oid, proxy_node_authid, proxy_worker_name, proxy_worker_pid, proxy_transport, realm, authid,
        authrole, authmethod, authprovider, authextra,
    }
    Publication {
        timestamp, publication, publisher, topic, args, kwargs, payload, acknowledge, retain, exclude_me, exclude,
        exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole, enc_algo, enc_key,
        enc_serializer,
    }
    Event {
        timestamp, subscription, publication, receiver, retained, acknowledged_delivery,
    }
}

/// A field of a record: JSON, or nothing when it is unset.
trait Field {
    fn field_to_json(&self) -> Option<Value>;
}

/// What is always something.
trait Scalar {
    fn scalar_to_json(&self) -> Value;
}

impl<T: Scalar> Field for Option<T> {
    fn field_to_json(&self) -> Option<Value> {
        self.as_ref().map(Scalar::scalar_to_json)
    }
}

macro_rules! scalars {
    ($($type:ty: $to_json:expr;)*) => {$(
        impl Scalar for $type {
            fn scalar_to_json(&self) -> Value {
                let to_json: fn(&Self) -> Value = $to_json;
                to_json(self)
            }
        }
    )*};
}

scalars! {
    bool: |value| (*value).into();
    i32: |value| (*value).into();
    String: |text| text.as_str().into();
    Uuid: |uuid| uuid.hyphenated().to_string().into();
    Timestamp: |time| time.to_string().into();
    SessionId: |id| id.get().into();
    PublicationId: |id| id.get().into();
    SubscriptionId: |id| id.get().into();
    EncAlgo: |algo| algo.0.into();
    EncSerializer: |serializer| serializer.0.into();
    Vec<u8>: |bytes| from_bytes(bytes);
    Vec<SessionId>: |ids| ids.iter().map(|id| id.get()).collect();
    Vec<String>: |texts| texts.iter().map(String::as_str).collect();
}

/// Fields that are no `Option` are unset when they have their default.
macro_rules! required {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn field_to_json(&self) -> Option<Value> {
                (*self != Self::default()).then(|| self.scalar_to_json())
            }
        }
    )*};
}

required!(
    Uuid,
    Timestamp,
    SessionId,
    PublicationId,
    SubscriptionId,
    String
);

impl Field for Option<Cbor> {
    /// CBOR of no bytes at all is how Python writes nothing.
    fn field_to_json(&self) -> Option<Value> {
        let bytes = self.as_ref()?.as_ref();
        if bytes.as_bytes().is_empty() {
            return None;
        }
        // What follows the value is damage, which the record is marked for.
        Some(match bytes.to_value_and_rest() {
            Ok((value, _)) => from_cbor(&value),
            Err(_) => raw_cbor(bytes.as_bytes()),
        })
    }
}

/// A byte string in WAMP's JSON convention.
fn from_bytes(bytes: &[u8]) -> Value {
    let mut text = String::from("\0");
    STANDARD.encode_string(bytes, &mut text);
    text.into()
}

fn raw_cbor(bytes: &[u8]) -> Value {
    let mut object = Object::new();
    object.insert(CBOR_KEY.to_owned(), STANDARD.encode(bytes).into());
    object.into()
}

/// A CBOR value as JSON.
fn from_cbor(value: &cbor::Value) -> Value {
    let exact = match value {
        cbor::Value::Null => Some(Value::Null),
        cbor::Value::Bool(value) => Some((*value).into()),
        cbor::Value::Integer(value) => integer(*value),
        cbor::Value::Float(value) => Number::from_f64(*value).map(Value::Number),
        cbor::Value::Bytes(bytes) => Some(from_bytes(bytes)),
        // It would read as a byte string.
        cbor::Value::Text(text) if text.starts_with('\0') => None,
        cbor::Value::Text(text) => Some(text.as_str().into()),
        cbor::Value::Array(items) => Some(items.iter().map(from_cbor).collect()),
        cbor::Value::Map(entries) => map(entries),
        _ => None,
    };
    exact.unwrap_or_else(|| raw_cbor(Cbor::from(value).as_ref().as_bytes()))
}

fn integer(value: i128) -> Option<Value> {
    let unsigned = u64::try_from(value).map(Value::from);
    unsigned
        .or_else(|_| i64::try_from(value).map(Value::from))
        .ok()
}

fn map(entries: &[(cbor::Value, cbor::Value)]) -> Option<Value> {
    let mut keys = HashSet::new();
    for (key, _) in entries {
        match key {
            cbor::Value::Text(key) if keys.insert(key.as_str()) => {}
            _ => return None,
        }
    }
    // It would read as what stands for other values.
    if keys.len() == 1 && keys.contains(CBOR_KEY) {
        return None;
    }
    let mut object = Object::new();
    for (key, value) in entries {
        if let cbor::Value::Text(key) = key {
            object.insert(key.clone(), from_cbor(value));
        }
    }
    Some(object.into())
}

#[cfg(test)]
mod tests {
    use realmstore_core::cbor::Value as Cborish;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Cborish {
        Cborish::Text(text.to_owned())
    }

    fn map_of(entries: &[(Cborish, Cborish)]) -> Cborish {
        Cborish::Map(entries.to_vec())
    }

    /// The value in its own CBOR, and that this reads back as the value.
    fn assert_kept_as_cbor(value: &Cborish) {
        let json = from_cbor(value);
        let base64 = json["$cbor"].as_str().unwrap();
        let bytes = STANDARD.decode(base64).unwrap();
        assert_eq!(bytes, Cbor::from(value).into_bytes());
        assert_eq!(json.as_object().unwrap().len(), 1);
    }

    #[test]
    fn plain_values_are_the_same_in_json() {
        let value = map_of(&[
            (text("z"), Cborish::Null),
            (
                text("a"),
                Cborish::Array(vec![Cborish::Bool(true), text("✓"), text("")]),
            ),
            (text(""), map_of(&[])),
        ]);
        assert_eq!(
            from_cbor(&value).to_string(),
            r#"{"z":null,"a":[true,"✓",""],"":{}}"#
        );
    }

    #[test]
    fn integers_are_numbers_as_far_as_64_bits_hold_them() {
        for number in [0, 46, -1, i128::from(u64::MAX), i128::from(i64::MIN)] {
            assert_eq!(
                from_cbor(&Cborish::Integer(number)).to_string(),
                number.to_string()
            );
        }
        for number in [i128::from(i64::MIN) - 1, -(1 << 64)] {
            assert_kept_as_cbor(&Cborish::Integer(number));
        }
        assert_kept_as_cbor(&Cborish::Tag(2, Box::new(Cborish::Bytes(vec![1; 9]))));
        assert_kept_as_cbor(&Cborish::Tag(3, Box::new(Cborish::Bytes(vec![1; 9]))));
    }

    #[test]
    fn floats_stay_floats() {
        assert_eq!(from_cbor(&Cborish::Float(1.0)).to_string(), "1.0");
        assert_eq!(from_cbor(&Cborish::Float(-0.0)).to_string(), "-0.0");
        assert_eq!(from_cbor(&Cborish::Float(0.5)).to_string(), "0.5");
        for number in [f64::MAX, f64::MIN_POSITIVE, 1e22, 0.1 + 0.2] {
            let text = from_cbor(&Cborish::Float(number)).to_string();
            assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                json!(number),
                "{text}"
            );
        }
    }

    #[test]
    fn floats_that_are_no_numbers_are_kept_as_cbor() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_kept_as_cbor(&Cborish::Float(number));
        }
    }

    #[test]
    fn byte_strings_follow_the_convention_of_wamp() {
        assert_eq!(from_cbor(&Cborish::Bytes(vec![0, 255])), json!("\0AP8="));
        assert_eq!(from_cbor(&Cborish::Bytes(vec![])), json!("\0"));
    }

    #[test]
    fn a_text_that_would_read_as_bytes_is_kept_as_cbor() {
        assert_kept_as_cbor(&text("\0AP8="));
        assert_eq!(from_cbor(&text("a\0b")), json!("a\0b"));
    }

    #[test]
    fn what_json_has_no_value_for_is_kept_as_cbor() {
        assert_kept_as_cbor(&Cborish::Undefined);
        assert_kept_as_cbor(&Cborish::Simple(99));
        assert_kept_as_cbor(&Cborish::Tag(0, Box::new(text("2026-11-22T12:36:12Z"))));
    }

    #[test]
    fn a_map_with_keys_that_json_cannot_have_is_kept_whole() {
        assert_kept_as_cbor(&map_of(&[
            (text("a"), text("b")),
            (Cborish::Integer(1), Cborish::Null),
        ]));
        assert_kept_as_cbor(&map_of(&[(text("a"), text("b")), (text("a"), text("c"))]));
    }

    #[test]
    fn a_map_that_would_read_as_cbor_is_kept_as_cbor() {
        assert_kept_as_cbor(&map_of(&[(text("$cbor"), text("oA=="))]));
        let with_another_key = map_of(&[(text("$cbor"), text("oA==")), (text("b"), Cborish::Null)]);
        assert_eq!(
            from_cbor(&with_another_key),
            json!({"$cbor": "oA==", "b": null})
        );
    }

    #[test]
    fn only_the_innermost_value_that_json_cannot_hold_is_kept_as_cbor() {
        let value = Cborish::Array(vec![
            Cborish::Integer(1),
            map_of(&[
                (text("a"), Cborish::Undefined),
                (text("b"), Cborish::Bool(false)),
            ]),
        ]);
        assert_eq!(
            from_cbor(&value),
            json!([1, {"a": {"$cbor": "9w=="}, "b": false}])
        );
    }

    #[test]
    fn bytes_that_are_no_cbor_are_kept_as_they_are() {
        let broken = Some(Cbor::from_bytes([0x82, 0x01]));
        assert_eq!(broken.field_to_json(), Some(json!({"$cbor": "ggE="})));
    }

    #[test]
    fn a_value_with_something_behind_it_is_still_a_value() {
        let damaged = Some(Cbor::from_bytes([0x81, 0x07, 0x00, 0x00]));
        assert_eq!(damaged.field_to_json(), Some(json!([7])));
    }

    #[test]
    fn cbor_of_no_bytes_is_nothing() {
        assert_eq!(Some(Cbor::from_bytes([])).field_to_json(), None);
        assert_eq!(None::<Cbor>.field_to_json(), None);
    }

    #[test]
    fn a_record_has_the_fields_that_are_set_in_the_order_of_the_model() {
        let publication = Publication {
            timestamp: Timestamp::from_nanos(1_795_332_972_661_849_558),
            publication: PublicationId::from_stored(145_182_023_210_062),
            topic: "com.example.a".to_owned(),
            payload: Some(vec![1, 2, 3]),
            retain: Some(false),
            exclude: Some(vec![SessionId::from_stored(7)]),
            eligible: Some(vec![]),
            eligible_authrole: Some(vec!["user".to_owned()]),
            enc_algo: Some(EncAlgo::CRYPTOBOX),
            ..Publication::default()
        };
        assert_eq!(
            Value::from(publication.to_json()).to_string(),
            concat!(
                r#"{"timestamp":"2026-11-22T07:36:12.661849558Z","publication":145182023210062,"#,
                r#""topic":"com.example.a","payload":"\u0000AQID","retain":false,"exclude":[7],"eligible":[],"#,
                r#""eligible_authrole":["user"],"enc_algo":1}"#
            )
        );
    }

    #[test]
    fn what_a_record_must_have_and_has_not_is_left_out() {
        assert_eq!(Publication::default().to_json(), Object::new());
        assert_eq!(Session::default().to_json(), Object::new());
        let event = Event {
            receiver: Some(SessionId::default()),
            ..Event::default()
        };
        assert_eq!(Value::from(event.to_json()), json!({"receiver": 0}));
    }

    #[test]
    fn uuids_have_hyphens() {
        let oid = Uuid::from_u128(0x57e3e744_e0f7_4872_8a80_cc51bd5caf2f);
        let session = Session {
            oid,
            ..Session::default()
        };
        assert_eq!(
            Value::from(session.to_json()),
            json!({"oid": "57e3e744-e0f7-4872-8a80-cc51bd5caf2f"})
        );
    }
}
