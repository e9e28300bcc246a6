#![doc = include_str!("../../README.md")]
#![forbid(unsafe_code)]

mod location;

pub use location::{Engine, Location};
pub use realmstore_core::*;
#[cfg(feature = "lmdb")]
pub use realmstore_lmdb as lmdb;

/// Opens the realm store at a location such as `lmdb:/var/lib/realm1`, and
/// makes it where there is none.
///
/// This takes each engine with its defaults. For its options, open the engine
/// itself ([`lmdb::LmdbOptions`]) and give it to [`RealmStore::attach`].
///
/// # Errors
/// Those of the engine; [`ErrorKind::Unsupported`] for an engine that was not
/// compiled in, which names the feature to add.
#[cfg(feature = "lmdb")]
pub fn open(location: &str) -> Result<RealmStore<lmdb::LmdbBackend>> {
    open_with(&location.parse()?, lmdb::LmdbOptions::new())
}

/// Opens the realm store at a location for reading: not a byte of it changes.
///
/// # Errors
/// As [`open`], and [`ErrorKind::NotFound`] when there is no store.
#[cfg(feature = "lmdb")]
pub fn open_read_only(location: &str) -> Result<RealmStore<lmdb::LmdbBackend>> {
    open_with(&location.parse()?, lmdb::LmdbOptions::new().read_only(true))
}

#[cfg(feature = "lmdb")]
fn open_with(
    location: &Location,
    options: lmdb::LmdbOptions,
) -> Result<RealmStore<lmdb::LmdbBackend>> {
    match location.engine() {
        Engine::Lmdb => RealmStore::attach(options.open(location.path())?),
    }
}
