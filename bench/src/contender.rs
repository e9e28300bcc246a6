//! A system in a process of its own.
//!
//! In one process two systems would share what is not theirs to share: the
//! memory allocator, RocksDB's threads, sled's collector of garbage. So each has
//! a process, which is told what to do line by line and takes the time itself.

#![allow(clippy::expect_used, reason = "a system that fails ends the benchmark")]

use std::env;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::Generator;
use crate::line_up;
use crate::measure::timed;
use crate::systems::{Sync, Touched};
use crate::workloads::read::{NEWEST, latest_of, subscriptions};

/// What a system is to be measured with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// As in the line-up.
    pub system: String,
    pub sync: Sync,
    /// How many publications it is given in all, and how many records at once.
    pub publications: u64,
    pub batch: u64,
}

/// What a system is asked to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Ask {
    /// To store the next batches.
    Ingest { batches: usize },
    /// To put all of it on disk.
    Settle,
    /// The newest events of some subscriptions.
    Newest { round: usize, queries: usize },
    /// The latest of some sessions.
    Latest { round: usize, queries: usize },
    /// A walk over all publications.
    Scan,
    /// The same, with topics known to be UTF-8.
    ScanChecked,
}

/// What it did.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Answer {
    nanos: u64,
    /// What was read.
    pub touched: Touched,
    /// The records that were stored, or the bytes that they take on disk.
    pub number: u64,
}

impl Answer {
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// A system at work, until it is dropped.
pub struct Contender {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Contender {
    pub fn start(task: &Task, directory: &Path) -> Self {
        let program = env::current_exe().expect("this program has a file");
        let task_line = serde_json::to_string(task).expect("a task is JSON");
        let mut child = Command::new(program)
            .arg("--serve")
            .arg(task_line)
            .arg("--stores")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        Self {
            name: task.system.clone(),
            requests: child.stdin.take().expect("a pipe to it"),
            answers: BufReader::new(child.stdout.take().expect("a pipe from it")),
            child,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn ask(&mut self, ask: Ask) -> Answer {
        let line = serde_json::to_string(&ask).expect("a request is JSON");
        writeln!(self.requests, "{line}").expect("the system takes a request");
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        read.expect("the system answers");
        serde_json::from_str(&answer)
            .expect("an answer of the system, which says above what failed")
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // Its store is thrown away: there is nothing that it would have to close.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does what the process that has started this one asks for, until it has gone.
///
/// # Errors
/// When the other process does not keep to what was agreed.
pub fn serve(task: &str, directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let task: Task = serde_json::from_str(task)?;
    let mut system = line_up::open(&task.system, directory, task.sync)?;
    let mut generator = Generator::new(task.publications, task.batch);
    for line in io::stdin().lock().lines() {
        let mut answer = Answer::default();
        let time = match serde_json::from_str(&line?)? {
            Ask::Ingest { batches } => {
                let batches: Vec<_> = generator.by_ref().take(batches).collect();
                answer.number = batches.iter().map(|batch| batch.records()).sum();
                timed(|| batches.iter().for_each(|batch| system.ingest(batch))).0
            }
            Ask::Settle => {
                let (time, bytes) = timed(|| system.settle());
                answer.number = bytes;
                time
            }
            Ask::Newest { round, queries } => {
                let busy = generator.subscriptions(NEWEST as u64);
                let asked: Vec<_> = subscriptions(&busy, round, queries).collect();
                let (time, touched) = timed(|| {
                    let answers = asked.iter().map(|id| system.newest(*id, NEWEST));
                    black_box(answers.fold(Touched::default(), Touched::and))
                });
                answer.touched = touched;
                time
            }
            Ask::Latest { round, queries } => {
                let asked: Vec<_> = latest_of(generator.sessions(), round, queries).collect();
                let (time, touched) = timed(|| {
                    let answers = asked.iter().map(|id| system.latest_session(*id));
                    black_box(answers.fold(Touched::default(), Touched::and))
                });
                answer.touched = touched;
                time
            }
            Ask::Scan => {
                let (time, touched) = timed(|| black_box(system.scan_publications()));
                answer.touched = touched;
                time
            }
            Ask::ScanChecked => {
                let (time, touched) = timed(|| black_box(system.scan_checked()));
                answer.touched = touched;
                time
            }
        };
        answer.nanos = u64::try_from(time.as_nanos())?;
        let line = serde_json::to_string(&answer)?;
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(())
}
