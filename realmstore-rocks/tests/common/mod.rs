//! What the tests share.
#![allow(dead_code, reason = "not every test uses everything")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use realmstore_core::{Backend, KeyRange, Order, ReadTxn, Result, Scan, WriteTxn};
use realmstore_rocks::RocksBackend;
use tempfile::TempDir;

pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A directory in which a store may be made, and its path.
pub(crate) fn scratch() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    (directory, path)
}

/// A closed store with `key000`, `key001` and so on in it. Closed and opened
/// again, so that they are in a file of their own and not in the log.
pub(crate) fn store_with(path: &Path, entries: usize, value_len: usize) {
    let store = RocksBackend::open(path).unwrap();
    let entries = (0..entries).map(|n| (format!("key{n:03}"), noise(n, value_len)));
    put_all(&store, entries).unwrap();
    drop(store);
    drop(RocksBackend::open(path).unwrap());
}

pub(crate) fn put_all(
    store: &RocksBackend,
    entries: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<()> {
    let mut transaction = store.begin_write()?;
    for (key, value) in entries {
        transaction.put(key.as_bytes(), &value)?;
    }
    transaction.commit()
}

/// Bytes that cannot be compressed, always the same for one seed.
pub(crate) fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The store's files that end in that.
pub(crate) fn files(path: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    files
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

/// Where the other process finds its store; `None` where there is no test
/// that waits for it.
pub(crate) fn store_of_the_test() -> Option<PathBuf> {
    std::env::var_os("STORE_OF_THE_TEST").map(PathBuf::from)
}
