use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, Options,
    ReadOptions, SliceTransform, SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

use super::super::{Sync, files_size};
use super::{Kv, KvRead, KvWrite, end_of};

/// RocksDB, tuned as realmstore tunes it: 64 MiB of cache for all that is read,
/// filters of 10 bits a key, LZ4.
pub struct Rocks {
    db: DB,
    sync: Sync,
    directory: PathBuf,
}

pub struct Read<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl Read<'_> {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

/// What RocksDB is told to do otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    pub compressed: bool,
    /// Whether files have a filter of the subscriptions too that they have events of.
    pub filter_of_prefixes: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            compressed: true,
            filter_of_prefixes: false,
        }
    }
}

/// No row has a longer key, in bytes.
const LONGEST_KEY: usize = 64;

/// A table and a subscription, in bytes.
const PREFIX: usize = 10;

impl Rocks {
    pub fn open_tuned(directory: &Path, sync: Sync, tuning: Tuning) -> Self {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(64 << 20));
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_pin_top_level_index_and_filter(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(if tuning.compressed {
            DBCompressionType::Lz4
        } else {
            DBCompressionType::None
        });
        if tuning.filter_of_prefixes {
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(PREFIX));
        }
        options.set_bytes_per_sync(1 << 20);
        options.set_wal_bytes_per_sync(1 << 20);
        Self {
            db: DB::open(&options, directory).expect("RocksDB opens"),
            sync,
            directory: directory.to_owned(),
        }
    }
}

impl Kv for Rocks {
    type Read<'a> = Read<'a>;
    type Write<'a> = WriteBatch;

    fn open(directory: &Path, sync: Sync) -> Self {
        Self::open_tuned(directory, sync, Tuning::default())
    }

    fn read(&self) -> Read<'_> {
        Read {
            db: &self.db,
            snapshot: self.db.snapshot(),
        }
    }

    fn write(&mut self, put: impl FnOnce(&mut WriteBatch)) {
        let mut batch = WriteBatch::default();
        put(&mut batch);
        let mut options = WriteOptions::default();
        options.set_sync(self.sync == Sync::Durable);
        self.db.write_opt(batch, &options).expect("RocksDB writes");
    }

    fn settle(&mut self) -> u64 {
        self.db.flush().expect("RocksDB flushes");
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        files_size(&self.directory)
    }
}

impl KvRead for Read<'_> {
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let value = self
            .db
            .get_pinned_opt(key, &self.options())
            .expect("RocksDB gets");
        value.map(|value| read(&value))
    }

    fn ascending(&self, prefix: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut options = self.options();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(end_of(prefix));
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(prefix);
        walk(rows, |rows| rows.next(), each);
    }

    fn descending(&self, prefix: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut options = self.options();
        options.set_iterate_lower_bound(prefix);
        let mut rows = self.db.raw_iterator_opt(options);
        // A key behind all others that has the same prefix, by which files are told apart.
        rows.seek_for_prev([prefix, &[u8::MAX; LONGEST_KEY]].concat());
        walk(rows, |rows| rows.prev(), each);
    }
}

fn walk(
    mut rows: DBRawIterator<'_>,
    step: impl Fn(&mut DBRawIterator<'_>),
    mut each: impl FnMut(&[u8], &[u8]) -> bool,
) {
    while let Some((key, value)) = rows.item() {
        if !each(key, value) {
            return;
        }
        step(&mut rows);
    }
    rows.status().expect("RocksDB scans");
}

impl KvWrite for WriteBatch {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        Self::put(self, key, value);
    }
}
