//! The same rows as realmstore has, without realmstore: keys put together by
//! hand, records by the `flatbuffers` crate, fields read without a check. What
//! our layers cost is the difference.

use std::path::Path;

use flatbuffers::{FlatBufferBuilder, WIPOffset};
use realmstore::generated::realmstore::{
    Event, EventArgs, Publication, PublicationArgs, Session, SessionArgs,
};
use realmstore::{Delivery, PublicationId, SessionId, SubscriptionId};

use super::kv::{Kv, KvRead, KvWrite};
use super::{Sync, System, Touched};
use crate::data::Batch;

const SESSIONS: u16 = 1;
const SESSIONS_BY_ID: u16 = 2;
const SESSIONS_BY_AUTHID: u16 = 3;
const SESSIONS_BY_LEAVING: u16 = 4;
const PUBLICATIONS: u16 = 5;
const EVENTS: u16 = 6;
const HISTORY: u16 = 7;
const POSITIONS: u16 = 8;

/// A key-value store with the schema of a realm store.
pub struct Raw<K> {
    kv: K,
    builder: FlatBufferBuilder<'static>,
}

impl<K: Kv + 'static> Raw<K> {
    pub fn open(directory: &Path, sync: Sync) -> Box<dyn System> {
        Box::new(Self::over(K::open(directory, sync)))
    }

    /// The schema in a store that is open.
    pub fn over(kv: K) -> Self {
        Self {
            kv,
            builder: FlatBufferBuilder::new(),
        }
    }
}

/// A key: a table and parts in big-endian order, on the stack.
struct RawKey {
    bytes: [u8; 64],
    len: usize,
}

impl RawKey {
    fn new(table: u16) -> Self {
        let mut bytes = [0; 64];
        bytes[..2].copy_from_slice(&table.to_be_bytes());
        Self { bytes, len: 2 }
    }

    fn and(mut self, part: &[u8]) -> Self {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    fn number(self, part: u64) -> Self {
        self.and(&part.to_be_bytes())
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<K: Kv> System for Raw<K> {
    fn ingest(&mut self, batch: &Batch) {
        let builder = &mut self.builder;
        self.kv.write(|out| {
            for session in &batch.sessions {
                put_session(out, builder, session);
            }
            for dispatch in &batch.dispatches {
                let publication = &dispatch.publication;
                let id = publication.publication;
                let bytes = encode_publication(builder, publication);
                out.put(RawKey::new(PUBLICATIONS).number(id.get()).as_slice(), bytes);
                for delivery in &dispatch.deliveries {
                    put_delivery(out, builder, id, delivery);
                }
            }
        });
    }

    fn newest(&self, subscription: SubscriptionId, limit: usize) -> Touched {
        let mut touched = Touched::default();
        let read = self.kv.read();
        let mut last = None;
        let prefix = RawKey::new(EVENTS).number(subscription.get());
        read.descending(prefix.as_slice(), |_, event| {
            // SAFETY: this program has written it.
            let event = unsafe { flatbuffers::root_unchecked::<Event<'_>>(event) };
            touched.row();
            touched.number(event.timestamp().unwrap_or_default());
            touched.number(event.receiver().unwrap_or_default());
            let id = event.publication().unwrap_or_default();
            if last.replace(id) != Some(id) {
                let key = RawKey::new(PUBLICATIONS).number(id);
                read.get(key.as_slice(), |publication| {
                    // SAFETY: as above.
                    let publication =
                        unsafe { flatbuffers::root_unchecked::<Publication<'_>>(publication) };
                    touched.number(publication.timestamp().unwrap_or_default());
                    touched.bytes(publication.topic().as_bytes());
                    touched.bytes(publication.args().map_or(&[], |args| args.bytes()));
                });
            }
            touched.rows < limit as u64
        });
        touched
    }

    fn latest_session(&self, session: SessionId) -> Touched {
        let mut touched = Touched::default();
        let read = self.kv.read();
        let prefix = RawKey::new(SESSIONS_BY_ID).number(session.get());
        read.descending(prefix.as_slice(), |_, oid| {
            read.get(RawKey::new(SESSIONS).and(oid).as_slice(), |session| {
                // SAFETY: this program has written it.
                let session = unsafe { flatbuffers::root_unchecked::<Session<'_>>(session) };
                touched.row();
                touched.number(session.joined_at().unwrap_or_default());
                touched.bytes(session.authid().unwrap_or_default().as_bytes());
            });
            false
        });
        touched
    }

    fn scan_publications(&self) -> Touched {
        let mut touched = Touched::default();
        self.kv
            .read()
            .ascending(RawKey::new(PUBLICATIONS).as_slice(), |_, publication| {
                // SAFETY: this program has written it.
                let publication =
                    unsafe { flatbuffers::root_unchecked::<Publication<'_>>(publication) };
                touched.row();
                touched.number(publication.timestamp().unwrap_or_default());
                touched.number(publication.publisher().unwrap_or_default());
                touched.bytes(publication.topic().as_bytes());
                true
            });
        touched
    }

    fn settle(&mut self) -> u64 {
        self.kv.settle()
    }
}

fn put_session(
    out: &mut impl KvWrite,
    builder: &mut FlatBufferBuilder<'static>,
    session: &realmstore::Session,
) {
    let oid = session.oid.as_bytes();
    let joined_at = session.joined_at.unwrap_or_default().as_nanos();
    let bytes = encode_session(builder, session);
    out.put(RawKey::new(SESSIONS).and(oid).as_slice(), bytes);
    let key = RawKey::new(SESSIONS_BY_ID)
        .number(session.session.get())
        .number(joined_at);
    out.put(key.as_slice(), oid);
    if let Some(authid) = &session.authid {
        let key = RawKey::new(SESSIONS_BY_AUTHID)
            .and(authid.as_bytes())
            .and(&[0, 0]);
        out.put(key.number(joined_at).and(oid).as_slice(), &[]);
    }
    let left_at = session
        .left_at
        .map_or(u64::MAX, |left_at| left_at.as_nanos());
    let key = RawKey::new(SESSIONS_BY_LEAVING)
        .number(left_at)
        .number(joined_at);
    out.put(key.and(oid).as_slice(), &[]);
}

fn put_delivery(
    out: &mut impl KvWrite,
    builder: &mut FlatBufferBuilder<'static>,
    publication: PublicationId,
    delivery: &Delivery,
) {
    let (subscription, time) = (delivery.subscription.get(), delivery.timestamp.as_nanos());
    let mut event = realmstore::Event {
        retained: delivery.retained,
        acknowledged_delivery: delivery.acknowledged_delivery,
        ..realmstore::Event::new(delivery.subscription, delivery.timestamp, publication)
    };
    let publication = publication.get();
    for receiver in &delivery.receivers {
        event.receiver = Some(*receiver);
        let bytes = encode_event(builder, &event);
        let key = RawKey::new(EVENTS).number(subscription).number(time);
        out.put(
            key.number(publication).number(receiver.get()).as_slice(),
            bytes,
        );
    }
    let ordinal = 0u32.to_be_bytes();
    let key = RawKey::new(HISTORY).number(subscription).number(time);
    out.put(key.and(&ordinal).number(publication).as_slice(), &[]);
    let mut position = [0; 20];
    position[..8].copy_from_slice(&time.to_be_bytes());
    position[12..].copy_from_slice(&(delivery.receivers.len() as u64).to_be_bytes());
    let key = RawKey::new(POSITIONS)
        .number(publication)
        .number(subscription);
    out.put(key.as_slice(), &position);
}

/// Encodes a session by the `flatbuffers` crate.
pub fn encode_session<'b>(
    builder: &'b mut FlatBufferBuilder<'static>,
    session: &realmstore::Session,
) -> &'b [u8] {
    builder.reset();
    macro_rules! text {
        ($($field:ident)*) => {$(let $field = session.$field.as_deref().map(|text| builder.create_string(text));)*};
    }
    macro_rules! cbor {
        ($($field:ident)*) => {$(
            let $field = session.$field.as_ref().map(|cbor| builder.create_vector(cbor.as_ref().as_bytes()));
        )*};
    }
    macro_rules! uuid {
        ($($field:ident)*) => {$(let $field = session.$field.map(|oid| builder.create_vector(oid.as_bytes()));)*};
    }
    text!(node_authid worker_name proxy_node_authid proxy_worker_name realm authid authrole authmethod authprovider);
    cbor!(transport proxy_transport authextra);
    uuid!(arealm_oid node_oid proxy_node_oid);
    let oid = Some(builder.create_vector(session.oid.as_bytes()));
    let root = Session::create(
        builder,
        &SessionArgs {
            arealm_oid,
            oid,
            session: Some(session.session.get()),
            joined_at: session.joined_at.map(|time| time.as_nanos()),
            left_at: session.left_at.map(|time| time.as_nanos()),
            node_oid,
            node_authid,
            worker_name,
            worker_pid: session.worker_pid,
            transport,
            proxy_node_oid,
            proxy_node_authid,
            proxy_worker_name,
            proxy_worker_pid: session.proxy_worker_pid,
            proxy_transport,
            realm,
            authid,
            authrole,
            authmethod,
            authprovider,
            authextra,
        },
    );
    finish(builder, root)
}

/// Encodes a publication by the `flatbuffers` crate.
pub fn encode_publication<'b>(
    builder: &'b mut FlatBufferBuilder<'static>,
    publication: &realmstore::Publication,
) -> &'b [u8] {
    builder.reset();
    macro_rules! ids {
        ($($field:ident)*) => {$(
            let $field = publication.$field.as_ref().map(|ids| {
                let ids: Vec<u64> = ids.iter().map(|id| id.get()).collect();
                builder.create_vector(&ids)
            });
        )*};
    }
    macro_rules! texts {
        ($($field:ident)*) => {$(
            let $field = publication.$field.as_ref().map(|texts| {
                let texts: Vec<_> = texts.iter().map(|text| builder.create_string(text)).collect();
                builder.create_vector(&texts)
            });
        )*};
    }
    ids!(exclude eligible);
    texts!(exclude_authid exclude_authrole eligible_authid eligible_authrole);
    let bytes = |builder: &mut FlatBufferBuilder<'static>, bytes: Option<&[u8]>| {
        bytes.map(|bytes| builder.create_vector(bytes))
    };
    let args = bytes(
        builder,
        publication
            .args
            .as_ref()
            .map(|cbor| cbor.as_ref().as_bytes()),
    );
    let kwargs = bytes(
        builder,
        publication
            .kwargs
            .as_ref()
            .map(|cbor| cbor.as_ref().as_bytes()),
    );
    let payload = bytes(builder, publication.payload.as_deref());
    let enc_key = bytes(builder, publication.enc_key.as_deref());
    let topic = Some(builder.create_string(&publication.topic));
    let root = Publication::create(
        builder,
        &PublicationArgs {
            timestamp: Some(publication.timestamp.as_nanos()),
            publication: Some(publication.publication.get()),
            publisher: publication.publisher.map(SessionId::get),
            topic,
            args,
            kwargs,
            payload,
            acknowledge: publication.acknowledge,
            retain: publication.retain,
            exclude_me: publication.exclude_me,
            exclude,
            exclude_authid,
            exclude_authrole,
            eligible,
            eligible_authid,
            eligible_authrole,
            enc_algo: publication.enc_algo.map(|code| code.0),
            enc_key,
            enc_serializer: publication.enc_serializer.map(|code| code.0),
        },
    );
    finish(builder, root)
}

/// Encodes an event by the `flatbuffers` crate.
pub fn encode_event<'b>(
    builder: &'b mut FlatBufferBuilder<'static>,
    event: &realmstore::Event,
) -> &'b [u8] {
    builder.reset();
    let root = Event::create(
        builder,
        &EventArgs {
            timestamp: Some(event.timestamp.as_nanos()),
            subscription: Some(event.subscription.get()),
            publication: Some(event.publication.get()),
            receiver: event.receiver.map(SessionId::get),
            retained: event.retained,
            acknowledged_delivery: event.acknowledged_delivery,
        },
    );
    finish(builder, root)
}

fn finish<'b, T>(builder: &'b mut FlatBufferBuilder<'static>, root: WIPOffset<T>) -> &'b [u8] {
    builder.finish_minimal(root);
    builder.finished_data()
}
