//! How sled is opened.

use std::path::Path;

use conformance::Engine;
use realmstore_core::Result;
use realmstore_sled::{SledBackend, SledOptions};

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
