//! Sessions: who joined a realm, how they authenticated, when they left.

use uuid::Uuid;

use super::field::Field;
use super::{Problem, RecordError, record};
use crate::cbor::{Cbor, CborRef};
use crate::generated::realmstore::Session as Generated;
use crate::{SessionId, Timestamp};

record! {
    /// One session on a realm. It is found by its OID, which is unique for all
    /// time; a WAMP session ID is unique only with the time of joining.
    Session,
    /// A [`Session`], read in place.
    SessionView<'a>, "session", check |_| Ok(());

    /// The OID of the application realm that was joined.
    arealm_oid: Option<Uuid> | Option<Uuid> = VT_AREALM_OID,
    /// The session's own OID: its key.
    oid: Uuid | Uuid = VT_OID,
    /// The WAMP session ID.
    session: SessionId | SessionId = VT_SESSION,
    /// When the session joined.
    joined_at: Option<Timestamp> | Option<Timestamp> = VT_JOINED_AT,
    /// When it left; unset while it lasts.
    left_at: Option<Timestamp> | Option<Timestamp> = VT_LEFT_AT,
    /// The OID of the router node that hosts the session.
    node_oid: Option<Uuid> | Option<Uuid> = VT_NODE_OID,
    /// The authid of that node.
    node_authid: Option<String> | Option<&'a str> = VT_NODE_AUTHID,
    /// The name of the router worker that hosts the session.
    worker_name: Option<String> | Option<&'a str> = VT_WORKER_NAME,
    /// The process ID of that worker.
    worker_pid: Option<i32> | Option<i32> = VT_WORKER_PID,
    /// Of the transport that the session runs over: a CBOR map.
    transport: Option<Cbor> | Option<CborRef<'a>> = VT_TRANSPORT,
    /// The OID of the proxy node, for a session that came in by a proxy.
    proxy_node_oid: Option<Uuid> | Option<Uuid> = VT_PROXY_NODE_OID,
    /// The authid of the proxy node.
    proxy_node_authid: Option<String> | Option<&'a str> = VT_PROXY_NODE_AUTHID,
    /// The name of the proxy worker.
    proxy_worker_name: Option<String> | Option<&'a str> = VT_PROXY_WORKER_NAME,
    /// The process ID of the proxy worker.
    proxy_worker_pid: Option<i32> | Option<i32> = VT_PROXY_WORKER_PID,
    /// Of the transport between client and proxy: a CBOR map.
    proxy_transport: Option<Cbor> | Option<CborRef<'a>> = VT_PROXY_TRANSPORT,
    /// The name of the realm that was joined.
    realm: Option<String> | Option<&'a str> = VT_REALM,
    /// The authid that the session was given.
    authid: Option<String> | Option<&'a str> = VT_AUTHID,
    /// The authrole that it was given.
    authrole: Option<String> | Option<&'a str> = VT_AUTHROLE,
    /// How it authenticated.
    authmethod: Option<String> | Option<&'a str> = VT_AUTHMETHOD,
    /// Who vouched for it.
    authprovider: Option<String> | Option<&'a str> = VT_AUTHPROVIDER,
    /// What else came with the authentication: a CBOR map.
    authextra: Option<Cbor> | Option<CborRef<'a>> = VT_AUTHEXTRA,
}

impl Session {
    /// A session that joined at that time, under a new random OID, with nothing else set.
    pub fn new(session: SessionId, joined_at: Timestamp) -> Self {
        Self {
            oid: Uuid::new_v4(),
            session,
            joined_at: Some(joined_at),
            ..Self::default()
        }
    }
}
