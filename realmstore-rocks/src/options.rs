//! How a store is opened.

use std::path::Path;
use std::time::Duration;
use std::{fs, io, thread};

use realmstore_core::{Durability, ErrorKind, Result};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, LogLevel, Options,
};

use crate::{ENGINE, RocksBackend, error};

/// The file that names the manifest, which names all others. A directory with
/// one is a store.
const CURRENT: &str = "CURRENT";

/// How often opening beside a writer is tried.
const ATTEMPTS: usize = 10;

/// How long a writer is given to have done with its files.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// How to open a RocksDB store.
///
/// ```
/// use realmstore_core::Backend;
/// use realmstore_rocks::RocksOptions;
///
/// # fn main() -> realmstore_core::Result<()> {
/// # let directory = tempfile::tempdir().map_err(|error| {
/// #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
/// # })?;
/// # let path = directory.path().join("realm");
/// # drop(RocksOptions::new().open(&path)?);
/// let store = RocksOptions::new().read_only(true).open(&path)?;
/// assert!(store.info()?.read_only);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct RocksOptions {
    read_only: bool,
    create: bool,
    durability: Durability,
    cache_size: usize,
    max_open_files: u32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            create: true,
            durability: Durability::OnDisk,
            cache_size: 64 << 20,
            max_open_files: 512,
        }
    }
}

impl RocksOptions {
    /// To read and write, creating what is missing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to open the store for reading only. Not a byte of it is then
    /// changed, and no lock is taken: it may be open for writing elsewhere.
    /// What is seen is the store as it was when it was opened; open it again
    /// to see more.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether to create the store, and its directory, where there is none.
    /// It is so by default.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// What a commit is worth when it has returned; by default it is on disk.
    ///
    /// With any other than [`OnDisk`](Durability::OnDisk) a commit is written
    /// to the log and left to the operating system. After a crash of the
    /// machine the newest commits may be missing, and never one before them.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The memory for blocks of the files that were read, with their indexes
    /// and filters, in bytes; 64 MiB by default. Up to 128 MiB more hold what
    /// was written last.
    pub fn cache_size(mut self, bytes: usize) -> Self {
        self.cache_size = bytes;
        self
    }

    /// How many files are kept open; 512 by default, which is enough for 32
    /// GiB without opening any of them anew. A store that was opened read-only
    /// keeps all of them open, so that no writer can take them away.
    pub fn max_open_files(mut self, files: u32) -> Self {
        self.max_open_files = files;
        self
    }

    /// Opens the store in a directory.
    ///
    /// # Errors
    /// * [`ErrorKind::NotFound`]: there is no store, and none is to be created;
    /// * [`ErrorKind::InUse`]: it is open for writing already, in this process
    ///   or in another one;
    /// * [`ErrorKind::Unsupported`]: it is in the format of a newer RocksDB;
    /// * [`ErrorKind::Damaged`]: files are missing or not what they should be,
    ///   or it is of RocksDB and not a realm store;
    /// * [`ErrorKind::ReadOnly`]: it cannot be written to;
    /// * [`ErrorKind::Busy`]: a writer is changing files faster than a reader
    ///   can open them;
    /// * [`ErrorKind::InvalidInput`]: the path does not name a directory;
    /// * [`ErrorKind::Full`]: there is no space left on the disk;
    /// * [`ErrorKind::Io`]: permissions, or a failing disk.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<RocksBackend> {
        let directory = path.as_ref();
        let db = self
            .open_directory(directory)
            .map_err(|error| error.engine(ENGINE).operation("open"))?;
        Ok(RocksBackend::new(
            db,
            directory.to_owned(),
            self.read_only,
            self.durability,
        ))
    }

    fn open_directory(&self, directory: &Path) -> Result<DB> {
        let exists = is_store(directory)
            .map_err(|reason| error::system(reason, directory, "is not a RocksDB store"))?;
        if !exists {
            if self.read_only || !self.create {
                return Err(error::plain(
                    ErrorKind::NotFound,
                    format!("there is no RocksDB store in {}", directory.display()),
                ));
            }
            prepare(directory)?;
        }
        if self.read_only {
            return self.open_beside_a_writer(directory);
        }
        let mut options = self.options();
        options.create_if_missing(true);
        options.set_max_open_files(i32::try_from(self.max_open_files).unwrap_or(i32::MAX));
        DB::open(&options, directory).map_err(|error| error::opening(error, directory, false))
    }

    /// Opens the store as it is at one moment. RocksDB reads the manifest
    /// first and then the files that it names; what a writer has meanwhile
    /// moved from one file to another would be missed. Whenever it does so,
    /// it writes to the manifest.
    fn open_beside_a_writer(&self, directory: &Path) -> Result<DB> {
        let mut options = self.options();
        options.set_max_open_files(-1);
        let mut failure = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                thread::sleep(BETWEEN_ATTEMPTS);
            }
            let before = manifest(directory);
            match DB::open_for_read_only(&options, directory, false) {
                Ok(db) => {
                    if let (Ok(before), Ok(after)) = (before, manifest(directory))
                        && before == after
                    {
                        return Ok(db);
                    }
                    failure = None;
                }
                // Perhaps a file that has just become superfluous.
                Err(error) => failure = Some(error),
            }
        }
        Err(match failure {
            Some(failure) => error::opening(failure, directory, true),
            None => error::plain(
                ErrorKind::Busy,
                format!(
                    "{}: a writer changes the files faster than they can be opened",
                    directory.display()
                ),
            ),
        })
    }

    fn options(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(self.cache_size));
        table.set_bloom_filter(10.0, false);
        // Indexes and filters are in the cache, which is all the memory that
        // reading takes; in parts, since a whole one can be too large for it.
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_pin_top_level_index_and_filter(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);

        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        // Most of what is looked for before it is written is not there.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.02);
        // Files are handed to the disk as they are written, not all at once at the end.
        options.set_bytes_per_sync(1 << 20);
        options.set_wal_bytes_per_sync(1 << 20);
        // RocksDB's own log, of which it would keep a thousand old ones.
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options
    }
}

fn is_store(directory: &Path) -> io::Result<bool> {
    match fs::metadata(directory.join(CURRENT)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the directory of a new store, and refuses one with the remains of an
/// old one: RocksDB would clear them away.
fn prepare(directory: &Path) -> Result<()> {
    let failed = |reason| error::system(reason, directory, "cannot be created");
    fs::create_dir_all(directory).map_err(failed)?;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let extension = Path::new(&name).extension();
        if extension.is_some_and(|extension| extension == "sst" || extension == "log") {
            return Err(error::plain(
                ErrorKind::Damaged,
                format!(
                    "{} has files of a RocksDB store, and no {CURRENT} that names them",
                    directory.display()
                ),
            ));
        }
    }
    Ok(())
}

/// What tells one state of a store's files from another: the manifest's name
/// and its length.
fn manifest(directory: &Path) -> io::Result<(String, u64)> {
    let name = fs::read_to_string(directory.join(CURRENT))?;
    let len = fs::metadata(directory.join(name.trim_end()))?.len();
    Ok((name, len))
}
