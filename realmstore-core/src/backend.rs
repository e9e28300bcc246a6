//! What a storage engine must do: a handful of methods on bytes.
//!
//! An engine is one ordered map from byte strings to byte strings, with
//! snapshots for readers and one writer at a time. Everything typed (tables,
//! indexes, records) is built on that once, in [`table`](crate::table); an
//! engine never sees a record.

use std::ops::Bound;

use crate::{Error, ErrorKind, Result};

/// The longest key that every engine takes, in bytes. It is LMDB's limit
/// (`mdb_env_get_maxkeysize`), two bytes of which are the table's slot.
pub const MAX_KEY_LEN: usize = 511;

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// From the smallest key to the largest.
    #[default]
    Ascending,
    /// From the largest key to the smallest.
    Descending,
}

/// A range of keys: where it begins and where it ends.
pub type KeyRange<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// Whether a range is empty whatever is stored, because it ends before it
/// begins. For engines: what they stand on may not take such a range.
pub fn is_empty_range(range: KeyRange<'_>) -> bool {
    match range {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        _ => false,
    }
}

/// What a commit is worth when it has returned.
///
/// Whatever is chosen, a commit is all or nothing for readers, and
/// [`Backend::sync`] puts all of them on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// It is on disk.
    #[default]
    OnDisk,
    /// It survives the end of the process, however that ends (with sled: if
    /// the store was closed). After a crash of the machine the newest commits
    /// may be missing; nothing else is lost and nothing is damaged.
    Eventual,
    /// It survives the end of the process. After a crash of the machine the
    /// store may be damaged beyond use: only for what can be made again.
    ///
    /// LMDB alone is any faster for it; for other engines it is the same as
    /// [`Eventual`](Self::Eventual).
    NoSync,
}

/// What a backend is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendInfo {
    /// The engine's name as it stands in a store's URL: `lmdb`.
    pub engine: &'static str,
    /// The store's file format, in the engine's own words: `LMDB 0.9 (data version 1)`.
    pub format: String,
    /// Where the store is, when it is a place in the file system.
    pub path: Option<std::path::PathBuf>,
    /// Whether the store was opened read-only.
    pub read_only: bool,
    /// What a commit is worth; `None` where nothing outlives the process.
    pub durability: Option<Durability>,
    /// The bytes that the store takes on disk now.
    pub size_on_disk: u64,
}

impl BackendInfo {
    /// The facts about a backend.
    pub fn new(engine: &'static str, format: impl Into<String>) -> Self {
        Self {
            engine,
            format: format.into(),
            path: None,
            read_only: false,
            durability: None,
            size_on_disk: 0,
        }
    }
}

/// An open store of an engine.
///
/// # The contract
///
/// Each sentence is a test in the crate `conformance`, which every engine
/// passes; those that take a broken file to show are tests of the engine's own.
///
/// * Keys are ordered as byte strings, the shorter first where one is a prefix
///   of the other. A key has 1 to [`MAX_KEY_LEN`] bytes; another one is
///   [`ErrorKind::InvalidInput`] to write, and is not there to read. A value
///   may be empty, and has up to 100 MiB at least.
/// * A scan gives all keys between its bounds, of every kind and in both
///   directions, and none twice. A range that ends before it begins is empty.
///   An error late in a scan is an error, and not the end of the data.
/// * A read transaction is a snapshot: it sees every commit that ended before
///   it began, wholly, and nothing of any other. It does not wait for a writer,
///   not even on the writer's own thread, and no writer waits for it.
/// * There is one write transaction at a time; whoever asks for another one
///   waits. A thread that asks for a second one while it holds the first gets
///   [`ErrorKind::InvalidInput`] rather than waiting for itself.
/// * A writer sees its own puts and deletes, in [`get`](ReadTxn::get) and in
///   [`scan`](ReadTxn::scan).
/// * A commit is all or nothing. When it has returned, it survives the end of
///   the process, and of the machine unless the store was opened with less
///   [`Durability`] than that; a store that is opened again has all of it.
/// * A write transaction that is dropped leaves no trace.
/// * A store that was opened read-only has no writers
///   ([`ErrorKind::ReadOnly`]). One that is not there cannot be opened
///   read-only ([`ErrorKind::NotFound`]), and one that is open for writing
///   cannot be opened for writing again ([`ErrorKind::InUse`]).
///
/// How a store is opened is not part of the trait: each engine has options of
/// its own.
pub trait Backend: Send + Sync {
    /// A snapshot.
    type ReadTxn<'b>: ReadTxn
    where
        Self: 'b;

    /// The one write transaction.
    type WriteTxn<'b>: WriteTxn
    where
        Self: 'b;

    /// Begins a snapshot of what is committed now.
    ///
    /// Hold it no longer than needed: an engine keeps what a snapshot may
    /// still read, so the store grows while writers go on.
    fn begin_read(&self) -> Result<Self::ReadTxn<'_>>;

    /// Begins the write transaction, once no other holds it.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] when the store was opened read-only;
    /// [`ErrorKind::InvalidInput`] when this thread holds one already.
    fn begin_write(&self) -> Result<Self::WriteTxn<'_>>;

    /// Returns when all that was committed before is on disk.
    fn sync(&self) -> Result<()>;

    /// What this backend is and can do.
    fn info(&self) -> Result<BackendInfo>;
}

/// Reading, in a snapshot or in the write transaction.
pub trait ReadTxn {
    /// A value as the engine holds it; borrowed wherever the engine can lend it.
    type Value<'t>: AsRef<[u8]>
    where
        Self: 't;

    /// A scan in progress.
    type Scan<'t>: Scan
    where
        Self: 't;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Self::Value<'_>>>;

    /// Walks the keys in a range, in one direction. A range that ends before
    /// it begins is empty.
    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Self::Scan<'_>>;

    /// Lends the last entry of a range to `read`; `None` where the range has none.
    fn last<T>(
        &self,
        range: KeyRange<'_>,
        read: impl FnOnce(&[u8], &[u8]) -> T,
    ) -> Result<Option<T>> {
        let mut scan = self.scan(range, Order::Descending)?;
        Ok(scan.next()?.map(|(key, value)| read(key, value)))
    }

    /// The number of the last commit that this transaction sees, for engines
    /// whose files other programs may write to as well: it grows with every
    /// commit by one, whoever made it: a write transaction that sees number n
    /// commits number n + 1. `None` where nobody else can write.
    fn commit_number(&self) -> Option<u64> {
        None
    }
}

/// A scan: each entry is lent until the next is asked for.
pub trait Scan {
    /// The next key and value, or `None` at the end of the range. After an
    /// error the scan is over; an error is never taken for an end.
    #[allow(
        clippy::should_implement_trait,
        reason = "entries are lent, which Iterator cannot say"
    )]
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>>;
}

/// Writing. Every method takes `&mut self`, so nothing borrowed out of the
/// transaction can live across a change of it.
pub trait WriteTxn: ReadTxn {
    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the key is empty or longer than
    /// [`MAX_KEY_LEN`]; the transaction goes on as if it had not been called.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Sets the value of a key that is known to have none, so that an engine
    /// need not look. Where it has one all the same, it is replaced, and until
    /// the commit is over a snapshot may see that there was none.
    fn put_new(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)
    }

    /// Sets the value of a key that has none; says whether it did.
    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        if self.get(key)?.is_some() {
            return Ok(false);
        }
        self.put(key, value)?;
        Ok(true)
    }

    /// Removes a key; says whether it was there.
    fn delete(&mut self, key: &[u8]) -> Result<bool>;

    /// Makes all changes visible and durable at once.
    fn commit(self) -> Result<()>;
}

/// Refuses a key that not every engine could store. For engines to call in
/// [`WriteTxn::put`].
pub fn check_key(key: &[u8]) -> Result<()> {
    match key.len() {
        1..=MAX_KEY_LEN => Ok(()),
        0 => Err(Error::new(
            ErrorKind::InvalidInput,
            "an empty key cannot be stored",
        )),
        len => Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "a key of {len} bytes is longer than the {MAX_KEY_LEN} bytes that can be stored"
            ),
        )),
    }
}
