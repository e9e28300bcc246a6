//! Ordered key-value stores, used directly: engines without our layers, and
//! those that one could take instead.

mod fjall;
mod lmdb;
mod redb;
mod rocks;
mod sled;

pub use self::fjall::Fjall;
pub use self::lmdb::Lmdb;
pub use self::redb::Redb;
pub use self::rocks::{Rocks, Tuning as RocksTuning};
pub use self::sled::Sled;

use std::path::Path;

use super::Sync;

/// A key-value store by the means of its own crate, as fast as that allows.
pub trait Kv: Sized {
    /// A snapshot, or whatever the store has that comes nearest to it.
    type Read<'a>: KvRead
    where
        Self: 'a;

    /// What takes the rows of one commit.
    type Write<'a>: KvWrite
    where
        Self: 'a;

    /// Opens a store in an empty directory.
    fn open(directory: &Path, sync: Sync) -> Self;

    fn read(&self) -> Self::Read<'_>;

    /// Makes one commit of the rows that `put` gives.
    fn write(&mut self, put: impl FnOnce(&mut Self::Write<'_>));

    /// As [`System::settle`](super::System::settle).
    fn settle(&mut self) -> u64;
}

/// Reading rows, which are lent for as long as a closure runs.
pub trait KvRead {
    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T>;

    /// Walks the rows whose keys begin with `prefix` upwards, until `each` returns false.
    fn ascending(&self, prefix: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool);

    /// As [`ascending`](Self::ascending), downwards from the last one.
    fn descending(&self, prefix: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool);
}

pub trait KvWrite {
    fn put(&mut self, key: &[u8], value: &[u8]);
}

/// The first key behind all that begin with a prefix that does not end with 255.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    realmstore::key::prefix_end(prefix).map_or_else(Vec::new, |end| end.to_vec())
}
