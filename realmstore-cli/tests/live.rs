//! Stores that are written to while the tool reads them, backups of them, and
//! both formats of LMDB.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    SUBSCRIPTION, clean_lines, copy_of_recording, lines, realmstore, run_on, stderr, text,
};
use realmstore::lmdb::{FileFormat, LmdbBackend, sniff};
use realmstore::{
    Event, MatchPolicy, Publication, PublicationId, RealmStore, Retain, Session, SessionId,
    SubscriptionId, Timestamp, Uuid, WriteTxn,
};
use serde_json::Value;

type Store = RealmStore<LmdbBackend>;

fn open(directory: &Path) -> Store {
    RealmStore::attach(LmdbBackend::open(directory).unwrap()).unwrap()
}

/// Commits publication `number`, and its event.
fn publish(store: &Store, number: u64) {
    let id = PublicationId::new(number).unwrap();
    let time = Timestamp::from_nanos(1_795_332_000_000_000_000 + number);
    let mut txn = store.begin_write().unwrap();
    store
        .store_publication(&mut txn, &Publication::new(id, time, "com.example.a"))
        .unwrap();
    let event = Event::new(SubscriptionId::new(7).unwrap(), time, id);
    store.store_events(&mut txn, [&event]).unwrap();
    txn.commit().unwrap();
}

fn session() -> Session {
    Session {
        oid: Uuid::from_u128(5),
        session: SessionId::new(99).unwrap(),
        joined_at: Some(Timestamp::from_nanos(1_795_332_000_000_000_000)),
        authid: Some("joe".to_owned()),
        realm: Some("realm1".to_owned()),
        ..Session::default()
    }
}

/// The tool following a store, until this is dropped.
struct Tail {
    child: Child,
    lines: Receiver<String>,
}

impl Tail {
    fn start(store: &Path, arguments: &[&str]) -> Self {
        let all = [&["tail", store.to_str().unwrap()], arguments].concat();
        let mut child = realmstore(&all).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines
            .recv_timeout(Duration::from_secs(20))
            .expect("a line within 20 s")
    }

    fn next_json(&self) -> Value {
        serde_json::from_str(&self.next()).unwrap()
    }

    /// That there is nothing more, for longer than the tool takes for two looks.
    fn assert_quiet(&self) {
        if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(700)) {
            panic!("{line}");
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_committed_is_followed_each_record_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    publish(&store, 1);
    // A time that all is later than tells when the tool is ready.
    let tail = Tail::start(
        directory.path(),
        &["--json", "--from-time", "1971-01-01T00:00:00Z"],
    );
    assert_eq!(tail.next_json()["record"]["publication"], 1);
    assert_eq!(tail.next_json()["table"], "events");

    for number in 2..=20 {
        publish(&store, number);
        for table in ["publications", "events"] {
            let line = tail.next_json();
            assert_eq!(line["table"], table);
            assert_eq!(line["record"]["publication"], number);
        }
    }
    tail.assert_quiet();

    let mut txn = store.begin_write().unwrap();
    store.session_joined(&mut txn, &session()).unwrap();
    txn.commit().unwrap();
    let joined = tail.next_json();
    assert_eq!(joined["table"], "sessions");
    assert_eq!(joined["record"]["left_at"], Value::Null);
    let mut txn = store.begin_write().unwrap();
    store
        .session_left(
            &mut txn,
            SessionId::new(99).unwrap(),
            Timestamp::from_nanos(1_795_332_000_000_000_500),
        )
        .unwrap();
    txn.commit().unwrap();
    assert_eq!(
        tail.next_json()["record"]["left_at"],
        "2026-11-22T07:20:00.000000500Z"
    );
    tail.assert_quiet();
}

#[test]
fn what_becomes_known_of_subscriptions_and_is_retained_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    publish(&store, 1);
    let from = "1971-01-01T00:00:00Z";
    let tail = Tail::start(directory.path(), &["--from-time", from]);
    assert!(tail.next().contains("published"));
    assert!(tail.next().contains("dispatched"));

    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let mut txn = store.begin_write().unwrap();
    let policy = MatchPolicy::Prefix;
    let id = store.subscription_id(&mut txn, "realm1", "com.example.", policy, now);
    let id = id.unwrap();
    txn.commit().unwrap();
    assert_eq!(
        tail.next(),
        format!("{now}  known       subscription {id} is to com.example. by prefix in realm1")
    );
    // The same ID stands for the one, and then for another.
    let own = SubscriptionId::new(8).unwrap();
    let mut txn = store.begin_write().unwrap();
    store.alias_subscription(&mut txn, own, id).unwrap();
    txn.commit().unwrap();
    let nobody_knows_when = format!("{:30}", "-");
    assert_eq!(
        tail.next(),
        format!("{nobody_knows_when}  known       subscription 8 stands for subscription {id}")
    );
    let mut txn = store.begin_write().unwrap();
    let other = store.subscription_id(&mut txn, "realm1", "com.other", policy, now);
    let other = other.unwrap();
    store.alias_subscription(&mut txn, own, other).unwrap();
    txn.commit().unwrap();
    assert!(
        tail.next()
            .ends_with(&format!("8 stands for subscription {other}"))
    );
    assert!(tail.next().contains("com.other by prefix"));

    let mut txn = store.begin_write().unwrap();
    let publication = Publication::new(PublicationId::new(1).unwrap(), now, "com.example.a");
    let retain = Retain {
        expires_at: Some(now),
    };
    store.retain(&mut txn, &publication, retain).unwrap();
    txn.commit().unwrap();
    assert_eq!(
        tail.next(),
        format!("{now}  retained    1 for com.example.a, until {now}")
    );
    tail.assert_quiet();
}

#[test]
fn nothing_that_was_there_before_is_followed() {
    let recording = copy_of_recording();
    let tail = Tail::start(recording.path(), &[]);
    // It has begun when it has printed something, and for that somebody must commit.
    let store = open(recording.path());
    let found = (1..).find_map(|number| {
        publish(&store, number);
        tail.lines.recv_timeout(Duration::from_millis(300)).ok()
    });
    let first = found.unwrap();
    assert!(first.contains("published"), "{first}");
    assert!(first.contains("com.example.a"), "{first}");
}

#[test]
fn events_that_are_adopted_are_not_new() {
    let recording = copy_of_recording();
    let all = lines(&run_on(recording.path(), "export", &[])).len();
    let tail = Tail::start(
        recording.path(),
        &["--json", "--from-time", "1971-01-01T00:00:00Z"],
    );
    for _ in 0..all {
        tail.next();
    }

    // One of ours at the very time of one of Crossbar.io's is another one, and new.
    let events = lines(&run_on(recording.path(), "events", &["--json"]));
    let mut record = events[0].clone();
    record["receiver"] = 1.into();
    let line = serde_json::json!({"table": "events", "record": record});
    let file = recording.path().join("event.jsonl");
    fs::write(&file, line.to_string()).unwrap();
    text(&run_on(
        recording.path(),
        "import",
        &[file.to_str().unwrap()],
    ));
    assert_eq!(tail.next_json(), line);

    text(&run_on(recording.path(), "adopt", &[]));
    tail.assert_quiet();
}

#[test]
fn reading_leaves_no_trace_beside_the_file() {
    let recording = copy_of_recording();
    let before = fs::read(recording.path().join("data.mdb")).unwrap();
    for (command, arguments) in [
        ("info", &[][..]),
        ("export", &[]),
        ("history", &[SUBSCRIPTION]),
        ("subscriptions", &[]),
    ] {
        text(&run_on(recording.path(), command, arguments));
    }
    assert_eq!(names(recording.path()), ["data.mdb"]);
    assert_eq!(fs::read(recording.path().join("data.mdb")).unwrap(), before);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_of_a_store_that_is_being_written_has_whole_commits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    publish(&store, 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 2.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                publish(&store, number);
                // As Crossbar.io does, but ten times as often.
                thread::sleep(Duration::from_millis(20));
            }
        });
        for number in 0..5 {
            let backup = directory.path().join(format!("backup{number}"));
            let output = run_on(&path, "backup", &[backup.to_str().unwrap()]);
            assert!(text(&output).contains("commit"), "{}", text(&output));
            let records = clean_lines(&run_on(&backup, "export", &[]));
            let count = |table: &str| {
                records
                    .iter()
                    .filter(|record| record["table"] == table)
                    .count()
            };
            assert!(count("publications") > 0);
            assert_eq!(count("publications"), count("events"));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_restored_store_is_what_it_was_and_what_stood_there_is_kept() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    text(&run_on(recording.path(), "backup", &[&place("backup")]));
    let expected = clean_lines(&run_on(recording.path(), "export", &[]));

    text(&run_on(
        Path::new(&place("backup")),
        "restore",
        &[&place("store")],
    ));
    let refused = run_on(Path::new(&place("backup")), "restore", &[&place("store")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("is not empty"),
        "{}",
        stderr(&refused)
    );

    let store = open(Path::new(&place("store")));
    publish(&store, 1);
    let held = run_on(
        Path::new(&place("backup")),
        "restore",
        &[&place("store"), "--replace"],
    );
    assert_eq!(held.status.code(), Some(2));
    let pid = std::process::id().to_string();
    assert!(stderr(&held).contains(&pid), "{}", stderr(&held));
    drop(store);

    text(&run_on(
        Path::new(&place("backup")),
        "restore",
        &[&place("store"), "--replace"],
    ));
    assert_eq!(
        clean_lines(&run_on(Path::new(&place("store")), "export", &[])),
        expected
    );
    let aside = names(directory.path())
        .into_iter()
        .find(|name| name.starts_with("store.replaced-"))
        .unwrap();
    let replaced = clean_lines(&run_on(&directory.path().join(aside), "export", &[]));
    assert_eq!(replaced.len(), expected.len() + 2);
}

#[test]
fn a_store_goes_from_one_format_of_lmdb_to_the_other_and_back() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let (newer, older) = (
        directory.path().join("newer"),
        directory.path().join("older"),
    );
    let from = format!("lmdb:{}", recording.path().display());
    let over = format!("lmdb10:{}", newer.display());
    text(&realmstore(&["copy", &from, &over]).output().unwrap());
    assert_eq!(sniff(&newer).unwrap(), Some(FileFormat::Lmdb10));
    let back = format!("lmdb:{}", older.display());
    text(
        &realmstore(&["copy", newer.to_str().unwrap(), &back])
            .output()
            .unwrap(),
    );
    assert_eq!(sniff(&older).unwrap(), Some(FileFormat::Lmdb09));

    for (command, arguments) in [
        ("export", &[][..]),
        ("subscriptions", &["--json"]),
        ("history", &[SUBSCRIPTION, "--json", "--reverse"]),
    ] {
        let expected = clean_lines(&run_on(recording.path(), command, arguments));
        for copy in [&newer, &older] {
            assert_eq!(clean_lines(&run_on(copy, command, arguments)), expected);
        }
    }
}

#[test]
fn every_command_that_writes_takes_a_file_of_lmdb_1_0() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let newer = directory.path().join("newer");
    let over = format!("lmdb10:{}", newer.display());
    text(
        &realmstore(&["copy", recording.path().to_str().unwrap(), &over])
            .output()
            .unwrap(),
    );
    let before = clean_lines(&run_on(&newer, "export", &[]));
    assert!(text(&run_on(&newer, "adopt", &[])).contains("events moved"));
    assert_eq!(clean_lines(&run_on(&newer, "export", &[])), before);
    let limited = run_on(&newer, "adopt", &["--size-limit", "128MiB"]);
    assert!(text(&limited).contains("No events"), "{}", text(&limited));
    let too_small = run_on(&newer, "adopt", &["--size-limit", "4KiB"]);
    assert_eq!(too_small.status.code(), Some(2));

    let demo = format!("lmdb10:{}", directory.path().join("demo").display());
    text(&realmstore(&["demo", &demo]).output().unwrap());
    assert_eq!(
        sniff(&directory.path().join("demo")).unwrap(),
        Some(FileFormat::Lmdb10)
    );
    assert_eq!(
        clean_lines(&realmstore(&["export", &demo]).output().unwrap()).len(),
        before.len()
    );
}

/// Overwrites the first entries of a page that is in use and holds a text.
fn damage_a_leaf(store: &Path, text: &[u8]) {
    const PAGE: usize = 4096;
    const LEAF: u8 = 2;
    let data = store.join("data.mdb");
    let sound = fs::read(&data).unwrap();
    for (number, page) in sound.chunks(PAGE).enumerate().skip(2) {
        if page[10] != LEAF || !page.windows(text.len()).any(|found| found == text) {
            continue;
        }
        let mut damaged = sound.clone();
        damaged[number * PAGE + 16..number * PAGE + 64].fill(0xff);
        fs::write(&data, damaged).unwrap();
        // Many pages are of earlier commits, and free.
        if run_on(store, "verify", &[]).status.code() == Some(1) {
            return;
        }
    }
    panic!("no such page is in use");
}

#[test]
fn a_damaged_file_is_named_and_kept_from_lmdb() {
    let recording = copy_of_recording();
    let data = recording.path().join("data.mdb");
    damage_a_leaf(recording.path(), b"com.example.");
    let before = fs::read(&data).unwrap();
    let verified = run_on(recording.path(), "verify", &["--json"]);
    assert_eq!(verified.status.code(), Some(1), "{}", stderr(&verified));
    let findings: Vec<Value> = String::from_utf8(verified.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        findings.iter().any(|finding| finding["table"] == "file"
            && finding["severity"] == "error"
            && finding["key"].as_str().unwrap().starts_with("page ")),
        "{findings:?}"
    );

    let repaired = run_on(recording.path(), "repair", &[]);
    assert_eq!(repaired.status.code(), Some(2));
    assert!(
        stderr(&repaired).contains("is damaged (page "),
        "{}",
        stderr(&repaired)
    );
    assert_eq!(fs::read(&data).unwrap(), before);

    // What can be read is given, and what cannot is named.
    let whole = copy_of_recording();
    let all = lines(&run_on(whole.path(), "export", &[])).len();
    let exported = run_on(recording.path(), "export", &[]);
    assert_eq!(exported.status.code(), Some(1));
    assert!(
        stderr(&exported).contains("is left out"),
        "{}",
        stderr(&exported)
    );
    let rest = String::from_utf8(exported.stdout).unwrap().lines().count();
    assert!(all / 2 < rest && rest < all, "{rest} of {all}");

    let directory = tempfile::tempdir().unwrap();
    let salvaged = directory.path().join("salvaged");
    let imported = run_on(&salvaged, "import", &[recording.path().to_str().unwrap()]);
    assert_eq!(imported.status.code(), Some(1));
    assert_eq!(clean_lines(&run_on(&salvaged, "export", &[])).len(), rest);

    let backup = directory.path().join("backup");
    let backed_up = run_on(recording.path(), "backup", &[backup.to_str().unwrap()]);
    assert_eq!(backed_up.status.code(), Some(1));
    assert!(
        stderr(&backed_up).contains("and so is its copy"),
        "{}",
        stderr(&backed_up)
    );
}

#[test]
fn no_table_is_taken_for_empty_where_the_directory_is_damaged() {
    let recording = copy_of_recording();
    damage_a_leaf(recording.path(), b"cfxdb.realmstore._session.Sessions");
    let exported = run_on(recording.path(), "export", &[]);
    assert_eq!(exported.status.code(), Some(2));
    assert!(
        stderr(&exported).contains(": page "),
        "{}",
        stderr(&exported)
    );
    assert!(exported.stdout.is_empty());
}

#[test]
fn what_cannot_be_opened_is_damage_or_not_to_be_checked() {
    let directory = tempfile::tempdir().unwrap();
    let missing = run_on(&directory.path().join("none"), "verify", &[]);
    assert_eq!(missing.status.code(), Some(2));
    let recording = copy_of_recording();
    let data = recording.path().join("data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    // All but the magic number and the data version, in both header pages.
    bytes[24..4112].fill(0);
    bytes[4120..8192].fill(0);
    fs::write(&data, bytes).unwrap();
    let no_header = run_on(recording.path(), "verify", &["--json"]);
    assert_eq!(no_header.status.code(), Some(1), "{}", stderr(&no_header));
    let finding: Value = serde_json::from_slice(&no_header.stdout).unwrap();
    assert_eq!(finding["table"], "file");
}

#[cfg(unix)]
#[test]
fn a_store_that_replaces_another_can_be_opened_by_whom_the_other_could() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("store");
    fs::create_dir(&place).unwrap();
    fs::copy(recording.path().join("data.mdb"), place.join("data.mdb")).unwrap();
    fs::set_permissions(place.join("data.mdb"), fs::Permissions::from_mode(0o660)).unwrap();
    // Only root can give files away; whoever else runs this sees the permissions kept.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        for path in [place.clone(), place.join("data.mdb")] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    let expected = fs::metadata(place.join("data.mdb")).unwrap();
    text(&run_on(
        recording.path(),
        "restore",
        &[place.to_str().unwrap(), "--replace"],
    ));
    let rights = |found: &fs::Metadata| (found.mode(), found.uid(), found.gid());
    let found = fs::metadata(place.join("data.mdb")).unwrap();
    assert_ne!(found.ino(), expected.ino());
    assert_eq!(rights(&found), rights(&expected));

    // A directory that was made for the store is one that is replaced, too.
    let made = directory.path().join("made");
    fs::create_dir(&made).unwrap();
    fs::set_permissions(&made, fs::Permissions::from_mode(0o700)).unwrap();
    if is_root {
        std::os::unix::fs::chown(&made, Some(65534), Some(65534)).unwrap();
    }
    let expected = fs::metadata(&made).unwrap();
    text(&run_on(
        recording.path(),
        "restore",
        &[made.to_str().unwrap()],
    ));
    let found = fs::metadata(&made).unwrap();
    assert_ne!(found.ino(), expected.ino());
    assert_eq!(rights(&found), rights(&expected));
    let file = fs::metadata(made.join("data.mdb")).unwrap();
    assert_eq!((file.uid(), file.gid()), (expected.uid(), expected.gid()));
}

#[test]
fn an_import_that_waits_for_its_input_keeps_nobody_from_writing() {
    let recording = copy_of_recording();
    let all = text(&run_on(recording.path(), "export", &[]));
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let mut import = realmstore(&["import", store.to_str().unwrap(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = import.stdin.take().unwrap();
    input.write_all(all.as_bytes()).unwrap();
    // What was given is there, and another one can write, though the input is still open.
    let end = Instant::now() + Duration::from_secs(20);
    while !sniff(&store).is_ok_and(|found| found.is_some())
        || text(&run_on(&store, "export", &[])) != all
    {
        assert!(Instant::now() < end, "nothing was stored within 20 s");
        thread::sleep(Duration::from_millis(50));
    }
    let one = realmstore(&["import", store.to_str().unwrap(), "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    text(&one);
    let publication =
        r#"{"table":"publications","record":{"publication":5,"topic":"com.example.a"}}"#;
    let file = directory.path().join("one.jsonl");
    fs::write(&file, publication).unwrap();
    text(&run_on(&store, "import", &[file.to_str().unwrap()]));
    // A last line need not have an end.
    input.write_all(publication.as_bytes()).unwrap();
    drop(input);
    assert!(import.wait().unwrap().success());
}
