//! Running the tool, and stores to run it on.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]

pub mod as_cfxdb;
pub mod every_field;
pub mod python;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The subscription of the recording with the longest history.
pub const SUBSCRIPTION: &str = "5926138259517046";

pub fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recording")
}

/// A copy of the recorded store, which is removed at the end.
pub fn copy_of_recording() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(
        recording().join("data.mdb"),
        directory.path().join("data.mdb"),
    )
    .unwrap();
    directory
}

/// The tool, about to run.
pub fn realmstore(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_realmstore"));
    command.args(arguments);
    command
}

/// Runs a command on a store (given as its first argument after the name).
pub fn run_on(store: &Path, command: &str, arguments: &[&str]) -> Output {
    let all = [&[command, store.to_str().unwrap()], arguments].concat();
    realmstore(&all).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Standard output of a command that succeeds.
pub fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The lines of JSON of a command that succeeds.
pub fn lines(output: &Output) -> Vec<Value> {
    text(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines of JSON of a command that succeeds and has nothing to complain of.
pub fn clean_lines(output: &Output) -> Vec<Value> {
    let lines = lines(output);
    assert_eq!(stderr(output), "");
    lines
}
