//! The command-line tool of realmstore: look into realm stores, those of
//! Crossbar.io included.

#![forbid(unsafe_code)]

use std::env;
use std::process::{Command, ExitCode};

use realmstore::lmdb::{self, FileFormat, LmdbOptions};
use realmstore::{AnyBackend, Engine, Location, OpenOptions};
use realmstore_cli::{Compaction, Damage, Engines, Failure, Result, Writing};

/// The executable that writes files of LMDB 1.0. It is installed beside this one.
const COMPANION: &str = "realmstore-lmdb10";

fn main() -> ExitCode {
    realmstore_cli::main(&Compiled)
}

/// The engines that the facade was compiled with.
struct Compiled;

impl Engines for Compiled {
    type Reading = AnyBackend;
    type Writing = AnyBackend;

    fn read(&self, location: &Location) -> Result<AnyBackend> {
        if !location.engine().is_lmdb() {
            return self.read_in_place(location);
        }
        let file = realmstore_cli::read_lmdb(location.path(), |path| lmdb::holder(path))?;
        Ok(AnyBackend::Pages(file))
    }

    fn read_past_damage(&self, location: &Location) -> Result<AnyBackend> {
        Ok(match self.read(location)? {
            AnyBackend::Pages(file) => AnyBackend::Pages(file.past_damage()),
            other => other,
        })
    }

    fn skipped(&self, store: &AnyBackend) -> Vec<Damage> {
        match store {
            AnyBackend::Pages(file) => realmstore_cli::skipped_in_lmdb(file),
            _ => Vec::new(),
        }
    }

    fn read_in_place(&self, location: &Location) -> Result<AnyBackend> {
        Ok(if location.engine().is_lmdb() {
            AnyBackend::Pages(realmstore::lmdb_pages::PagesBackend::open(location.path())?)
        } else {
            OpenOptions::new().read_only(true).open_backend(location)?
        })
    }

    fn holder(&self, location: &Location) -> Result<Option<String>> {
        if !location.engine().is_lmdb() {
            return Ok(None);
        }
        Ok(lmdb::holder(location.path())?.map(|holder| holder.to_string()))
    }

    fn check_file(&self, store: &AnyBackend, on_damage: &mut dyn FnMut(Damage)) -> Result<()> {
        match store {
            AnyBackend::Pages(file) => Ok(realmstore_cli::check_lmdb(file, on_damage)?),
            _ => Ok(()),
        }
    }

    fn will_write(&self, location: &Location) -> Result<()> {
        if !location.engine().is_lmdb() {
            return Ok(());
        }
        match lmdb::sniff(location.path())? {
            Some(FileFormat::Lmdb09) => Ok(()),
            None if location.engine() == Engine::Lmdb => Ok(()),
            _ => Err(hand_over()),
        }
    }

    fn write(&self, location: &Location, writing: Writing) -> Result<AnyBackend> {
        match writing.size_limit {
            None => {
                let options = OpenOptions::new().create(writing.create);
                Ok(options.open_backend(location)?)
            }
            Some(limit) if location.engine().is_lmdb() => {
                let options = LmdbOptions::new().create(writing.create);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let store = options.size_limit(limit).open(location.path())?;
                Ok(AnyBackend::Lmdb(store))
            }
            Some(_) => Err(Failure::new(format!(
                "{location}: only the file of an LMDB store can be given a size limit"
            ))),
        }
    }

    fn compact(
        &self,
        location: &Location,
        copy: &mut dyn FnMut(&AnyBackend) -> Result<()>,
    ) -> Result<Compaction> {
        #[cfg(feature = "rocks")]
        if location.engine() == Engine::Rocks {
            let options = realmstore::rocks::RocksOptions::new().create(false);
            options.open(location.path())?.compact()?;
            return Ok(Compaction::InPlace);
        }
        let lock = if location.engine().is_lmdb() {
            Some(lmdb::Exclusive::lock(location.path())?)
        } else {
            None
        };
        let store = self.read_in_place(location)?;
        copy(&store)?;
        Ok(Compaction::Copied {
            lock: match store {
                #[cfg(feature = "sled")]
                AnyBackend::Sled(store) => Box::new(store.close_locked()?),
                _ => Box::new(lock),
            },
        })
    }
}

/// Lets the companion do what this process was asked for. Returns only when
/// that cannot be.
fn hand_over() -> Failure {
    let companion = match env::current_exe() {
        Ok(here) => here.with_file_name(format!("{COMPANION}{}", env::consts::EXE_SUFFIX)),
        Err(error) => {
            return Failure::Other("cannot tell where it is installed".to_owned(), Some(error));
        }
    };
    let mut command = Command::new(&companion);
    command.args(env::args_os().skip(1));
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(2)),
        Err(error) => error,
    };
    Failure::Other(
        format!(
            "files of LMDB 1.0 are written by {COMPANION}, which belongs beside this executable \
             and cannot be started there ({}); `cargo install` and `cargo build` make both",
            companion.display()
        ),
        Some(error),
    )
}
