//! How a store is opened.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use realmstore_core::{Durability, Error, ErrorKind, Result};

use crate::files::{DATA_FILE, Files};
use crate::{ENGINE, SledBackend, error};

/// Beside the tree of the records, the one that says what they are.
const MARKS: &str = "realmstore";

/// Where sled keeps how it was configured.
const CONFIG_FILE: &str = "conf";
const FORMAT: &str = "format";

/// Of the keys as [`key`](crate::key) stores them.
const FORMAT_VERSION: &[u8] = b"1";

/// How to open a sled store.
///
/// ```
/// use realmstore_core::Backend;
/// use realmstore_sled::SledOptions;
///
/// # fn main() -> realmstore_core::Result<()> {
/// # let directory = tempfile::tempdir().map_err(|error| {
/// #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
/// # })?;
/// # let path = directory.path().join("realm");
/// # drop(SledOptions::new().open(&path)?);
/// let store = SledOptions::new().read_only(true).open(&path)?;
/// assert!(store.info()?.read_only);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct SledOptions {
    read_only: bool,
    create: bool,
    durability: Durability,
    cache_size: Option<u64>,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            create: true,
            durability: Durability::OnDisk,
            cache_size: None,
        }
    }
}

impl SledOptions {
    /// To read and write, creating what is missing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to refuse write transactions. The store must exist then.
    ///
    /// This protects the records, not the files: sled has no read-only mode.
    /// It takes the store for itself alone, must be able to write to its
    /// files, and may recover and tidy them.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether to create the store, and its directory, where there is none.
    /// It is so by default.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// What a commit is worth when it has returned;
    /// [`OnDisk`](Durability::OnDisk) by default.
    ///
    /// With anything less, sled keeps commits in the memory of the process
    /// until it writes them, every 500 ms and when the store is closed. So a
    /// process that is killed loses the newest ones, as a crash of the machine
    /// does.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many bytes of the store to keep in memory, about; 1 GiB by default.
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.cache_size = Some(bytes);
        self
    }

    /// Opens the store in a directory.
    ///
    /// # Errors
    /// * [`ErrorKind::NotFound`]: there is no store, and none is to be created;
    /// * [`ErrorKind::InUse`]: this process or another one has it open;
    /// * [`ErrorKind::Unsupported`]: another version of sled, or a newer
    ///   realmstore, made it;
    /// * [`ErrorKind::Damaged`]: the files are of something else, or damaged so
    ///   far that nothing is left. sled does not notice when the newest part
    ///   is missing, and opens what is there;
    /// * [`ErrorKind::InvalidInput`]: the path does not name a directory;
    /// * [`ErrorKind::Io`]: permissions, or a failing disk.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SledBackend> {
        self.open_path(path.as_ref())
            .map_err(|error| error.engine(ENGINE).operation("open"))
    }

    fn open_path(&self, path: &Path) -> Result<SledBackend> {
        let exists = exists(path)?;
        if !exists && (self.read_only || !self.create) {
            return Err(error::plain(
                ErrorKind::NotFound,
                format!("there is no sled store in {}", path.display()),
            ));
        }
        if exists && !path.join(CONFIG_FILE).exists() {
            // sled would make one, and then its own store of the data.
            return Err(no_realm_store(path));
        }
        let mut config = sled::Config::new().path(path);
        if let Some(bytes) = self.cache_size {
            config = config.cache_capacity(bytes);
        }
        let db = open_patiently(&config).map_err(|error| error::opening(error, path))?;
        let files =
            Files::open(path).map_err(|reason| error::system(reason, path, "cannot be synced"))?;
        if let Err(error) = check_format(&db, path, exists) {
            // In this order: the files wait for sled to let go of them.
            drop(db);
            drop(files);
            return Err(error);
        }
        Ok(SledBackend::new(
            db,
            files,
            path.to_owned(),
            self.read_only,
            self.durability,
        ))
    }
}

/// Opens sled's own store, once its lock is free.
///
/// A process that starts another one lets it have the lock too, until that one
/// has begun its own program: a store that was just closed may be locked for
/// some milliseconds more.
fn open_patiently(config: &sled::Config) -> sled::Result<sled::Db> {
    const ATTEMPTS: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 1..ATTEMPTS {
        match config.open() {
            Err(error) if error::is_locked(&error) => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    config.open()
}

/// Looks for the mark of a realm store, and leaves it in a new one.
///
/// sled takes a file of anything for an empty store of its own, and a store of
/// another program for one of this.
fn check_format(db: &sled::Db, path: &Path, exists: bool) -> Result<()> {
    let failed = |error| error::opening(error, path);
    // Looking for a tree by opening it would make it.
    if exists && !db.tree_names().iter().any(|name| name == MARKS.as_bytes()) {
        return Err(no_realm_store(path));
    }
    let marks = db.open_tree(MARKS).map_err(failed)?;
    match marks.get(FORMAT).map_err(failed)? {
        Some(format) if format == FORMAT_VERSION => Ok(()),
        Some(_) => Err(error::plain(
            ErrorKind::Unsupported,
            format!(
                "{}: the store is in a newer format: use a newer realmstore",
                path.display()
            ),
        )),
        None if exists => Err(no_realm_store(path)),
        None => {
            marks.insert(FORMAT, FORMAT_VERSION).map_err(failed)?;
            marks.flush().map(drop).map_err(failed)
        }
    }
}

fn no_realm_store(path: &Path) -> Error {
    error::plain(
        ErrorKind::Damaged,
        format!(
            "{}: the files are not those of a realm store, or are damaged; a store whose making \
             was cut short is empty and can be deleted",
            path.display()
        ),
    )
}

/// Whether there is a store: an empty log is one that was never written to.
fn exists(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => match fs::metadata(path.join(DATA_FILE)) {
            Ok(data) => Ok(data.len() > 0),
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(reason) => Err(error::system(reason, path, "cannot be looked at")),
        },
        Ok(_) => Err(error::plain(
            ErrorKind::InvalidInput,
            format!("{} is a file; a sled store is a directory", path.display()),
        )),
        Err(reason) => match reason.kind() {
            io::ErrorKind::NotFound => Ok(false),
            io::ErrorKind::NotADirectory => Err(error::plain(
                ErrorKind::InvalidInput,
                format!(
                    "{} leads through a file that is not a directory",
                    path.display()
                ),
            )
            .source(reason)),
            _ => Err(error::system(reason, path, "cannot be looked at")),
        },
    }
}
