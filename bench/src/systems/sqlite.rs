//! SQLite, with the schema and the settings that one would give it for this.

use std::path::{Path, PathBuf};

use realmstore::{
    Delivery, Publication, PublicationId, Session, SessionId, SubscriptionId, Timestamp, Uuid,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::{Sync, System, Touched, files_size};
use crate::data::Batch;

/// Pages are written into the database every 64 MiB of the log, not every
/// 4 MiB: IDs are random, so one page takes many rows in the meantime.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA wal_autocheckpoint = 16384;
    PRAGMA cache_size = -65536;
    PRAGMA mmap_size = 2147418112;
";

/// Lists are JSON, which SQLite can look into; maps and arguments stay CBOR.
///
/// The key of an event puts a history into order. An event that has no receiver
/// has 0 there, as a key has no NULL. The second index of events answers whether
/// any still refers to a publication, and whether it is the first of it under a
/// subscription: with both, a history tells each publication once.
const SCHEMA: &str = "
    CREATE TABLE sessions (
        oid BLOB PRIMARY KEY NOT NULL,
        session INTEGER NOT NULL,
        joined_at INTEGER,
        left_at INTEGER,
        authid TEXT,
        authrole TEXT,
        authmethod TEXT,
        authprovider TEXT,
        realm TEXT,
        arealm_oid BLOB,
        node_oid BLOB,
        node_authid TEXT,
        worker_name TEXT,
        worker_pid INTEGER,
        proxy_node_oid BLOB,
        proxy_node_authid TEXT,
        proxy_worker_name TEXT,
        proxy_worker_pid INTEGER,
        authextra BLOB,
        transport BLOB,
        proxy_transport BLOB
    ) STRICT;
    CREATE INDEX sessions_by_id ON sessions (session, joined_at DESC);
    CREATE INDEX sessions_by_authid ON sessions (authid, joined_at);
    CREATE INDEX sessions_by_leaving ON sessions (left_at, joined_at);

    CREATE TABLE publications (
        publication INTEGER PRIMARY KEY,
        timestamp INTEGER NOT NULL,
        publisher INTEGER,
        topic TEXT NOT NULL,
        args BLOB,
        kwargs BLOB,
        payload BLOB,
        acknowledge INTEGER,
        retain INTEGER,
        exclude_me INTEGER,
        exclude TEXT,
        exclude_authid TEXT,
        exclude_authrole TEXT,
        eligible TEXT,
        eligible_authid TEXT,
        eligible_authrole TEXT,
        enc_algo INTEGER,
        enc_key BLOB,
        enc_serializer INTEGER
    ) STRICT;

    CREATE TABLE events (
        subscription INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        publication INTEGER NOT NULL,
        receiver INTEGER NOT NULL,
        retained INTEGER,
        acknowledged_delivery INTEGER,
        PRIMARY KEY (subscription, timestamp, publication, receiver)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX events_by_publication ON events (publication, subscription, timestamp);
";

pub struct Sqlite {
    connection: Connection,
    directory: PathBuf,
}

impl Sqlite {
    pub fn open(directory: &Path, sync: Sync) -> Box<dyn System> {
        let connection = Connection::open(directory.join("realm.sqlite")).expect("SQLite opens");
        connection
            .execute_batch(SETTINGS)
            .expect("SQLite takes settings");
        let synchronous = match sync {
            Sync::Durable => "FULL",
            // No commit waits for the disk but the one that fills the log and moves it into the
            // database. With OFF that would not either, but a power failure could destroy it.
            Sync::Lazy => "NORMAL",
        };
        connection
            .pragma_update(None, "synchronous", synchronous)
            .expect("SQLite takes settings");
        connection
            .execute_batch(SCHEMA)
            .expect("SQLite makes tables");
        let directory = directory.to_owned();
        Box::new(Self {
            connection,
            directory,
        })
    }
}

impl System for Sqlite {
    fn ingest(&mut self, batch: &Batch) {
        let begun = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate);
        let txn = begun.expect("SQLite writes");
        insert_sessions(&txn, &batch.sessions).expect("sessions are stored");
        insert_publications(&txn, batch.dispatches.iter().map(|to| &to.publication))
            .expect("publications are stored");
        let deliveries = batch.dispatches.iter().flat_map(|dispatch| {
            let publication = dispatch.publication.publication;
            dispatch.deliveries.iter().map(move |to| (publication, to))
        });
        insert_events(&txn, deliveries).expect("events are stored");
        txn.commit().expect("SQLite commits");
    }

    fn newest(&self, subscription: SubscriptionId, limit: usize) -> Touched {
        // CROSS JOIN keeps SQLite from beginning with the publications.
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT e.timestamp, e.receiver, e.publication, p.timestamp, p.topic, p.args
                FROM events e CROSS JOIN publications p ON p.publication = e.publication
                WHERE e.subscription = ?1
                ORDER BY e.timestamp DESC, e.publication DESC, e.receiver DESC LIMIT ?2",
            )
            .expect("a statement");
        let mut rows = select
            .query(params![
                subscription.get().cast_signed(),
                limit.cast_signed()
            ])
            .expect("SQLite selects");
        let mut touched = Touched::default();
        let mut last = None;
        while let Some(row) = rows.next().expect("SQLite selects") {
            touched.row();
            touched.number(number(row, 0));
            touched.number(number(row, 1));
            let publication = number(row, 2);
            if last.replace(publication) != Some(publication) {
                touched.number(number(row, 3));
                touched.bytes(bytes(row, 4));
                touched.bytes(bytes(row, 5));
            }
        }
        touched
    }

    fn latest_session(&self, session: SessionId) -> Touched {
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT joined_at, authid FROM sessions
                WHERE session = ?1 ORDER BY joined_at DESC LIMIT 1",
            )
            .expect("a statement");
        let found = select.query_one([session.get().cast_signed()], |row| {
            let mut touched = Touched::default();
            touched.row();
            touched.number(number(row, 0));
            touched.bytes(bytes(row, 1));
            Ok(touched)
        });
        found
            .optional()
            .expect("SQLite selects")
            .unwrap_or_default()
    }

    fn scan_publications(&self) -> Touched {
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT timestamp, publisher, topic FROM publications ORDER BY publication",
            )
            .expect("a statement");
        let mut rows = select.query([]).expect("SQLite selects");
        let mut touched = Touched::default();
        while let Some(row) = rows.next().expect("SQLite selects") {
            touched.row();
            touched.number(number(row, 0));
            touched.number(number(row, 1));
            touched.bytes(bytes(row, 2));
        }
        touched
    }

    fn settle(&mut self) -> u64 {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: bool = self
            .connection
            .query_row(checkpoint, [], |row| row.get(0))
            .expect("SQLite checkpoints");
        assert!(!busy, "nobody else has the database open");
        files_size(&self.directory)
    }
}

fn insert_sessions(txn: &Transaction<'_>, sessions: &[Session]) -> rusqlite::Result<()> {
    let mut insert = txn.prepare_cached(
        "INSERT INTO sessions (
            oid, session, joined_at, left_at, authid, authrole, authmethod, authprovider, realm,
            arealm_oid, node_oid, node_authid, worker_name, worker_pid,
            proxy_node_oid, proxy_node_authid, proxy_worker_name, proxy_worker_pid,
            authextra, transport, proxy_transport
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for session in sessions {
        insert.execute(params![
            session.oid.as_bytes(),
            session.session.get().cast_signed(),
            session.joined_at.map(nanos),
            session.left_at.map(nanos),
            session.authid,
            session.authrole,
            session.authmethod,
            session.authprovider,
            session.realm,
            session.arealm_oid.as_ref().map(Uuid::as_bytes),
            session.node_oid.as_ref().map(Uuid::as_bytes),
            session.node_authid,
            session.worker_name,
            session.worker_pid,
            session.proxy_node_oid.as_ref().map(Uuid::as_bytes),
            session.proxy_node_authid,
            session.proxy_worker_name,
            session.proxy_worker_pid,
            session
                .authextra
                .as_ref()
                .map(|cbor| cbor.as_ref().as_bytes()),
            session
                .transport
                .as_ref()
                .map(|cbor| cbor.as_ref().as_bytes()),
            session
                .proxy_transport
                .as_ref()
                .map(|cbor| cbor.as_ref().as_bytes()),
        ])?;
    }
    Ok(())
}

fn insert_publications<'a>(
    txn: &Transaction<'_>,
    publications: impl Iterator<Item = &'a Publication>,
) -> rusqlite::Result<()> {
    let mut insert = txn.prepare_cached(
        "INSERT INTO publications (
            publication, timestamp, publisher, topic, args, kwargs, payload, acknowledge, retain, exclude_me,
            exclude, exclude_authid, exclude_authrole, eligible, eligible_authid, eligible_authrole,
            enc_algo, enc_key, enc_serializer
        ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for publication in publications {
        insert.execute(params![
            publication.publication.get().cast_signed(),
            nanos(publication.timestamp),
            publication
                .publisher
                .map(|publisher| publisher.get().cast_signed()),
            publication.topic,
            publication
                .args
                .as_ref()
                .map(|cbor| cbor.as_ref().as_bytes()),
            publication
                .kwargs
                .as_ref()
                .map(|cbor| cbor.as_ref().as_bytes()),
            publication.payload,
            publication.acknowledge,
            publication.retain,
            publication.exclude_me,
            publication.exclude.as_deref().map(ids),
            publication.exclude_authid.as_deref().map(json),
            publication.exclude_authrole.as_deref().map(json),
            publication.eligible.as_deref().map(ids),
            publication.eligible_authid.as_deref().map(json),
            publication.eligible_authrole.as_deref().map(json),
            publication.enc_algo.map(|algo| algo.0),
            publication.enc_key,
            publication.enc_serializer.map(|serializer| serializer.0),
        ])?;
    }
    Ok(())
}

fn insert_events<'a>(
    txn: &Transaction<'_>,
    deliveries: impl Iterator<Item = (PublicationId, &'a Delivery)>,
) -> rusqlite::Result<()> {
    // A session that is there twice, because it was resumed, may receive the same twice.
    let mut insert =
        txn.prepare_cached("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")?;
    for (publication, to) in deliveries {
        let nobody = to.receivers.is_empty().then(SessionId::default);
        for receiver in to.receivers.iter().copied().chain(nobody) {
            insert.execute(params![
                to.subscription.get().cast_signed(),
                nanos(to.timestamp),
                publication.get().cast_signed(),
                receiver.get().cast_signed(),
                to.retained,
                to.acknowledged_delivery,
            ])?;
        }
    }
    Ok(())
}

fn nanos(time: Timestamp) -> i64 {
    time.as_nanos().cast_signed()
}

fn ids(list: &[SessionId]) -> String {
    json(&list.iter().map(|id| id.get()).collect::<Vec<_>>())
}

fn json<T: Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("a list as JSON")
}

/// A number of a row, 0 where there is none.
fn number(row: &Row<'_>, column: usize) -> u64 {
    let value = row
        .get_ref(column)
        .and_then(|value| Ok(value.as_i64_or_null()?));
    value.expect("a number").unwrap_or_default().cast_unsigned()
}

/// A text or bytes of a row in place, nothing where there are none.
fn bytes<'a>(row: &'a Row<'_>, column: usize) -> &'a [u8] {
    let value = row
        .get_ref(column)
        .and_then(|value| Ok(value.as_bytes_or_null()?));
    value.expect("bytes").unwrap_or_default()
}
