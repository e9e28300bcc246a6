//! Beside the LMDB of zLMDB, which is that of Crossbar.io: both have a store
//! open at the same time, and write to it.
//!
//! The tests install it themselves, from PyPI into the target directory.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::*;
use realmstore_core::{Backend, ErrorKind, ReadTxn};
use realmstore_lmdb10::{LmdbBackend, LmdbOptions, holder};

/// The map of the peer, and so the limit of a store beside it.
const MAP: usize = 8 * MIB;

/// The Python that has zLMDB.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zlmdb");
        let python = venv.join("bin/python");
        if !python.exists() {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        }
        let requirements =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zlmdb/requirements.txt");
        let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
        succeed(Command::new(&python).args(pip).arg("-r").arg(requirements));
        python
    })
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (Debian: apt-get install python3-venv)")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

struct Peer(OtherProcess);

impl Peer {
    /// Opens the store, and makes it where there is none.
    fn open(store: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zlmdb/peer.py");
        let mut command = Command::new(python());
        command.arg(script).arg(store).arg(MAP.to_string());
        Self(OtherProcess::start(&mut command))
    }

    fn ask(&mut self, command: &str) -> String {
        self.0.tell(command);
        let answer = self.0.wait_for("done");
        answer.trim_end_matches("done").trim().to_owned()
    }

    fn number(&mut self, command: &str) -> i64 {
        self.ask(command).parse().unwrap()
    }
}

fn beside(store: &Path) -> LmdbBackend {
    LmdbOptions::new().size_limit(MAP).open(store).unwrap()
}

fn len_of(store: &LmdbBackend, key: &str) -> Option<usize> {
    let snapshot = store.begin_read().unwrap();
    snapshot.get(key.as_bytes()).unwrap().map(<[u8]>::len)
}

fn put(store: &LmdbBackend, key: &str, len: usize) -> realmstore_core::Result<()> {
    put_all(store, [(key.to_owned(), vec![1; len])])
}

#[test]
fn both_have_the_store_open_and_see_what_the_other_commits() {
    let (_directory, path) = scratch();
    let mut peer = Peer::open(&path);
    peer.ask("put theirs0 100");
    let store = beside(&path);
    for n in 0..20 {
        assert_eq!(len_of(&store, &format!("theirs{n}")), Some(100 + n));
        put(&store, &format!("ours{n}"), 200 + n).unwrap();
        assert_eq!(peer.number(&format!("len ours{n}")), 200 + n as i64);
        peer.ask(&format!("put theirs{} {}", n + 1, 101 + n));
    }
    // What one opened first, the other may open as well.
    peer.0.end();
    let mut peer = Peer::open(&path);
    assert_eq!(peer.number("len ours19"), 219);
    drop(store);
    assert_eq!(peer.number("len theirs20"), 120);
    peer.0.end();
}

#[test]
fn every_commit_counts_by_one_whoever_makes_it() {
    let (_directory, path) = scratch();
    let mut peer = Peer::open(&path);
    let store = beside(&path);
    let number = |peer: &mut Peer| {
        let number = store.begin_read().unwrap().commit_number().unwrap();
        assert_eq!(peer.number("number"), number as i64);
        number
    };
    let first = number(&mut peer);
    for round in 0..10 {
        peer.ask("put theirs 100");
        assert_eq!(number(&mut peer), first + 3 * round + 1);
        put(&store, "ours", 100).unwrap();
        put(&store, "ours", 5000).unwrap();
        assert_eq!(number(&mut peer), first + 3 * round + 3);
    }
    peer.0.end();
}

#[test]
fn the_file_grows_up_to_the_peer_s_map_and_the_peer_goes_on() {
    let (_directory, path) = scratch();
    let mut peer = Peer::open(&path);
    peer.ask("put kept 100");
    let store = beside(&path);
    let full = (0..)
        .find_map(|n| put(&store, &format!("key{n}"), 100_000).err())
        .unwrap();
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    let len = fs::metadata(data_file(&path)).unwrap().len() as usize;
    assert!((MAP * 9 / 10..=MAP).contains(&len), "{len} bytes");
    assert_eq!(peer.number("len key0"), 100_000);
    peer.ask("put kept 200");
    assert_eq!(len_of(&store, "kept"), Some(200));
    peer.0.end();
}

#[test]
fn without_a_limit_a_store_that_the_peer_has_open_is_not_opened_for_writing() {
    let (_directory, path) = scratch();
    let mut peer = Peer::open(&path);
    let found = holder(&path).unwrap().unwrap();
    assert_eq!(found.process, Some(peer.0.id()));
    let error = open_error(&LmdbOptions::new(), &path);
    assert_eq!(error.kind(), ErrorKind::InUse);
    let expected = format!("is open in process {}, ", peer.0.id());
    assert!(error.to_string().contains(&expected), "{error}");
    LmdbOptions::new().read_only(true).open(&path).unwrap();
    peer.ask("put key 100");
    peer.0.end();
    let store = LmdbBackend::open(&path).unwrap();
    assert_eq!(len_of(&store, "key"), Some(100));
}

#[test]
fn a_peer_whose_map_the_file_has_outgrown_fails() {
    // What the limit is there for.
    let (_directory, path) = scratch();
    let mut peer = Peer::open(&path);
    peer.ask("put key 100");
    let store = LmdbOptions::new().size_limit(2 * MAP).open(&path).unwrap();
    put(&store, "large", MAP + MIB).unwrap();
    peer.0.tell("len key");
    assert!(peer.0.has_failed());
}
