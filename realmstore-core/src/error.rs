//! One error type for every engine and every operation.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::record::RecordError;

/// The result of everything in realmstore that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by what a caller would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no store where one was named.
    NotFound,
    /// The store is open already, in this process or in another one, and cannot be opened twice.
    InUse,
    /// What is there is not a realm store, or stored bytes do not read as what they should be.
    Damaged,
    /// It is a realm store that this build cannot handle: another file format, a newer schema,
    /// an engine that was not compiled in.
    Unsupported,
    /// The store or the transaction is read-only.
    ReadOnly,
    /// The caller gave something that can never work: a record that contradicts itself, a key that is too long.
    InvalidInput,
    /// A unique index has another owner for this key.
    Duplicate,
    /// Somebody else committed in between; the same call may succeed when it is made again.
    Conflict,
    /// Something that others hold was not given free in time; the same call may succeed later.
    Busy,
    /// No space: the disk, the map or the address space is full.
    Full,
    /// The operating system refused: permissions, a failing disk.
    Io,
    /// Another writer has taken the store over; this one must not write again.
    Fenced,
    /// The commit may or may not have happened; look before writing again.
    UnknownOutcome,
    /// A store across a network cannot be reached.
    Unavailable,
    /// The store was closed, or its writer has died: nothing can be written any more.
    Closed,
    /// The engine failed in a way that none of the other kinds names.
    Engine,
}

/// An error with its kind, the place where it happened, and its source.
///
/// The [`Display`](fmt::Display) form is one line: where, then what. The
/// [source](std::error::Error::source) is the engine's own error.
///
/// ```
/// use realmstore_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Busy, "a reader keeps the map from growing").engine("lmdb");
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "lmdb: a reader keeps the map from growing");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    engine: Option<&'static str>,
    table: Option<&'static str>,
    operation: Option<&'static str>,
    key: Option<Box<[u8]>>,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of that kind; `message` says what was wrong, and what to do where that is known.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            engine: None,
            table: None,
            operation: None,
            key: None,
            message: message.into(),
            source: None,
        }))
    }

    /// Names the engine that failed.
    pub fn engine(mut self, engine: &'static str) -> Self {
        self.0.engine.get_or_insert(engine);
        self
    }

    /// Names the table (or index) that was touched. The first name given stays.
    pub fn table(mut self, table: &'static str) -> Self {
        self.0.table.get_or_insert(table);
        self
    }

    /// Names what was being done, as a verb: `open`, `commit`. The first name given stays.
    pub fn operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the key, without the table's slot, of the row that was touched.
    pub fn key(mut self, key: &[u8]) -> Self {
        self.0.key.get_or_insert_with(|| key.into());
        self
    }

    /// Adds the error that caused this one.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the table that was touched, where one was.
    pub fn table_name(&self) -> Option<&'static str> {
        self.0.table
    }

    /// The key of the row that was touched, without the table's slot, where it is known.
    pub fn row_key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }

    /// Whether the very same call may succeed when it is made again.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::Unavailable
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        for part in [inner.engine, inner.table, inner.operation]
            .into_iter()
            .flatten()
        {
            write!(f, "{part}: ")?;
        }
        if let Some(key) = &inner.key {
            f.write_str("key ")?;
            for byte in key {
                write!(f, "{byte:02x}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("engine", &inner.engine)
            .field("table", &inner.table)
            .field("operation", &inner.operation)
            .field("key", &inner.key)
            .field("message", &inner.message)
            .field("source", &inner.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        Self::new(ErrorKind::Damaged, error.to_string())
    }
}
