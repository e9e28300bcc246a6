//! The command-line tool of realmstore: look into realm stores, those of
//! Crossbar.io included.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use realmstore::{AnyBackend, Location, OpenOptions};
use realmstore_cli::{Engines, Result, Writing};

fn main() -> ExitCode {
    realmstore_cli::main(&Compiled)
}

/// The engines that the facade was compiled with.
struct Compiled;

impl Engines for Compiled {
    type Reading = AnyBackend;
    type Writing = AnyBackend;

    fn read(&self, location: &Location) -> Result<AnyBackend> {
        Ok(OpenOptions::new().read_only(true).open_backend(location)?)
    }

    fn will_write(&self, _location: &Location) -> Result<()> {
        Ok(())
    }

    fn write(&self, location: &Location, writing: Writing) -> Result<AnyBackend> {
        Ok(OpenOptions::new()
            .create(writing.create)
            .open_backend(location)?)
    }
}
