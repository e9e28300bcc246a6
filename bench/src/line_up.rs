//! Who is measured beside whom.

#![allow(clippy::expect_used, reason = "a system that fails ends the benchmark")]

use std::path::Path;

use realmstore::lmdb::LmdbBackend;
use realmstore::rocks::RocksBackend;
use realmstore::sled::SledBackend;

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
    /// Opens all members in directories of their own.
    pub fn open(&self, directory: &Path, sync: Sync) -> Vec<Box<dyn System>> {
        self.members
            .iter()
            .map(|member| open(member, directory, sync))
            .collect()
    }

    /// Opens realmstore on the engine.
    pub fn open_own(&self, directory: &Path, sync: Sync) -> Box<dyn System> {
        open(&self.members[0], directory, sync)
    }

    /// Opens the engine without our layers.
    pub fn open_raw(&self, directory: &Path, sync: Sync) -> Box<dyn System> {
        open(&self.members[1], directory, sync)
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

fn open((name, open): &(&str, Open), directory: &Path, sync: Sync) -> Box<dyn System> {
    let directory = directory.join(name.replace(' ', "-"));
    std::fs::create_dir_all(&directory).expect("a directory");
    open(&directory, sync)
}
