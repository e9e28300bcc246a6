//! Why a command could not do what it was asked for.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use realmstore_core::ErrorKind;

/// What every command returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A command could not be carried out.
#[derive(Debug)]
pub enum Failure {
    /// The store refused or failed.
    Store(realmstore_core::Error),
    /// Standard output failed; that its reader has gone away is one case.
    Output(io::Error),
    /// Something around the store: a file, an argument.
    Other(String, Option<io::Error>),
}

impl Failure {
    /// A failure with nothing behind it.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Other(message.into(), None)
    }

    /// Something around a store failed at a path: `cannot be made`.
    pub(crate) fn at(path: &Path, what: &str, error: io::Error) -> Self {
        Self::Other(format!("{} {what}", path.display()), Some(error))
    }

    /// Whether the store failed in that way.
    pub(crate) fn is(&self, kind: ErrorKind) -> bool {
        matches!(self, Self::Store(error) if error.kind() == kind)
    }

    /// Whether there is only nobody left who reads the output.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The message, and below it a line for each cause that says something new.
    pub(crate) fn report(&self) -> String {
        let mut report = format!("realmstore: error: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !report.contains(&text) {
                report.push_str("\n  caused by: ");
                report.push_str(&text);
            }
            source = cause.source();
        }
        report
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Output(_) => f.write_str("the output cannot be written"),
            Self::Other(message, _) => f.write_str(message),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Output(error) | Self::Other(_, Some(error)) => Some(error),
            Self::Other(_, None) => None,
        }
    }
}

impl From<realmstore_core::Error> for Failure {
    fn from(error: realmstore_core::Error) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_each_cause_once() {
        let disk = || io::Error::other("the disk is on fire");
        let error = realmstore_core::Error::new(ErrorKind::Io, "cannot be read").source(disk());
        let report = Failure::from(error).report();
        assert_eq!(
            report,
            "realmstore: error: cannot be read\n  caused by: the disk is on fire"
        );
        let error =
            realmstore_core::Error::new(ErrorKind::Io, "cannot be read: the disk is on fire");
        let report = Failure::from(error.source(disk())).report();
        assert_eq!(
            report,
            "realmstore: error: cannot be read: the disk is on fire"
        );
    }
}
