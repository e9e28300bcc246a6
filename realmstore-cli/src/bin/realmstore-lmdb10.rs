//! The part of the command-line tool that writes files of LMDB 1.0. It is
//! apart because the two versions of LMDB cannot be linked into one program;
//! `realmstore` hands over to it where it is needed.

#![forbid(unsafe_code)]

use std::env;
use std::process::{Command, ExitCode, Stdio};

use realmstore_cli::{Compaction, Damage, Engines, Failure, Result, Writing};
use realmstore_core::{Engine, ErrorKind, Location};
use realmstore_lmdb_pages::PagesBackend;
use realmstore_lmdb10::{Exclusive, FileFormat, LmdbBackend, LmdbOptions};

fn main() -> ExitCode {
    realmstore_cli::main(&Lmdb10)
}

/// LMDB 1.0 to write, and both formats to read.
struct Lmdb10;

impl Engines for Lmdb10 {
    type Reading = PagesBackend;
    type Writing = LmdbBackend;

    fn read(&self, location: &Location) -> Result<PagesBackend> {
        if !location.engine().is_lmdb() {
            return read_through_a_copy(location);
        }
        Ok(realmstore_cli::read_lmdb(location.path(), |path| {
            realmstore_lmdb10::holder(path)
        })?)
    }

    fn read_past_damage(&self, location: &Location) -> Result<PagesBackend> {
        Ok(self.read(location)?.past_damage())
    }

    fn skipped(&self, store: &PagesBackend) -> Vec<Damage> {
        realmstore_cli::skipped_in_lmdb(store)
    }

    fn read_in_place(&self, location: &Location) -> Result<PagesBackend> {
        if !location.engine().is_lmdb() {
            return read_through_a_copy(location);
        }
        Ok(PagesBackend::open(location.path())?)
    }

    fn holder(&self, location: &Location) -> Result<Option<String>> {
        Ok(realmstore_lmdb10::holder(location.path())?.map(|holder| holder.to_string()))
    }

    fn check_file(&self, store: &PagesBackend, on_damage: &mut dyn FnMut(Damage)) -> Result<()> {
        Ok(realmstore_cli::check_lmdb(store, on_damage)?)
    }

    fn will_write(&self, location: &Location) -> Result<()> {
        match realmstore_lmdb10::sniff(location.path())? {
            Some(FileFormat::Lmdb09) => Err(Failure::new(format!(
                "{location} is a file of LMDB 0.9; `realmstore` writes it"
            ))),
            _ => Ok(()),
        }
    }

    fn write(&self, location: &Location, writing: Writing) -> Result<LmdbBackend> {
        let mut options = LmdbOptions::new().create(writing.create);
        if let Some(limit) = writing.size_limit {
            options = options.size_limit(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let opened = options.open(location.path());
        opened.map_err(|error| match error.kind() {
            ErrorKind::InUse if writing.size_limit.is_none() => {
                Failure::new(format!("{error}; `--size-limit SIZE` gives that limit"))
            }
            _ => error.into(),
        })
    }

    fn compact(
        &self,
        location: &Location,
        copy: &mut dyn FnMut(&PagesBackend) -> Result<()>,
    ) -> Result<Compaction> {
        let lock = Exclusive::lock(location.path())?;
        copy(&PagesBackend::open(location.path())?)?;
        Ok(Compaction::Copied {
            lock: Box::new(lock),
        })
    }
}

/// Reads a store of another engine, which `realmstore` copies to LMDB first.
fn read_through_a_copy(location: &Location) -> Result<PagesBackend> {
    let failed = |what: &str, error| Failure::Other(what.to_owned(), Some(error));
    let directory = tempfile::tempdir()
        .map_err(|error| failed("no temporary directory can be made for a copy", error))?;
    let copy = Location::new(Engine::Lmdb, directory.path().join("copy"));
    let realmstore = env::current_exe()
        .map_err(|error| failed("cannot tell where it is installed", error))?
        .with_file_name(format!("realmstore{}", env::consts::EXE_SUFFIX));
    let status = Command::new(&realmstore)
        .args(["copy".to_owned(), location.to_string(), copy.to_string()])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| {
            failed(
                &format!("{} cannot be started", realmstore.display()),
                error,
            )
        })?;
    if !status.success() {
        return Err(Failure::new(format!("{location} cannot be copied")));
    }
    // Open, it needs no name.
    Ok(PagesBackend::open(copy.path())?)
}
