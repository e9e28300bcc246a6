//! The contract, in memory.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use conformance::Engine;
use realmstore_core::memory::MemoryBackend;
use realmstore_core::{Error, ErrorKind, Result};

struct Memory;

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

conformance::suites!(
    Memory,
    no reopening: "a store in memory ends with its backend",
    no sharing: "no other program writes to a store in memory",
);
