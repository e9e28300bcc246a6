//! How LMDB is opened.

use std::path::Path;

use conformance::Engine;
use realmstore_core::Result;
use realmstore_lmdb::{LmdbBackend, LmdbOptions};

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
