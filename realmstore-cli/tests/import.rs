//! `import`: what was exported, and other stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use common::every_field::fill;
use common::{
    SUBSCRIPTION, clean_lines, copy_of_recording, lines as lines_of, realmstore, run_on, stderr,
    text,
};
use realmstore::cbor::Cbor;
use realmstore::record::Record;
use realmstore::{
    AnyStore, EncSerializer, Engine, HistoryQuery, Location, Publication, PublicationId, ReadTxn,
    SessionId, Timestamp, Uuid, WriteTxn,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The engines whose stores stay.
fn engines() -> impl Iterator<Item = Engine> {
    let all = realmstore::ENGINES.iter().copied();
    all.filter(|engine| *engine != Engine::Memory)
}

/// A place for a store of an engine.
fn place(engine: Engine, directory: &TempDir) -> String {
    Location::new(engine, directory.path().join(engine.name())).to_string()
}

fn export(store: &str) -> String {
    text(&run_on(Path::new(store), "export", &[]))
}

fn export_to(file: &Path, store: &Path) -> String {
    let exported = text(&run_on(store, "export", &[]));
    fs::write(file, &exported).unwrap();
    exported
}

fn import(store: &str, from: &Path, options: &[&str]) -> Output {
    let arguments = [&["import", store, from.to_str().unwrap()], options].concat();
    realmstore(&arguments).output().unwrap()
}

/// The summary of an import that refused nothing.
fn imported(output: &Output) -> String {
    assert_eq!(stderr(output), "");
    text(output)
}

fn summary(imported: u64, already_there: u64, replaced: u64, refused: u64) -> String {
    format!(
        "{imported} imported, {already_there} already there, {replaced} replaced, {refused} refused\n"
    )
}

fn file_of(directory: &TempDir, lines: &[Value]) -> PathBuf {
    let path = directory.path().join("lines.jsonl");
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, lines).unwrap();
    path
}

fn publication(id: u64, topic: &str) -> Value {
    json!({"table": "publications", "record": {"publication": id, "topic": topic}})
}

fn event(publication: u64, receiver: u64) -> Value {
    json!({"table": "events", "record": {
        "timestamp": format!("2026-11-22T12:00:00.{publication:09}Z"),
        "subscription": 7,
        "publication": publication,
        "receiver": receiver,
    }})
}

fn session(oid: u128, session: u64, authid: &str) -> Value {
    json!({"table": "sessions", "record": {
        "oid": Uuid::from_u128(oid).to_string(),
        "session": session,
        "joined_at": "2026-11-22T12:00:00.000000000Z",
        "authid": authid,
    }})
}

fn open(store: &str) -> AnyStore {
    realmstore::open(store).unwrap()
}

#[test]
fn the_recording_comes_back_the_same_from_every_engine() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("recording.jsonl");
    let exported = export_to(&file, recording.path());
    for engine in engines() {
        let store = place(engine, &directory);
        assert_eq!(
            imported(&import(&store, &file, &[])),
            summary(4 + 117 + 276, 0, 0, 0)
        );
        assert!(export(&store) == exported, "{store}");
        // Indexes and history are what they are in the store that was exported.
        for (command, arguments) in [
            ("history", &[SUBSCRIPTION, "--json"][..]),
            ("subscriptions", &["--json"]),
        ] {
            let expected = clean_lines(&run_on(recording.path(), command, arguments));
            let found = clean_lines(&run_on(Path::new(&store), command, arguments));
            assert_eq!(found, expected, "{store}");
        }
        let store = realmstore::open_read_only(&store).unwrap();
        let txn = store.begin_read().unwrap();
        assert!(store.is_adopted(&txn).unwrap());
        assert_eq!(store.idx_sessions_by_session_id().count(&txn).unwrap(), 4);
    }
}

#[test]
fn stores_with_every_field_come_back_the_same_from_every_engine() {
    for seed in 1..=4 {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        fill(source.to_str().unwrap(), seed, 150);
        let file = directory.path().join("lines.jsonl");
        let exported = export_to(&file, &source);
        let records = exported.lines().count() as u64;
        for engine in engines() {
            let store = place(engine, &directory);
            assert_eq!(
                imported(&import(&store, &file, &[])),
                summary(records, 0, 0, 0)
            );
            assert!(export(&store) == exported, "{store}");
            // The same, without a file between.
            let beside = format!("{store}-from-store");
            assert_eq!(
                imported(&import(&beside, &source, &[])),
                summary(records, 0, 0, 0)
            );
            assert!(export(&beside) == exported, "{beside}");
            assert_eq!(
                imported(&import(&beside, &file, &[])),
                summary(0, records, 0, 0)
            );
        }
    }
}

#[test]
fn the_store_of_a_router_is_imported_as_it_is() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let data = recording.path().join("data.mdb");
    let before = fs::read(&data).unwrap();
    for (number, from) in [recording.path(), &data].into_iter().enumerate() {
        let store = directory.path().join(number.to_string());
        let store = store.to_str().unwrap();
        assert_eq!(imported(&import(store, from, &[])), summary(397, 0, 0, 0));
        assert_eq!(imported(&import(store, from, &[])), summary(0, 397, 0, 0));
        assert!(export(store) == text(&run_on(recording.path(), "export", &[])));
    }
    assert!(before == fs::read(&data).unwrap());
}

#[test]
fn a_router_s_own_store_has_already_what_was_exported_of_it() {
    let recording = copy_of_recording();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("recording.jsonl");
    let exported = export_to(&file, recording.path());
    let store = recording.path().to_str().unwrap();
    assert_eq!(imported(&import(store, &file, &[])), summary(0, 397, 0, 0));
    assert!(export(store) == exported);
}

#[test]
fn lines_may_come_by_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("not/made/yet");
    let mut tool = begin_import(&store);
    let mut input = tool.stdin.take().unwrap();
    write!(input, "\n{}\n\n{}", publication(1, "a"), event(1, 1)).unwrap();
    drop(input);
    let output = tool.wait_with_output().unwrap();
    assert_eq!(imported(&output), summary(2, 0, 0, 0));
}

fn begin_import(store: &Path) -> Child {
    let mut tool = realmstore(&["import", store.to_str().unwrap(), "-"]);
    let tool = tool.stdin(Stdio::piped()).stdout(Stdio::piped());
    tool.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_line_that_is_none_is_refused_by_number_and_the_others_are_imported() {
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<(String, &str)> = vec![
        (publication(1, "a").to_string(), ""),
        ("{\"table\":".to_owned(), "it is no JSON object: EOF while parsing a value, at byte 9"),
        ("[1]".to_owned(), "it is no JSON object: "),
        ("\u{fffd}".to_owned(), "it is no JSON object: "),
        ("{\"table\":\"x\",\"record\":{}}".to_owned(), "\"x\": there is no such table; there are sessions, publications, events"),
        ("{\"record\":{}}".to_owned(), "\"table\" must be one of"),
        ("{\"table\":\"events\"}".to_owned(), "\"record\" must be"),
        ("{\"table\":\"events\",\"record\":{},\"damaged\":1}".to_owned(), "\"damaged\" must be"),
        ("{\"table\":\"events\",\"record\":{},\"x\":1}".to_owned(), "\"x\": a line has"),
        (publication(0, "a").to_string(), "publications: publication is missing"),
        ("{\"table\":\"publications\",\"record\":{\"topic\":\"a\"}}".to_owned(), "publications: publication is missing"),
        ("{\"table\":\"sessions\",\"record\":{\"session\":1}}".to_owned(), "sessions: oid is missing"),
        ("{\"table\":\"sessions\",\"record\":{\"oid\":\"57e3e744-e0f7-4872-8a80-cc51bd5caf2f\"}}".to_owned(), "sessions: session is missing"),
        ("{\"table\":\"events\",\"record\":{\"subscription\":1}}".to_owned(), "events: publication is missing"),
        ("{\"table\":\"events\",\"record\":{\"publication\":1}}".to_owned(), "events: subscription is missing"),
        ("{\"table\":\"events\",\"record\":{\"publication\":\"1\"}}".to_owned(), "events: publication: expected a publication ID, an integer that is not negative, found \"1\""),
        ("{\"table\":\"events\",\"record\":{\"colour\":1}}".to_owned(), "events: \"colour\": there is no such field; there are timestamp, "),
        ("{\"table\":\"publications\",\"record\":{\"publication\":2,\"args\":[18446744073709551616]}}".to_owned(), "the integer 18446744073709551616 has more than 64 bits"),
        ("{\"table\":\"publications\",\"record\":{\"publication\":2,\"args\":[1],\"payload\":\"\\u0000AQ==\"}}".to_owned(), "has both a payload and args"),
        (publication(2, "a").to_string(), ""),
        (event(1, 1).to_string(), ""),
    ];
    let path = directory.path().join("lines.jsonl");
    let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    fs::write(&path, text).unwrap();
    let store = directory.path().join("store");
    let output = import(store.to_str().unwrap(), &path, &[]);
    assert_eq!(output.status.code(), Some(1));
    let refused: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter(|(_, (_, reason))| !reason.is_empty())
        .map(|(index, (_, reason))| (index + 1, *reason))
        .collect();
    let complaints = stderr(&output);
    assert_eq!(complaints.lines().count(), refused.len(), "{complaints}");
    for (complaint, (number, reason)) in complaints.lines().zip(&refused) {
        let beginning = format!("realmstore: refused: line {number}: ");
        assert!(
            complaint.starts_with(&beginning),
            "{complaint}: {beginning}"
        );
        assert!(complaint.contains(reason), "{complaint}: {reason}");
    }
    let expected = summary(3, 0, 0, refused.len() as u64);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(export(store.to_str().unwrap()).lines().count(), 3);
}

#[test]
fn another_record_under_the_same_key_is_refused_and_replaced_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    let mut other = event(1, 1);
    other["record"]["retained"] = json!(true);
    let before = [
        session(1, 10, "joe"),
        publication(1, "a"),
        event(1, 1),
        event(1, 2),
    ];
    let after = [
        session(1, 11, "ann"),
        publication(1, "b"),
        other,
        event(1, 2),
    ];
    let file = file_of(&directory, &before);
    assert_eq!(imported(&import(store, &file, &[])), summary(4, 0, 0, 0));
    let first = export(store);

    let file = file_of(&directory, &after);
    let output = import(store, &file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stdout.clone()).unwrap(),
        summary(0, 1, 0, 3)
    );
    for (number, complaint) in stderr(&output).lines().enumerate() {
        let line = number + 1;
        assert!(complaint.contains(&format!("line {line}: ")), "{complaint}");
        assert!(
            complaint
                .ends_with("the store has another record under this key: --replace overwrites it"),
            "{complaint}"
        );
    }
    assert_eq!(export(store), first);
    let from = directory.path().join("from");
    imported(&import(from.to_str().unwrap(), &file, &[]));
    // A store names its records by table and key.
    let complaints = stderr(&import(store, &from, &[]));
    for named in [
        "sessions 00000000-0000-0000-0000-000000000001",
        "publications 1",
        "events 7 at 2026",
    ] {
        assert!(
            complaints.contains(&format!("refused: {named}")),
            "{complaints}"
        );
    }

    assert_eq!(
        imported(&import(store, &file, &["--replace"])),
        summary(0, 1, 3, 0)
    );
    assert_eq!(
        imported(&import(store, &file, &["--replace"])),
        summary(0, 4, 0, 0)
    );
    assert!(export(store) == export(from.to_str().unwrap()));
    let opened = open(store);
    let txn = opened.begin_read().unwrap();
    assert_eq!(opened.idx_sessions_by_session_id().count(&txn).unwrap(), 1);
    assert_eq!(opened.idx_sessions_by_authid().count(&txn).unwrap(), 1);
    let history = opened.history(&txn, 7.try_into().unwrap(), HistoryQuery::default());
    assert_eq!(history.unwrap().count(), 1);
}

#[test]
fn a_session_that_another_stands_in_the_way_of_is_refused_and_the_others_of_its_batch_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    let lines = [
        session(1, 10, "joe"),
        session(2, 10, "ann"),
        event(1, 1),
        session(3, 11, "sue"),
        event(2, 1),
    ];
    let output = import(store, &file_of(&directory, &lines), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with(
            "realmstore: refused: line 2: sessions: another session has the session ID 10"
        ),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        summary(4, 0, 0, 1)
    );
    let opened = open(store);
    let txn = opened.begin_read().unwrap();
    assert_eq!(opened.idx_sessions_by_session_id().count(&txn).unwrap(), 2);
    assert_eq!(opened.events().count(&txn).unwrap(), 2);
}

#[test]
fn one_event_that_stands_in_a_file_twice_is_one_event() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    let mut other = event(1, 1);
    other["record"]["retained"] = json!(false);
    let lines = [
        event(1, 1),
        event(1, 2),
        event(1, 1),
        other,
        event(2, 1),
        event(1, 3),
    ];
    let output = import(store, &file_of(&directory, &lines), &[]);
    assert_eq!(
        String::from_utf8(output.stdout.clone()).unwrap(),
        summary(4, 1, 0, 1)
    );
    assert!(stderr(&output).contains("line 4: events: the store has another record"));
    let opened = open(store);
    let txn = opened.begin_read().unwrap();
    let history = opened.history(&txn, 7.try_into().unwrap(), HistoryQuery::default());
    assert_eq!(history.unwrap().count(), 2);
}

#[test]
fn damaged_publications_admit_nobody_whom_they_may_have_excluded() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    let damaged = |id: u64, fields: Value| {
        let mut line = publication(id, "a");
        line["damaged"] = json!(true);
        let record = line["record"].as_object_mut().unwrap();
        record.extend(fields.as_object().unwrap().clone());
        line
    };
    let lines = [
        damaged(1, json!({"exclude": []})),
        damaged(2, json!({"exclude_authid": ["joe"], "eligible": [7]})),
        damaged(3, json!({"exclude_authrole": []})),
        damaged(4, json!({"topic": ""})),
        damaged(5, json!({"eligible": []})),
        damaged(6, json!({"args": {"$cbor": "ggE="}, "eligible": [7]})),
    ];
    let file = file_of(&directory, &lines);
    let output = import(store, &file, &[]);
    assert_eq!(text(&output), summary(6, 0, 0, 0));
    let warnings = stderr(&output);
    assert_eq!(warnings.lines().count(), 6, "{warnings}");
    assert!(
        warnings.starts_with("realmstore: warning: line 1: imported as far as the damaged record"),
        "{warnings}"
    );
    assert_eq!(imported(&import(store, &file, &[])), summary(0, 6, 0, 0));
    let opened = open(store);
    let txn = opened.begin_read().unwrap();
    for id in 1..=6 {
        let id = PublicationId::new(id).unwrap();
        let publication: Publication = opened
            .publications()
            .get(&txn, &id)
            .unwrap()
            .unwrap()
            .to_owned()
            .unwrap();
        let eligible = publication.eligible.unwrap();
        let expected: &[SessionId] = if id.get() == 6 {
            &[SessionId::new(7).unwrap()]
        } else {
            &[]
        };
        assert_eq!(eligible, expected, "{id}");
    }
}

#[test]
fn damaged_records_of_a_store_are_imported_as_those_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    {
        let store = open(source.to_str().unwrap());
        let mut txn = store.begin_write().unwrap();
        let mut key = store.publications().slot().unwrap().to_be_bytes().to_vec();
        key.extend(3u64.to_be_bytes());
        txn.put(&key, b"this is no record").unwrap();
        let id = PublicationId::new(4).unwrap();
        let with_more_behind = Publication {
            args: Some(Cbor::from_bytes([0x81, 0x07, 0x00])),
            ..Publication::new(id, Timestamp::from_nanos(1), "a")
        };
        store
            .store_publication(&mut txn, &with_more_behind)
            .unwrap();
        txn.commit().unwrap();
    }
    let [from_store, from_file] =
        ["from-store", "from-file"].map(|name| directory.path().join(name));
    let output = import(from_store.to_str().unwrap(), &source, &[]);
    assert_eq!(text(&output), summary(2, 0, 0, 0));
    assert!(
        stderr(&output).contains("warning: publications 3: "),
        "{}",
        stderr(&output)
    );
    let file = directory.path().join("lines.jsonl");
    export_to(&file, &source);
    import(from_file.to_str().unwrap(), &file, &[]);
    let lines = clean_lines(&run_on(&from_file, "export", &[]));
    let expected = [
        json!({"table": "publications", "record": {"publication": 3, "eligible": []}}),
        json!({"table": "publications", "record": {
            "timestamp": "1970-01-01T00:00:00.000000001Z", "publication": 4, "topic": "a", "args": [7],
        }}),
    ];
    assert_eq!(lines, expected);
    assert_eq!(clean_lines(&run_on(&from_store, "export", &[])), lines);
    // What the damaged store itself has is neither taken for new nor overwritten.
    assert_eq!(
        text(&import(source.to_str().unwrap(), &file, &[])),
        summary(0, 2, 0, 0)
    );
}

#[test]
fn a_record_of_a_newer_version_is_refused_rather_than_cut_short() {
    let directory = tempfile::tempdir().unwrap();
    let [source, store] = ["source", "store"].map(|name| directory.path().join(name));
    {
        let store = open(source.to_str().unwrap());
        let mut txn = store.begin_write().unwrap();
        // Read as an event, a publication has more fields than are known.
        let newer = Publication {
            publisher: Some(SessionId::new(5).unwrap()),
            enc_serializer: Some(EncSerializer::CBOR),
            ..Publication::new(
                PublicationId::new(7).unwrap(),
                Timestamp::from_nanos(1),
                "a",
            )
        };
        let mut key = store.events().slot().unwrap().to_be_bytes().to_vec();
        key.extend([7u64, 1, 5, 0].map(u64::to_be_bytes).concat());
        txn.put(&key, &newer.to_bytes().unwrap()).unwrap();
        txn.commit().unwrap();
    }
    let output = import(store.to_str().unwrap(), &source, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output)
            .contains("it has fields that only a newer realmstore knows, which would be lost"),
        "{}",
        stderr(&output)
    );
    // Nor is it overwritten.
    let file = file_of(
        &directory,
        &[json!({"table": "events", "record": {
            "timestamp": "1970-01-01T00:00:00.000000001Z", "subscription": 7, "publication": 5,
        }})],
    );
    let output = import(source.to_str().unwrap(), &file, &["--replace"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("what it would replace has fields that only a newer"),
        "{}",
        stderr(&output)
    );
}

fn many_events(from: u64, count: u64) -> String {
    let lines =
        (from..from + count).map(|number| format!("{}\n", event(1 + number / 3, 1 + number % 3)));
    lines.collect()
}

#[test]
fn an_import_that_is_killed_is_completed_by_the_next_one() {
    const EVENTS: u64 = 30_000;
    let directory = tempfile::tempdir().unwrap();
    let lines = many_events(0, EVENTS);
    let file = directory.path().join("lines.jsonl");
    fs::write(&file, &lines).unwrap();
    let whole = directory.path().join("whole");
    imported(&import(whole.to_str().unwrap(), &file, &[]));
    let expected = export(whole.to_str().unwrap());

    let store = directory.path().join("killed");
    let mut had_part = false;
    for part in [100, 12_000, 24_000, 29_000] {
        let end = lines.match_indices('\n').nth(part).unwrap().0;
        let mut tool = begin_import(&store);
        // Half of a line is the last that it gets to read.
        tool.stdin
            .as_mut()
            .unwrap()
            .write_all(&lines.as_bytes()[..end - 20])
            .unwrap();
        tool.kill().unwrap();
        tool.wait().unwrap();
        // It may have been killed before LMDB had written anything.
        if fs::metadata(store.join("data.mdb")).is_ok_and(|file| file.len() > 0) {
            let there = text(&run_on(&store, "export", &[])).lines().count();
            assert!(there < EVENTS as usize);
            had_part |= there > 0;
        }
    }
    assert!(
        had_part,
        "nothing was committed before the end: the test shows less than it should"
    );
    text(&import(store.to_str().unwrap(), &file, &[]));
    assert!(export(store.to_str().unwrap()) == expected);
    // Each publication once, and all of them in its place.
    let history = |store| lines_of(&run_on(store, "history", &["7", "--json"]));
    assert_eq!(history(&store).len(), EVENTS as usize / 3);
    assert!(history(&store) == history(&whole));
}

#[test]
fn what_is_imported_is_committed_in_batches_of_bounded_size() {
    let directory = tempfile::tempdir().unwrap();
    let commits = |name: &str, lines: &str| {
        let file = directory.path().join("lines.jsonl");
        fs::write(&file, lines).unwrap();
        let store = directory.path().join(name);
        imported(&import(store.to_str().unwrap(), &file, &[]));
        let store = realmstore::open_read_only(store.to_str().unwrap()).unwrap();
        store.begin_read().unwrap().commit_number().unwrap()
    };
    let none = commits("none", "");
    assert_eq!(commits("one", &many_events(0, 1)), none + 1);
    assert_eq!(commits("many", &many_events(0, 20_001)), none + 3);
    // By their bytes: 40 publications of a MiB each.
    let large: String = (1..=40)
        .map(|id| format!("{}\n", publication(id, &"x".repeat(1 << 20))))
        .collect();
    let number = commits("large", &large) - none;
    assert!((5..=6).contains(&number), "{number}");
}

/// The memory that a process has of its own, in MiB.
#[cfg(target_os = "linux")]
fn own_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        >> 10
}

#[cfg(target_os = "linux")]
#[test]
fn an_input_that_is_larger_than_memory_may_be_is_imported_and_a_line_that_is_is_refused() {
    const LONGEST: usize = 64 << 20;
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let mut tool = begin_import(&store);
    let process = tool.id();
    let mut input = tool.stdin.take().unwrap();
    let mut peak = 0;
    let topic = "x".repeat(1 << 20);
    for id in 1..=200 {
        writeln!(input, "{}", publication(id, &topic)).unwrap();
        peak = peak.max(own_memory(process));
    }
    assert!(peak < 100, "{peak} MiB for 200 records of a MiB");
    let piece = vec![b' '; 1 << 20];
    for _ in 0..=3 * (LONGEST >> 20) {
        input.write_all(&piece).unwrap();
        peak = peak.max(own_memory(process));
    }
    assert!(peak < 250, "{peak} MiB for a line of 192 MiB");
    write!(input, "\n{}\n", publication(201, "a")).unwrap();
    drop(input);
    let (mut summary_line, mut complaints) = (String::new(), String::new());
    tool.stdout
        .take()
        .unwrap()
        .read_to_string(&mut summary_line)
        .unwrap();
    tool.stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaints)
        .unwrap();
    assert_eq!(tool.wait().unwrap().code(), Some(1));
    assert_eq!(summary_line, summary(201, 0, 0, 1));
    assert_eq!(
        complaints,
        "realmstore: refused: line 201: it has more than the 67108864 bytes that a line may have\n"
    );
}

#[test]
fn where_there_is_nothing_to_import_no_store_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    for from in ["nothing.jsonl", "lmdb:nothing"] {
        let output = import(store.to_str().unwrap(), Path::new(from), &[]);
        assert_eq!(output.status.code(), Some(2), "{from}");
        assert!(stderr(&output).contains("nothing"), "{}", stderr(&output));
        assert!(!store.exists(), "{from}");
    }
    let file = file_of(&directory, &[event(1, 1)]);
    let output = import("memory:", &file, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("needs a store that stays"));
    // What is no store does not become one.
    fs::create_dir(&store).unwrap();
    fs::write(store.join("data.mdb"), vec![7; 8192]).unwrap();
    let output = import(store.to_str().unwrap(), &file, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(fs::read(store.join("data.mdb")).unwrap(), vec![7; 8192]);
}
