//! Who is measured beside whom.

#![allow(clippy::expect_used, reason = "a system that fails ends the benchmark")]

use std::path::Path;

use realmstore::lmdb::LmdbBackend;
use realmstore::rocks::RocksBackend;
use realmstore::sled::SledBackend;

use crate::contender::{Contender, Task};
use crate::systems::{Open, Sync, System, kv, ours::Ours, raw::Raw, sqlite::Sqlite};

/// An engine under realmstore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Lmdb,
    Rocks,
    Sled,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lmdb => "LMDB",
            Self::Rocks => "RocksDB",
            Self::Sled => "sled",
        }
    }
}

/// Systems that are measured in turns.
pub struct Group {
    /// The engine of the first two.
    pub engine: Engine,
    /// First realmstore on the engine, second the engine without our layers.
    members: &'static [(&'static str, Open)],
}

/// Those that work in the background as well stand together: RocksDB and fjall
/// would take the second processor from others.
pub const GROUPS: [Group; 3] = [
    Group {
        engine: Engine::Lmdb,
        members: &[
            ("realmstore on LMDB", Ours::<LmdbBackend>::open),
            ("raw LMDB", Raw::<kv::Lmdb>::open),
            ("SQLite", Sqlite::open),
            ("redb", Raw::<kv::Redb>::open),
        ],
    },
    Group {
        engine: Engine::Rocks,
        members: &[
            ("realmstore on RocksDB", Ours::<RocksBackend>::open),
            ("raw RocksDB", Raw::<kv::Rocks>::open),
            ("fjall", Raw::<kv::Fjall>::open),
        ],
    },
    Group {
        engine: Engine::Sled,
        members: &[
            ("realmstore on sled", Ours::<SledBackend>::open),
            ("raw sled", Raw::<kv::Sled>::open),
        ],
    },
];

impl Group {
    /// Starts all members, each in a process and a directory of its own.
    pub fn start(
        &self,
        directory: &Path,
        sync: Sync,
        publications: u64,
        batch: u64,
    ) -> Vec<Contender> {
        let start = |name: &str| {
            let task = Task {
                system: name.to_owned(),
                sync,
                publications,
                batch,
            };
            Contender::start(&task, directory)
        };
        self.names().map(start).collect()
    }

    /// Opens realmstore on the engine.
    pub fn open_own(&self, directory: &Path, sync: Sync) -> Box<dyn System> {
        open_member(&self.members[0], directory, sync)
    }

    /// Opens the engine without our layers.
    pub fn open_raw(&self, directory: &Path, sync: Sync) -> Box<dyn System> {
        open_member(&self.members[1], directory, sync)
    }

    /// The names of all members.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.members.iter().map(|(name, _)| *name)
    }

    /// The places and names of those that realmstore is compared with.
    pub fn others(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.names().enumerate().skip(1)
    }
}

/// Opens the system of a name.
///
/// # Errors
/// When there is none.
pub fn open(name: &str, directory: &Path, sync: Sync) -> Result<Box<dyn System>, String> {
    let mut members = GROUPS.iter().flat_map(|group| group.members);
    let member = members.find(|(member, _)| *member == name);
    member
        .map(|member| open_member(member, directory, sync))
        .ok_or_else(|| format!("there is no system {name}"))
}

fn open_member((name, open): &(&str, Open), directory: &Path, sync: Sync) -> Box<dyn System> {
    let directory = directory.join(name.replace(' ', "-"));
    std::fs::create_dir_all(&directory).expect("a directory");
    open(&directory, sync)
}
