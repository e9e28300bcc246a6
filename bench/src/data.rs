//! The records that every system is given: like those of a real router, the
//! same for all, in the same order.
//!
//! What a record looks like (which fields are set, how long texts and arguments
//! are) is taken from the realm stores that Crossbar.io 26.10 wrote, which are
//! test data of `realmstore-core`. Topics follow a Zipf law.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use realmstore::cbor::Cbor;
use realmstore::{
    Delivery, Dispatch, EncAlgo, EncSerializer, Publication, PublicationId, Session, SessionId,
    SubscriptionId, Timestamp, Uuid,
};
use serde_json::json;

/// The topics that are published to; each has one subscription.
const TOPICS: usize = 1_000;

/// The exponent of the Zipf law by which topics are chosen.
const ZIPF_EXPONENT: f64 = 1.0;

/// Publications for each session that joins.
const PUBLICATIONS_PER_SESSION: u64 = 50;

/// The receivers of a publication, 3 in the mean.
const RECEIVERS: std::ops::RangeInclusive<usize> = 1..=5;

/// Those who are there to publish and to receive.
const PRESENT: usize = 500;

/// What is stored in one commit.
#[derive(Debug, Default)]
pub struct Batch {
    /// Sessions that joined.
    pub sessions: Vec<Session>,
    /// Publications, with their events: one for each receiver of a delivery.
    pub dispatches: Vec<Dispatch>,
}

impl Batch {
    /// The number of sessions, publications and events.
    pub fn records(&self) -> u64 {
        (self.sessions.len() + self.dispatches.len()) as u64 + self.events()
    }

    /// The number of events.
    pub fn events(&self) -> u64 {
        let deliveries = self.dispatches.iter().flat_map(|to| &to.deliveries);
        deliveries.map(|to| to.receivers.len() as u64).sum()
    }
}

/// Makes batches of about as many records as asked for, until as many
/// publications were made as asked for. Two generators of the same numbers make
/// the same records.
pub struct Generator {
    rng: StdRng,
    zipf: Zipf<f64>,
    topics: Vec<(String, SubscriptionId)>,
    batch: u64,
    publications: u64,
    records: u64,
    left: u64,
    now: u64,
    present: Vec<SessionId>,
    /// All session IDs so far, and how many events each subscription has.
    sessions: Vec<SessionId>,
    events: HashMap<SubscriptionId, u64>,
}

impl Generator {
    pub fn new(publications: u64, batch: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(0x5245_414c_4d53);
        let topics = (0..TOPICS)
            .map(|topic| {
                (
                    format!("com.example.site{}.sensor{topic}.changed", topic % 17),
                    subscription(&mut rng),
                )
            })
            .collect();
        Self {
            rng,
            #[allow(clippy::expect_used, reason = "both numbers are constants")]
            zipf: Zipf::new(TOPICS as f64, ZIPF_EXPONENT).expect("a Zipf law"),
            topics,
            batch,
            publications: 0,
            records: 0,
            left: publications,
            now: 1_795_332_972_000_000_000,
            present: Vec::new(),
            sessions: Vec::new(),
            events: HashMap::new(),
        }
    }

    /// The subscriptions that have this many events at least, in no order but always the same.
    pub fn subscriptions(&self, with_events: u64) -> Vec<SubscriptionId> {
        let all = self.topics.iter().map(|(_, subscription)| *subscription);
        all.filter(|subscription| {
            self.events
                .get(subscription)
                .is_some_and(|events| *events >= with_events)
        })
        .collect()
    }

    /// The IDs of the sessions that joined.
    pub fn sessions(&self) -> &[SessionId] {
        &self.sessions
    }

    /// How many records it has made.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn tick(&mut self) -> Timestamp {
        self.now += self.rng.random_range(10_000..200_000);
        Timestamp::from_nanos(self.now)
    }

    fn session(&mut self) -> Session {
        let joined_at = self.tick();
        // One in twenty resumes a session: the same ID once more.
        let again = self
            .rng
            .random_bool(0.05)
            .then(|| self.sessions.choose(&mut self.rng).copied());
        let id = again.flatten().unwrap_or_else(|| session(&mut self.rng));
        self.sessions.push(id);
        let place = self.rng.random_range(0..PRESENT);
        if !self.present.contains(&id) {
            match self.present.get_mut(place) {
                Some(gone) => *gone = id,
                None => self.present.push(id),
            }
        }
        let user = self.rng.random_range(0..5_000);
        let port = self.rng.random_range(1_024..65_535);
        let pid = self.rng.random_range(1_000..40_000);
        let peer = format!("tcp4:127.0.0.1:{port}");
        let key: u128 = self.rng.random();
        Session {
            oid: Uuid::from_u128(self.rng.random()),
            arealm_oid: Some(Uuid::from_u128(0x5a)),
            left_at: self
                .rng
                .random_bool(0.5)
                .then(|| Timestamp::from_nanos(joined_at.as_nanos() + 60_000_000_000)),
            node_authid: Some("node-001".to_owned()),
            worker_name: Some("worker001".to_owned()),
            worker_pid: Some(pid),
            transport: Some(cbor(&json!({
                "channel_framing": "websocket", "channel_id": {}, "channel_serializer": null,
                "channel_type": "tcp", "http_cbtid": null,
                "http_headers_received": {
                    "cache-control": "no-cache", "connection": "Upgrade", "host": "127.0.0.1:8080",
                    "pragma": "no-cache", "sec-websocket-key": format!("{key:032x}"),
                    "sec-websocket-protocol": "wamp.2.cbor", "sec-websocket-version": "13",
                    "upgrade": "WebSocket", "user-agent": "AutobahnPython/26.10.2"
                },
                "http_headers_sent": {}, "is_secure": false, "is_server": true, "own": null,
                "own_fd": -1, "own_pid": pid, "own_tid": pid, "peer": peer, "peer_cert": null,
                "websocket_extensions_in_use": [], "websocket_protocol": "wamp.2.cbor"
            }))),
            realm: Some("realm1".to_owned()),
            authid: Some(format!("user{user:04}@example.com")),
            authrole: Some("sensor".to_owned()),
            authmethod: Some("wampcra".to_owned()),
            authprovider: Some("static".to_owned()),
            authextra: Some(cbor(&json!({
                "x_cb_node": "node-001", "x_cb_peer": peer, "x_cb_pid": pid, "x_cb_worker": "worker001"
            }))),
            ..Session::new(id, joined_at)
        }
    }

    fn dispatch(&mut self) -> Dispatch {
        let timestamp = self.tick();
        let rank = self.zipf.sample(&mut self.rng) as usize;
        let (topic, subscription) = self.topics[rank.saturating_sub(1).min(TOPICS - 1)].clone();
        let publisher = self.present.choose(&mut self.rng).copied();
        let value = self.rng.random_range(0..100_000);
        let publication = Publication {
            publisher,
            args: Some(cbor(
                &json!([value, "", {"f": 0.5, "n": value, "none": null, "u": "\u{2713}"}]),
            )),
            kwargs: Some(cbor(&json!({"k1": [1, 2, {"a": "00ff"}]}))),
            acknowledge: Some(true),
            retain: Some(false),
            exclude_me: Some(false),
            eligible_authrole: self
                .rng
                .random_bool(0.5)
                .then(|| vec!["anonymous".to_owned()]),
            enc_algo: Some(EncAlgo::NONE),
            enc_serializer: Some(EncSerializer::NONE),
            ..Publication::new(publication(&mut self.rng), timestamp, topic)
        };
        let receivers = self.rng.random_range(RECEIVERS);
        let receivers: Vec<_> = self
            .present
            .sample(&mut self.rng, receivers)
            .copied()
            .collect();
        *self.events.entry(subscription).or_default() += receivers.len() as u64;
        Dispatch {
            publication,
            deliveries: vec![Delivery {
                subscription,
                timestamp: self.tick(),
                receivers,
                retained: Some(false),
                acknowledged_delivery: Some(false),
            }],
            retain: None,
        }
    }
}

impl Iterator for Generator {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut records = 0;
        while self.left > 0 && records < self.batch {
            // The first ones are there before anything is published.
            while self.sessions.len() < 10
                || self.sessions.len() as u64 * PUBLICATIONS_PER_SESSION <= self.publications
            {
                batch.sessions.push(self.session());
                records += 1;
            }
            let dispatch = self.dispatch();
            records += 1 + dispatch
                .deliveries
                .iter()
                .map(|to| to.receivers.len() as u64)
                .sum::<u64>();
            batch.dispatches.push(dispatch);
            self.publications += 1;
            self.left -= 1;
        }
        self.records += records;
        (records > 0).then_some(batch)
    }
}

/// An ID as WAMP routers draw them: at random from 1 to 2^53.
fn id(rng: &mut StdRng) -> u64 {
    rng.random_range(1..=1 << 53)
}

fn session(rng: &mut StdRng) -> SessionId {
    SessionId::from_stored(id(rng))
}

fn subscription(rng: &mut StdRng) -> SubscriptionId {
    SubscriptionId::from_stored(id(rng))
}

fn publication(rng: &mut StdRng) -> PublicationId {
    PublicationId::from_stored(id(rng))
}

#[allow(clippy::expect_used, reason = "JSON of our own is CBOR")]
fn cbor(value: &serde_json::Value) -> Cbor {
    Cbor::serialize(value).expect("JSON as CBOR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generators_make_the_same_records() {
        let all = |mut generator: Generator| -> Vec<_> {
            generator
                .by_ref()
                .flat_map(|batch| batch.dispatches)
                .collect()
        };
        assert_eq!(all(Generator::new(500, 100)), all(Generator::new(500, 100)));
    }

    #[test]
    fn there_are_three_events_for_each_publication_and_a_session_for_fifty() {
        let mut generator = Generator::new(10_000, 1_000);
        let (mut sessions, mut publications, mut events) = (0, 0, 0);
        for batch in generator.by_ref() {
            assert!(batch.records() < 1_000 + 20, "{}", batch.records());
            sessions += batch.sessions.len();
            publications += batch.dispatches.len();
            events += batch.events();
        }
        assert_eq!(publications, 10_000);
        assert!((29_000..31_000).contains(&events), "{events}");
        assert!((200..=210).contains(&sessions), "{sessions}");
        let busy = generator.subscriptions(100).len();
        assert!((20..200).contains(&busy), "{busy}");
    }
}
