//! The contract, on sled.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use conformance::Engine;
use realmstore_core::Result;
use realmstore_sled::{SledBackend, SledOptions};

struct Sled;

impl Engine for Sled {
    type Backend = SledBackend;

    fn open(directory: &Path) -> Result<SledBackend> {
        SledBackend::open(directory)
    }

    fn open_read_only(directory: &Path) -> Result<SledBackend> {
        SledOptions::new().read_only(true).open(directory)
    }
}

conformance::suites!(
    Sled,
    no sharing: "sled keeps every other process out",
);
