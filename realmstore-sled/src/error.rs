//! From sled's errors to the one error type.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use realmstore_core::{Error, ErrorKind};

use crate::ENGINE;

/// An error of this engine without a cause in another library.
pub(crate) fn plain(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).engine(ENGINE)
}

/// What sled reported while a transaction did `operation`.
pub(crate) fn engine(error: sled::Error, operation: &'static str) -> Error {
    let (kind, message) = of_sled(&error);
    plain(kind, message).operation(operation).source(error)
}

/// What sled reported while the store in `directory` was opened.
pub(crate) fn opening(error: sled::Error, directory: &Path) -> Error {
    let place = directory.display();
    let (kind, message) = if is_locked(&error) {
        (
            ErrorKind::InUse,
            "is already open, in this process or in another one; sled lets nobody else in, not \
             even to read"
                .into(),
        )
    } else {
        of_sled(&error)
    };
    plain(kind, format!("{place}: {message}"))
        .operation("open")
        .source(error)
}

/// What the operating system reported about a path.
pub(crate) fn system(error: io::Error, path: &Path, doing: &str) -> Error {
    let (kind, message) = of_system(&error);
    plain(kind, format!("{} {doing}: {message}", path.display())).source(error)
}

/// sled has no error of its own for this one, only the text.
pub(crate) fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn of_sled(error: &sled::Error) -> (ErrorKind, Cow<'static, str>) {
    match error {
        sled::Error::Io(error) => of_system(error),
        sled::Error::Corruption { .. } => (
            ErrorKind::Damaged,
            "the files are damaged: what is stored is not what was written".into(),
        ),
        sled::Error::CollectionNotFound(_) => (
            ErrorKind::Damaged,
            "the files are damaged: the tree of the store is missing".into(),
        ),
        sled::Error::Unsupported(message) => (ErrorKind::Unsupported, message.clone().into()),
        sled::Error::ReportableBug(message) => (ErrorKind::Engine, message.clone().into()),
    }
}

fn of_system(error: &io::Error) -> (ErrorKind, Cow<'static, str>) {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "there is no space left on the disk".into())
        }
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::ReadOnly,
            "the file system is read-only, and sled must write even to read".into(),
        ),
        io::ErrorKind::PermissionDenied => (ErrorKind::Io, "permission denied".into()),
        _ => (ErrorKind::Io, error.to_string().into()),
    }
}
