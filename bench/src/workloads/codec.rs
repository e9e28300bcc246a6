//! Encoding and decoding of single records, in memory.

use std::hint::black_box;

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector};
use realmstore::cbor::CborRef;
use realmstore::generated::realmstore as flat;
use realmstore::record::{
    EncAlgo, EncSerializer, Event, Publication, Record, RecordError, Session, SessionIds, Texts,
};
use realmstore::{PublicationId, SessionId, SubscriptionId, Timestamp, Uuid};

use crate::data::{Batch, Generator};
use crate::measure::{Rounds, timed};
use crate::report::Report;
use crate::scale::Scale;
use crate::systems::{Touched, raw};

/// What a record is decoded and encoded with besides: the `flatbuffers` crate.
macro_rules! measure {
    ($report:expr, $rounds:expr, $name:literal, $records:expr, $record:ident, $encode:path, $($field:ident)*) => {{
        let records: &[$record] = &$records;
        let encoded: Vec<Vec<u8>> = records.iter().map(|record| record.to_bytes().expect("a record")).collect();
        let view = || {
            let mut touched = Touched::default();
            for bytes in &encoded {
                let view = $record::view(bytes).expect("a record");
                $(view.$field().add(&mut touched);)*
            }
            touched
        };
        let owned = || {
            for bytes in &encoded {
                black_box($record::decode(bytes).expect("a record"));
            }
            Touched::default()
        };
        let unchecked = || {
            let mut touched = Touched::default();
            for bytes in &encoded {
                // SAFETY: it was encoded above.
                let record = unsafe { flatbuffers::root_unchecked::<flat::$record<'_>>(bytes) };
                $(record.$field().add(&mut touched);)*
            }
            touched
        };
        let verified = || {
            let mut touched = Touched::default();
            for bytes in &encoded {
                let record = flatbuffers::root::<flat::$record<'_>>(bytes).expect("a record");
                $(record.$field().add(&mut touched);)*
            }
            touched
        };
        let encode = || {
            for record in records {
                let len = record.with_bytes(|bytes| Ok(bytes.len()));
                black_box(len.expect("a record"));
            }
            Touched::default()
        };
        let mut builder = FlatBufferBuilder::new();
        let encode_raw = || {
            for record in records {
                black_box($encode(&mut builder, record).len());
            }
            Touched::default()
        };
        assert_eq!(view(), unchecked(), "a view reads what is there");
        compare($report, $rounds, records.len(), $name, Runs {
            view: Box::new(view),
            owned: Box::new(owned),
            unchecked: Box::new(unchecked),
            verified: Box::new(verified),
            encode: Box::new(encode),
            encode_raw: Box::new(encode_raw),
        });
    }};
}

/// Decodes and encodes records of each kind by our means and by those of the
/// `flatbuffers` crate. Every field is read.
pub fn run(scale: &Scale, report: &mut Report) {
    let batch = Generator::new(scale.queries as u64, u64::MAX)
        .next()
        .unwrap_or_default();
    let (sessions, publications, events) = records(batch);
    measure!(
        report, scale.rounds, "session", sessions, Session, raw::encode_session,
        arealm_oid oid session joined_at left_at node_oid node_authid worker_name worker_pid transport
        proxy_node_oid proxy_node_authid proxy_worker_name proxy_worker_pid proxy_transport realm authid
        authrole authmethod authprovider authextra
    );
    measure!(
        report, scale.rounds, "publication", publications, Publication, raw::encode_publication,
        timestamp publication publisher topic args kwargs payload acknowledge retain exclude_me exclude
        exclude_authid exclude_authrole eligible eligible_authid eligible_authrole enc_algo enc_key
        enc_serializer
    );
    measure!(
        report, scale.rounds, "event", events, Event, raw::encode_event,
        timestamp subscription publication receiver retained acknowledged_delivery
    );
}

struct Runs<'r> {
    view: Box<dyn FnMut() -> Touched + 'r>,
    owned: Box<dyn FnMut() -> Touched + 'r>,
    unchecked: Box<dyn FnMut() -> Touched + 'r>,
    verified: Box<dyn FnMut() -> Touched + 'r>,
    encode: Box<dyn FnMut() -> Touched + 'r>,
    encode_raw: Box<dyn FnMut() -> Touched + 'r>,
}

fn compare(report: &mut Report, rounds: usize, records: usize, name: &str, runs: Runs<'_>) {
    const VIEW: usize = 0;
    const OWNED: usize = 1;
    const UNCHECKED: usize = 2;
    const VERIFIED: usize = 3;
    const ENCODE: usize = 4;
    const ENCODE_RAW: usize = 5;
    let mut runs = [
        runs.view,
        runs.owned,
        runs.unchecked,
        runs.verified,
        runs.encode,
        runs.encode_raw,
    ];
    // A few milliseconds for each.
    let repeats = (20_000 / records.max(1)).max(1);
    let taken = Rounds::take(rounds * 5, &mut runs, |run, _| {
        timed(|| {
            for _ in 0..repeats {
                black_box(run());
            }
        })
        .0
    });
    let nanos = |run: usize| taken.median(run) * 1e9 / (records * repeats) as f64;
    for (what, own, versus, other) in [
        ("decode", VIEW, "flatbuffers, unchecked", UNCHECKED),
        ("decode", VIEW, "flatbuffers, verified", VERIFIED),
        ("decode to owned", OWNED, "flatbuffers, verified", VERIFIED),
        ("encode", ENCODE, "flatbuffers", ENCODE_RAW),
    ] {
        let workload = format!("{what}, {name}");
        report.add(
            (&workload, "any", versus),
            nanos(own),
            "ns/record",
            taken.ratio(own, other),
            None,
        );
    }
}

/// Sessions, publications and events of a batch.
pub fn records(batch: Batch) -> (Vec<Session>, Vec<Publication>, Vec<Event>) {
    let mut events = Vec::new();
    for dispatch in &batch.dispatches {
        for delivery in &dispatch.deliveries {
            events.extend(delivery.receivers.iter().map(|receiver| Event {
                receiver: Some(*receiver),
                retained: delivery.retained,
                acknowledged_delivery: delivery.acknowledged_delivery,
                ..Event::new(
                    delivery.subscription,
                    delivery.timestamp,
                    dispatch.publication.publication,
                )
            }));
        }
    }
    let publications = batch
        .dispatches
        .into_iter()
        .map(|dispatch| dispatch.publication);
    (batch.sessions, publications.collect(), events)
}

/// What a field can be, by our views and by FlatBuffers' own: the same value adds the same.
trait Field {
    fn add(self, touched: &mut Touched);
}

macro_rules! numbers {
    ($($type:ty: $number:expr;)*) => {$(
        impl Field for $type {
            fn add(self, touched: &mut Touched) {
                touched.number($number(self));
            }
        }
    )*};
}

numbers! {
    u64: u64::from;
    u8: u64::from;
    bool: u64::from;
    i32: |number| number as u64;
    Timestamp: Timestamp::as_nanos;
    SessionId: SessionId::get;
    SubscriptionId: SubscriptionId::get;
    PublicationId: PublicationId::get;
    EncAlgo: |code: EncAlgo| u64::from(code.0);
    EncSerializer: |code: EncSerializer| u64::from(code.0);
}

impl Field for &str {
    fn add(self, touched: &mut Touched) {
        touched.bytes(self.as_bytes());
    }
}

impl Field for &[u8] {
    fn add(self, touched: &mut Touched) {
        touched.bytes(self);
    }
}

impl<T: Field> Field for Option<T> {
    fn add(self, touched: &mut Touched) {
        match self {
            Some(value) => value.add(touched),
            None => touched.number(0),
        }
    }
}

impl<T: Field> Field for Result<T, RecordError> {
    fn add(self, touched: &mut Touched) {
        self.expect("a field").add(touched);
    }
}

impl Field for Uuid {
    fn add(self, touched: &mut Touched) {
        touched.bytes(self.as_bytes());
    }
}

impl Field for CborRef<'_> {
    fn add(self, touched: &mut Touched) {
        touched.bytes(self.as_bytes());
    }
}

impl Field for Vector<'_, u8> {
    fn add(self, touched: &mut Touched) {
        touched.bytes(self.bytes());
    }
}

impl Field for SessionIds<'_> {
    fn add(self, touched: &mut Touched) {
        self.for_each(|id| id.add(touched));
    }
}

impl Field for Vector<'_, u64> {
    fn add(self, touched: &mut Touched) {
        self.iter().for_each(|id| id.add(touched));
    }
}

impl Field for Texts<'_> {
    fn add(self, touched: &mut Touched) {
        self.for_each(|text| text.expect("a text").add(touched));
    }
}

impl Field for Vector<'_, ForwardsUOffset<&str>> {
    fn add(self, touched: &mut Touched) {
        self.iter().for_each(|text| text.add(touched));
    }
}
