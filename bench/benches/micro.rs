//! Keys, views and encoding, one by one: where a change of these is seen first.
//!
//! ```text
//! cargo bench -p bench
//! ```

use divan::{Bencher, black_box};
use realmstore::cbor::Cbor;
use realmstore::key::{Key, KeyBuf};
use realmstore::record::Record;
use realmstore::store::EventKey;
use realmstore::{
    Event, Publication, PublicationId, Session, SessionId, SubscriptionId, Timestamp, Uuid,
};

fn main() {
    divan::main();
}

const NOW: Timestamp = Timestamp::from_nanos(1_795_332_972_714_741_515);
const SESSION: SessionId = SessionId::from_stored(4_876_312_139_390_647);
const PUBLICATION: PublicationId = PublicationId::from_stored(2_729_776_575_879_548);
const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_stored(3_961_294_549_815_165);

fn session() -> Session {
    let map = Cbor::from_bytes([vec![0xa1, 0x61, b'k', 0x58, 200], vec![7; 200]].concat());
    Session {
        realm: Some("realm1".to_owned()),
        authid: Some("user0042@example.com".to_owned()),
        authrole: Some("sensor".to_owned()),
        authmethod: Some("wampcra".to_owned()),
        transport: Some(map.clone()),
        authextra: Some(map),
        oid: Uuid::from_u128(1),
        ..Session::new(SESSION, NOW)
    }
}

fn publication() -> Publication {
    Publication {
        publisher: Some(SESSION),
        args: Some(Cbor::from_bytes([vec![0x58, 50], vec![7; 50]].concat())),
        eligible: Some(vec![SESSION; 5]),
        eligible_authrole: Some(vec!["sensor".to_owned(), "operator".to_owned()]),
        acknowledge: Some(true),
        ..Publication::new(PUBLICATION, NOW, "com.example.site1.sensor42.changed")
    }
}

fn event() -> Event {
    Event {
        receiver: Some(SESSION),
        retained: Some(false),
        ..Event::new(SUBSCRIPTION, NOW, PUBLICATION)
    }
}

#[divan::bench]
fn encode_the_key_of_an_event(bencher: Bencher<'_, '_>) {
    let key = EventKey::from(&event());
    bencher.bench(|| {
        let mut bytes = KeyBuf::new();
        black_box(&key).encode(&mut bytes);
        bytes
    });
}

#[divan::bench]
fn decode_the_key_of_an_event(bencher: Bencher<'_, '_>) {
    let mut bytes = KeyBuf::new();
    EventKey::from(&event()).encode(&mut bytes);
    bencher.bench(|| EventKey::from_bytes(black_box(&bytes)));
}

#[divan::bench]
fn encode_a_key_with_a_text(bencher: Bencher<'_, '_>) {
    let key = ("user0042@example.com".to_owned(), NOW);
    bencher.bench(|| {
        let mut bytes = KeyBuf::new();
        black_box(&key).encode(&mut bytes);
        bytes
    });
}

#[divan::bench]
fn view_the_receiver_of_an_event(bencher: Bencher<'_, '_>) {
    let bytes = event().to_bytes().unwrap_or_default();
    bencher.bench(|| Event::view(black_box(&bytes)).map(|view| view.receiver()));
}

#[divan::bench]
fn view_the_topic_of_a_publication(bencher: Bencher<'_, '_>) {
    let bytes = publication().to_bytes().unwrap_or_default();
    bencher.bench(|| Publication::view(black_box(&bytes)).map(|view| view.topic().map(str::len)));
}

#[divan::bench]
fn view_the_topic_of_a_publication_as_bytes(bencher: Bencher<'_, '_>) {
    let bytes = publication().to_bytes().unwrap_or_default();
    bencher.bench(|| {
        Publication::view(black_box(&bytes)).map(|view| view.topic_bytes().map(<[u8]>::len))
    });
}

#[divan::bench]
fn view_the_list_of_those_who_may_see_a_publication(bencher: Bencher<'_, '_>) {
    let bytes = publication().to_bytes().unwrap_or_default();
    bencher.bench(|| {
        let view = Publication::view(black_box(&bytes));
        view.map(|view| {
            view.eligible()
                .map(|ids| ids.map(|ids| ids.map(SessionId::get).sum::<u64>()))
        })
    });
}

#[divan::bench(args = ["session", "publication", "event"])]
fn decode(bencher: Bencher<'_, '_>, record: &str) {
    let (session, publication, event) = (
        session().to_bytes().unwrap_or_default(),
        publication().to_bytes().unwrap_or_default(),
        event().to_bytes().unwrap_or_default(),
    );
    match record {
        "session" => bencher.bench(|| Session::decode(black_box(&session))),
        "publication" => bencher.bench(|| Publication::decode(black_box(&publication))),
        _ => bencher.bench(|| Event::decode(black_box(&event))),
    }
}

#[divan::bench(args = ["session", "publication", "event"])]
fn encode(bencher: Bencher<'_, '_>, record: &str) {
    let (session, publication, event) = (session(), publication(), event());
    match record {
        "session" => bencher.bench(|| black_box(&session).with_bytes(|bytes| Ok(bytes.len()))),
        "publication" => {
            bencher.bench(|| black_box(&publication).with_bytes(|bytes| Ok(bytes.len())))
        }
        _ => bencher.bench(|| black_box(&event).with_bytes(|bytes| Ok(bytes.len()))),
    }
}
