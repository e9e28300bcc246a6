//! What the tests share.
#![allow(dead_code, unused_imports, reason = "not every test uses everything")]
#![allow(
    clippy::print_stdout,
    reason = "processes of a test talk over their output"
)]

mod this_format;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use lmdb::{LmdbBackend, LmdbOptions};
use realmstore_core::{
    Backend, Error, ErrorKind, KeyRange, Order, ReadTxn, Result, Scan, WriteTxn,
};
use tempfile::TempDir;

pub(crate) use this_format::*;

pub(crate) const MIB: usize = 1 << 20;

/// A directory in which a store may be made, and its path.
pub(crate) fn scratch() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    (directory, path)
}

/// A closed store with `key0`, `key1` and so on in it.
pub(crate) fn store_with(path: &Path, entries: usize) {
    let store = LmdbBackend::open(path).unwrap();
    put_all(
        &store,
        (0..entries).map(|n| (format!("key{n}"), vec![n as u8; 100])),
    )
    .unwrap();
}

pub(crate) fn put_all(
    store: &LmdbBackend,
    entries: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<()> {
    let mut transaction = store.begin_write()?;
    for (key, value) in entries {
        transaction.put(key.as_bytes(), &value)?;
    }
    transaction.commit()
}

/// A store whose map is as small as can be.
pub(crate) fn small_store(path: &Path, grow_timeout: Duration) -> LmdbBackend {
    LmdbOptions::new()
        .map_size(MIB)
        .grow_timeout(grow_timeout)
        .open(path)
        .unwrap()
}

pub(crate) fn data_file(path: &Path) -> PathBuf {
    path.join("data.mdb")
}

/// Overwrites bytes of the data file.
pub(crate) fn patch(path: &Path, at: usize, bytes: &[u8]) {
    let mut data = fs::read(data_file(path)).unwrap();
    data[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(data_file(path), data).unwrap();
}

/// Overwrites the same bytes of both header pages.
pub(crate) fn patch_headers(path: &Path, at: usize, bytes: &[u8]) {
    patch(path, at, bytes);
    patch(path, page_size(path) + at, bytes);
}

pub(crate) fn page_size(path: &Path) -> usize {
    let data = fs::read(data_file(path)).unwrap();
    u32::from_ne_bytes(data[META + 24..META + 28].try_into().unwrap()) as usize
}

/// A store that another process may have open.
pub(crate) fn beside_another(path: &Path) -> LmdbBackend {
    LmdbOptions::new().size_limit(64 * MIB).open(path).unwrap()
}

/// The error that opening ends with, which must name the place.
pub(crate) fn open_error(options: &LmdbOptions, path: &Path) -> Error {
    let error = options.open(path).expect_err("the store opened");
    let text = error.to_string();
    assert!(text.starts_with(&format!("{ENGINE}: open: ")), "{text}");
    assert!(
        text.contains(path.to_str().unwrap()),
        "{text} does not name {}",
        path.display()
    );
    error
}

pub(crate) fn assert_open_fails(path: &Path, kind: ErrorKind, text: &str) {
    let error = open_error(&LmdbOptions::new(), path);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        error.to_string().contains(text),
        "{error} does not say {text:?}"
    );
    assert_eq!(
        open_error(&LmdbOptions::new().read_only(true), path).kind(),
        kind
    );
}

pub(crate) fn all(
    transaction: &impl ReadTxn,
    range: KeyRange<'_>,
    order: Order,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = transaction.scan(range, order).unwrap();
    let mut found = Vec::new();
    while let Some((key, value)) = scan.next().unwrap() {
        found.push((key.to_vec(), value.to_vec()));
    }
    assert!(
        scan.next().unwrap().is_none(),
        "a scan goes on after its end"
    );
    found
}

/// One of the ignored tests of the same file, in another process. It finds
/// the store by [`store_of_the_test`].
pub(crate) fn other_process(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", test])
        .env("STORE_OF_THE_TEST", path);
    command
}

/// A process that has said that it has the store open, and keeps it open until
/// it is told to end.
pub(crate) struct OtherProcess {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl OtherProcess {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut other = Self { process, output };
        other.wait_for("open");
        other
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line that ends so, and returns it.
    pub(crate) fn wait_for(&mut self, end: &str) -> String {
        self.output
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.ends_with(end))
            .expect("the other process has failed")
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.process.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    /// Waits for its end, and tells whether that was a failure.
    pub(crate) fn has_failed(mut self) -> bool {
        drop(self.process.stdin.take());
        !self.process.wait().unwrap().success()
    }

    pub(crate) fn end(self) {
        assert!(!self.has_failed());
    }
}

/// What the other process does: it keeps the store open until the test is over.
pub(crate) fn hold_the_store(store: &LmdbBackend) {
    println!("open");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    store.info().unwrap();
}

/// Where the other process finds its store; `None` where there is no test
/// that waits for it.
pub(crate) fn store_of_the_test() -> Option<PathBuf> {
    std::env::var_os("STORE_OF_THE_TEST").map(PathBuf::from)
}
