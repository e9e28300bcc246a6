//! How a store is opened.

use std::path::Path;
use std::thread;
use std::time::Duration;

use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, MdbError};
use realmstore_core::{Durability, Error, ErrorKind, Result};
use realmstore_lmdb_pages::{DATA_FILE, check_header};

use crate::backend::Opened;
use crate::this_format::{FORMAT, SHARED_WITH_OTHERS};
use crate::{ENGINE, Entries, Environment, LmdbBackend, error, files, holder};

/// The address space that is reserved for a map by default, and the limit up
/// to which a smaller map grows.
#[cfg(target_pointer_width = "64")]
const RESERVATION: usize = 1 << 40;
#[cfg(not(target_pointer_width = "64"))]
const RESERVATION: usize = 1 << 30;

/// What must be had at least when the system refuses the whole reservation.
const LEAST_RESERVATION: usize = 1 << 30;

/// The least map that is worth having.
const LEAST_MAP: usize = 1 << 20;

/// Sizes of maps are multiples of this, and so of every page size in use.
pub(crate) const MAP_UNIT: usize = 64 << 10;

/// How often a store is opened whose lock file is not set up: for two seconds,
/// in which one compaction may follow another.
const ATTEMPTS: u32 = 200;

/// How long others who found the same are given to let go of it.
const PAUSE: Duration = Duration::from_millis(10);

/// How to open an LMDB store.
///
/// ```
/// use realmstore_core::Backend;
#[doc = concat!("use ", env!("CARGO_CRATE_NAME"), "::LmdbOptions;")]
///
/// # fn main() -> realmstore_core::Result<()> {
/// # let directory = tempfile::tempdir().map_err(|error| {
/// #     realmstore_core::Error::new(realmstore_core::ErrorKind::Io, error.to_string())
/// # })?;
/// # let path = directory.path().join("realm");
/// # drop(LmdbOptions::new().open(&path)?);
/// let store = LmdbOptions::new().read_only(true).open(&path)?;
/// assert!(store.info()?.read_only);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct LmdbOptions {
    read_only: bool,
    create: bool,
    map_size: Option<usize>,
    size_limit: Option<usize>,
    max_readers: u32,
    grow_timeout: Duration,
    durability: Durability,
}

impl Default for LmdbOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            create: true,
            map_size: None,
            size_limit: None,
            max_readers: 1024,
            grow_timeout: Duration::from_secs(30),
            durability: Durability::OnDisk,
        }
    }
}

impl LmdbOptions {
    /// To read and write, creating what is missing, with a map that no store
    /// will fill.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to open the store for reading only. `data.mdb` is then not
    /// changed by a byte, and must exist. Readers register in `lock.mdb`, so
    /// that one must be writable, except on a read-only file system.
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

    /// The size of the memory map in bytes, rounded up to whole pages; at
    /// least 1 MiB, and at least what the store takes already.
    ///
    /// By default 1 TiB of address space is reserved (1 GiB on 32 bits), or
    /// as much of it as the system allows. It costs neither memory nor disk,
    /// and is the limit of what the store can hold.
    ///
    /// A smaller map, for a system that counts address space, grows by itself
    /// up to that size, or up to the [`size_limit`](Self::size_limit) where
    /// that is less. Three things are different then: each write
    /// transaction keeps a copy of what it writes until it ends; growth waits
    /// until no other transaction of the process is alive (see
    /// [`grow_timeout`](Self::grow_timeout)); and if the system refuses the
    /// larger map, there is none any more, and the store must be opened again.
    pub fn map_size(mut self, bytes: usize) -> Self {
        self.map_size = Some(bytes);
        self
    }

    /// How large this process may make `data.mdb`, in bytes, rounded down to a
    /// multiple of 64 KiB; at least 1 MiB. There is no limit by default. The
    /// map is at most that large.
    ///
    /// A transaction that would make the file larger fails with
    /// [`ErrorKind::Full`], and nothing of it is stored. Other processes are
    /// not bound by it: what they write beyond it can be read, but no
    /// transaction of this one can write any more.
    ///
    /// It is for stores that another program has open, or will open, with a
    /// memory map that does not grow: a file that outgrows it ends that
    /// program's work at its next transaction. So the limit is the size of its
    /// map, which is 128 MiB for Crossbar.io unless its configuration says
    /// otherwise. It says nothing to a store that is opened read-only.
    pub fn size_limit(mut self, bytes: usize) -> Self {
        self.size_limit = Some(bytes);
        self
    }

    /// How many snapshots can be open at once, over all processes; 1024 by
    /// default, at least 1. Where another process has the store open already,
    /// its number counts.
    pub fn max_readers(mut self, readers: u32) -> Self {
        self.max_readers = readers;
        self
    }

    /// How long the map waits for the transactions of this process to end
    /// when it has to grow, before it gives up with [`ErrorKind::Busy`]; 30
    /// seconds by default. Snapshots that begin meanwhile are held back for
    /// some 100 ms each. A thread that writes while it holds a snapshot itself
    /// will wait in vain.
    pub fn grow_timeout(mut self, timeout: Duration) -> Self {
        self.grow_timeout = timeout;
        self
    }

    /// What a commit is worth when it has returned;
    /// [`OnDisk`](Durability::OnDisk) by default.
    ///
    /// [`Eventual`](Durability::Eventual) leaves the file's header to the
    /// system, which spares one of two flushes; after a crash of the machine
    /// the last commit may be missing. [`NoSync`](Durability::NoSync) leaves
    /// everything to it, in an order that is the system's own: after a crash
    /// of the machine the file may be of no use any more.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Opens the store in a directory. The path of the `data.mdb` in it will
    /// do as well.
    ///
    /// # Errors
    /// * [`ErrorKind::NotFound`]: there is no store, and none is to be created;
    /// * [`ErrorKind::InUse`]: this process has it open already, or another
    ///   one with another version of LMDB has; or, for LMDB 1.0, it is to be
    ///   opened for writing without a [`size_limit`](Self::size_limit), and
    ///   another process has it open (that is not noticed on Windows);
    /// * [`ErrorKind::Unsupported`]: it is in another format of LMDB;
    /// * [`ErrorKind::Damaged`]: `data.mdb` is not of LMDB, is cut short, or
    ///   has a damaged header; or it is of LMDB and not a realm store;
    /// * [`ErrorKind::ReadOnly`]: `data.mdb` cannot be written to;
    /// * [`ErrorKind::InvalidInput`]: the path does not name a directory, or
    ///   the store is larger than its size limit;
    /// * [`ErrorKind::Full`]: the system refuses even the least map;
    /// * [`ErrorKind::Io`]: permissions, or a failing disk.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<LmdbBackend> {
        self.open_path(path.as_ref())
            .map_err(|error| error.engine(ENGINE).operation("open"))
    }

    fn open_path(&self, path: &Path) -> Result<LmdbBackend> {
        let size_limit = self.size_limit_for_writing()?;
        let _opening = holder::opening();
        let directory = files::store_directory(path)?;
        let data = directory.join(DATA_FILE);
        let exists = check_header(&data, FORMAT)?;
        if !exists {
            if self.read_only || !self.create {
                return Err(error::plain(
                    ErrorKind::NotFound,
                    format!("there is no LMDB store in {}", directory.display()),
                ));
            }
            files::create_directory(&directory)?;
            files::provide_data_file(&directory)?;
        } else if !self.read_only {
            files::check_writable(&data)?;
        }
        if holder::is_open_here(&directory) {
            return Err(error::opening(
                heed::Error::EnvAlreadyOpened,
                &directory,
                self.read_only,
            ));
        }
        if SHARED_WITH_OTHERS
            && !self.read_only
            && size_limit.is_none()
            && let Some(holder) = holder::other_holder(&directory)?
        {
            return Err(error::needs_size_limit(&directory, holder));
        }
        files::provide_lock_file(&directory, self.read_only, self.max_readers.max(1))?;

        let largest_map = size_limit.unwrap_or(RESERVATION);
        let env = self.open_environment(&directory, size_limit)?;
        let failed = |error| error::opening(error, &directory, self.read_only);
        if let Some(limit) = size_limit {
            // LMDB has raised a map that was too small for what is stored.
            let taken = env.info().map_size as u64;
            let taken = taken.max(env.real_disk_size().map_err(failed)?);
            if taken > limit as u64 {
                return Err(too_large(&data, taken, limit));
            }
        }
        let entries = entries_of(&env).map_err(failed)?.ok_or_else(|| {
            error::plain(
                ErrorKind::Engine,
                "LMDB has no unnamed database, which it always has",
            )
        })?;
        if !self.read_only {
            // What crashed processes were reading would be kept for ever.
            env.clear_stale_readers().map_err(failed)?;
        }
        Ok(LmdbBackend::new(Opened {
            env,
            entries,
            read_only: self.read_only,
            durability: self.durability,
            grow_timeout: self.grow_timeout,
            growth_limit: self
                .map_size
                .filter(|&size| size < largest_map)
                .map(|_| largest_map),
            size_limit,
            directory,
        }))
    }

    /// The size limit, where there is one and the store is to be written to.
    fn size_limit_for_writing(&self) -> Result<Option<usize>> {
        let Some(limit) = self.size_limit.filter(|_| !self.read_only) else {
            return Ok(None);
        };
        if limit < LEAST_MAP {
            return Err(error::plain(
                ErrorKind::InvalidInput,
                format!("a size limit of {limit} bytes is less than {LEAST_MAP} bytes, the least"),
            ));
        }
        Ok(Some(limit - limit % MAP_UNIT))
    }

    fn open_environment(&self, directory: &Path, size_limit: Option<usize>) -> Result<Environment> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.max_readers(self.max_readers.max(1));
        if self.read_only {
            // SAFETY: the flag takes none of LMDB's locks away.
            unsafe { options.flags(EnvFlags::READ_ONLY) };
        }
        match self.durability {
            Durability::OnDisk => {}
            // SAFETY: the flag takes none of LMDB's locks away, and the pages
            // of a commit are still on disk before the header that names them.
            Durability::Eventual => unsafe {
                options.flags(EnvFlags::NO_META_SYNC);
            },
            // SAFETY: the flag takes none of LMDB's locks away. A crash of the
            // machine may leave a header whose pages are missing, and LMDB
            // trusts its pages; that is what the caller asked for, and what
            // the option's documentation says.
            Durability::NoSync => unsafe {
                options.flags(EnvFlags::NO_SYNC);
            },
        }
        let mut size = match self.map_size {
            None => RESERVATION,
            Some(size) => round_up(size.max(LEAST_MAP), MAP_UNIT).ok_or_else(|| {
                error::plain(
                    ErrorKind::InvalidInput,
                    format!("a map of {size} bytes is larger than the address space"),
                )
            })?,
        }
        .min(size_limit.unwrap_or(usize::MAX));
        let mut attempts = ATTEMPTS;
        loop {
            options.map_size(size);
            // SAFETY: all the locks of LMDB are in use, the file was found to
            // be one of its format and to be whole, and heed sees to it that
            // it is open only once in this process. That nobody changes the
            // file behind LMDB's back is what the crate's documentation asks
            // of its users.
            match unsafe { options.open(directory) } {
                Err(error)
                    if self.map_size.is_none()
                        && size > LEAST_RESERVATION
                        && is_out_of_memory(&error) =>
                {
                    size /= 2;
                }
                // The data file was found to be valid, so it is the lock file
                // that is not: somebody has kept everybody out of the store.
                Err(heed::Error::Mdb(MdbError::Invalid)) if attempts > 1 => {
                    attempts -= 1;
                    thread::sleep(PAUSE);
                }
                result => {
                    return result
                        .map_err(|error| error::opening(error, directory, self.read_only));
                }
            }
        }
    }
}

fn entries_of(env: &Environment) -> heed::Result<Option<Entries>> {
    let txn = env.read_txn()?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        opener
            .open_database(txn, None)
            .map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(match opened {
        CommitOrAbort::Commit(entries) => entries,
        CommitOrAbort::Abort(()) => None,
    })
}

fn too_large(data: &Path, taken: u64, limit: usize) -> Error {
    error::plain(
        ErrorKind::InvalidInput,
        format!(
            "{} takes {taken} bytes already, more than the size limit of {limit} bytes; open it \
             with a larger limit, or read-only",
            data.display()
        ),
    )
}

fn is_out_of_memory(error: &heed::Error) -> bool {
    matches!(error, heed::Error::Io(error) if error.kind() == std::io::ErrorKind::OutOfMemory)
}

/// The next multiple of `unit` that is not an overflow.
pub(crate) fn round_up(size: usize, unit: usize) -> Option<usize> {
    size.checked_next_multiple_of(unit)
}
