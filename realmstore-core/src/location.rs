//! Where a store is, and on which engine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// A storage engine, whether a build has it or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// LMDB. A new store is in the format of LMDB 0.9; one that exists is in its own.
    Lmdb,
    /// LMDB, and a new store is in the format of LMDB 1.0.
    Lmdb10,
    /// RocksDB.
    Rocks,
    /// sled.
    Sled,
    /// In memory. The store ends with its backend.
    Memory,
}

impl Engine {
    /// All engines that realmstore has.
    pub const ALL: [Self; 5] = [
        Self::Lmdb,
        Self::Lmdb10,
        Self::Rocks,
        Self::Sled,
        Self::Memory,
    ];

    /// The name by which a location names the engine.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lmdb => "lmdb",
            Self::Lmdb10 => "lmdb10",
            Self::Rocks => "rocks",
            Self::Sled => "sled",
            Self::Memory => "memory",
        }
    }

    /// Whether it is LMDB, whatever the format of a new store.
    pub const fn is_lmdb(self) -> bool {
        matches!(self, Self::Lmdb | Self::Lmdb10)
    }

    /// The engine whose files are in a directory.
    pub fn recognise(directory: &Path) -> Option<Self> {
        let has = |name: &str| directory.join(name).exists();
        if has("data.mdb") || directory.file_name().is_some_and(|name| name == "data.mdb") {
            Some(Self::Lmdb)
        } else if has("CURRENT") {
            Some(Self::Rocks)
        } else if has("conf") && has("db") {
            Some(Self::Sled)
        } else {
            None
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a store is, and on which engine: `lmdb:PATH`, `lmdb10:PATH`, `rocks:PATH`,
/// `sled:PATH`, `memory:`, or a path alone. The engine of a path alone is
/// recognised by its files; where there are none yet, it is LMDB.
///
/// ```
/// use realmstore_core::{Engine, Location};
///
/// let location: Location = "lmdb:/var/lib/realm1".parse()?;
/// assert_eq!(location.engine(), Engine::Lmdb);
/// assert_eq!(location.path(), std::path::Path::new("/var/lib/realm1"));
/// assert_eq!("/var/lib/realm1".parse::<Location>()?, location);
/// # Ok::<(), realmstore_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    engine: Engine,
    path: PathBuf,
}

impl Location {
    /// A store of an engine at a path.
    pub fn new(engine: Engine, path: impl Into<PathBuf>) -> Self {
        Self {
            engine,
            path: path.into(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Where its files are; empty for a store in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for Location {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Unsupported`] for an engine that there is not,
    /// [`ErrorKind::InvalidInput`] when there is no path.
    fn from_str(text: &str) -> Result<Self> {
        let (engine, path) = match text.split_once(':') {
            // One letter is a drive; with a separator before it, the colon is part of a path.
            Some((name, path))
                if name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                let engine = Engine::ALL.into_iter().find(|engine| engine.name() == name);
                (
                    Some(engine.ok_or_else(|| unknown_engine(text, name))?),
                    path,
                )
            }
            _ => (None, text),
        };
        if path.is_empty() != (engine == Some(Engine::Memory)) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is no location: write ENGINE:PATH, a path alone, or memory:"),
            ));
        }
        let engine = engine.or_else(|| Engine::recognise(Path::new(path)));
        Ok(Self::new(engine.unwrap_or(Engine::Lmdb), path))
    }
}

fn unknown_engine(text: &str, name: &str) -> Error {
    let engines: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{text:?}: there is no engine {name:?}, there are {} (write ./{text} for a path)",
            engines.join(", ")
        ),
    )
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.engine, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_location_names_an_engine_and_a_path() {
        for (text, engine, path) in [
            ("lmdb:store", Engine::Lmdb, "store"),
            ("lmdb10:store", Engine::Lmdb10, "store"),
            ("rocks:store", Engine::Rocks, "store"),
            ("sled:store", Engine::Sled, "store"),
            ("memory:", Engine::Memory, ""),
            ("store", Engine::Lmdb, "store"),
            ("./odd:name", Engine::Lmdb, "./odd:name"),
            (r"C:\stores\realm1", Engine::Lmdb, r"C:\stores\realm1"),
            ("lmdb:/a:b", Engine::Lmdb, "/a:b"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location, Location::new(engine, path), "{text}");
        }
    }

    #[test]
    fn what_names_no_store_is_refused() {
        for text in ["", "lmdb:", "rocks:", "memory:path"] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
        let error = "leveldb:/path".parse::<Location>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("\"leveldb\""), "{error}");
    }

    #[test]
    fn the_engine_of_a_path_is_recognised_by_its_files() {
        for (engine, files) in [
            (Engine::Lmdb, &["data.mdb"][..]),
            (Engine::Rocks, &["CURRENT"]),
            (Engine::Sled, &["conf", "db"]),
            (Engine::Lmdb, &["something else"]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for file in files {
                std::fs::write(directory.path().join(file), []).unwrap();
            }
            let location: Location = directory.path().to_str().unwrap().parse().unwrap();
            assert_eq!(location.engine(), engine, "{files:?}");
        }
    }
}
