//! Subscriptions: what a subscription ID stands for.

use std::fmt;
use std::str::FromStr;

use super::field::Field;
use super::{Problem, RecordError, record};
use crate::generated::realmstore::Subscription as Generated;
use crate::{Error, ErrorKind, Result, SubscriptionId, Timestamp};

record! {
    /// What a subscription ID stands for: which topics of which realm, or
    /// another ID.
    ///
    /// In WAMP a subscription has no identity but its ID, which a router makes
    /// up anew whenever it starts. Here it is what is subscribed to, and keeps
    /// its ID for ever, so that its history can be found again.
    Subscription,
    /// A [`Subscription`], read in place.
    SubscriptionView<'a>, "subscription", check |_| Ok(());

    /// The subscription's ID: its key.
    subscription: SubscriptionId | SubscriptionId = VT_SUBSCRIPTION,
    /// The ID that this one only stands for. All that follows is then unset.
    alias_of: Option<SubscriptionId> | Option<SubscriptionId> = VT_ALIAS_OF,
    /// The realm.
    realm: Option<String> | Option<&'a str> = VT_REALM,
    /// What is subscribed to: a URI, or a pattern of URIs.
    uri: Option<String> | Option<&'a str> = VT_URI,
    /// How topics are compared with it.
    match_policy: Option<MatchPolicy> | Option<MatchPolicy> = VT_MATCH_,
    /// When it was first heard of.
    created_at: Option<Timestamp> | Option<Timestamp> = VT_CREATED_AT,
    /// Whether a history is kept of it; unset when nobody has said.
    keeps_history: Option<bool> | Option<bool> = VT_KEEPS_HISTORY,
    /// How many publications its history keeps at most.
    max_count: Option<u64> | Option<u64> = VT_MAX_COUNT,
    /// How old they may become, in nanoseconds.
    max_age: Option<u64> | Option<u64> = VT_MAX_AGE,
    /// How many bytes they may take together, as stored.
    max_bytes: Option<u64> | Option<u64> = VT_MAX_BYTES,
}

/// How the topics of publications are compared with the URI of a subscription
/// (WAMP advanced profile, "Pattern-based Subscription").
///
/// ```
/// use realmstore_core::MatchPolicy;
///
/// assert!(MatchPolicy::Exact.matches("com.example.a", "com.example.a"));
/// assert!(MatchPolicy::Prefix.matches("com.example", "com.example.a.b"));
/// assert!(MatchPolicy::Prefix.matches("com.exa", "com.example"));
/// assert!(MatchPolicy::Wildcard.matches("com..a", "com.example.a"));
/// assert!(!MatchPolicy::Wildcard.matches("com..a", "com.example.b.a"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MatchPolicy {
    /// The topic is the URI.
    #[default]
    Exact,
    /// The topic begins with the URI, which may end within a component.
    Prefix,
    /// The topic has as many components as the URI, and the same ones where
    /// the URI's are not empty.
    Wildcard,
}

impl MatchPolicy {
    const ALL: [Self; 3] = [Self::Exact, Self::Prefix, Self::Wildcard];

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    pub(super) fn code(self) -> u8 {
        self as u8
    }

    /// Its name in WAMP: `exact`, `prefix`, `wildcard`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Wildcard => "wildcard",
        }
    }

    /// Whether a subscription to `uri` gets what is published to `topic`.
    pub fn matches(self, uri: &str, topic: &str) -> bool {
        match self {
            Self::Exact => uri == topic,
            Self::Prefix => topic.starts_with(uri),
            Self::Wildcard => {
                let mut topic = topic.split('.');
                let mut uri = uri.split('.');
                loop {
                    match (uri.next(), topic.next()) {
                        (None, None) => return true,
                        (Some(wanted), Some(component))
                            if wanted.is_empty() || wanted == component => {}
                        _ => return false,
                    }
                }
            }
        }
    }
}

impl fmt::Display for MatchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MatchPolicy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|policy| policy.name() == name);
        known.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{name:?} is no match policy; there are exact, prefix and wildcard"),
            )
        })
    }
}
