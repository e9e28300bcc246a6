//! How RocksDB is opened.

use std::path::Path;

use conformance::Engine;
use realmstore_core::Result;
use realmstore_rocks::{RocksBackend, RocksOptions};

pub(crate) struct Rocks;

impl Engine for Rocks {
    type Backend = RocksBackend;

    fn open(directory: &Path) -> Result<RocksBackend> {
        RocksBackend::open(directory)
    }

    fn open_read_only(directory: &Path) -> Result<RocksBackend> {
        RocksOptions::new().read_only(true).open(directory)
    }
}
