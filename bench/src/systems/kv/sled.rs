use std::fs::File;
use std::path::Path;

use sled::{Batch, Config, Db};

use super::super::Sync;
use super::{Kv, KvRead, KvWrite};

/// sled, with the default cache as realmstore has it.
pub struct Sled {
    db: Db,
    sync: Sync,
    /// What sled's own flush hands to the disk and does not wait for in full.
    file: File,
}

impl Kv for Sled {
    type Read<'a> = &'a Db;
    type Write<'a> = Batch;

    fn open(directory: &Path, sync: Sync) -> Self {
        let db = Config::new().path(directory).open().expect("sled opens");
        let file = File::open(directory.join("db")).expect("sled has a file");
        Self { db, sync, file }
    }

    /// sled has no snapshots.
    fn read(&self) -> &Db {
        &self.db
    }

    fn write(&mut self, put: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::default();
        put(&mut batch);
        self.db.apply_batch(batch).expect("sled writes");
        if self.sync == Sync::Durable {
            self.db.flush().expect("sled flushes");
            self.file.sync_data().expect("the disk syncs");
        }
    }

    fn settle(&mut self) -> u64 {
        self.db.flush().expect("sled flushes");
        self.db.size_on_disk().expect("sled's files")
    }
}

impl KvRead for &'_ Db {
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let value = sled::Tree::get(self, key).expect("sled gets");
        value.map(|value| read(&value))
    }

    fn ascending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for row in self.scan_prefix(prefix) {
            let (key, value) = row.expect("sled scans");
            if !each(&key, &value) {
                break;
            }
        }
    }

    fn descending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for row in self.scan_prefix(prefix).rev() {
            let (key, value) = row.expect("sled scans");
            if !each(&key, &value) {
                break;
            }
        }
    }
}

impl KvWrite for Batch {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.insert(key, value);
    }
}
