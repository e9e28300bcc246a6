//! The Python that has Crossbar.io, cfxdb, pyarrow and DuckDB, which the tests
//! install themselves: from PyPI into the target directory.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "each test file uses a part of it"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::stderr;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A directory of Python's that has what the requirements name.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let venv = target.join("python");
        // Test binaries may run at the same time: the first installs, the others wait.
        let lock = File::create(target.join("python.lock")).unwrap();
        lock.lock().unwrap();
        let done = venv.join("requirements.txt");
        let is_done = venv.join("bin/python").exists()
            && fs::read_to_string(&done).is_ok_and(|installed| installed == REQUIREMENTS);
        if !is_done {
            succeed(
                Command::new("python3")
                    .args(["-m", "venv", "--clear"])
                    .arg(&venv),
            );
            let requirements =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/requirements.txt");
            succeed(
                Command::new(venv.join("bin/python"))
                    .args(["-m", "pip", "install", "--quiet"])
                    .args(["--disable-pip-version-check", "-r"])
                    .arg(requirements),
            );
            fs::write(&done, REQUIREMENTS).unwrap();
        }
        venv
    })
}

/// A program of that Python, about to run.
pub fn program(name: &str) -> Command {
    Command::new(installed().join("bin").join(name))
}

/// A script of the tests, about to run.
pub fn script(path: &str) -> Command {
    let mut command = program("python");
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(path),
    );
    command
}

pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (Debian: apt-get install python3-venv)")
    });
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}

/// The peer of cfxdb at work on a store.
pub fn peer(command: &str, store: &Path, arguments: &[&str]) -> Output {
    succeed(
        script("cfxdb/peer.py")
            .arg(command)
            .arg(store)
            .args(arguments),
    )
}

/// Which format of LMDB a store has: `"0.9"` or `"1.0"`.
pub fn lmdb_of(store: &Path) -> &'static str {
    let file = fs::read(store.join("data.mdb")).unwrap();
    let magic = 0xBEEF_C0DE_u32.to_ne_bytes();
    let at = file[..64]
        .windows(4)
        .position(|bytes| bytes == magic)
        .unwrap();
    match file[at + 4] {
        1 => "0.9",
        3 => "1.0",
        other => panic!("data version {other}"),
    }
}
