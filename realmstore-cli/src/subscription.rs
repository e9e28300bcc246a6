//! Which subscription a command is about: its ID, an alias of it, or what it
//! subscribes to.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use realmstore_core::store::TextKey;
use realmstore_core::{
    Backend, ErrorKind, HistoryEntry, HistoryQuery, MatchPolicy, Order, ReadTxn, RealmStore,
    Subscription, SubscriptionId,
};

use crate::failure::{Failure, Result};
use crate::output::warn;

/// How many subscriptions are named at most where one is not known by name.
const MOST_NAMED: usize = 20;

/// The subscription that a command works on.
#[derive(Args)]
pub(crate) struct SubscriptionArgs {
    /// The subscription's ID or an alias of it, as `realmstore subscriptions` lists them
    #[arg(
        value_name = "SUBSCRIPTION",
        required_unless_present = "uri",
        conflicts_with = "uri"
    )]
    subscription: Option<SubscriptionId>,
    /// The subscription to this URI or pattern, in place of its ID
    #[arg(long)]
    uri: Option<String>,
    /// How the subscription compares topics with the URI [default: exact]
    #[arg(
        long = "match",
        value_name = "POLICY",
        requires = "uri",
        conflicts_with = "subscription",
        value_parser = match_policy()
    )]
    match_policy: Option<MatchPolicy>,
    /// The subscription's realm, where those of several have the same URI
    #[arg(long, requires = "uri", conflicts_with = "subscription")]
    realm: Option<String>,
}

impl SubscriptionArgs {
    /// The subscription to a URI.
    pub(crate) fn to_uri(
        uri: String,
        match_policy: Option<MatchPolicy>,
        realm: Option<String>,
    ) -> Self {
        Self {
            subscription: None,
            uri: Some(uri),
            match_policy,
            realm,
        }
    }
}

/// What reads a match policy from the command line.
pub(crate) fn match_policy() -> impl TypedValueParser<Value = MatchPolicy> {
    PossibleValuesParser::new(["exact", "prefix", "wildcard"])
        .try_map(|name| name.parse::<MatchPolicy>())
}

/// The ID of the subscription, which is no alias.
///
/// # Errors
/// When none, or more than one, is known by the URI that is asked for.
pub(crate) fn resolve<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    wanted: &SubscriptionArgs,
) -> Result<SubscriptionId> {
    let Some(uri) = &wanted.uri else {
        // The command line has the one or the other.
        return by_id(store, txn, wanted.subscription.unwrap_or_default());
    };
    let known = known_by(store, txn, uri)?;
    let policy = wanted.match_policy.unwrap_or_default();
    let found: Vec<&Subscription> = known
        .iter()
        .filter(|known| {
            known.match_policy.unwrap_or_default() == policy
                && (wanted.realm.is_none() || known.realm == wanted.realm)
        })
        .collect();
    match found.as_slice() {
        [one] => Ok(one.subscription),
        [] => Err(unknown(store, txn, uri, policy, &known)?),
        several => Err(Failure::new(format!(
            "several subscriptions are known by that name: {}; choose one by --realm, or by its ID",
            named(several.iter().copied())
        ))),
    }
}

/// The subscription that an ID stands for. Where its record is damaged, the ID
/// is taken for what it says.
fn by_id<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    id: SubscriptionId,
) -> Result<SubscriptionId> {
    match store.resolve_subscription(txn, id) {
        Err(error) if error.kind() == ErrorKind::Damaged => {
            warn(format_args!(
                "nobody can tell whether {id} is an alias: {error}"
            ));
            Ok(id)
        }
        resolved => Ok(resolved?),
    }
}

/// The subscriptions to a URI, by whatever policy and in whatever realm.
fn known_by<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    uri: &str,
) -> Result<Vec<Subscription>> {
    let mut known = Vec::new();
    let (by_uri,) = store.subscriptions().companions();
    let mut rows = by_uri.prefix(txn, &(TextKey::new(uri),), Order::Ascending)?;
    while let Some((_, id)) = rows.next()? {
        // One that is damaged can still be named by its ID.
        if let Some(record) = store.subscriptions().get(txn, &id)?
            && let Ok(record) = record.to_owned()
            && record.uri.as_deref() == Some(uri)
        {
            known.push(record);
        }
    }
    Ok(known)
}

/// What to tell somebody who names a subscription that is not known by that name.
fn unknown<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    uri: &str,
    policy: MatchPolicy,
    known: &[Subscription],
) -> Result<Failure> {
    let message = format!("no subscription to {uri:?} by match policy {policy} is known by name");
    if !known.is_empty() {
        return Ok(Failure::new(format!(
            "{message}, or not in that realm; there is {}",
            named(known)
        )));
    }
    let mut found = Vec::new();
    for subscription in store.subscriptions_with_history(txn)? {
        if found.len() > MOST_NAMED {
            break;
        }
        for entry in store.history(txn, subscription, HistoryQuery::default())? {
            if let Ok(entry) = entry
                && is_to(store, txn, &entry, uri, policy)?
            {
                found.push(subscription);
                break;
            }
        }
    }
    let more = if found.len() > MOST_NAMED {
        " and more"
    } else {
        ""
    };
    found.truncate(MOST_NAMED);
    let ids: Vec<String> = found.iter().map(ToString::to_string).collect();
    Ok(Failure::new(if ids.is_empty() {
        format!("{message}, and no history has a publication to such a topic")
    } else {
        format!(
            "{message}; a publication to such a topic is in the history of {}{more}: choose one by its ID",
            ids.join(", ")
        )
    }))
}

/// Whether the publication of an entry is to a topic that a subscription gets.
fn is_to<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
    entry: &HistoryEntry,
    uri: &str,
    policy: MatchPolicy,
) -> Result<bool> {
    let publication = store.publications().get(txn, &entry.publication)?;
    Ok(publication.is_some_and(|publication| {
        let topic = publication.view().and_then(|view| Ok(view.topic()?));
        topic.is_ok_and(|topic| policy.matches(uri, topic))
    }))
}

fn named<'s>(subscriptions: impl IntoIterator<Item = &'s Subscription>) -> String {
    let named = subscriptions
        .into_iter()
        .map(|known| format!("{} to {}", known.subscription, subscribed_to(known)));
    named.collect::<Vec<_>>().join(", ")
}

/// What a subscription is to, in words: `com.example. by prefix in realm1`; nothing for one without a name.
pub(crate) fn subscribed_to(subscription: &Subscription) -> String {
    let mut words = match subscription.uri.as_deref() {
        None => return String::new(),
        Some("") => "\"\"".to_owned(),
        Some(uri) => uri.to_owned(),
    };
    match subscription.match_policy.unwrap_or_default() {
        MatchPolicy::Exact => {}
        policy => words.push_str(&format!(" by {policy}")),
    }
    if let Some(realm) = &subscription.realm {
        words.push_str(&format!(" in {realm}"));
    }
    words
}
