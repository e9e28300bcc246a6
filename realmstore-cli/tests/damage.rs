//! `verify`, `repair` and `quarantine` on a corpus of damaged stores, made from
//! the recording, from it adopted, and from the demonstration's store, on every
//! engine that is compiled in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{clean_lines, copy_of_recording, realmstore, run_on, stderr, text};
use realmstore::cbor::Cbor;
use realmstore::directory::Directory;
use realmstore::record::Record;
use realmstore::{
    Backend, Engine, Event, Location, OpenOptions, Order, Publication, PublicationId, ReadTxn,
    Scan, Session, Uuid, WriteTxn,
};
use serde_json::Value;
use tempfile::TempDir;

const SESSIONS: &str = "cfxdb.realmstore._session.Sessions";
const BY_ID: &str = "cfxdb.realmstore._session.IndexSessionsBySessionId";
const BY_AUTHID: &str = "realmstore.sessions_by_authid";
const BY_LEAVING: &str = "realmstore.sessions_by_leaving";
const PUBLICATIONS: &str = "cfxdb.realmstore._publication.Publications";
const CROSSBAR_EVENTS: &str = "cfxdb.realmstore._event.Events";
const EVENTS: &str = "realmstore.events";
const HISTORY: &str = "realmstore.history";
const POSITIONS: &str = "realmstore.history_positions";
const META: &str = "realmstore.meta";

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store as its rows, to be damaged.
#[derive(Clone)]
struct Contents {
    rows: Rows,
    slots: BTreeMap<String, u16>,
}

impl Contents {
    fn read(location: &str) -> Self {
        let db = OpenOptions::new()
            .read_only(true)
            .open_backend(&location.parse().unwrap())
            .unwrap();
        let txn = db.begin_read().unwrap();
        let slots = Directory::read(&txn)
            .unwrap()
            .entries()
            .iter()
            .filter_map(|entry| Some((entry.name.clone()?, entry.slot)))
            .collect();
        let mut rows = Rows::new();
        let mut scan = txn
            .scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)
            .unwrap();
        while let Some((key, value)) = scan.next().unwrap() {
            rows.insert(key.to_vec(), value.to_vec());
        }
        Self { rows, slots }
    }

    /// Writes the rows to a new store, whose stamp is then that of its only
    /// commit where there is one.
    fn write(&self, location: &str) {
        let db = OpenOptions::new()
            .create(true)
            .open_backend(&location.parse().unwrap())
            .unwrap();
        let mut txn = db.begin_write().unwrap();
        for (key, value) in &self.rows {
            if self.is_stamp(key) && value.len() == 8 {
                let number = txn.commit_number().map_or(1, |last| last + 1);
                txn.put(key, &number.to_be_bytes()).unwrap();
            } else {
                txn.put(key, value).unwrap();
            }
        }
        txn.commit().unwrap();
    }

    fn is_stamp(&self, key: &[u8]) -> bool {
        self.slots
            .get(META)
            .is_some_and(|slot| key == [&slot.to_be_bytes()[..], &[0]].concat())
    }

    fn has(&self, table: &str) -> bool {
        self.slots.get(table).is_some_and(|slot| {
            self.rows
                .keys()
                .any(|key| key.starts_with(&slot.to_be_bytes()))
        })
    }

    fn key(&self, table: &str, key: &[u8]) -> Vec<u8> {
        [&self.slots[table].to_be_bytes()[..], key].concat()
    }

    /// The key of a row in the middle of a table.
    fn some(&self, table: &str) -> Vec<u8> {
        let slot = self.slots[table].to_be_bytes();
        let keys: Vec<_> = self
            .rows
            .keys()
            .filter(|key| key.starts_with(&slot))
            .collect();
        keys[keys.len() / 2].clone()
    }
}

/// What a damage should be found as: severity, table, and what the key begins with.
type Found = (&'static str, &'static str, String);

/// A kind of damage: the table that a store must have for it, and what is done to it.
type Damage = (&'static str, &'static str, fn(&mut Contents) -> Found);

fn hex(key: &[u8]) -> String {
    let digits: String = key[2..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn id(key: &[u8]) -> String {
    u64::from_be_bytes(*key[2..].first_chunk().unwrap()).to_string()
}

/// A position's key, which begins with its publication, as findings have it.
fn position(key: &[u8]) -> String {
    let subscription = u64::from_be_bytes(*key[10..].first_chunk().unwrap());
    format!("{subscription} publication {}", id(key))
}

fn oid(key: &[u8]) -> String {
    Uuid::from_slice(&key[2..]).unwrap().to_string()
}

fn change(contents: &mut Contents, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    change(contents.rows.get_mut(key).unwrap());
}

/// Moves a row to another key of its table.
fn put_under(contents: &mut Contents, key: &[u8], other: Vec<u8>) {
    let row = contents.rows[key].clone();
    contents.rows.insert(other, row);
}

const CORPUS: &[Damage] = &[
    ("a session is cut off", SESSIONS, |store| {
        let key = store.some(SESSIONS);
        change(store, &key, |value| value.truncate(20));
        ("error", "sessions", oid(&key))
    }),
    ("a session's CBOR is broken", SESSIONS, |store| {
        let key = store.some(SESSIONS);
        change(store, &key, |value| {
            let mut session = Session::decode(value).unwrap();
            session.authextra = Some(Cbor::from_bytes([0xa1, 0x61]));
            *value = session.to_bytes().unwrap();
        });
        ("error", "sessions", oid(&key))
    }),
    ("a session stands under another OID", SESSIONS, |store| {
        let key = store.some(SESSIONS);
        let other = store.key(SESSIONS, &[7; 16]);
        put_under(store, &key, other.clone());
        ("error", "sessions", oid(&other))
    }),
    ("a session is gone", SESSIONS, |store| {
        let key = store.some(SESSIONS);
        let session = Session::decode(&store.rows.remove(&key).unwrap()).unwrap();
        (
            "error",
            "sessions_by_session_id",
            session.session.to_string(),
        )
    }),
    ("a publication is nothing", PUBLICATIONS, |store| {
        let key = store.some(PUBLICATIONS);
        change(store, &key, Vec::clear);
        ("error", "publications", id(&key))
    }),
    ("a publication's topic is no text", PUBLICATIONS, |store| {
        let key = store.some(PUBLICATIONS);
        change(store, &key, |value| {
            let at = value.windows(3).position(|text| text == b"com").unwrap();
            value[at] = 0xff;
        });
        ("error", "publications", id(&key))
    }),
    (
        "cfxdb lost a list of a publication",
        PUBLICATIONS,
        |store| {
            let lost =
                include_bytes!("../../realmstore-core/tests/data/publication-lost-eligible.bin");
            let key = store.key(PUBLICATIONS, &123_456u64.to_be_bytes());
            store.rows.insert(key, lost.to_vec());
            ("error", "publications", "123456".to_owned())
        },
    ),
    (
        "a publication stands under a key that is none",
        PUBLICATIONS,
        |store| {
            let key = store.some(PUBLICATIONS);
            let other = store.key(PUBLICATIONS, &[1, 2, 3]);
            put_under(store, &key, other.clone());
            ("error", "publications", hex(&other))
        },
    ),
    ("a publication is gone", CROSSBAR_EVENTS, |store| {
        let key = store.some(CROSSBAR_EVENTS);
        let event = Event::decode(&store.rows[&key]).unwrap();
        let publication = store.key(PUBLICATIONS, &event.publication.get().to_be_bytes());
        store.rows.remove(&publication).unwrap();
        ("error", "crossbar_events", id(&key))
    }),
    (
        "an event of Crossbar.io's is another one's",
        CROSSBAR_EVENTS,
        |store| {
            let key = store.some(CROSSBAR_EVENTS);
            let mut other = key.clone();
            other[2] ^= 1;
            let row = store.rows.remove(&key).unwrap();
            store.rows.insert(other.clone(), row);
            ("error", "crossbar_events", id(&other))
        },
    ),
    (
        "an event of Crossbar.io's is cut off",
        CROSSBAR_EVENTS,
        |store| {
            let key = store.some(CROSSBAR_EVENTS);
            change(store, &key, |value| value.truncate(9));
            ("error", "crossbar_events", id(&key))
        },
    ),
    ("an event is nothing", EVENTS, |store| {
        let key = store.some(EVENTS);
        change(store, &key, Vec::clear);
        ("error", "events", id(&key))
    }),
    ("an event is gone", EVENTS, |store| {
        let key = store.some(EVENTS);
        store.rows.remove(&key);
        ("error", "history_positions", id(&key))
    }),
    ("an event's publication is gone", EVENTS, |store| {
        let key = store.some(EVENTS);
        let event = Event::decode(&store.rows[&key]).unwrap();
        let publication = store.key(PUBLICATIONS, &event.publication.get().to_be_bytes());
        store.rows.remove(&publication).unwrap();
        ("error", "events", id(&key))
    }),
    ("a row by session ID is missing", BY_ID, |store| {
        let key = store.some(BY_ID);
        store.rows.remove(&key);
        ("error", "sessions_by_session_id", id(&key))
    }),
    ("a row by session ID leads nowhere", BY_ID, |store| {
        let key = store.some(BY_ID);
        change(store, &key, |value| value[0] ^= 1);
        ("error", "sessions_by_session_id", id(&key))
    }),
    ("a row by session ID leads elsewhere", BY_ID, |store| {
        let (key, other) = (store.some(BY_ID), store.key(BY_ID, &[0; 16]));
        put_under(store, &key, other.clone());
        ("error", "sessions_by_session_id", id(&other))
    }),
    ("a row by session ID is none", BY_ID, |store| {
        let key = store.some(BY_ID);
        change(store, &key, |value| value.truncate(15));
        ("error", "sessions_by_session_id", id(&key))
    }),
    ("a row by authid is missing", BY_AUTHID, |store| {
        let key = store.some(BY_AUTHID);
        store.rows.remove(&key);
        ("error", "sessions_by_authid", "\"".to_owned())
    }),
    ("a row by authid leads elsewhere", BY_AUTHID, |store| {
        let key = store.some(BY_AUTHID);
        let mut other = key.clone();
        other[2] ^= 1;
        put_under(store, &key, other);
        ("warning", "sessions_by_authid", "\"".to_owned())
    }),
    ("a row by authid leads nowhere", BY_AUTHID, |store| {
        let key = store.some(BY_AUTHID);
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 1;
        put_under(store, &key, other);
        ("warning", "sessions_by_authid", "\"".to_owned())
    }),
    ("a row by authid is none", BY_AUTHID, |store| {
        let key = store.key(BY_AUTHID, b"joe");
        store.rows.insert(key.clone(), Vec::new());
        ("error", "sessions_by_authid", hex(&key))
    }),
    ("a row by leaving is missing", BY_LEAVING, |store| {
        let key = store.some(BY_LEAVING);
        store.rows.remove(&key);
        ("error", "sessions_by_leaving", String::new())
    }),
    ("a row by leaving is of another time", BY_LEAVING, |store| {
        let key = store.some(BY_LEAVING);
        let mut other = key.clone();
        other[9] ^= 1;
        put_under(store, &key, other);
        ("warning", "sessions_by_leaving", String::new())
    }),
    ("a row by leaving is none", BY_LEAVING, |store| {
        let key = store.key(BY_LEAVING, &[1; 9]);
        store.rows.insert(key.clone(), Vec::new());
        ("error", "sessions_by_leaving", hex(&key))
    }),
    ("a row of the history is missing", HISTORY, |store| {
        let key = store.some(HISTORY);
        store.rows.remove(&key);
        ("error", "history", id(&key))
    }),
    ("a row of the history leads nowhere", HISTORY, |store| {
        let mut key = store.some(HISTORY);
        *key.last_mut().unwrap() ^= 1;
        store.rows.insert(key.clone(), Vec::new());
        ("error", "history", id(&key))
    }),
    ("a row of the history is none", HISTORY, |store| {
        let key = store.key(HISTORY, &[1; 9]);
        store.rows.insert(key.clone(), Vec::new());
        ("error", "history", hex(&key))
    }),
    ("a position is missing", POSITIONS, |store| {
        let key = store.some(POSITIONS);
        store.rows.remove(&key);
        ("error", "history_positions", position(&key))
    }),
    ("a position leads nowhere", POSITIONS, |store| {
        let key = store.some(POSITIONS);
        change(store, &key, |value| value[7] ^= 1);
        ("error", "history_positions", position(&key))
    }),
    ("a position counts wrong", POSITIONS, |store| {
        let key = store.some(POSITIONS);
        change(store, &key, |value| value[19] += 1);
        ("error", "history_positions", position(&key))
    }),
    ("a position is none", POSITIONS, |store| {
        let key = store.some(POSITIONS);
        change(store, &key, |value| value.push(0));
        ("error", "history_positions", position(&key))
    }),
    ("the stamp is none", META, |store| {
        let key = store.key(META, &[0]);
        store.rows.insert(key, vec![1]);
        ("warning", "meta", "stamp".to_owned())
    }),
    ("the stamp is gone", META, |store| {
        let key = store.key(META, &[0]);
        store.rows.remove(&key);
        let row = store.some(BY_AUTHID);
        store.rows.remove(&row);
        ("remark", "sessions_by_authid", String::new())
    }),
    (
        "there is a row of a slot that nobody knows",
        SESSIONS,
        |store| {
            store.rows.insert(vec![0, 99, 1], b"whose".to_vec());
            ("warning", "directory", "99".to_owned())
        },
    ),
    ("there is a table of another program", SESSIONS, |store| {
        let entry = b"\xa1\x63oid\x78\x246d4ad0a6-2b0e-4d31-9a2c-3c3f65a1a9a1";
        store.rows.insert(vec![0, 0, 0, 98], entry.to_vec());
        store.rows.insert(vec![0, 98, 1], b"theirs".to_vec());
        ("remark", "directory", "98".to_owned())
    }),
    ("the entry of a table is gone", PUBLICATIONS, |store| {
        let slot = store.slots[PUBLICATIONS];
        store
            .rows
            .remove(&[&[0, 0][..], &slot.to_be_bytes()].concat());
        ("error", "directory", slot.to_string())
    }),
    ("the entry of a table cannot be read", SESSIONS, |store| {
        let slot = store.slots[SESSIONS];
        let key = [&[0, 0][..], &slot.to_be_bytes()].concat();
        change(store, &key, |value| value[0] = 0xff);
        ("error", "directory", slot.to_string())
    }),
];

/// The stores that the corpus is made of.
fn sound_stores(directory: &Path) -> [(&'static str, Contents); 3] {
    let recording = copy_of_recording();
    let as_recorded = Contents::read(&Location::new(Engine::Lmdb, recording.path()).to_string());
    text(&run_on(recording.path(), "adopt", &[]));
    let adopted = Contents::read(&Location::new(Engine::Lmdb, recording.path()).to_string());
    let own = Location::new(Engine::Lmdb, directory.join("own")).to_string();
    text(&realmstore(&["demo", &own]).output().unwrap());
    [
        ("recording", as_recorded),
        ("adopted", adopted),
        ("own", Contents::read(&own)),
    ]
}

/// The lines of JSON of a command, and its exit code.
fn lines_and_code(command: &str, location: &str) -> (Vec<Value>, Option<i32>) {
    let output = run_on(Path::new(location), command, &["--json"]);
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (lines, output.status.code())
}

fn is(finding: &Value, (severity, table, key): &Found) -> bool {
    finding["severity"] == *severity
        && finding["table"] == *table
        && finding["key"].as_str().unwrap().starts_with(key)
}

/// Bytes in WAMP's JSON convention.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?.strip_prefix('\0')?;
    Some(STANDARD.decode(text).unwrap())
}

fn corpus_on(engine: Engine) {
    let directory = tempfile::tempdir().unwrap();
    let mut cases = 0;
    for (of, sound) in sound_stores(directory.path()) {
        for (name, table, damage) in CORPUS {
            if !sound.has(table) {
                continue;
            }
            cases += 1;
            let case = format!("{of}: {name}");
            let mut damaged = sound.clone();
            let expected = damage(&mut damaged);
            let place = directory.path().join(format!("{cases}"));
            let location = Location::new(engine, &place).to_string();
            damaged.write(&location);
            let written = Contents::read(&location);

            let (findings, code) = lines_and_code("verify", &location);
            assert!(
                findings.iter().any(|finding| is(finding, &expected)),
                "{case}: {expected:?} is not in {findings:#?}"
            );
            assert_eq!(code, Some(i32::from(expected.0 == "error")), "{case}");

            let (done, code) = lines_and_code("repair", &location);
            assert_eq!(code, Some(0), "{case}: {done:#?}");
            let (findings, code) = lines_and_code("verify", &location);
            assert_eq!(code, Some(0), "{case}: {findings:#?}");

            let after = Contents::read(&location);
            let kept: Vec<_> =
                clean_lines(&run_on(Path::new(&location), "quarantine", &["--json"]))
                    .iter()
                    .map(|row| (bytes(&row["key"]).unwrap(), bytes(&row["value"])))
                    .collect();
            for (key, value) in &written.rows {
                let is_kept = after.rows.get(key) == Some(value)
                    || kept.contains(&(key.clone(), Some(value.clone())));
                assert!(
                    is_kept || written.is_stamp(key),
                    "{case}: {key:02x?} is lost"
                );
                let is_sound = sound.rows.get(key) == Some(value);
                let is_record = [SESSIONS, PUBLICATIONS, CROSSBAR_EVENTS, EVENTS]
                    .iter()
                    .any(|table| {
                        let slot = sound.slots.get(*table);
                        slot.is_some_and(|slot| key.starts_with(&slot.to_be_bytes()))
                    });
                if is_sound && is_record {
                    assert_eq!(after.rows.get(key), Some(value), "{case}: {key:02x?}");
                }
            }
            std::fs::remove_dir_all(&place).unwrap();
        }
    }
    assert!(cases > 80, "{cases}");
}

#[test]
fn every_damage_is_named_and_repaired_on_lmdb() {
    corpus_on(Engine::Lmdb);
}

#[cfg(feature = "sled")]
#[test]
fn every_damage_is_named_and_repaired_on_sled() {
    corpus_on(Engine::Sled);
}

fn with(contents: &Contents, engine: Engine) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let location = Location::new(engine, directory.path().join("store")).to_string();
    contents.write(&location);
    (directory, location)
}

#[test]
fn a_file_of_crossbar_is_sound_with_remarks() {
    let recording = copy_of_recording();
    let output = run_on(recording.path(), "verify", &["--json"]);
    let findings: Vec<Value> = text(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(findings.len(), 3);
    assert!(
        findings
            .iter()
            .all(|finding| finding["severity"] == "remark")
    );
    assert!(
        findings[0]["problem"]
            .as_str()
            .unwrap()
            .starts_with("276 stand in")
    );
    assert_eq!(
        stderr(&output),
        "realmstore: 405 rows verified: 0 errors, 0 warnings, 3 remarks\n"
    );
    // And is not touched by a repair.
    let before = Contents::read(recording.path().to_str().unwrap()).rows;
    let printed = text(&run_on(recording.path(), "repair", &[]));
    assert!(
        printed.starts_with("There was nothing to repair.\n"),
        "{printed}"
    );
    assert_eq!(
        Contents::read(recording.path().to_str().unwrap()).rows,
        before
    );
    let none = run_on(recording.path(), "quarantine", &[]);
    assert_eq!(text(&none), "");
}

#[test]
fn a_store_of_our_own_has_nothing_to_find() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    text(
        &realmstore(&["demo", store.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    let output = run_on(&store, "verify", &[]);
    assert_eq!(stderr(&output), "");
    assert_eq!(
        text(&output),
        "899 rows verified: 0 errors, 0 warnings, 0 remarks\n"
    );
}

#[test]
fn people_read_a_line_for_each_finding_and_each_repair() {
    let recording = copy_of_recording();
    let mut damaged = Contents::read(recording.path().to_str().unwrap());
    let key = damaged.some(PUBLICATIONS);
    change(&mut damaged, &key, Vec::clear);
    let (_directory, location) = with(&damaged, Engine::Lmdb);
    let output = run_on(Path::new(&location), "verify", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "");
    let printed = String::from_utf8(output.stdout).unwrap();
    let problem = format!(
        "publications {}: damaged publication: points outside of the record",
        id(&key)
    );
    assert!(
        printed.contains(&format!("error    {problem}\n")),
        "{printed}"
    );
    assert!(
        printed.ends_with(" 1 errors, 0 warnings, 3 remarks\n"),
        "{printed}"
    );

    let printed = text(&run_on(Path::new(&location), "repair", &[]));
    assert!(
        printed.starts_with(&format!("moved aside, quarantine 1: {problem}\n")),
        "{printed}"
    );
    assert!(
        printed
            .contains("\npublications: 1 moved aside, 0 replaced, 0 losses noted, 0 rows made\n"),
        "{printed}"
    );
    let printed = text(&run_on(Path::new(&location), "quarantine", &[]));
    assert!(
        printed.contains(&format!("publications {}", id(&key))),
        "{printed}"
    );
}

#[test]
fn a_publication_that_lost_its_receivers_admits_nobody() {
    let recording = copy_of_recording();
    let mut damaged = Contents::read(recording.path().to_str().unwrap());
    let lost = include_bytes!("../../realmstore-core/tests/data/publication-lost-exclude.bin");
    let key = damaged.key(PUBLICATIONS, &123_456u64.to_be_bytes());
    damaged.rows.insert(key.clone(), lost.to_vec());
    let (_directory, location) = with(&damaged, Engine::Lmdb);
    text(&run_on(Path::new(&location), "repair", &[]));
    let left = Publication::decode(&Contents::read(&location).rows[&key]).unwrap();
    assert_eq!(left.publication, PublicationId::new(123_456).unwrap());
    assert_eq!(left.eligible, Some(vec![]));
    let kept = &clean_lines(&run_on(Path::new(&location), "quarantine", &["--json"]))[0];
    assert_eq!(bytes(&kept["value"]).unwrap(), lost);
    let problem = kept["problem"].as_str().unwrap();
    assert!(problem.contains("exclude has lost its length"), "{problem}");
}

#[test]
fn what_cannot_be_looked_at_is_no_finding() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    std::fs::write(directory.path().join("data.mdb"), "no database").unwrap();
    for command in ["verify", "repair", "quarantine"] {
        for place in [&missing, directory.path()] {
            let output = run_on(place, command, &[]);
            assert_eq!(output.status.code(), Some(2), "{command}");
            assert!(output.stdout.is_empty(), "{command}");
        }
        assert!(!missing.exists());
    }
}

#[test]
fn an_entry_of_the_directory_that_nothing_tells_of_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let recording = copy_of_recording();
    let mut damaged = Contents::read(recording.path().to_str().unwrap());
    damaged.rows.insert(vec![0, 0, 0, 50], vec![0xff]);
    let location = Location::new(Engine::Lmdb, directory.path().join("store")).to_string();
    damaged.write(&location);
    let (findings, code) = lines_and_code("verify", &location);
    assert_eq!(code, Some(1));
    let expected = ("error", "directory", "50".to_owned());
    assert!(findings.iter().any(|finding| is(finding, &expected)));
    let output = run_on(Path::new(&location), "repair", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("nothing was changed"),
        "{}",
        stderr(&output)
    );
    assert_eq!(Contents::read(&location).rows, damaged.rows);
}
