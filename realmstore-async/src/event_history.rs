//! Which subscriptions keep history, and how much of it: configuration.

use std::fmt;

use realmstore_core::{Error, ErrorKind, MatchPolicy, Result, Timestamp};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Map, Value};

/// The name of the list in a router's configuration.
const LIST: &str = "event-history";

/// Which subscriptions keep history, and how much of it.
///
/// It is what users of Crossbar.io know as `event-history`: a list of
/// subscriptions, each with `uri`, `match` (`exact` by default, `prefix`, or
/// `wildcard`), and `limit`, the number of publications that its history
/// keeps. Beyond that, `max-age` is how old they may become, as a duration such
/// as `90s`, `24h` or `30d`, and `max-bytes` how many bytes they may take
/// together. What is not limited is kept for ever.
///
/// The subscriptions in it have their history from the start, whether anybody
/// is subscribed or not. Others keep none: their events are not stored.
///
/// ```
/// use realmstore_async::EventHistory;
///
/// let history = EventHistory::from_json(
///     r#"[{"uri": "com.example.topic", "limit": 1000},
///         {"uri": "com.example.", "match": "prefix", "max-age": "30d"}]"#,
/// )?;
/// assert_eq!(history.rules().len(), 2);
///
/// let error = EventHistory::from_json(r#"[{"uri": "com.example", "match": "fuzzy"}]"#).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "event-history[0].match: \"fuzzy\" is no match policy; there are exact, prefix and wildcard"
/// );
/// # Ok::<(), realmstore_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventHistory(Vec<HistoryRule>);

/// A subscription that keeps history, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryRule {
    /// What is subscribed to: a URI, or a pattern of URIs.
    pub uri: String,
    /// How topics are compared with it.
    pub match_policy: MatchPolicy,
    /// How many publications are kept at most.
    pub max_count: Option<u64>,
    /// How old they may become, in nanoseconds.
    pub max_age: Option<u64>,
    /// How many bytes they may take together, as stored.
    pub max_bytes: Option<u64>,
}

impl EventHistory {
    /// Reads the list from JSON: the value of `event-history`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], with the key that is wrong.
    pub fn from_json(json: &str) -> Result<Self> {
        let value = serde_json::from_str(json)
            .map_err(|error| wrong(LIST, format_args!("is not JSON: {error}")))?;
        Self::from_value(&value)
    }

    /// Reads the list from a value that was read already, out of whatever format.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_value(value: &Value) -> Result<Self> {
        let Value::Array(items) = value else {
            return Err(wrong(LIST, "is a list of subscriptions"));
        };
        let mut rules: Vec<HistoryRule> = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let place = format!("{LIST}[{number}]");
            let rule = read_rule(&place, item)?;
            let is_same = |other: &HistoryRule| {
                (&other.uri, other.match_policy) == (&rule.uri, rule.match_policy)
            };
            if let Some(first) = rules.iter().position(is_same) {
                let message = format!("is the same subscription as {LIST}[{first}]");
                return Err(wrong(&place, message));
            }
            rules.push(rule);
        }
        Ok(Self(rules))
    }

    /// The subscriptions in the list.
    pub fn rules(&self) -> &[HistoryRule] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for EventHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn wrong(place: &str, problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{place}: {problem}"))
}

fn read_rule(place: &str, item: &Value) -> Result<HistoryRule> {
    let Value::Object(fields) = item else {
        return Err(wrong(place, "is a subscription, an object with a uri"));
    };
    const KEYS: [&str; 5] = ["uri", "match", "limit", "max-age", "max-bytes"];
    if let Some(unknown) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let message = format!("is not known; there are {}", KEYS.join(", "));
        return Err(wrong(&format!("{place}.{unknown}"), message));
    }
    let match_policy = match text(place, fields, "match")? {
        Some(name) => name
            .parse()
            .map_err(|error: Error| wrong(&format!("{place}.match"), error))?,
        None => MatchPolicy::Exact,
    };
    let Some(uri) = text(place, fields, "uri")? else {
        return Err(wrong(&format!("{place}.uri"), "is missing"));
    };
    check_uri(uri, match_policy).map_err(|problem| wrong(&format!("{place}.uri"), problem))?;
    Ok(HistoryRule {
        uri: uri.to_owned(),
        match_policy,
        max_count: number(place, fields, "limit")?,
        max_age: duration(place, fields)?,
        max_bytes: number(place, fields, "max-bytes")?,
    })
}

fn text<'v>(place: &str, fields: &'v Map<String, Value>, key: &str) -> Result<Option<&'v str>> {
    match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(&format!("{place}.{key}"), "is a text")),
    }
}

fn number(place: &str, fields: &Map<String, Value>, key: &str) -> Result<Option<u64>> {
    match fields.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(wrong(
                &format!("{place}.{key}"),
                format_args!("is a whole number from 1 on, not {value}"),
            )),
        },
    }
}

fn duration(place: &str, fields: &Map<String, Value>) -> Result<Option<u64>> {
    let Some(text) = text(place, fields, "max-age")? else {
        return Ok(None);
    };
    let problem = || {
        wrong(
            &format!("{place}.max-age"),
            format_args!("{text:?} is no duration; write it as 90s, 15m, 24h, 7d or 4w"),
        )
    };
    let span: jiff::Span = text.parse().map_err(|_| problem())?;
    let days_have_24_hours = jiff::SpanRelativeTo::days_are_24_hours();
    let nanos = span
        .to_duration(days_have_24_hours)
        .map_err(|_| problem())?
        .as_nanos();
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 && nanos < Timestamp::MAX.as_nanos() => Ok(Some(nanos)),
        _ => Err(problem()),
    }
}

/// Refuses what is no URI of WAMP (basic profile, "URIs", the loose rules), or
/// no pattern of the policy.
fn check_uri(uri: &str, policy: MatchPolicy) -> Result<(), String> {
    if let Some(wrong) = uri
        .chars()
        .find(|letter| letter.is_whitespace() || *letter == '#')
    {
        return Err(format!("{uri:?} has {wrong:?} in it, which no URI has"));
    }
    let without_end = match policy {
        MatchPolicy::Wildcard => return Ok(()),
        MatchPolicy::Exact => uri,
        // It may end anywhere, also behind a dot; and the empty one is for every topic.
        MatchPolicy::Prefix if uri.is_empty() => return Ok(()),
        MatchPolicy::Prefix => uri.strip_suffix('.').unwrap_or(uri),
    };
    if without_end.split('.').any(str::is_empty) {
        return Err(format!(
            "{uri:?} has an empty component, which only a wildcard may have"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        let error = EventHistory::from_json(json).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn what_crossbar_users_write_is_read() {
        let history = EventHistory::from_json(
            r#"[{"uri": "com.example.a", "match": "exact", "limit": 10},
                {"uri": "com.example", "match": "prefix"},
                {"uri": "com..a", "match": "wildcard", "max-age": "1h 30m", "max-bytes": 65536}]"#,
        )
        .unwrap();
        let rule = |uri: &str, match_policy| HistoryRule {
            uri: uri.to_owned(),
            match_policy,
            max_count: None,
            max_age: None,
            max_bytes: None,
        };
        assert_eq!(
            history.rules(),
            [
                HistoryRule {
                    max_count: Some(10),
                    ..rule("com.example.a", MatchPolicy::Exact)
                },
                rule("com.example", MatchPolicy::Prefix),
                HistoryRule {
                    max_age: Some(5_400_000_000_000),
                    max_bytes: Some(65536),
                    ..rule("com..a", MatchPolicy::Wildcard)
                },
            ]
        );
    }

    #[test]
    fn every_error_names_its_key() {
        for (json, expected) in [
            ("{}", "event-history: is a list of subscriptions"),
            ("[", "event-history: is not JSON"),
            ("[1]", "event-history[0]: is a subscription"),
            ("[{}]", "event-history[0].uri: is missing"),
            (r#"[{"uri": 1}]"#, "event-history[0].uri: is a text"),
            (
                r#"[{"uri": ""}]"#,
                "event-history[0].uri: \"\" has an empty component",
            ),
            (
                r#"[{"uri": "com..a"}]"#,
                "event-history[0].uri: \"com..a\" has an empty component",
            ),
            (
                r#"[{"uri": "com a"}]"#,
                "event-history[0].uri: \"com a\" has ' ' in it",
            ),
            (
                r#"[{"uri": "a", "match": 1}]"#,
                "event-history[0].match: is a text",
            ),
            (
                r#"[{"uri": "a", "match": "glob"}]"#,
                "event-history[0].match: \"glob\" is no match policy",
            ),
            (
                r#"[{"uri": "a", "limit": 0}]"#,
                "event-history[0].limit: is a whole number from 1 on, not 0",
            ),
            (
                r#"[{"uri": "a", "limit": "9"}]"#,
                "event-history[0].limit: is a whole number from 1 on, not \"9\"",
            ),
            (
                r#"[{"uri": "a", "max-age": "soon"}]"#,
                "event-history[0].max-age: \"soon\" is no duration",
            ),
            (
                r#"[{"uri": "a", "max-age": "-1h"}]"#,
                "event-history[0].max-age: \"-1h\" is no duration",
            ),
            (
                r#"[{"uri": "a", "max-bytes": 1.5}]"#,
                "event-history[0].max-bytes: is a whole number",
            ),
            (
                r#"[{"uri": "a"}, {"uri": "b", "limits": 1}]"#,
                "event-history[1].limits: is not known",
            ),
            (
                r#"[{"uri": "a"}, {"uri": "a", "match": "exact"}]"#,
                "event-history[1]: is the same subscription as event-history[0]",
            ),
        ] {
            let found = problem(json);
            assert!(found.starts_with(expected), "{json}: {found}");
        }
    }

    #[test]
    fn it_is_read_as_part_of_a_configuration() {
        #[derive(Debug, serde::Deserialize)]
        struct Store {
            #[serde(rename = "event-history")]
            history: EventHistory,
        }
        let store: Store = serde_json::from_str(r#"{"event-history": [{"uri": "a"}]}"#).unwrap();
        assert_eq!(store.history.rules().len(), 1);
        let error = serde_json::from_str::<Store>(r#"{"event-history": [{"uri": "a b"}]}"#);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("event-history[0].uri: "), "{error}");
    }
}
