//! The engines, and how each is opened.

#![allow(dead_code, reason = "a test takes the engines that it needs")]

use std::path::Path;

use conformance::Engine;
use realmstore_core::memory::MemoryBackend;
use realmstore_core::{Error, ErrorKind, Result};
use realmstore_lmdb::{LmdbBackend, LmdbOptions};
#[cfg(feature = "rocks")]
use realmstore_rocks::{RocksBackend, RocksOptions};
use realmstore_sled::{SledBackend, SledOptions};

pub(crate) struct Lmdb;

impl Engine for Lmdb {
    type Backend = LmdbBackend;

    fn open(directory: &Path) -> Result<LmdbBackend> {
        LmdbBackend::open(directory)
    }

    fn open_read_only(directory: &Path) -> Result<LmdbBackend> {
        LmdbOptions::new().read_only(true).open(directory)
    }
}

#[cfg(feature = "rocks")]
pub(crate) struct Rocks;

#[cfg(feature = "rocks")]
impl Engine for Rocks {
    type Backend = RocksBackend;

    fn open(directory: &Path) -> Result<RocksBackend> {
        RocksBackend::open(directory)
    }

    fn open_read_only(directory: &Path) -> Result<RocksBackend> {
        RocksOptions::new().read_only(true).open(directory)
    }
}

pub(crate) struct Sled;

impl Engine for Sled {
    type Backend = SledBackend;

    fn open(directory: &Path) -> Result<SledBackend> {
        SledBackend::open(directory)
    }

    fn open_read_only(directory: &Path) -> Result<SledBackend> {
        SledOptions::new().read_only(true).open(directory)
    }
}

pub(crate) struct Memory;

impl Engine for Memory {
    type Backend = MemoryBackend;

    fn open(_: &Path) -> Result<MemoryBackend> {
        Ok(MemoryBackend::new())
    }

    fn open_read_only(_: &Path) -> Result<MemoryBackend> {
        Err(Error::new(
            ErrorKind::NotFound,
            "a store in memory ends with its backend",
        ))
    }
}
