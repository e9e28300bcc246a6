#[cfg(feature = "async")]
use std::sync::Arc;

#[cfg(feature = "async")]
use realmstore_async::{AsyncOptions, AsyncRealmStore};
use realmstore_core::memory::MemoryBackend;
use realmstore_core::{Durability, Engine, Error, ErrorKind, Location, RealmStore, Result};

#[cfg(feature = "lmdb")]
use realmstore_lmdb::{FileFormat, LmdbOptions};
#[cfg(feature = "lmdb")]
use realmstore_lmdb_pages::PagesBackend;

use crate::{AnyBackend, AnyStore};

/// The engines that this build has.
pub const ENGINES: &[Engine] = &[
    #[cfg(feature = "lmdb")]
    Engine::Lmdb,
    #[cfg(feature = "rocks")]
    Engine::Rocks,
    #[cfg(feature = "sled")]
    Engine::Sled,
    Engine::Memory,
];

/// Opens the realm store at a location such as `lmdb:/var/lib/realm1`, and
/// makes it where there is none.
///
/// The engine is chosen at run time, among those that are compiled in. Where
/// it is known beforehand, open the engine itself, with all of its options,
/// and give it to [`RealmStore::attach`]: everything is then statically typed.
///
/// # Errors
/// Those of the engine; [`ErrorKind::Unsupported`] for an engine that is not
/// compiled in, which names the feature to add.
///
/// ```
/// let store = realmstore::open("memory:")?;
/// # Ok::<(), realmstore::Error>(())
/// ```
pub fn open(location: &str) -> Result<AnyStore> {
    OpenOptions::new().open(&location.parse()?)
}

/// Opens the realm store at a location for reading. With LMDB and RocksDB not a
/// byte of it changes; sled has no such mode, and opens it as usual to refuse writers.
///
/// # Errors
/// As [`open`], and [`ErrorKind::NotFound`] when there is no store.
pub fn open_read_only(location: &str) -> Result<AnyStore> {
    OpenOptions::new().read_only(true).open(&location.parse()?)
}

/// Opens the realm store at a location for an async router, and makes it where
/// there is none. See [`async_store`](crate::async_store) for what it does, and
/// [`OpenOptions::open_async`] for how to open it in other ways.
///
/// Blocks until the store is open.
///
/// # Errors
/// As [`open`] and [`AsyncOptions::start`].
///
/// ```
/// use realmstore::{AsyncOptions, MatchPolicy};
///
/// # fn main() -> realmstore::Result<()> {
/// # futures_lite::future::block_on(async {
/// let options = AsyncOptions::new().realm("realm1");
/// let store = realmstore::open_async("memory:", &options)?;
/// let subscription = store.subscription_id("com.example.", MatchPolicy::Prefix).await?;
/// # assert_eq!(store.subscription_id("com.example.", MatchPolicy::Prefix).await?, subscription);
/// store.close().await
/// # })
/// # }
/// ```
#[cfg(feature = "async")]
pub fn open_async(location: &str, options: &AsyncOptions) -> Result<Arc<dyn AsyncRealmStore>> {
    OpenOptions::new().open_async(&location.parse()?, options)
}

/// How to open a store: what every engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct OpenOptions {
    read_only: bool,
    create: bool,
    durability: Durability,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// For reading and writing, made where there is none, and every commit on
    /// disk when it returns.
    pub const fn new() -> Self {
        Self {
            read_only: false,
            create: true,
            durability: Durability::OnDisk,
        }
    }

    /// Whether the store is for reading only. There must then be one.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether the store is made where there is none.
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// What a commit is worth when it returns.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Opens the store and attaches to it.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(self, location: &Location) -> Result<AnyStore> {
        RealmStore::attach(self.open_backend(location)?)
    }

    /// Opens the store for an async router.
    ///
    /// # Errors
    /// As [`open_async`].
    #[cfg(feature = "async")]
    pub fn open_async(
        self,
        location: &Location,
        options: &AsyncOptions,
    ) -> Result<Arc<dyn AsyncRealmStore>> {
        Ok(Arc::new(options.start(self.open(location)?)?))
    }

    /// Opens the store without attaching to it: nothing is made in it.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open_backend(self, location: &Location) -> Result<AnyBackend> {
        match location.engine() {
            Engine::Memory if self.read_only || !self.create => Err(Error::new(
                ErrorKind::NotFound,
                "a store in memory is new when it is opened: there is nothing to read",
            )
            .engine("memory")),
            Engine::Memory => Ok(AnyBackend::Memory(MemoryBackend::new())),
            #[cfg(feature = "lmdb")]
            Engine::Lmdb | Engine::Lmdb10 => self.open_lmdb(location),
            #[cfg(feature = "rocks")]
            Engine::Rocks => {
                let options = realmstore_rocks::RocksOptions::new();
                let options = options.read_only(self.read_only).create(self.create);
                options
                    .durability(self.durability)
                    .open(location.path())
                    .map(AnyBackend::Rocks)
            }
            #[cfg(feature = "sled")]
            Engine::Sled => {
                let options = realmstore_sled::SledOptions::new();
                let options = options.read_only(self.read_only).create(self.create);
                options
                    .durability(self.durability)
                    .open(location.path())
                    .map(AnyBackend::Sled)
            }
            #[allow(unreachable_patterns, reason = "a build may have every engine")]
            missing => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{location}: the engine {missing} is not compiled in: build realmstore with the feature `{}`",
                    if missing == Engine::Lmdb10 {
                        "lmdb"
                    } else {
                        missing.name()
                    }
                ),
            )),
        }
    }

    #[cfg(feature = "lmdb")]
    fn open_lmdb(self, location: &Location) -> Result<AnyBackend> {
        let found = realmstore_lmdb::sniff(location.path())?;
        let is_lmdb10 = match found {
            Some(format) => format == FileFormat::Lmdb10,
            None => location.engine() == Engine::Lmdb10,
        };
        if !is_lmdb10 {
            return LmdbOptions::new()
                .read_only(self.read_only)
                .create(self.create)
                .durability(self.durability)
                .open(location.path())
                .map(AnyBackend::Lmdb);
        }
        if self.read_only {
            return PagesBackend::open(location.path()).map(AnyBackend::Pages);
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{location}: LMDB 1.0 is written by the crate realmstore-lmdb10, which cannot be \
                 linked into one program with LMDB 0.9; this build only reads it"
            ),
        )
        .engine("lmdb10"))
    }
}
