//! The fields of each record, for whatever is done with every one of them.

/// Gives all records and their fields, in the order of the data model, to a macro.
macro_rules! for_each_record {
    ($macro:ident) => {
        $macro! {
            Session {
                arealm_oid, oid, session, joined_at, left_at, node_oid, node_authid, worker_name, worker_pid, transport,
                proxy_node_oid, proxy_node_authid, proxy_worker_name, proxy_worker_pid, proxy_transport, realm, authid,
                authrole, authmethod, authprovider, authextra,
            }
            Publication {
                timestamp, publication, publisher, topic, args, kwargs, payload, acknowledge, retain, exclude_me, exclude,
                exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole, enc_algo, enc_key,
                enc_serializer,
            }
            Event {
                timestamp, subscription, publication, receiver, retained, acknowledged_delivery,
            }
            Subscription {
                subscription, alias_of, realm, uri, match_policy, created_at, keeps_history, max_count, max_age, max_bytes,
            }
            Retained {
                topic, publication, retained_at, expires_at,
            }
        }
    };
}
pub(crate) use for_each_record;
