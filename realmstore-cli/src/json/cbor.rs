//! CBOR values as JSON, and back.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realmstore_core::cbor::{self, Cbor};
use serde_json::{Number, Value};

use super::{Object, excerpt, from_bytes, to_bytes};

/// The key of an object that stands for a value that JSON cannot hold.
const CBOR_KEY: &str = "$cbor";

/// How deep arrays and maps may be nested to become those of JSON. Readers of
/// JSON have limits of their own: that of `serde_json` is 128 for a whole line.
const MAX_DEPTH: usize = 100;

/// The object that stands for CBOR, whatever it is.
pub(super) fn raw_cbor(bytes: &[u8]) -> Value {
    let mut object = Object::new();
    object.insert(CBOR_KEY.to_owned(), STANDARD.encode(bytes).into());
    object.into()
}

/// A CBOR value as JSON.
pub(super) fn from_cbor(value: &cbor::Value) -> Value {
    nested_from_cbor(value, 0)
}

fn nested_from_cbor(value: &cbor::Value, depth: usize) -> Value {
    let exact = match value {
        cbor::Value::Null => Some(Value::Null),
        cbor::Value::Bool(value) => Some((*value).into()),
        cbor::Value::Integer(value) => integer(*value),
        cbor::Value::Float(value) => Number::from_f64(*value).map(Value::Number),
        cbor::Value::Bytes(bytes) => Some(from_bytes(bytes)),
        // It would read as a byte string.
        cbor::Value::Text(text) if text.starts_with('\0') => None,
        cbor::Value::Text(text) => Some(text.as_str().into()),
        cbor::Value::Array(items) if depth < MAX_DEPTH => {
            let items = items.iter();
            Some(
                items
                    .map(|item| nested_from_cbor(item, depth + 1))
                    .collect(),
            )
        }
        cbor::Value::Map(entries) if depth < MAX_DEPTH => map(entries, depth + 1),
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

fn map(entries: &[(cbor::Value, cbor::Value)], depth: usize) -> Option<Value> {
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
            object.insert(key.clone(), nested_from_cbor(value, depth));
        }
    }
    Some(object.into())
}

/// The CBOR of a field that JSON stands for: the reverse of [`from_cbor`] and
/// of [`raw_cbor`], whose bytes are taken as they are, well-formed or not.
///
/// # Errors
/// What no CBOR can be made of.
pub(super) fn to_cbor(json: Value) -> Result<Cbor, String> {
    if let Some(bytes) = raw_bytes(&json) {
        return bytes.map(Cbor::from_bytes);
    }
    let mut has_raw = false;
    let cbor = Cbor::from(&to_value(json, &mut has_raw)?);
    // What stands inside of what is nested itself may be nested too deep.
    if has_raw {
        let read = cbor.as_ref().to_value();
        read.map_err(|error| error.to_string())?;
    }
    Ok(cbor)
}

/// The bytes of an object that stands for CBOR.
fn raw_bytes(json: &Value) -> Option<Result<Vec<u8>, String>> {
    let object = json.as_object().filter(|object| object.len() == 1)?;
    let value = object.get(CBOR_KEY)?;
    let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    Some(bytes.ok_or_else(|| format!("expected the Base64 of CBOR under {CBOR_KEY:?}")))
}

fn to_value(json: Value, has_raw: &mut bool) -> Result<cbor::Value, String> {
    if let Some(bytes) = raw_bytes(&json) {
        *has_raw = true;
        let value = cbor::CborRef::from_bytes(&bytes?).to_value();
        return value.map_err(|error| format!("{CBOR_KEY:?}: {error}"));
    }
    Ok(match json {
        Value::Null => cbor::Value::Null,
        Value::Bool(value) => cbor::Value::Bool(value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => cbor::Value::Integer(value.into()),
            (_, Some(value), _) => cbor::Value::Integer(value.into()),
            (_, _, Some(value)) => cbor::Value::Float(value),
            _ => return Err(format!("{number} is no number that CBOR can hold")),
        },
        Value::String(text) if text.starts_with('\0') => {
            let bytes = to_bytes(&text).ok_or_else(|| {
                let text = excerpt(&text);
                format!("{text} begins as a byte string does, and is not followed by Base64")
            })?;
            cbor::Value::Bytes(bytes)
        }
        Value::String(text) => cbor::Value::Text(text),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| to_value(item, has_raw));
            cbor::Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(object) => {
            let entries = object
                .into_iter()
                .map(|(key, value)| Ok((cbor::Value::Text(key), to_value(value, has_raw)?)));
            cbor::Value::Map(entries.collect::<Result<_, String>>()?)
        }
    })
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
        assert_eq!(to_cbor(json).unwrap(), Cbor::from(value));
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
    fn what_is_nested_deeper_than_readers_of_json_go_is_kept_as_cbor() {
        let mut value = text("deep");
        for _ in 0..cbor::MAX_DEPTH {
            value = Cborish::Array(vec![value]);
        }
        let json = from_cbor(&value);
        let line = json!({"table": "publications", "record": {"args": json}}).to_string();
        let read: Value = serde_json::from_str(&line).unwrap();
        let back = to_cbor(read["record"]["args"].clone()).unwrap();
        assert_eq!(back.as_ref().to_value().unwrap(), value);
    }

    #[test]
    fn json_that_stands_for_no_cbor_is_refused() {
        let mut too_deep = raw_cbor(&[vec![0x81; 127], vec![0]].concat());
        for _ in 0..10 {
            too_deep = json!([too_deep]);
        }
        for (json, reason) in [
            (json!("\0not Base64"), "not followed by Base64"),
            (json!([{"$cbor": 7}]), "the Base64 of CBOR"),
            (json!({"$cbor": "?"}), "the Base64 of CBOR"),
            (json!([{"$cbor": "ggE="}]), "not well-formed CBOR"),
            (json!([{"$cbor": "AAA="}]), "not one CBOR value"),
            (too_deep, "nested"),
        ] {
            let error = to_cbor(json.clone()).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
