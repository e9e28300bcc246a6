use std::ops::Bound;
use std::path::Path;

use redb::{Database, Durability, Range, ReadOnlyTable, ReadableDatabase, Table, TableDefinition};

use super::super::{Sync, files_size};
use super::{Kv, KvRead, KvWrite, end_of};

const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");

/// With `Sync::Lazy`, one commit out of so many is durable all the same: redb
/// leaves nothing to the operating system, but keeps in its own memory what is
/// not durable, and loses it with the process.
const DURABLE_ONE_OF: u64 = 100;

/// redb, with the default cache of 1 GiB.
pub struct Redb {
    db: Database,
    sync: Sync,
    commits: u64,
    directory: Box<Path>,
}

impl Redb {
    fn commit(
        &self,
        durability: Durability,
        put: impl FnOnce(&mut Table<'_, &'static [u8], &'static [u8]>),
    ) {
        let mut txn = self.db.begin_write().expect("redb writes");
        txn.set_durability(durability)
            .expect("redb has no savepoints");
        put(&mut txn.open_table(ROWS).expect("redb's table"));
        txn.commit().expect("redb commits");
    }
}

impl Kv for Redb {
    type Read<'a> = ReadOnlyTable<&'static [u8], &'static [u8]>;
    type Write<'a> = Table<'a, &'static [u8], &'static [u8]>;

    fn open(directory: &Path, sync: Sync) -> Self {
        let redb = Self {
            db: Database::create(directory.join("rows.redb")).expect("redb opens"),
            sync,
            commits: 0,
            directory: directory.into(),
        };
        // Whoever reads expects the table to be there.
        redb.commit(Durability::Immediate, |_| ());
        redb
    }

    fn read(&self) -> Self::Read<'_> {
        let txn = self.db.begin_read().expect("redb reads");
        txn.open_table(ROWS).expect("redb's table")
    }

    fn write(&mut self, put: impl FnOnce(&mut Self::Write<'_>)) {
        self.commits += 1;
        let durability = match self.sync {
            Sync::Lazy if !self.commits.is_multiple_of(DURABLE_ONE_OF) => Durability::None,
            _ => Durability::Immediate,
        };
        self.commit(durability, put);
    }

    fn settle(&mut self) -> u64 {
        self.commit(Durability::Immediate, |_| ());
        files_size(&self.directory)
    }
}

fn range(
    rows: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
) -> Range<'static, &'static [u8], &'static [u8]> {
    let end = end_of(prefix);
    let bounds = (Bound::Included(prefix), Bound::Excluded(&*end));
    rows.range::<&[u8]>(bounds).expect("redb scans")
}

impl KvRead for ReadOnlyTable<&'static [u8], &'static [u8]> {
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let value = Self::get(self, key).expect("redb gets");
        value.map(|value| read(value.value()))
    }

    fn ascending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for row in range(self, prefix) {
            let (key, value) = row.expect("redb scans");
            if !each(key.value(), value.value()) {
                break;
            }
        }
    }

    fn descending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        for row in range(self, prefix).rev() {
            let (key, value) = row.expect("redb scans");
            if !each(key.value(), value.value()) {
                break;
            }
        }
    }
}

impl KvWrite for Table<'_, &'static [u8], &'static [u8]> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.insert(key, value).expect("redb puts");
    }
}
