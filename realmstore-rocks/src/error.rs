//! From RocksDB's errors to the one error type.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use realmstore_core::{Error, ErrorKind};
use rocksdb::ErrorKind as RocksKind;

use crate::ENGINE;

/// An error of this engine without a cause in another library.
pub(crate) fn plain(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).engine(ENGINE)
}

/// What RocksDB reported while a transaction did `operation`.
pub(crate) fn engine(error: rocksdb::Error, operation: &'static str) -> Error {
    let (kind, message) = of_rocks(&error);
    plain(kind, message).operation(operation).source(error)
}

/// What RocksDB reported while a batch was being written.
pub(crate) fn commit(error: rocksdb::Error) -> Error {
    match of_rocks(&error).0 {
        // What could not be written in full is not read again; but it may be
        // there in full, and only not be known to be.
        ErrorKind::Full if !error.as_ref().contains("sync: ") => engine(error, "commit"),
        ErrorKind::Full | ErrorKind::Io => plain(
            ErrorKind::UnknownOutcome,
            format!(
                "the disk failed; open the store again to see whether this commit is in it: {error}"
            ),
        )
        .operation("commit")
        .source(error),
        _ => engine(error, "commit"),
    }
}

/// What RocksDB reported while the store in `directory` was opened.
pub(crate) fn opening(error: rocksdb::Error, directory: &Path, read_only: bool) -> Error {
    let text = error.as_ref();
    let (kind, message) = if text.contains("lock hold by current process") {
        (
            ErrorKind::InUse,
            "is already open in this process; share the one that is open".into(),
        )
    } else if text.contains(": While lock file: ")
        && text.contains(": Resource temporarily unavailable")
        || text.contains(": Failed to create lock file: ")
    {
        (
            ErrorKind::InUse,
            "is open in another process; stop that one, or open the store read-only".into(),
        )
    } else if !read_only && text.ends_with(": Permission denied") {
        (
            ErrorKind::ReadOnly,
            format!("cannot be written to; open it read-only: {text}").into(),
        )
    } else {
        match error.kind() {
            // Another comparator, or more than one column family.
            RocksKind::InvalidArgument => (
                ErrorKind::Damaged,
                format!("is of RocksDB and not a realm store: {text}").into(),
            ),
            _ => of_rocks(&error),
        }
    };
    plain(kind, format!("{}: {message}", directory.display()))
        .operation("open")
        .source(error)
}

/// What the operating system reported about a path.
pub(crate) fn system(error: io::Error, path: &Path, doing: &str) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::NotADirectory => ErrorKind::InvalidInput,
        _ => ErrorKind::Io,
    };
    plain(kind, format!("{} {doing}: {error}", path.display())).source(error)
}

fn of_rocks(error: &rocksdb::Error) -> (ErrorKind, Cow<'static, str>) {
    let text = error.as_ref();
    let says = |part: &str| text.contains(part);
    match error.kind() {
        RocksKind::Corruption if says("created with newer version of RocksDB") => (
            ErrorKind::Unsupported,
            format!("the store was written by a newer RocksDB: {text}").into(),
        ),
        RocksKind::Corruption => (
            ErrorKind::Damaged,
            format!("the store is damaged: {text}").into(),
        ),
        RocksKind::NotSupported => (ErrorKind::Unsupported, text.to_owned().into()),
        RocksKind::IOError
            if says("No space left on device")
                || says("Space limit reached")
                || text.ends_with(": Disk quota exceeded") =>
        {
            (
                ErrorKind::Full,
                format!("there is no space left on the disk: {text}").into(),
            )
        }
        RocksKind::IOError if text.ends_with(": Read-only file system") => (
            ErrorKind::ReadOnly,
            "the file system is read-only; open the store read-only".into(),
        ),
        RocksKind::IOError if says("No such file or directory") => (
            ErrorKind::Damaged,
            format!("a file of the store is missing: {text}").into(),
        ),
        RocksKind::IOError => (ErrorKind::Io, text.to_owned().into()),
        RocksKind::Busy | RocksKind::TimedOut | RocksKind::TryAgain => {
            (ErrorKind::Busy, text.to_owned().into())
        }
        _ => (ErrorKind::Engine, text.to_owned().into()),
    }
}
