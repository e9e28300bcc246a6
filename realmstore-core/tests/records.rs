//! Records: what is written is read, by us and by FlatBuffers' own verifier,
//! and no bytes whatsoever make reading panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)]

use proptest::prelude::*;
use realmstore_core::cbor::{Cbor, Value};
use realmstore_core::generated::realmstore as flatbuffers_schema;
use realmstore_core::record::{Problem, Record, Retained};
use realmstore_core::{
    EncAlgo, EncSerializer, ErrorKind, Event, MatchPolicy, Publication, PublicationId, Session,
    SessionId, Subscription, SubscriptionId, Timestamp, Uuid,
};

/// Numbers that sit on the boundaries.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(1 << 53),
        Just(u64::MAX),
        any::<u64>()
    ]
}

fn session_id() -> impl Strategy<Value = SessionId> {
    number().prop_map(SessionId::from_stored)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    number().prop_map(Timestamp::from_nanos)
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![Just(String::new()), any::<String>()])
}

fn texts() -> impl Strategy<Value = Option<Vec<String>>> {
    prop::option::of(prop::collection::vec(any::<String>(), 0..20))
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(any::<Vec<u8>>())
}

/// CBOR as it may be found, well-formed or not.
fn cbor() -> impl Strategy<Value = Option<Cbor>> {
    prop::option::of(prop_oneof![
        any::<Vec<u8>>().prop_map(Cbor::from_bytes),
        any::<Vec<(String, i64)>>().prop_map(|map| {
            let entries = map
                .into_iter()
                .map(|(k, v)| (Value::Text(k), Value::Integer(v.into())))
                .collect();
            Cbor::from(&Value::Map(entries))
        }),
    ])
}

fn uuid() -> impl Strategy<Value = Option<Uuid>> {
    prop::option::of(any::<[u8; 16]>().prop_map(Uuid::from_bytes))
}

prop_compose! {
    fn session()(
        ids in (uuid(), any::<[u8; 16]>(), session_id(), uuid(), uuid()),
        times in (prop::option::of(timestamp()), prop::option::of(timestamp())),
        pids in (any::<Option<i32>>(), any::<Option<i32>>()),
        node in (text(), text(), text(), text()),
        auth in (text(), text(), text(), text(), text()),
        maps in (cbor(), cbor(), cbor()),
    ) -> Session {
        Session {
            arealm_oid: ids.0, oid: Uuid::from_bytes(ids.1), session: ids.2,
            joined_at: times.0, left_at: times.1,
            node_oid: ids.3, node_authid: node.0, worker_name: node.1, worker_pid: pids.0, transport: maps.0,
            proxy_node_oid: ids.4, proxy_node_authid: node.2, proxy_worker_name: node.3, proxy_worker_pid: pids.1,
            proxy_transport: maps.1,
            realm: auth.0, authid: auth.1, authrole: auth.2, authmethod: auth.3, authprovider: auth.4,
            authextra: maps.2,
        }
    }
}

prop_compose! {
    fn publication()(
        ids in (timestamp(), number(), prop::option::of(session_id()), any::<String>()),
        payload in prop_oneof![
            (cbor(), cbor()).prop_map(|(args, kwargs)| (args, kwargs, None)),
            bytes().prop_map(|payload| (None, None, payload)),
        ],
        flags in any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        sessions in (
            prop::option::of(prop::collection::vec(session_id(), 0..20)),
            prop::option::of(prop::collection::vec(session_id(), 0..20)),
        ),
        lists in (texts(), texts(), texts(), texts()),
        enc in (any::<Option<u8>>(), bytes(), any::<Option<u8>>()),
    ) -> Publication {
        Publication {
            timestamp: ids.0, publication: PublicationId::from_stored(ids.1), publisher: ids.2, topic: ids.3,
            args: payload.0, kwargs: payload.1, payload: payload.2,
            acknowledge: flags.0, retain: flags.1, exclude_me: flags.2,
            exclude: sessions.0, exclude_authid: lists.0, exclude_authrole: lists.1,
            eligible: sessions.1, eligible_authid: lists.2, eligible_authrole: lists.3,
            enc_algo: enc.0.map(EncAlgo), enc_key: enc.1, enc_serializer: enc.2.map(EncSerializer),
        }
    }
}

prop_compose! {
    fn event()(
        ids in (timestamp(), number(), number(), prop::option::of(session_id())),
        flags in any::<(Option<bool>, Option<bool>)>(),
    ) -> Event {
        Event {
            timestamp: ids.0, subscription: SubscriptionId::from_stored(ids.1),
            publication: PublicationId::from_stored(ids.2), receiver: ids.3,
            retained: flags.0, acknowledged_delivery: flags.1,
        }
    }
}

prop_compose! {
    fn subscription()(
        ids in (number(), prop::option::of(number()), any::<Option<u64>>()),
        texts in any::<(Option<String>, Option<String>)>(),
        policy in prop::option::of(prop_oneof![
            Just(MatchPolicy::Exact), Just(MatchPolicy::Prefix), Just(MatchPolicy::Wildcard),
        ]),
        history in any::<(Option<bool>, Option<u64>, Option<u64>, Option<u64>)>(),
    ) -> Subscription {
        Subscription {
            subscription: SubscriptionId::from_stored(ids.0),
            alias_of: ids.1.map(SubscriptionId::from_stored),
            realm: texts.0, uri: texts.1, match_policy: policy,
            created_at: ids.2.map(Timestamp::from_nanos),
            keeps_history: history.0, max_count: history.1, max_age: history.2, max_bytes: history.3,
        }
    }
}

prop_compose! {
    fn retained()(
        topic: String, id in number(), at in timestamp(), expires_at in any::<Option<u64>>(),
    ) -> Retained {
        Retained {
            topic, publication: PublicationId::from_stored(id), retained_at: at,
            expires_at: expires_at.map(Timestamp::from_nanos),
        }
    }
}

proptest! {
    #[test]
    fn a_session_survives_its_encoding(session in session()) {
        let bytes = session.to_bytes().unwrap();
        flatbuffers::root::<flatbuffers_schema::Session<'_>>(&bytes).unwrap();
        prop_assert_eq!(Session::decode(&bytes).unwrap(), session);
    }

    #[test]
    fn a_publication_survives_its_encoding(publication in publication()) {
        let bytes = publication.to_bytes().unwrap();
        flatbuffers::root::<flatbuffers_schema::Publication<'_>>(&bytes).unwrap();
        prop_assert_eq!(Publication::decode(&bytes).unwrap(), publication);
    }

    #[test]
    fn an_event_survives_its_encoding(event in event()) {
        let bytes = event.to_bytes().unwrap();
        flatbuffers::root::<flatbuffers_schema::Event<'_>>(&bytes).unwrap();
        prop_assert_eq!(Event::decode(&bytes).unwrap(), event);
    }

    #[test]
    fn a_subscription_survives_its_encoding(subscription in subscription()) {
        let bytes = subscription.to_bytes().unwrap();
        flatbuffers::root::<flatbuffers_schema::Subscription<'_>>(&bytes).unwrap();
        prop_assert_eq!(Subscription::decode(&bytes).unwrap(), subscription);
    }

    #[test]
    fn what_is_retained_survives_its_encoding(retained in retained()) {
        let bytes = retained.to_bytes().unwrap();
        flatbuffers::root::<flatbuffers_schema::Retained<'_>>(&bytes).unwrap();
        prop_assert_eq!(Retained::decode(&bytes).unwrap(), retained);
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes: Vec<u8>) {
        read_as_everything(&bytes);
    }
}

/// Reads bytes as each record in each way; returns how many decoded.
fn read_as_everything(bytes: &[u8]) -> usize {
    fn read<R: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> usize {
        let Ok(record) = R::decode(bytes) else {
            return 0;
        };
        // What could be read is written and read again the same, unless it contradicts itself.
        if let Ok(again) = record.to_bytes() {
            assert_eq!(R::decode(&again).unwrap(), record);
        }
        1
    }
    if let Ok(view) = Session::view(bytes) {
        let (_, damage) = view.salvage();
        assert!(
            view.to_owned().is_ok() || !damage.is_empty(),
            "damage of a session that is not named"
        );
    }
    if let Ok(view) = Publication::view(bytes) {
        let (_, damage) = view.salvage();
        assert!(
            view.to_owned().is_ok() || !damage.is_empty(),
            "damage of a publication that is not named"
        );
    }
    if let Ok(view) = Event::view(bytes) {
        let (_, damage) = view.salvage();
        assert!(
            view.to_owned().is_ok() || !damage.is_empty(),
            "damage of an event that is not named"
        );
    }
    read::<Session>(bytes)
        + read::<Publication>(bytes)
        + read::<Event>(bytes)
        + read::<Subscription>(bytes)
        + read::<Retained>(bytes)
}

fn stored_records() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut records: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    records.sort();
    assert_eq!(records.len(), 8);
    records
}

fn stored(name: &str) -> Vec<u8> {
    stored_records()
        .into_iter()
        .find(|(found, _)| found == name)
        .unwrap()
        .1
}

#[test]
fn every_prefix_of_a_real_record_is_a_record_or_an_error() {
    for (_, bytes) in stored_records() {
        for len in 0..bytes.len() {
            read_as_everything(&bytes[..len]);
        }
    }
}

#[test]
fn every_flip_of_a_byte_of_a_real_record_gives_a_record_or_an_error() {
    let mut decoded = 0;
    for (_, mut bytes) in stored_records() {
        // The large ones are mostly CBOR: there one bit at a time must do.
        let flips: Vec<u8> = if bytes.len() > 400 {
            (0..8).map(|bit| 1 << bit).collect()
        } else {
            (1..=255).collect()
        };
        for position in 0..bytes.len() {
            for flip in &flips {
                bytes[position] ^= flip;
                decoded += read_as_everything(&bytes);
                bytes[position] ^= flip;
            }
        }
    }
    assert!(
        decoded > 0,
        "no flip at all left a readable record: the test reads nothing"
    );
}

#[test]
fn what_python_writes_is_read() {
    let publication = Publication::decode(&stored("publication-lists")).unwrap();
    let ids = |ids: &[u64]| {
        Some(
            ids.iter()
                .map(|&id| SessionId::from_stored(id))
                .collect::<Vec<_>>(),
        )
    };
    let texts = |texts: &[&str]| {
        Some(
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(publication.timestamp.as_nanos(), 1700000000000000001);
    assert_eq!(publication.publication.get(), 123456);
    assert_eq!(publication.publisher, Some(SessionId::from_stored(77)));
    assert_eq!(publication.topic, "com.example.topic");
    assert_eq!(publication.exclude, ids(&[1, 2, 3]));
    assert_eq!(publication.eligible, ids(&[5, 6]));
    assert_eq!(publication.exclude_authid, texts(&["a", "b"]));
    assert_eq!(publication.exclude_authrole, texts(&["r"]));
    assert_eq!(publication.eligible_authid, texts(&["x"]));
    assert_eq!(publication.eligible_authrole, texts(&["y", "z"]));
    assert_eq!(
        publication
            .args
            .unwrap()
            .as_ref()
            .deserialize::<(u8, &str)>()
            .unwrap(),
        (1, "x")
    );
    assert_eq!(publication.enc_algo, Some(EncAlgo::CRYPTOBOX));
    assert_eq!(publication.enc_key.as_deref(), Some(&b"key"[..]));
    assert_eq!(publication.enc_serializer, Some(EncSerializer::CBOR));
}

#[test]
fn real_records_are_sound_and_pass_the_verifier() {
    for name in ["session", "session-minimal"] {
        let bytes = stored(name);
        flatbuffers::root::<flatbuffers_schema::Session<'_>>(&bytes).unwrap();
        assert_eq!(Session::view(&bytes).unwrap().salvage().1, [], "{name}");
    }
    for name in ["publication", "publication-small", "publication-lists"] {
        let bytes = stored(name);
        flatbuffers::root::<flatbuffers_schema::Publication<'_>>(&bytes).unwrap();
        assert_eq!(Publication::view(&bytes).unwrap().salvage().1, [], "{name}");
    }
    let bytes = stored("event");
    flatbuffers::root::<flatbuffers_schema::Event<'_>>(&bytes).unwrap();
    assert_eq!(Event::view(&bytes).unwrap().salvage().1, []);
}

#[test]
fn a_list_that_lost_its_length_is_named_and_admits_nobody() {
    for (name, field) in [
        ("publication-lost-exclude", "exclude"),
        ("publication-lost-eligible", "eligible"),
    ] {
        let bytes = stored(name);
        let view = Publication::view(&bytes).unwrap();
        let (publication, damage) = view.salvage();
        assert_eq!(damage.len(), 1, "{name}: {damage:?}");
        assert_eq!(
            (damage[0].field, damage[0].problem),
            (field, Problem::LostLength),
            "{name}"
        );
        let list = if field == "exclude" {
            &publication.exclude
        } else {
            &publication.eligible
        };
        assert_eq!(list.as_deref(), Some(&[][..]), "{name}");
        assert_eq!(publication.publication.get(), 123456);
        // The length went where the topic's last letter was.
        assert!(publication.topic.starts_with("com.example.topi"), "{name}");
        assert_eq!(
            Publication::decode(&bytes).unwrap_err().kind(),
            ErrorKind::Damaged
        );
    }
}

#[test]
fn an_empty_list_of_our_own_is_not_taken_for_a_lost_one() {
    for topic in ["", "a", "com.example", "com.example.t"] {
        let mut publication = Publication::new(PublicationId::MAX, Timestamp::MAX, topic);
        publication.exclude = Some(vec![]);
        publication.eligible = Some(vec![SessionId::MAX; 40]);
        publication.enc_key = Some(vec![1, 0, 0, 0]);
        let bytes = publication.to_bytes().unwrap();
        assert_eq!(
            Publication::view(&bytes).unwrap().salvage(),
            (publication, vec![])
        );
    }
}

#[test]
fn a_payload_beside_arguments_is_refused() {
    let mut publication = Publication::new(
        PublicationId::new(7).unwrap(),
        Timestamp::now(),
        "com.example",
    );
    publication.payload = Some(vec![1]);
    publication.to_bytes().unwrap();
    publication.kwargs = Some(Cbor::from(&Value::Map(vec![])));
    let error = publication.to_bytes().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        error.to_string(),
        "publication 7 has both a payload and kwargs; it may have either (WAMP payload passthru mode)"
    );
}

#[test]
fn text_that_is_not_utf8_is_named_and_salvaged() {
    let mut bytes = stored("publication-lists");
    let topic = bytes
        .windows(11)
        .position(|window| window == b"com.example")
        .unwrap();
    bytes[topic] = 0xff;
    let view = Publication::view(&bytes).unwrap();
    assert_eq!(
        view.topic().unwrap_err().to_string(),
        "damaged publication: topic is not UTF-8"
    );
    assert_eq!(view.publication().unwrap().get(), 123456);
    let (publication, damage) = view.salvage();
    assert_eq!(publication.topic, "\u{fffd}om.example.topic");
    assert_eq!(damage, [view.topic().unwrap_err()]);
}

#[test]
fn cbor_that_is_not_well_formed_is_kept_and_named() {
    let mut publication = Publication::new(
        PublicationId::new(7).unwrap(),
        Timestamp::now(),
        "com.example",
    );
    publication.args = Some(Cbor::from_bytes([0x9f, 0x01]));
    let bytes = publication.to_bytes().unwrap();
    assert_eq!(Publication::decode(&bytes).unwrap(), publication);
    let (salvaged, damage) = Publication::view(&bytes).unwrap().salvage();
    assert_eq!(salvaged, publication);
    assert_eq!(damage.len(), 1);
    assert_eq!(
        damage[0].to_string(),
        "damaged publication: args is not well-formed CBOR"
    );
}

#[test]
fn a_record_with_fields_of_a_later_version_says_so() {
    let session = Session::new(SessionId::MAX, Timestamp::now());
    let bytes = session.to_bytes().unwrap();
    assert!(!Session::view(&bytes).unwrap().has_unknown_fields());
    // A publication has fewer fields than a session; read as an event, a publication has more than are known.
    let publication = Publication {
        enc_serializer: Some(EncSerializer::CBOR),
        ..Default::default()
    };
    assert!(
        Event::view(&publication.to_bytes().unwrap())
            .unwrap()
            .has_unknown_fields()
    );
}

#[test]
fn unknown_codes_are_kept() {
    let publication = Publication {
        enc_algo: Some(EncAlgo(200)),
        ..Default::default()
    };
    let decoded = Publication::decode(&publication.to_bytes().unwrap()).unwrap();
    assert_eq!(decoded.enc_algo, Some(EncAlgo(200)));
    assert_eq!(decoded.enc_algo.unwrap().name(), None);
    assert_eq!(EncAlgo::CRYPTOBOX.name(), Some("cryptobox"));
}

#[test]
fn a_list_of_one_long_text_again_and_again_is_not_multiplied() {
    let text = "x".repeat(100_000);
    let publication = Publication {
        topic: "com.example".to_owned(),
        exclude_authid: Some(vec![text, "a".to_owned(), "b".to_owned(), "c".to_owned()]),
        ..Default::default()
    };
    let mut bytes = publication.to_bytes().unwrap();
    let view = Publication::view(&bytes).unwrap();
    assert_eq!(view.exclude_authid().unwrap().unwrap().count(), 4);
    // Lets every item of the list point to the long text.
    let length = (4u32).to_le_bytes();
    let list = (0..bytes.len() - 20)
        .find(|&at| bytes[at..at + 4] == length && points_to_text(&bytes, at + 4, 100_000))
        .expect("the list");
    let target = list + 4 + u32_at(&bytes, list + 4);
    for item in 1..4 {
        let at = list + 4 + item * 4;
        bytes[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
    }
    let error = Publication::decode(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "damaged publication: exclude_authid points outside of the record"
    );
    let (salvaged, damage) = Publication::view(&bytes).unwrap().salvage();
    assert_eq!(damage.len(), 1);
    assert_eq!(salvaged.exclude_authid.unwrap().len(), 1);
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn points_to_text(bytes: &[u8], at: usize, len: usize) -> bool {
    let target = at + u32_at(bytes, at);
    target + 4 <= bytes.len() && u32_at(bytes, target) == len
}
