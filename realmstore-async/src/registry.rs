//! The subscriptions that keep history, by the topics that they match.

use std::collections::{BTreeMap, HashMap};

use realmstore_core::{MatchPolicy, SubscriptionId};

/// The subscriptions that keep history. Asked with a topic it looks at those
/// that may match: one exact, one prefix of each length that there is, and the
/// wildcards with as many components.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    exact: HashMap<String, SubscriptionId>,
    /// By length in bytes.
    prefix: BTreeMap<usize, HashMap<String, SubscriptionId>>,
    /// By number of components.
    wildcard: HashMap<usize, Vec<(String, SubscriptionId)>>,
    uris: HashMap<SubscriptionId, (String, MatchPolicy)>,
}

impl Registry {
    pub(crate) fn add(&mut self, subscription: SubscriptionId, uri: &str, policy: MatchPolicy) {
        let known = self
            .uris
            .insert(subscription, (uri.to_owned(), policy))
            .is_some();
        if known {
            return;
        }
        match policy {
            MatchPolicy::Exact => {
                self.exact.insert(uri.to_owned(), subscription);
            }
            MatchPolicy::Prefix => {
                let same_length = self.prefix.entry(uri.len()).or_default();
                same_length.insert(uri.to_owned(), subscription);
            }
            MatchPolicy::Wildcard => {
                let same_number = self.wildcard.entry(components(uri)).or_default();
                same_number.push((uri.to_owned(), subscription));
            }
        }
    }

    pub(crate) fn contains(&self, subscription: SubscriptionId) -> bool {
        self.uris.contains_key(&subscription)
    }

    /// The subscriptions that match a topic.
    pub(crate) fn matching(&self, topic: &str) -> impl Iterator<Item = SubscriptionId> {
        let exact = self.exact.get(topic).copied();
        let prefix = self
            .prefix
            .range(..=topic.len())
            .filter_map(move |(length, same_length)| same_length.get(topic.get(..*length)?))
            .copied();
        let wildcard = self
            .wildcard
            .get(&components(topic))
            .into_iter()
            .flatten()
            .filter(move |(uri, _)| MatchPolicy::Wildcard.matches(uri, topic))
            .map(|(_, subscription)| *subscription);
        exact.into_iter().chain(prefix).chain(wildcard)
    }
}

fn components(uri: &str) -> usize {
    uri.split('.').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICIES: [MatchPolicy; 3] = [
        MatchPolicy::Exact,
        MatchPolicy::Prefix,
        MatchPolicy::Wildcard,
    ];

    proptest! {
        #[test]
        fn those_are_found_that_match_one_by_one(
            uris in prop::collection::btree_set(("[aé.]{0,4}", 0usize..3), 0..30),
            topic in "[aé.]{0,6}",
        ) {
            let mut registry = Registry::default();
            let mut expected = Vec::new();
            for (number, (uri, policy)) in uris.iter().enumerate() {
                let subscription = SubscriptionId::from_stored(number as u64 + 1);
                registry.add(subscription, uri, POLICIES[*policy]);
                if POLICIES[*policy].matches(uri, &topic) {
                    expected.push(subscription);
                }
            }
            let mut found: Vec<_> = registry.matching(&topic).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
