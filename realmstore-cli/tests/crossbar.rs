//! Beside a running Crossbar.io: a real router stores what real clients do,
//! and the tool reads its store while it does and after.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::as_cfxdb::normalised;
use common::python::{lmdb_of, peer, program, script};
use common::{clean_lines, lines, run_on, stderr, text};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the router may take to start, to store what it was given, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The router records everything below this.
const RECORDED: &str = "com.example.";

const ROUTER_LOG: &str = "router.log";
const CLIENTS_LOG: &str = "clients.log";

/// A node directory, the store, and the output of all that runs in it.
struct Node {
    directory: TempDir,
    port: u16,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
            port: TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port(),
        };
        let role = |name: &str| {
            json!({"name": name, "permissions": [{
                "uri": "", "match": "prefix",
                "allow": {"call": true, "register": true, "publish": true, "subscribe": true},
            }]})
        };
        let ticket = json!({"ticket": "secret", "role": "frontend"});
        let config = json!({
            "version": 2,
            "workers": [{
                "type": "router",
                "realms": [{
                    "name": "realm1",
                    "roles": [role("anonymous"), role("frontend")],
                    "store": {"type": "cfxdb", "path": node.store(), "event-history": [
                        {"uri": RECORDED, "match": "prefix"},
                        {"uri": "com.example.a", "match": "exact"},
                    ]},
                }],
                "transports": [{
                    "type": "websocket",
                    "endpoint": {"type": "tcp", "interface": "127.0.0.1", "port": node.port},
                    "auth": {
                        "anonymous": {"type": "static", "role": "anonymous"},
                        "ticket": {"type": "static", "principals": {"alice": ticket, "bob": ticket, "publisher": ticket}},
                    },
                }],
            }],
        });
        fs::create_dir(node.path("node")).unwrap();
        fs::write(node.path("node/config.json"), config.to_string()).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The end of a log, for a process to write to.
    fn log(&self, name: &str) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap()
    }

    fn start(&self) -> Router<'_> {
        let process = program("crossbar")
            .args(["edge", "start", "--cbdir"])
            .arg(self.path("node"))
            .args(["--color", "false", "--logformat", "standard"])
            // Should this test be killed, the router is not there forever.
            .args(["--shutdownafter", "300"])
            .stdin(Stdio::null())
            .stdout(self.log(ROUTER_LOG))
            .stderr(self.log(ROUTER_LOG))
            .process_group(0)
            .spawn()
            .unwrap();
        let mut router = Router {
            node: self,
            process,
            ready_at: 0,
        };
        wait_until("the router listens", || {
            assert_eq!(router.process.try_wait().unwrap(), None);
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        router.ready_at = self.log(ROUTER_LOG).metadata().unwrap().len() as usize;
        router
    }

    fn connect(&self) -> Clients {
        let mut process = script("crossbar/drive.py")
            .arg(format!("ws://127.0.0.1:{}/", self.port))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log(CLIENTS_LOG))
            .spawn()
            .unwrap();
        let mut clients = Clients {
            rounds: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            sessions: Vec::new(),
            subscriptions: Vec::new(),
            published: Vec::new(),
            deliveries: Vec::new(),
        };
        let there = clients.answer();
        clients.sessions = array(&there["sessions"]);
        clients.subscriptions = array(&there["subscriptions"]);
        clients
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            for name in [ROUTER_LOG, CLIENTS_LOG] {
                let log = fs::read(self.path(name)).unwrap_or_default();
                eprintln!("{name}:\n{}", String::from_utf8_lossy(&log));
            }
        }
    }
}

/// A router that runs, and does not any more when this is dropped.
struct Router<'a> {
    node: &'a Node,
    process: Child,
    ready_at: usize,
}

impl Router<'_> {
    /// Fails when the router complained of anything since it was ready.
    fn assert_well(&mut self) {
        assert_eq!(self.process.try_wait().unwrap(), None);
        let log = fs::read(self.node.path(ROUTER_LOG)).unwrap();
        let log = String::from_utf8_lossy(&log[self.ready_at..]);
        let complaints: Vec<_> = log
            .lines()
            .filter(|line| {
                ["Traceback", "MDB_", "Error", "encountered", "failed"]
                    .iter()
                    .any(|word| line.contains(word))
            })
            .collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    fn stop(mut self) {
        self.assert_well();
        // As Ctrl+C does: after this its status tells whether all went well.
        self.signal("INT", self.process.id().into());
        let mut ended = None;
        wait_until("the router stops", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.as_ref().is_some_and(ExitStatus::success), "{ended:?}");
    }

    /// To a process, or to a group of them whose number is negative.
    fn signal(&self, signal: &str, to: i64) {
        let kill = format!("kill -s {signal} -- {to} 2>/dev/null");
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
}

impl Drop for Router<'_> {
    fn drop(&mut self) {
        // The router is several processes.
        self.signal("KILL", -i64::from(self.process.id()));
        let _ = self.process.wait();
    }
}

/// WAMP clients that are connected, and not any more when this is dropped.
struct Clients {
    process: Child,
    rounds: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    sessions: Vec<Value>,
    subscriptions: Vec<Value>,
    /// What was published up to now on topics that are recorded, in order.
    published: Vec<Value>,
    /// What was delivered of that: subscription, publication, receiver.
    deliveries: Vec<[u64; 3]>,
}

impl Clients {
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the clients failed")
    }

    /// Publishes one more round.
    fn publish(&mut self) {
        self.rounds.as_mut().unwrap().write_all(b"\n").unwrap();
        let round = self.answer();
        let recorded = array(&round["published"])
            .into_iter()
            .filter(|message| message["topic"].as_str().unwrap().starts_with(RECORDED));
        self.published.extend(recorded);
        let recorded: BTreeSet<_> = self.published.iter().map(publication_of).collect();
        let delivered = array(&round["deliveries"])
            .into_iter()
            .map(|row| [0, 1, 2].map(|column| row[column].as_u64().unwrap()))
            .filter(|[_, publication, _]| recorded.contains(publication));
        self.deliveries.extend(delivered);
    }

    /// The publications that came to a subscription, in order.
    fn history_of(&self, subscription: u64) -> Vec<&Value> {
        let delivered: BTreeSet<_> = self
            .deliveries
            .iter()
            .filter(|[to, ..]| *to == subscription)
            .map(|[_, publication, _]| *publication)
            .collect();
        let published = self.published.iter();
        published
            .filter(|message| delivered.contains(&publication_of(message)))
            .collect()
    }

    fn leave(&mut self) {
        drop(self.rounds.take());
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the clients failed: {status}");
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "waited for {PATIENCE:?} until {what}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

fn publication_of(row: &Value) -> u64 {
    row["publication"].as_u64().unwrap()
}

/// The numbers of publications and of events that Crossbar.io's tables hold.
fn stored(store: &Path) -> [u64; 2] {
    let info = &clean_lines(&run_on(store, "info", &["--json"]))[0];
    let tables = array(&info["tables"]);
    ["_publication.Publications", "_event.Events"].map(|name| {
        let table = tables.iter().find(|table| {
            table["name"]
                .as_str()
                .is_some_and(|full| full.ends_with(name))
        });
        table.unwrap()["rows"].as_u64().unwrap()
    })
}

/// The router stores what it has collected five times a second.
fn wait_until_stored(store: &Path, publications: usize, events: usize) {
    let wanted = [publications as u64, events as u64];
    let mut found = [0; 2];
    wait_until("everything is stored", || {
        found = stored(store);
        found >= wanted
    });
    assert_eq!(found, wanted, "publications and events");
}

/// Exports the store again and again while something is done, and looks whether each export is one snapshot.
fn while_reading(store: &Path, act: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut exports, mut most) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let rows = lines(&run_on(store, "export", &[]));
                let table =
                    |name: &'static str| rows.iter().filter(move |row| row["table"] == name);
                let publications: BTreeSet<_> = table("publications")
                    .map(|row| publication_of(&row["record"]))
                    .collect();
                // The router writes an event after its publication.
                for row in table("events") {
                    assert!(
                        publications.contains(&publication_of(&row["record"])),
                        "{row}"
                    );
                }
                assert!(rows.len() >= most, "{} rows after {most}", rows.len());
                most = rows.len();
                exports += 1;
            }
            exports
        });
        let finish = Finish(&done);
        act();
        drop(finish);
        reader.join().unwrap()
    })
}

/// Ends the reader also when what it reads beside panics.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Compares what the clients saw with everything that the tool reads. Returns
/// how many records cfxdb has damaged.
fn assert_read(store: &Path, clients: &Clients) -> usize {
    let sessions = clean_lines(&run_on(store, "sessions", &["--json"]));
    for client in &clients.sessions {
        let found: Vec<_> = sessions
            .iter()
            .filter(|session| session["session"] == client["session"])
            .collect();
        assert_eq!(found.len(), 1, "{client}");
        for (name, value) in client.as_object().unwrap() {
            assert_eq!(found[0][name], *value, "{name} of {client}");
        }
        assert_eq!(found[0]["realm"], "realm1");
    }

    let output = run_on(store, "export", &[]);
    let warnings = stderr(&output);
    let rows = lines(&output);
    let publications: BTreeMap<_, _> = rows
        .iter()
        .filter(|row| row["table"] == "publications")
        .map(|row| (publication_of(&row["record"]), row))
        .collect();
    let mut damaged = BTreeSet::new();
    for message in &clients.published {
        let id = publication_of(message);
        let row = publications[&id];
        let mut record = row["record"].clone();
        if row["damaged"] == true {
            damaged.insert(id);
            let lost = ["exclude", "eligible"]
                .iter()
                .find(|list| record[list] == json!([]) && array(&message[list]).len() % 2 == 1);
            assert!(lost.is_some(), "{row}");
            assert!(
                warnings.contains(&format!("publications {id}: ")),
                "{warnings}"
            );
            continue;
        }
        record.as_object_mut().unwrap().remove("timestamp");
        assert_eq!(normalised(&record), normalised(message));
    }

    let receptions = rows
        .iter()
        .filter(|row| row["table"] == "events")
        .map(|row| {
            ["subscription", "publication", "receiver"]
                .map(|name| row["record"][name].as_u64().unwrap())
        });
    let receptions: BTreeSet<_> = receptions.collect();
    for delivery in &clients.deliveries {
        assert!(receptions.contains(delivery), "{delivery:?} is not stored");
    }

    for each in &clients.subscriptions {
        let subscription = each["subscription"].as_u64().unwrap();
        let name = subscription.to_string();
        let wanted = clients.history_of(subscription);
        let output = run_on(store, "history", &[&name, "--json"]);
        if wanted.is_empty() {
            // Nothing was ever dispatched under it.
            assert_eq!(output.status.code(), Some(2), "{each}");
            assert!(stderr(&output).contains("no history is kept of subscription"));
            continue;
        }
        let found = lines(&output);
        let ids = |rows: &[Value]| rows.iter().map(publication_of).collect::<Vec<_>>();
        let mut wanted_ids: Vec<_> = wanted
            .iter()
            .map(|message| publication_of(message))
            .collect();
        assert_eq!(ids(&found), wanted_ids, "{each}");
        assert!(found.is_sorted_by_key(|row| row["timestamp"].as_str().unwrap().to_owned()));
        for (row, message) in found.iter().zip(wanted) {
            assert_eq!(row["subscription"], subscription);
            assert_eq!(
                row["damaged"] == true,
                damaged.contains(&publication_of(row))
            );
            if row["damaged"] == true {
                continue;
            }
            let details = &row["details"];
            assert_eq!(details["topic"], message["topic"], "{row}");
            assert_eq!(details["publisher"], message["publisher"], "{row}");
            for carried in ["args", "kwargs"] {
                let carried = |row: &Value| normalised(&json!({carried: row[carried]}));
                assert_eq!(carried(row), carried(message));
            }
        }
        wanted_ids.reverse();
        wanted_ids.truncate(3);
        let newest = ["--json", "--reverse", "--limit", "3"];
        let newest = lines(&run_on(
            store,
            "history",
            &[&[&*name], &newest[..]].concat(),
        ));
        assert_eq!(ids(&newest), wanted_ids, "{each}");
    }
    damaged.len()
}

/// Inode, owner, group and mode of each file, and of the directory itself.
fn files(store: &Path) -> BTreeMap<String, [u64; 4]> {
    let of = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        let [owner, group, mode] = [metadata.uid(), metadata.gid(), metadata.mode()].map(u64::from);
        [metadata.ino(), owner, group, mode]
    };
    let mut files: BTreeMap<_, _> = fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), of(&entry.path())))
        .collect();
    files.insert(".".to_owned(), of(store));
    files
}

/// Reads a store that nobody has open; reading leaves no trace.
fn assert_read_at_rest(store: &Path, clients: &Clients) {
    // Whoever opens the database with LMDB makes it again.
    fs::remove_file(store.join("lock.mdb")).unwrap();
    let state = || {
        let data = store.join("data.mdb");
        let modified = fs::metadata(&data).unwrap().modified().unwrap();
        (files(store), modified, fs::read(data).unwrap())
    };
    let before = state();
    assert_read(store, clients);
    assert!(before == state(), "reading changed {}", store.display());
}

/// Reads the store of a router that goes on storing.
fn beside_a_running_router(lmdb: &str) {
    let node = Node::new();
    let store = node.store();
    if lmdb == "0.9" {
        // A new database of Crossbar.io's would have the format of LMDB 1.0, but it goes on with what is there.
        peer("empty", &store, &["--lmdb", lmdb]);
    }
    let mut router = node.start();
    assert_eq!(lmdb_of(&store), lmdb);
    let mut clients = node.connect();
    let before = files(&store);

    let mut sizes = Vec::new();
    for _ in 0..4 {
        let exports = while_reading(&store, || {
            clients.publish();
            wait_until_stored(&store, clients.published.len(), clients.deliveries.len());
        });
        assert!(exports > 0);
        let damaged = assert_read(&store, &clients);
        assert!(
            damaged > 0,
            "cfxdb damaged nothing: the test shows less than it should"
        );
        router.assert_well();
        assert_eq!(files(&store), before);
        sizes.push(fs::metadata(store.join("data.mdb")).unwrap().len());
    }
    assert!(
        sizes.is_sorted() && sizes[0] < sizes[3],
        "the file did not grow: {sizes:?}"
    );

    clients.leave();
    router.stop();
    assert_read_at_rest(&store, &clients);
}

#[test]
fn a_store_of_lmdb_10_is_read_while_crossbar_writes_it() {
    beside_a_running_router("1.0");
}

#[test]
fn a_store_of_lmdb_09_is_read_while_crossbar_writes_it() {
    beside_a_running_router("0.9");
}

#[test]
fn crossbar_goes_on_with_a_store_that_was_adopted() {
    let node = Node::new();
    let store = node.store();
    peer("empty", &store, &["--lmdb", "0.9"]);
    let mut publications = 0;
    let mut runs: Vec<Clients> = Vec::new();
    for _ in 0..2 {
        let router = node.start();
        let mut clients = node.connect();
        clients.publish();
        publications += clients.published.len();
        // Adopting moves the events out of Crossbar.io's table, so there are only those of this run.
        wait_until_stored(&store, publications, clients.deliveries.len());
        clients.leave();
        router.stop();
        runs.push(clients);
        for clients in &runs {
            assert_read(&store, clients);
        }

        text(&run_on(&store, "adopt", &[]));
        for clients in &runs {
            assert_read(&store, clients);
        }
    }
}

/// Crossbar.io's own default for `maxsize`.
const MAP_SIZE: &str = "128MiB";

#[test]
fn a_store_of_lmdb_10_is_written_to_while_crossbar_has_it_open() {
    let node = Node::new();
    let store = node.store();
    let mut router = node.start();
    let mut clients = node.connect();
    let before = files(&store);
    clients.publish();
    wait_until_stored(&store, clients.published.len(), clients.deliveries.len());

    let refused = run_on(&store, "adopt", &[]);
    assert_eq!(refused.status.code(), Some(2));
    let message = stderr(&refused);
    assert!(message.contains("is open in process "), "{message}");
    assert!(message.contains("--size-limit"), "{message}");
    text(&run_on(&store, "adopt", &["--size-limit", MAP_SIZE]));
    assert_read(&store, &clients);
    router.assert_well();

    // What the router stores on top of that is in every answer,
    let adopted = clients.deliveries.len();
    clients.publish();
    wait_until_stored(
        &store,
        clients.published.len(),
        clients.deliveries.len() - adopted,
    );
    assert_read(&store, &clients);
    let is_adopted = || lines(&run_on(&store, "info", &["--json"]))[0]["adopted"] == true;
    assert!(!is_adopted());
    let verified = run_on(&store, "verify", &["--json"]);
    let findings: Vec<_> = String::from_utf8(verified.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(
        findings.iter().all(|finding| !finding.contains("history")),
        "{findings:?}"
    );

    // and in our indexes with the next thing that we write.
    let session = json!({"table": "sessions", "record": {
        "oid": "00000000-0000-4000-8000-000000000001",
        "session": 4711,
        "joined_at": "2026-11-22T12:00:00.000000000Z",
        "realm": "realm1",
        "authid": "imported",
    }});
    let file = node.directory.path().join("session.jsonl");
    fs::write(&file, session.to_string()).unwrap();
    let arguments = [file.to_str().unwrap(), "--size-limit", MAP_SIZE];
    text(&run_on(&store, "import", &arguments));
    assert!(is_adopted());
    assert_read(&store, &clients);
    router.assert_well();

    // The router goes on storing, and a backup has all of it.
    let adopted = clients.deliveries.len();
    clients.publish();
    wait_until_stored(
        &store,
        clients.published.len(),
        clients.deliveries.len() - adopted,
    );
    let backup = node.directory.path().join("backup");
    text(&run_on(&store, "backup", &[backup.to_str().unwrap()]));
    assert_read(&backup, &clients);
    router.assert_well();
    assert_eq!(files(&store), before);
    clients.leave();
    router.stop();
}
