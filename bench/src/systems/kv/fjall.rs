use std::path::Path;

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};

use super::super::Sync;
use super::{Kv, KvRead, KvWrite};

/// fjall, with 64 MiB of cache; LZ4 and filters are what it does by default.
pub struct Fjall {
    db: Database,
    rows: Keyspace,
    persist: PersistMode,
}

pub struct Read<'a> {
    snapshot: Snapshot,
    rows: &'a Keyspace,
}

pub struct Write<'a> {
    batch: OwnedWriteBatch,
    rows: &'a Keyspace,
}

impl Kv for Fjall {
    type Read<'a> = Read<'a>;
    type Write<'a> = Write<'a>;

    fn open(directory: &Path, sync: Sync) -> Self {
        let db = Database::builder(directory)
            .cache_size(64 << 20)
            .open()
            .expect("fjall opens");
        let rows = db
            .keyspace("rows", KeyspaceCreateOptions::default)
            .expect("fjall's keyspace");
        let persist = match sync {
            // This syncs the length of the journal too, where it grew.
            Sync::Durable => PersistMode::SyncData,
            Sync::Lazy => PersistMode::Buffer,
        };
        Self { db, rows, persist }
    }

    fn read(&self) -> Read<'_> {
        Read {
            snapshot: self.db.snapshot(),
            rows: &self.rows,
        }
    }

    fn write(&mut self, put: impl FnOnce(&mut Write<'_>)) {
        let mut write = Write {
            batch: self.db.batch().durability(Some(self.persist)),
            rows: &self.rows,
        };
        put(&mut write);
        write.batch.commit().expect("fjall commits");
    }

    /// The journal counts, 64 MiB at least, though all of it is in tables by then. Tables
    /// that were merged do not count: fjall removes their files later.
    fn settle(&mut self) -> u64 {
        self.db.persist(PersistMode::SyncAll).expect("fjall syncs");
        self.rows.rotate_memtable_and_wait().expect("fjall flushes");
        self.rows.major_compact().expect("fjall compacts");
        self.db.disk_space().expect("fjall's files")
    }
}

impl KvRead for Read<'_> {
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let value = self.snapshot.get(self.rows, key).expect("fjall gets");
        value.map(|value| read(&value))
    }

    fn ascending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for row in self.snapshot.prefix(self.rows, prefix) {
            let (key, value) = row.into_inner().expect("fjall scans");
            if !each(&key, &value) {
                break;
            }
        }
    }

    fn descending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for row in self.snapshot.prefix(self.rows, prefix).rev() {
            let (key, value) = row.into_inner().expect("fjall scans");
            if !each(&key, &value) {
                break;
            }
        }
    }
}

impl KvWrite for Write<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.insert(self.rows, key, value);
    }
}
