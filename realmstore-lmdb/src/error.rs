//! From LMDB's errors to the one error type.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use heed::MdbError;
use realmstore_core::{Error, ErrorKind};
use realmstore_lmdb_pages::error::of_system;

use crate::ENGINE;
use crate::holder::{self, Holder};

/// An error of this engine without a cause in another library.
pub(crate) fn plain(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).engine(ENGINE)
}

/// `EIO`, which LMDB makes of a write that came to less than all as well.
const INPUT_OUTPUT: i32 = 5;

/// What LMDB reported while a transaction did `operation`.
pub(crate) fn engine(error: heed::Error, operation: &'static str) -> Error {
    let (kind, message) = match &error {
        heed::Error::Mdb(error) => of_lmdb(*error),
        heed::Error::Io(error) if cfg!(unix) && error.raw_os_error() == Some(INPUT_OUTPUT) => (
            ErrorKind::Io,
            "the disk failed, or has no space left: LMDB does not tell".into(),
        ),
        heed::Error::Io(error) => of_system(error),
        heed::Error::EnvAlreadyOpened => (
            ErrorKind::InUse,
            "is already open in this process; share the one that is open".into(),
        ),
        heed::Error::Encoding(error) | heed::Error::Decoding(error) => {
            (ErrorKind::Engine, error.to_string().into())
        }
    };
    plain(kind, message).operation(operation).source(error)
}

/// What LMDB reported while the store in `directory` was opened.
pub(crate) fn opening(error: heed::Error, directory: &Path, read_only: bool) -> Error {
    let place = directory.display();
    let (kind, message) = match &error {
        heed::Error::EnvAlreadyOpened => (
            ErrorKind::InUse,
            format!("{place} is already open in this process; share the one that is open"),
        ),
        heed::Error::Mdb(MdbError::VersionMismatch) => (
            ErrorKind::InUse,
            format!(
                "{place} is open in {}, whose version of LMDB is another one, as that of a \
                 Crossbar.io router is; the two cannot share lock.mdb, so neither opens a store \
                 that the other has open; end that process, or open a copy of the store: \
                 `realmstore backup` makes one without LMDB",
                holder::named(directory)
            ),
        ),
        heed::Error::Mdb(error) => {
            let (kind, message) = of_lmdb(*error);
            (kind, format!("{place}: {message}"))
        }
        heed::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied && read_only => (
            ErrorKind::Io,
            format!(
                "{place}: lock.mdb cannot be opened for writing, which even a reader must do; \
                 give this user write permission on it, or open a copy of the directory"
            ),
        ),
        heed::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => (
            ErrorKind::Io,
            format!("{place}: this user may not write to the directory or to lock.mdb in it"),
        ),
        heed::Error::Io(error) => {
            let (kind, message) = of_system(error);
            (kind, format!("{place}: {message}"))
        }
        heed::Error::Encoding(error) | heed::Error::Decoding(error) => {
            (ErrorKind::Engine, format!("{place}: {error}"))
        }
    };
    plain(kind, message).operation("open").source(error)
}

/// A store that cannot be opened for writing without a limit to its size.
pub(crate) fn needs_size_limit(directory: &Path, holder: Holder) -> Error {
    plain(
        ErrorKind::InUse,
        format!(
            "{} is open in {holder}, and could outgrow the memory map that this process has of \
             it, which would stop it at its next transaction; open the store with a size limit, \
             that process's map size (Crossbar.io's is 128 MiB unless its configuration says \
             otherwise), or read-only",
            directory.display()
        ),
    )
}

/// What the operating system reported about a path.
pub(crate) fn system(error: io::Error, path: &Path, doing: &str) -> Error {
    realmstore_lmdb_pages::error::system(error, path, doing).engine(ENGINE)
}

fn of_lmdb(error: MdbError) -> (ErrorKind, Cow<'static, str>) {
    let (kind, message) = match error {
        MdbError::MapFull => (
            ErrorKind::Full,
            "the memory map is full and cannot grow any further; open the store with a larger map \
             size",
        ),
        MdbError::ReadersFull => (
            ErrorKind::Busy,
            "as many snapshots are open as the lock file has room for; close some, or open the \
             store with more readers",
        ),
        MdbError::MapResized => (
            ErrorKind::Busy,
            "another process has made the file larger than the map of this one",
        ),
        MdbError::VersionMismatch => (
            ErrorKind::InUse,
            "another process that has another version of LMDB has the store open",
        ),
        MdbError::Invalid => (
            ErrorKind::Damaged,
            "data.mdb or lock.mdb is not a valid file of this version of LMDB",
        ),
        MdbError::Corrupted | MdbError::PageNotFound => (
            ErrorKind::Damaged,
            "the file is damaged: a page is not what it should be",
        ),
        MdbError::Panic => (
            ErrorKind::Damaged,
            "an earlier write of the file's header failed; close the store, see to the disk, and \
             open it again",
        ),
        MdbError::BadTxn => (
            ErrorKind::Engine,
            "the transaction has failed before and can only be dropped",
        ),
        MdbError::TxnFull => (
            ErrorKind::Full,
            "the transaction changes more pages than LMDB can hold; split it",
        ),
        MdbError::BadValSize => (
            ErrorKind::InvalidInput,
            "the key or the value has a length that LMDB cannot store",
        ),
        MdbError::Incompatible => (
            ErrorKind::Damaged,
            "the database in the file is not one of a realm store",
        ),
        other => return (ErrorKind::Engine, other.to_string().into()),
    };
    (kind, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(error: impl Into<heed::Error>) -> ErrorKind {
        engine(error.into(), "put").kind()
    }

    #[test]
    fn every_error_has_the_kind_that_a_caller_would_act_on() {
        assert_eq!(kind_of(MdbError::MapFull), ErrorKind::Full);
        assert_eq!(kind_of(MdbError::ReadersFull), ErrorKind::Busy);
        assert_eq!(kind_of(MdbError::VersionMismatch), ErrorKind::InUse);
        assert_eq!(kind_of(MdbError::Invalid), ErrorKind::Damaged);
        assert_eq!(kind_of(MdbError::Corrupted), ErrorKind::Damaged);
        assert_eq!(kind_of(MdbError::PageNotFound), ErrorKind::Damaged);
        assert_eq!(kind_of(MdbError::Panic), ErrorKind::Damaged);
        assert_eq!(kind_of(MdbError::BadTxn), ErrorKind::Engine);
        assert_eq!(kind_of(heed::Error::EnvAlreadyOpened), ErrorKind::InUse);
        assert_eq!(
            kind_of(io::Error::from(io::ErrorKind::StorageFull)),
            ErrorKind::Full
        );
        assert_eq!(
            kind_of(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
            ErrorKind::ReadOnly
        );
        assert_eq!(
            kind_of(io::Error::from(io::ErrorKind::BrokenPipe)),
            ErrorKind::Io
        );
    }

    #[test]
    fn an_error_names_the_engine_and_the_operation_and_keeps_its_source() {
        let error = engine(MdbError::Corrupted.into(), "commit");
        assert!(
            error
                .to_string()
                .starts_with(&format!("{ENGINE}: commit: ")),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}
