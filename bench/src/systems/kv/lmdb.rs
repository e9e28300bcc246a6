use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithoutTls,
};

use super::super::{Sync, files_size};
use super::{Kv, KvRead, KvWrite, end_of};

type Rows = Database<'static, Bytes, Bytes>;

/// LMDB by heed.
pub struct Lmdb {
    env: Env<WithoutTls>,
    rows: Rows,
    flags: PutFlags,
}

pub struct Read<'a> {
    txn: RoTxn<'a, WithoutTls>,
    rows: Rows,
}

pub struct Write<'a> {
    txn: RwTxn<'a>,
    rows: Rows,
    flags: PutFlags,
}

impl Lmdb {
    /// Opens it for all rows to be put in one way.
    pub fn open_to_put(directory: &Path, sync: Sync, flags: PutFlags) -> Self {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(64 << 30);
        if sync == Sync::Lazy {
            // SAFETY: the flag takes none of LMDB's locks away.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the directory is new and nobody else's, and LMDB's locks are in use.
        let env = unsafe { options.open(directory) }.expect("LMDB opens");
        let txn = env.read_txn().expect("LMDB reads");
        let opened = env.open_databases_and_commit(txn, |opener, txn| {
            opener
                .open_database(txn, None)
                .map(CommitOrAbort::<_, ()>::Commit)
        });
        let CommitOrAbort::Commit(Some(rows)) = opened.expect("LMDB opens") else {
            unreachable!("the unnamed database is always there");
        };
        Self { env, rows, flags }
    }
}

impl Kv for Lmdb {
    type Read<'a> = Read<'a>;
    type Write<'a> = Write<'a>;

    fn open(directory: &Path, sync: Sync) -> Self {
        Self::open_to_put(directory, sync, PutFlags::empty())
    }

    fn read(&self) -> Read<'_> {
        Read {
            txn: self.env.read_txn().expect("LMDB reads"),
            rows: self.rows,
        }
    }

    fn write(&mut self, put: impl FnOnce(&mut Write<'_>)) {
        let mut write = Write {
            txn: self.env.write_txn().expect("LMDB writes"),
            rows: self.rows,
            flags: self.flags,
        };
        put(&mut write);
        write.txn.commit().expect("LMDB commits");
    }

    fn settle(&mut self) -> u64 {
        self.env.force_sync().expect("LMDB syncs");
        files_size(self.env.path())
    }
}

impl KvRead for Read<'_> {
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.rows.get(&self.txn, key).expect("LMDB gets").map(read)
    }

    fn ascending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        let end = end_of(prefix);
        let range = (Bound::Included(prefix), Bound::Excluded(&*end));
        let rows = self.rows.range(&self.txn, &range).expect("LMDB scans");
        for row in rows {
            let (key, value) = row.expect("LMDB scans");
            if !each(key, value) {
                break;
            }
        }
    }

    fn descending(&self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        let end = end_of(prefix);
        let range = (Bound::Included(prefix), Bound::Excluded(&*end));
        let rows = self.rows.rev_range(&self.txn, &range).expect("LMDB scans");
        for row in rows {
            let (key, value) = row.expect("LMDB scans");
            if !each(key, value) {
                break;
            }
        }
    }
}

impl KvWrite for Write<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.rows
            .put_with_flags(&mut self.txn, self.flags, key, value)
            .expect("LMDB puts");
    }
}
