//! The core of realmstore, the persistent realm store for WAMP routers.
//!
//! A WAMP router serves *realms*. A realm store keeps what happens in one:
//! *sessions* (who joined and left), *publications* (what was published) and
//! *events* (what was dispatched to whom, under which subscription), and
//! answers the history of a subscription from them.
//!
//! Where to start:
//! * [`RealmStore`] is what routers and operators use. The crate `realmstore`
//!   opens one on the engine of your choice.
//! * [`record`] has the records, owned and as views over stored bytes.
//! * [`table`] is for tables and indexes of your own, in the same store.
//! * [`backend`] is for whoever adds an engine: a few methods on bytes, with
//!   the contract that they keep.
//!
//! One record's way to the disk: [`RealmStore::store_publication`] →
//! [`TableHandle::put`](table::TableHandle::put), which encodes it
//! ([`Record::with_bytes`](record::Record::with_bytes)) into a buffer that is
//! used again, and its key onto the stack → [`WriteTxn::put`] of the engine.
//! And back: [`ReadTxn::get`] lends the stored bytes,
//! [`Guard::view`](table::Guard::view) reads fields where they lie.
//!
//! All timestamps are nanoseconds since the Unix epoch, UTC.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod backend;
pub mod cbor;
pub mod directory;
mod error;
pub mod generated;
mod id;
pub mod key;
mod location;
pub mod memory;
pub mod overlay;
pub mod record;
pub mod store;
pub mod table;
mod timestamp;
pub mod writer_lock;

pub use backend::{
    Backend, BackendInfo, Durability, KeyRange, MAX_KEY_LEN, Order, ReadTxn, Scan, WriteTxn,
    check_key,
};
pub use error::{Error, ErrorKind, Result};
pub use id::{PublicationId, SessionId, SubscriptionId};
pub use location::{Engine, Location};
pub use record::{
    EncAlgo, EncSerializer, Event, MatchPolicy, Publication, Requester, Session, Subscription,
};
pub use store::{
    Cursor, Delivery, Dispatch, GetEvents, GetRetained, HistoryEntry, HistoryPage, HistoryQuery,
    HistoryRow, Limits, RealmStore, Retain, Retention, StoreWrite,
};
pub use timestamp::Timestamp;
pub use uuid::Uuid;
