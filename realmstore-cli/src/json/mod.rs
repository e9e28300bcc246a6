//! Records as JSON, and back.
//!
//! * Fields have the names and the order of the data model; an unset field is
//!   left out.
//! * Times are RFC 3339 with nine digits, IDs and codes are numbers; a match
//!   policy has its name in WAMP.
//! * Byte strings follow WAMP's JSON convention: a text of U+0000 and then
//!   Base64.
//! * CBOR becomes the same value in JSON. What JSON cannot hold exactly is
//!   `{"$cbor": "<Base64 of its CBOR>"}`, as far inside as that is possible.
//!
//! What is read back is the same record, but for how its CBOR was encoded:
//! the values are the same, the bytes are those of the shortest integers and
//! of floats of 64 bits.

mod cbor;
mod numbers;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realmstore_core::cbor::Cbor;
use realmstore_core::record::{Quarantined, Retained};
use realmstore_core::{
    EncAlgo, EncSerializer, Event, MatchPolicy, Publication, PublicationId, Session, SessionId,
    Subscription, SubscriptionId, Timestamp, Uuid,
};
use serde_json::Value;

use self::cbor::{from_cbor, raw_cbor, to_cbor};
pub(crate) use self::numbers::too_wide_integer;
use crate::fields::for_each_record;

/// A JSON object; it keeps its fields in order.
pub(crate) type Object = serde_json::Map<String, Value>;

/// A record that can be written as a JSON object.
pub(crate) trait ToJson {
    /// The record's fields, those that are unset left out.
    fn to_json(&self) -> Object;
}

/// A record that can be read from what [`ToJson`] makes of it.
pub(crate) trait FromJson: Sized {
    /// The record of those fields; those that are not there are unset.
    ///
    /// # Errors
    /// What is wrong with which field: it is not one of the record's, or its
    /// value is none that the field can have.
    fn from_json(fields: Object) -> Result<Self, String>;
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

        impl FromJson for $record {
            fn from_json(mut fields: Object) -> Result<Self, String> {
                let record = $record { $($field: take(&mut fields, stringify!($field))?),* };
                match fields.keys().next() {
                    None => Ok(record),
                    Some(field) => Err(format!(
                        "{}: there is no such field; there are {}",
                        excerpt(field),
                        [$(stringify!($field)),*].join(", ")
                    )),
                }
            }
        }
    )*};
}

for_each_record!(records);
records! {
    Quarantined { moved_at, table, key, value, problem, }
}

fn take<F: Field>(fields: &mut Object, name: &str) -> Result<F, String> {
    match fields.swap_remove(name) {
        None => Ok(F::default()),
        Some(value) => F::field_from_json(value).map_err(|problem| format!("{name}: {problem}")),
    }
}

/// The beginning of a text that may have any length, in quotes.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
}

/// A field of a record. Unset, it has its default, and nothing stands for it in JSON.
trait Field: Default {
    fn field_to_json(&self) -> Option<Value>;

    /// # Errors
    /// What was expected in place of that value.
    fn field_from_json(value: Value) -> Result<Self, String>;
}

/// What is always something.
trait Scalar: Sized {
    /// What it is in JSON, for people.
    const EXPECTED: &'static str;

    fn scalar_to_json(&self) -> Value;

    fn scalar_from_json(value: &Value) -> Option<Self>;
}

fn read_scalar<T: Scalar>(value: &Value) -> Result<T, String> {
    T::scalar_from_json(value).ok_or_else(|| {
        // What is long need not be written for its beginning to be seen.
        let found = match value {
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::String(text) => excerpt(text),
            value => value.to_string(),
        };
        format!("expected {}, found {found}", T::EXPECTED)
    })
}

impl<T: Scalar> Field for Option<T> {
    fn field_to_json(&self) -> Option<Value> {
        self.as_ref().map(Scalar::scalar_to_json)
    }

    fn field_from_json(value: Value) -> Result<Self, String> {
        read_scalar(&value).map(Some)
    }
}

macro_rules! scalars {
    ($($type:ty: $expected:literal, $to_json:expr, $from_json:expr;)*) => {$(
        impl Scalar for $type {
            const EXPECTED: &'static str = $expected;

            fn scalar_to_json(&self) -> Value {
                let to_json: fn(&Self) -> Value = $to_json;
                to_json(self)
            }

            fn scalar_from_json(value: &Value) -> Option<Self> {
                let from_json: fn(&Value) -> Option<Self> = $from_json;
                from_json(value)
            }
        }
    )*};
}

scalars! {
    bool: "true or false",
        |value| (*value).into(),
        |json| json.as_bool();
    i32: "an integer of 32 bits",
        |value| (*value).into(),
        |json| json.as_i64()?.try_into().ok();
    u64: "an integer of 64 bits that is not negative",
        |value| (*value).into(),
        |json| json.as_u64();
    String: "a text",
        |text| text.as_str().into(),
        |json| json.as_str().map(str::to_owned);
    Uuid: "a UUID such as 57e3e744-e0f7-4872-8a80-cc51bd5caf2f",
        |uuid| uuid.hyphenated().to_string().into(),
        |json| Uuid::parse_str(json.as_str()?).ok();
    Timestamp: "a time such as 2026-11-22T12:36:12.714741515Z, from 1970 to 2554",
        |time| time.to_string().into(),
        |json| json.as_str()?.parse().ok();
    SessionId: "a session ID, an integer that is not negative",
        |id| id.get().into(),
        |json| json.as_u64().map(Self::from_stored);
    PublicationId: "a publication ID, an integer that is not negative",
        |id| id.get().into(),
        |json| json.as_u64().map(Self::from_stored);
    SubscriptionId: "a subscription ID, an integer that is not negative",
        |id| id.get().into(),
        |json| json.as_u64().map(Self::from_stored);
    EncAlgo: "a code from 0 to 255",
        |algo| algo.0.into(),
        |json| json.as_u64()?.try_into().ok().map(Self);
    EncSerializer: "a code from 0 to 255",
        |serializer| serializer.0.into(),
        |json| json.as_u64()?.try_into().ok().map(Self);
    MatchPolicy: "exact, prefix or wildcard",
        |policy| policy.name().into(),
        |json| json.as_str()?.parse().ok();
    Vec<u8>: "a byte string: U+0000, and then its Base64",
        |bytes| from_bytes(bytes),
        |json| to_bytes(json.as_str()?);
    Vec<SessionId>: "a list of session IDs",
        |ids| ids.iter().map(|id| id.get()).collect(),
        |json| json.as_array()?.iter().map(Scalar::scalar_from_json).collect();
    Vec<String>: "a list of texts",
        |texts| texts.iter().map(String::as_str).collect(),
        |json| json.as_array()?.iter().map(Scalar::scalar_from_json).collect();
}

/// Fields that are no `Option` are unset when they have their default.
macro_rules! required {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn field_to_json(&self) -> Option<Value> {
                (*self != Self::default()).then(|| self.scalar_to_json())
            }

            fn field_from_json(value: Value) -> Result<Self, String> {
                read_scalar(&value)
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

    fn field_from_json(value: Value) -> Result<Self, String> {
        to_cbor(value).map(Some)
    }
}

/// The JSON of a field that holds CBOR, as a text; nothing where it is unset.
#[cfg(feature = "parquet")]
pub(crate) fn cbor_text(cbor: &Option<Cbor>) -> Option<String> {
    cbor.field_to_json().map(|value| value.to_string())
}

/// A byte string in WAMP's JSON convention.
fn from_bytes(bytes: &[u8]) -> Value {
    let mut text = String::from("\0");
    STANDARD.encode_string(bytes, &mut text);
    text.into()
}

/// The byte string that a text stands for; `None` where it stands for none.
fn to_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix('\0')?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;
    use realmstore_core::cbor::Value as CborValue;
    use serde_json::json;

    use super::*;

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

    #[test]
    fn what_is_no_field_or_no_value_of_one_is_refused_by_name() {
        let refused = |json: Value| {
            let Value::Object(fields) = json else {
                panic!()
            };
            Publication::from_json(fields).unwrap_err()
        };
        for (json, reason) in [
            (
                json!({"colour": 1}),
                "\"colour\": there is no such field; there are timestamp, ",
            ),
            (json!({"topic": 7}), "topic: expected a text, found 7"),
            (json!({"topic": null}), "topic: expected a text, found null"),
            (
                json!({"publication": -1}),
                "publication: expected a publication ID, ",
            ),
            (
                json!({"publication": 1.0}),
                "publication: expected a publication ID, ",
            ),
            (json!({"publication": "1"}), "found \"1\""),
            (
                json!({"timestamp": "yesterday"}),
                "timestamp: expected a time such as ",
            ),
            (json!({"timestamp": "1969-12-31T00:00:00Z"}), "timestamp: "),
            (
                json!({"payload": "AQID"}),
                "payload: expected a byte string: U+0000",
            ),
            (json!({"payload": "\0?"}), "payload: "),
            (
                json!({"exclude": [1, "2"]}),
                "exclude: expected a list of session IDs, found an array",
            ),
            (
                json!({"eligible_authid": {}}),
                "eligible_authid: expected a list of texts, found an object",
            ),
            (
                json!({"enc_algo": 256}),
                "enc_algo: expected a code from 0 to 255, found 256",
            ),
            (
                json!({"retain": 0}),
                "retain: expected true or false, found 0",
            ),
            (json!({"args": {"$cbor": []}}), "args: expected the Base64"),
        ] {
            let error = refused(json);
            assert!(error.contains(reason), "{error}");
        }
        let error = Session::from_json(Object::from_iter([("oid".to_owned(), "57e3".into())]));
        assert!(error.unwrap_err().starts_with("oid: expected a UUID"));
    }

    fn value() -> impl Strategy<Value = CborValue> {
        let leaf = prop_oneof![
            Just(CborValue::Null),
            Just(CborValue::Undefined),
            any::<bool>().prop_map(CborValue::Bool),
            prop_oneof![0u8..20, 32u8..].prop_map(CborValue::Simple),
            (-(1i128 << 64)..(1i128 << 64)).prop_map(CborValue::Integer),
            any::<i8>().prop_map(|small| CborValue::Integer(small.into())),
            any::<f64>().prop_map(CborValue::Float),
            any::<i8>().prop_map(|whole| CborValue::Float(whole.into())),
            any::<Vec<u8>>().prop_map(CborValue::Bytes),
            any::<String>().prop_map(CborValue::Text),
            Just(CborValue::Text("\0AA==".to_owned())),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            let key = prop_oneof![
                8 => any::<String>().prop_map(CborValue::Text),
                1 => Just(CborValue::Text("$cbor".to_owned())),
                1 => inner.clone(),
            ];
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(CborValue::Array),
                vec((key, inner.clone()), 0..5).prop_map(CborValue::Map),
                (any::<u64>(), inner).prop_map(|(tag, value)| CborValue::Tag(tag, Box::new(value))),
            ]
        })
    }

    /// CBOR of any value, and bytes that are none.
    fn cbor() -> impl Strategy<Value = Option<Cbor>> {
        prop_oneof![
            1 => Just(None),
            6 => value().prop_map(|value| Some(Cbor::from(&value))),
            1 => any::<Vec<u8>>().prop_map(|bytes| Some(Cbor::from_bytes(bytes))),
        ]
    }

    fn uuid() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        any::<u64>().prop_map(Timestamp::from_nanos)
    }

    fn session_id() -> impl Strategy<Value = SessionId> {
        any::<u64>().prop_map(SessionId::from_stored)
    }

    fn publication_id() -> impl Strategy<Value = PublicationId> {
        any::<u64>().prop_map(PublicationId::from_stored)
    }

    prop_compose! {
        fn sessions()(
            (arealm_oid, oid, node_oid, proxy_node_oid) in (of(uuid()), uuid(), of(uuid()), of(uuid())),
            (session, joined_at, left_at) in (session_id(), of(time()), of(time())),
            (worker_pid, proxy_worker_pid) in any::<(Option<i32>, Option<i32>)>(),
            (node_authid, worker_name, proxy_node_authid, proxy_worker_name, realm) in any::<(
                Option<String>, Option<String>, Option<String>, Option<String>, Option<String>,
            )>(),
            (authid, authrole, authmethod, authprovider) in any::<(
                Option<String>, Option<String>, Option<String>, Option<String>,
            )>(),
            (transport, proxy_transport, authextra) in (cbor(), cbor(), cbor()),
        ) -> Session {
            Session {
                arealm_oid, oid, session, joined_at, left_at, node_oid, node_authid, worker_name, worker_pid,
                transport, proxy_node_oid, proxy_node_authid, proxy_worker_name, proxy_worker_pid, proxy_transport,
                realm, authid, authrole, authmethod, authprovider, authextra,
            }
        }
    }

    prop_compose! {
        fn publications()(
            (timestamp, publication, publisher) in (time(), publication_id(), of(session_id())),
            (args, kwargs) in (cbor(), cbor()),
            (topic, payload, enc_key) in any::<(String, Option<Vec<u8>>, Option<Vec<u8>>)>(),
            (acknowledge, retain, exclude_me) in any::<(Option<bool>, Option<bool>, Option<bool>)>(),
            (exclude, eligible) in (of(vec(session_id(), 0..4)), of(vec(session_id(), 0..4))),
            (exclude_authid, exclude_authrole, eligible_authid, eligible_authrole) in any::<(
                Option<Vec<String>>, Option<Vec<String>>, Option<Vec<String>>, Option<Vec<String>>,
            )>(),
            (enc_algo, enc_serializer) in any::<(Option<u8>, Option<u8>)>(),
        ) -> Publication {
            Publication {
                timestamp, publication, publisher, topic, args, kwargs, payload, acknowledge, retain, exclude_me,
                exclude, exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole,
                enc_algo: enc_algo.map(EncAlgo), enc_key, enc_serializer: enc_serializer.map(EncSerializer),
            }
        }
    }

    prop_compose! {
        fn events()(
            (timestamp, subscription, publication) in (time(), any::<u64>(), publication_id()),
            receiver in of(session_id()),
            (retained, acknowledged_delivery) in any::<(Option<bool>, Option<bool>)>(),
        ) -> Event {
            let subscription = SubscriptionId::from_stored(subscription);
            Event { timestamp, subscription, publication, receiver, retained, acknowledged_delivery }
        }
    }

    /// That a record reads back from its line, in which nothing changes.
    fn read_back<R: ToJson + FromJson>(record: &R) -> R {
        let line = Value::from(record.to_json()).to_string();
        let back = R::from_json(serde_json::from_str(&line).unwrap()).unwrap();
        assert_eq!(Value::from(back.to_json()).to_string(), line);
        back
    }

    /// What JSON keeps of CBOR: the value, and of what is none the bytes.
    fn kept(cbor: &Option<Cbor>) -> Option<Cbor> {
        let cbor = cbor
            .as_ref()
            .filter(|cbor| !cbor.as_ref().as_bytes().is_empty())?;
        Some(match cbor.as_ref().to_value_and_rest() {
            Ok((value, _)) => Cbor::from(&value),
            Err(_) => cbor.clone(),
        })
    }

    proptest! {
        #[test]
        fn a_session_reads_back_from_its_json(session in sessions()) {
            let kept = Session {
                transport: kept(&session.transport),
                proxy_transport: kept(&session.proxy_transport),
                authextra: kept(&session.authextra),
                ..session.clone()
            };
            prop_assert_eq!(read_back(&session), kept);
        }

        #[test]
        fn a_publication_reads_back_from_its_json(publication in publications()) {
            let kept = Publication {
                args: kept(&publication.args),
                kwargs: kept(&publication.kwargs),
                ..publication.clone()
            };
            prop_assert_eq!(read_back(&publication), kept);
        }

        #[test]
        fn an_event_reads_back_from_its_json(event in events()) {
            prop_assert_eq!(read_back(&event), event);
        }
    }
}
