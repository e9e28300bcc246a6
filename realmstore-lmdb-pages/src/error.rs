//! The errors about a data file, for every crate that opens one. They name no
//! engine: that is for whoever was asked.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use realmstore_core::{Error, ErrorKind};

/// What the operating system reported about a path, while it was `doing`
/// something: `cannot be read`.
pub fn system(error: io::Error, path: &Path, doing: &str) -> Error {
    let (kind, message) = of_system(&error);
    Error::new(kind, format!("{} {doing}: {message}", path.display())).source(error)
}

/// The kind of what the operating system reported, and how to say it.
pub fn of_system(error: &io::Error) -> (ErrorKind, Cow<'static, str>) {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "there is no space left on the disk".into())
        }
        io::ErrorKind::OutOfMemory => (
            ErrorKind::Full,
            "there is no memory or address space left".into(),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::ReadOnly,
            "the file system is read-only; open the store read-only".into(),
        ),
        io::ErrorKind::PermissionDenied => (ErrorKind::Io, "permission denied".into()),
        _ => (ErrorKind::Io, error.to_string().into()),
    }
}

/// Why something inside a file cannot be had.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A page is not what it should be.
    Page {
        number: u64,
        what: Cow<'static, str>,
    },
    /// Anything else.
    Failed(Error),
}

impl Fault {
    pub(crate) fn page(number: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Page {
            number,
            what: what.into(),
        }
    }

    pub(crate) fn into_error(self, file: &Path) -> Error {
        match self {
            Self::Page { number, what } => Error::new(
                ErrorKind::Damaged,
                format!("{} is damaged: page {number} {what}", file.display()),
            ),
            Self::Failed(error) => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
