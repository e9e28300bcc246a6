//! How the engine in memory is opened.

use std::path::Path;

use conformance::Engine;
use realmstore_core::memory::MemoryBackend;
use realmstore_core::{Error, ErrorKind, Result};

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
