use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use realmstore_core::{Error, ErrorKind, Result};

/// A storage engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// LMDB, feature `lmdb`.
    Lmdb,
}

impl Engine {
    /// The name by which a location names the engine.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lmdb => "lmdb",
        }
    }
}

/// Where a store is, and on which engine: `lmdb:PATH`, or a path alone.
///
/// ```
/// use realmstore::{Engine, Location};
///
/// let location: Location = "lmdb:/var/lib/realm1".parse()?;
/// assert_eq!(location.engine(), Engine::Lmdb);
/// assert_eq!(location.path(), std::path::Path::new("/var/lib/realm1"));
/// assert_eq!("/var/lib/realm1".parse::<Location>()?, location);
/// # Ok::<(), realmstore::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    engine: Engine,
    path: PathBuf,
}

impl Location {
    /// The engine.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for Location {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Unsupported`] for an engine that this build does not have,
    /// [`ErrorKind::InvalidInput`] when there is no path.
    fn from_str(text: &str) -> Result<Self> {
        let path = match text.split_once(':') {
            Some(("lmdb", path)) => path,
            // One letter is a drive; with a separator before it, the colon is part of a path.
            Some((scheme, _))
                if scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "{text:?}: this build has no engine {scheme:?}; it has lmdb (write ./{text} for a path)"
                    ),
                ));
            }
            _ => text,
        };
        if path.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} names no path: write lmdb:PATH"),
            ));
        }
        Ok(Self {
            engine: Engine::Lmdb,
            path: PathBuf::from(path),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.engine.name(), self.path.display())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_location_names_an_engine_and_a_path() {
        for (text, path) in [
            ("lmdb:store", "store"),
            ("store", "store"),
            ("./odd:name", "./odd:name"),
            (r"C:\stores\realm1", r"C:\stores\realm1"),
            ("lmdb:/a:b", "/a:b"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.path(), Path::new(path), "{text}");
        }
    }

    #[test]
    fn what_names_no_store_is_refused() {
        assert_eq!(
            "".parse::<Location>().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            "lmdb:".parse::<Location>().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let error = "rocks:/path".parse::<Location>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("\"rocks\""), "{error}");
    }
}
