//! Stores in which every field is set somewhere, to ordinary and to odd values.

use realmstore::cbor::{Cbor, Value};
use realmstore::record::Retained;
use realmstore::{
    EncAlgo, EncSerializer, Event, MatchPolicy, Publication, PublicationId, Session, SessionId,
    Subscription, SubscriptionId, Timestamp, Uuid, WriteTxn,
};

/// Numbers that look random, and are the same for the same seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| make(self))
    }

    fn list<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.list(|numbers| numbers.next() as u8)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn text(&mut self) -> String {
        const TEXTS: &[&str] = &[
            "",
            "joe",
            "com.example.✓",
            "a\0b",
            "\0AP8=",
            "\"\\\n\r\t\u{7f}",
            "\u{feff}\u{10ffff}",
            "null",
            "$cbor",
            "ü",
        ];
        let text = TEXTS[self.below(TEXTS.len() as u64) as usize];
        format!("{text}{}", if self.flag() { "" } else { " and more" })
    }

    /// An ID; old stores have some that WAMP does not allow.
    fn id(&mut self) -> u64 {
        match self.below(10) {
            0 => u64::MAX - self.below(1 << 40),
            1 => (1 << 53) + self.below(1 << 40),
            _ => 1 + self.below(1 << 53),
        }
    }

    /// A time that every format can hold.
    fn time(&mut self) -> Timestamp {
        Timestamp::from_nanos(1 + self.next() / 2)
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }

    fn session_id(&mut self) -> SessionId {
        SessionId::from_stored(self.id())
    }

    fn value(&mut self, depth: u64) -> Value {
        let kinds = if depth == 0 { 12 } else { 15 };
        match self.below(kinds) {
            0 => Value::Null,
            1 => Value::Undefined,
            2 => Value::Bool(self.flag()),
            3 => Value::Simple(99),
            4 => Value::Integer(i128::from(self.next())),
            5 => Value::Integer(-1 - i128::from(self.next())),
            6 => Value::Integer(i128::from(self.below(30))),
            7 => Value::Float(f64::from_bits(self.next())),
            8 => Value::Float(self.below(9) as f64),
            9 => Value::Bytes(self.bytes()),
            10 => Value::Text("\0AA==".to_owned()),
            11 => Value::Text(self.text()),
            12 => Value::Array(self.list(|numbers| numbers.value(depth - 1))),
            13 => Value::Map(self.list(|numbers| {
                let key = if numbers.below(5) == 0 {
                    numbers.value(0)
                } else {
                    Value::Text(numbers.text())
                };
                (key, numbers.value(depth - 1))
            })),
            _ => Value::Tag(self.below(40), Box::new(self.value(depth - 1))),
        }
    }

    fn cbor(&mut self) -> Cbor {
        Cbor::from(&self.value(4))
    }

    fn session(&mut self) -> Session {
        Session {
            arealm_oid: self.maybe(Self::uuid),
            oid: self.uuid(),
            session: self.session_id(),
            joined_at: self.maybe(Self::time),
            left_at: self.maybe(Self::time),
            node_oid: self.maybe(Self::uuid),
            node_authid: self.maybe(Self::text),
            worker_name: self.maybe(Self::text),
            worker_pid: self.maybe(|numbers| numbers.next() as i32),
            transport: self.maybe(Self::cbor),
            proxy_node_oid: self.maybe(Self::uuid),
            proxy_node_authid: self.maybe(Self::text),
            proxy_worker_name: self.maybe(Self::text),
            proxy_worker_pid: self.maybe(|numbers| numbers.next() as i32),
            proxy_transport: self.maybe(Self::cbor),
            realm: self.maybe(Self::text),
            authid: self.maybe(Self::text),
            authrole: self.maybe(Self::text),
            authmethod: self.maybe(Self::text),
            authprovider: self.maybe(Self::text),
            authextra: self.maybe(Self::cbor),
        }
    }

    fn publication(&mut self) -> Publication {
        let in_payload = self.flag();
        Publication {
            timestamp: self.time(),
            publication: PublicationId::from_stored(self.id()),
            publisher: self.maybe(Self::session_id),
            topic: self.text(),
            args: self.maybe(Self::cbor).filter(|_| !in_payload),
            kwargs: self.maybe(Self::cbor).filter(|_| !in_payload),
            payload: self.maybe(Self::bytes).filter(|_| in_payload),
            acknowledge: self.maybe(Self::flag),
            retain: self.maybe(Self::flag),
            exclude_me: self.maybe(Self::flag),
            exclude: self.maybe(|numbers| numbers.list(Self::session_id)),
            exclude_authid: self.maybe(|numbers| numbers.list(Self::text)),
            exclude_authrole: self.maybe(|numbers| numbers.list(Self::text)),
            eligible: self.maybe(|numbers| numbers.list(Self::session_id)),
            eligible_authid: self.maybe(|numbers| numbers.list(Self::text)),
            eligible_authrole: self.maybe(|numbers| numbers.list(Self::text)),
            enc_algo: self.maybe(|numbers| EncAlgo(numbers.next() as u8)),
            enc_key: self.maybe(Self::bytes),
            enc_serializer: self.maybe(|numbers| EncSerializer(numbers.next() as u8)),
        }
    }

    fn event(&mut self) -> Event {
        Event {
            timestamp: self.time(),
            subscription: SubscriptionId::from_stored(1 + self.below(5)),
            publication: PublicationId::from_stored(self.id()),
            receiver: self.maybe(Self::session_id),
            retained: self.maybe(Self::flag),
            acknowledged_delivery: self.maybe(Self::flag),
        }
    }

    /// A subscription, or an alias of one. Its ID is none that an event has.
    fn subscription(&mut self) -> Subscription {
        let subscription = SubscriptionId::from_stored(100 + self.below(1 << 50));
        if self.below(4) == 0 {
            return Subscription {
                subscription,
                alias_of: Some(SubscriptionId::from_stored(self.id())),
                ..Subscription::default()
            };
        }
        Subscription {
            subscription,
            alias_of: None,
            realm: self.maybe(Self::text),
            uri: self.maybe(|numbers| format!("{}.{subscription}", numbers.text())),
            match_policy: self.maybe(|numbers| match numbers.below(3) {
                0 => MatchPolicy::Exact,
                1 => MatchPolicy::Prefix,
                _ => MatchPolicy::Wildcard,
            }),
            created_at: self.maybe(Self::time),
            keeps_history: self.maybe(Self::flag),
            max_count: self.maybe(Self::next),
            max_age: self.maybe(Self::next),
            max_bytes: self.maybe(Self::next),
        }
    }

    /// A row that retains a publication, for a topic of its own.
    fn retained(&mut self, publication: PublicationId) -> Retained {
        Retained {
            topic: format!("{}.{publication}", self.text()),
            publication,
            retained_at: self.time(),
            expires_at: self.maybe(Self::time),
        }
    }
}

/// Stores that many records of each kind in a new store.
pub fn fill(location: &str, seed: u64, records: u64) {
    let store = realmstore::open(location).unwrap();
    let mut numbers = Numbers(seed);
    let mut txn = store.begin_write().unwrap();
    for _ in 0..records {
        store.session_joined(&mut txn, &numbers.session()).unwrap();
        let publication = numbers.publication();
        store.store_publication(&mut txn, &publication).unwrap();
        store.store_events(&mut txn, &[numbers.event()]).unwrap();
        let subscription = numbers.subscription();
        let id = subscription.subscription;
        let table = store.subscriptions();
        table.put(&mut txn, &id, &subscription).unwrap();
        let row = numbers.retained(publication.publication);
        store.retain_row(&mut txn, &publication, &row).unwrap();
    }
    txn.commit().unwrap();
}
