//! How LMDB 1.0 is opened.

use std::path::Path;

use conformance::Engine;
use realmstore_core::Result;
use realmstore_lmdb10::{LmdbBackend, LmdbOptions};

pub(crate) struct Lmdb10;

impl Engine for Lmdb10 {
    type Backend = LmdbBackend;

    fn open(directory: &Path) -> Result<LmdbBackend> {
        LmdbBackend::open(directory)
    }

    fn open_read_only(directory: &Path) -> Result<LmdbBackend> {
        LmdbOptions::new().read_only(true).open(directory)
    }
}
