//! The realm store that Crossbar.io itself uses: cfxdb, in Python, on zlmdb and LMDB.
//!
//! It cannot be linked, so it runs in a process of its own (`cfxdb.py`), which
//! takes the time of what it does itself.

#![allow(clippy::expect_used, reason = "a failure ends the benchmark")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use realmstore::cbor::Cbor;
use realmstore::{Dispatch, PublicationId, Session, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::data::Batch;
use crate::systems::Sync;

/// What the tests beside Crossbar.io install as well.
const REQUIREMENTS: &str = include_str!("../../../realmstore-cli/tests/common/requirements.txt");

/// A Python that has cfxdb.
pub struct Python(PathBuf);

/// Installs cfxdb from PyPI into the target directory, where the tests look for
/// it too, unless it is there already.
///
/// # Errors
/// What failed, and what may help.
pub fn install() -> Result<Python, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let target = target.join("tmp");
    let venv = target.join("python");
    let python = venv.join("bin/python");
    let done = venv.join("requirements.txt");
    let failed = |error: std::io::Error| format!("{}: {error}", target.display());
    fs::create_dir_all(&target).map_err(failed)?;
    // Whoever comes first installs, the others wait.
    let lock = File::create(target.join("python.lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if !fs::read_to_string(&done).is_ok_and(|installed| installed == REQUIREMENTS) {
        let venv_made = Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv)
            .output();
        succeeded("making a Python environment", venv_made)?;
        let requirements = venv.join("to-install.txt");
        fs::write(&requirements, REQUIREMENTS).map_err(failed)?;
        let installed = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "-r"])
            .arg(&requirements)
            .output();
        succeeded("installing cfxdb", installed)?;
        fs::rename(&requirements, &done).map_err(failed)?;
    }
    Ok(Python(python))
}

fn succeeded(what: &str, output: std::io::Result<std::process::Output>) -> Result<(), String> {
    let problem = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "{what} failed: {}\nIt takes python3, 3.11 or newer, with venv (Debian: apt-get install python3-venv) \
         and access to PyPI.",
        problem.trim_end()
    ))
}

/// A running cfxdb. It has a store from the first [`ingest`](Self::ingest) on.
pub struct Cfxdb {
    child: Child,
    requests: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Answer {
    nanos: u64,
    rows: u64,
}

impl Cfxdb {
    /// Starts it; it keeps its store in this directory.
    pub fn start(python: &Python, directory: &Path) -> Self {
        // Without -P the script, which has the same name, would hide the package.
        let mut child = Command::new(&python.0)
            .arg("-P")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cfxdb/cfxdb.py"))
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        Self {
            requests: BufWriter::new(child.stdin.take().expect("a pipe to it")),
            answers: BufReader::new(child.stdout.take().expect("a pipe from it")),
            child,
        }
    }

    /// Stores all batches in a new store, each in one transaction.
    pub fn ingest(&mut self, sync: Sync, batches: &[Batch]) -> Duration {
        let durable = sync == Sync::Durable;
        self.send(&json!({"do": "ingest", "durable": durable, "batches": batches.len()}));
        for batch in batches {
            self.send(&json!({
                "sessions": batch.sessions.iter().map(session).collect::<Vec<_>>(),
                "dispatches": batch.dispatches.iter().map(dispatch).collect::<Vec<_>>(),
            }));
        }
        let answer = self.answer();
        assert_eq!(answer.rows, batches.iter().map(Batch::records).sum::<u64>());
        Duration::from_nanos(answer.nanos)
    }

    /// Of each of these publications the time and the topic.
    pub fn point_reads(&mut self, publications: &[PublicationId]) -> Duration {
        self.read("point_reads", publications).0
    }

    /// Every field of each of these publications.
    pub fn whole_records(&mut self, publications: &[PublicationId]) -> Duration {
        self.read("whole_records", publications).0
    }

    /// Of every publication in the order of their IDs the time, the publisher
    /// and the topic; and how many there are.
    pub fn scan(&mut self) -> (Duration, u64) {
        self.read::<PublicationId>("scan", &[])
    }

    /// The sessions with these IDs that joined last: the time of joining and the authid.
    pub fn session_lookups(&mut self, ids: &[SessionId]) -> Duration {
        self.read("session_lookups", ids).0
    }

    fn read<Id: Copy + Into<u64>>(&mut self, what: &str, ids: &[Id]) -> (Duration, u64) {
        let ids: Vec<u64> = ids.iter().copied().map(Into::into).collect();
        self.send(&json!({"do": what, "ids": ids}));
        let answer = self.answer();
        (Duration::from_nanos(answer.nanos), answer.rows)
    }

    fn send(&mut self, line: &Value) {
        writeln!(self.requests, "{line}").expect("cfxdb.py takes a request");
    }

    fn answer(&mut self) -> Answer {
        self.requests.flush().expect("cfxdb.py takes a request");
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("cfxdb.py is running");
        serde_json::from_str(&line).expect("an answer of cfxdb.py, which says above what failed")
    }
}

impl Drop for Cfxdb {
    fn drop(&mut self) {
        // Its store is thrown away: there is nothing that it would have to close.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The fields of a session that are set, as cfxdb names them.
fn session(session: &Session) -> Value {
    set(json!({
        "oid": session.oid.to_string(),
        "arealm_oid": session.arealm_oid.map(|oid| oid.to_string()),
        "session": u64::from(session.session),
        "joined_at": session.joined_at.map(|time| time.as_nanos()),
        "left_at": session.left_at.map(|time| time.as_nanos()),
        "node_authid": session.node_authid,
        "worker_name": session.worker_name,
        "worker_pid": session.worker_pid,
        "transport": session.transport.as_ref().map(plain),
        "realm": session.realm,
        "authid": session.authid,
        "authrole": session.authrole,
        "authmethod": session.authmethod,
        "authprovider": session.authprovider,
        "authextra": session.authextra.as_ref().map(plain),
    }))
}

/// A publication and its events. `enc_algo` and `enc_serializer` are left out:
/// cfxdb does not take that there is none.
fn dispatch(dispatch: &Dispatch) -> Value {
    let publication = &dispatch.publication;
    let id = u64::from(publication.publication);
    let events = dispatch.deliveries.iter().flat_map(|delivery| {
        // A subscription has one event for each nanosecond: where Crossbar.io
        // takes the time anew for each receiver, here it goes on by one.
        (delivery.timestamp.as_nanos()..)
            .zip(&delivery.receivers)
            .map(move |(timestamp, receiver)| {
                set(json!({
                    "timestamp": timestamp,
                    "subscription": u64::from(delivery.subscription),
                    "publication": id,
                    "receiver": u64::from(*receiver),
                    "retained": delivery.retained,
                    "acknowledged_delivery": delivery.acknowledged_delivery,
                }))
            })
    });
    json!({
        "publication": set(json!({
            "timestamp": publication.timestamp.as_nanos(),
            "publication": id,
            "publisher": publication.publisher.map(u64::from),
            "topic": publication.topic,
            "args": publication.args.as_ref().map(plain),
            "kwargs": publication.kwargs.as_ref().map(plain),
            "acknowledge": publication.acknowledge,
            "retain": publication.retain,
            "exclude_me": publication.exclude_me,
            "eligible_authrole": publication.eligible_authrole,
        })),
        "events": events.collect::<Vec<_>>(),
    })
}

/// The fields that are set.
fn set(mut fields: Value) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    fields
}

fn plain(cbor: &Cbor) -> Value {
    cbor.as_ref().deserialize().expect("what was JSON before")
}
