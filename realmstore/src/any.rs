//! A backend on whichever engine was chosen at run time.

#![allow(
    clippy::large_enum_variant,
    reason = "each is moved once or twice; in a box it would be an allocation"
)]

use realmstore_core::memory::{MemoryBackend, MemoryReadTxn, MemoryScan, MemoryWriteTxn};
use realmstore_core::{
    Backend, BackendInfo, KeyRange, Order, ReadTxn, RealmStore, Result, Scan, WriteTxn,
};

#[cfg(feature = "rocks")]
use realmstore_core::overlay::OverlayScan;
#[cfg(feature = "lmdb")]
use realmstore_lmdb::{LmdbBackend, LmdbReadTxn, LmdbScan, LmdbWriteTxn};
#[cfg(feature = "lmdb")]
use realmstore_lmdb_pages::{PagesBackend, PagesReadTxn, PagesScan, PagesValue, PagesWriteTxn};
#[cfg(feature = "rocks")]
use realmstore_rocks::{RocksBackend, RocksReadTxn, RocksScan, RocksValue, RocksWriteTxn};
#[cfg(feature = "sled")]
use realmstore_sled::{SledBackend, SledReadTxn, SledScan, SledValue, SledWriteTxn};

/// A realm store on whichever engine its location named.
pub type AnyStore = RealmStore<AnyBackend>;

/// A store of any engine that is compiled in.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyBackend {
    /// In memory.
    Memory(MemoryBackend),
    /// LMDB.
    #[cfg(feature = "lmdb")]
    Lmdb(LmdbBackend),
    /// An LMDB file of either format, read without LMDB.
    #[cfg(feature = "lmdb")]
    Pages(PagesBackend),
    /// RocksDB.
    #[cfg(feature = "rocks")]
    Rocks(RocksBackend),
    /// sled.
    #[cfg(feature = "sled")]
    Sled(SledBackend),
}

/// A snapshot of an [`AnyBackend`].
#[non_exhaustive]
pub enum AnyReadTxn<'b> {
    /// In memory.
    Memory(MemoryReadTxn<'b>),
    /// LMDB.
    #[cfg(feature = "lmdb")]
    Lmdb(LmdbReadTxn<'b>),
    /// An LMDB file, read without LMDB.
    #[cfg(feature = "lmdb")]
    Pages(PagesReadTxn<'b>),
    /// RocksDB.
    #[cfg(feature = "rocks")]
    Rocks(RocksReadTxn<'b>),
    /// sled.
    #[cfg(feature = "sled")]
    Sled(SledReadTxn<'b>),
}

/// The write transaction of an [`AnyBackend`].
#[non_exhaustive]
pub enum AnyWriteTxn<'b> {
    /// In memory.
    Memory(MemoryWriteTxn<'b>),
    /// LMDB.
    #[cfg(feature = "lmdb")]
    Lmdb(LmdbWriteTxn<'b>),
    /// There is none for an LMDB file that is read without LMDB.
    #[cfg(feature = "lmdb")]
    Pages(PagesWriteTxn),
    /// RocksDB.
    #[cfg(feature = "rocks")]
    Rocks(RocksWriteTxn<'b>),
    /// sled.
    #[cfg(feature = "sled")]
    Sled(SledWriteTxn<'b>),
}

/// A value that an [`AnyBackend`] lends.
#[non_exhaustive]
pub enum AnyValue<'t> {
    /// Bytes of the engine's own memory.
    Borrowed(&'t [u8]),
    /// A page of an LMDB file.
    #[cfg(feature = "lmdb")]
    Pages(PagesValue),
    /// RocksDB.
    #[cfg(feature = "rocks")]
    Rocks(RocksValue<'t>),
    /// sled.
    #[cfg(feature = "sled")]
    Sled(SledValue<'t>),
}

/// A scan of an [`AnyBackend`].
#[non_exhaustive]
pub enum AnyScan<'t> {
    /// In memory.
    Memory(MemoryScan<'t>),
    /// LMDB.
    #[cfg(feature = "lmdb")]
    Lmdb(LmdbScan<'t>),
    /// An LMDB file, read without LMDB.
    #[cfg(feature = "lmdb")]
    Pages(PagesScan<'t>),
    /// RocksDB.
    #[cfg(feature = "rocks")]
    Rocks(RocksScan<'t>),
    /// RocksDB, and the changes of its write transaction.
    #[cfg(feature = "rocks")]
    RocksChanged(OverlayScan<'t, RocksScan<'t>>),
    /// sled.
    #[cfg(feature = "sled")]
    Sled(SledScan<'t>),
}

/// Does the same on whichever engine it is.
macro_rules! on_engine {
    ($enum:ident, $any:expr, $inner:ident => $body:expr) => {
        match $any {
            $enum::Memory($inner) => $body,
            #[cfg(feature = "lmdb")]
            $enum::Lmdb($inner) => $body,
            #[cfg(feature = "lmdb")]
            $enum::Pages($inner) => $body,
            #[cfg(feature = "rocks")]
            $enum::Rocks($inner) => $body,
            #[cfg(feature = "sled")]
            $enum::Sled($inner) => $body,
        }
    };
}

impl Backend for AnyBackend {
    type ReadTxn<'b> = AnyReadTxn<'b>;
    type WriteTxn<'b> = AnyWriteTxn<'b>;

    fn begin_read(&self) -> Result<AnyReadTxn<'_>> {
        Ok(match self {
            Self::Memory(backend) => AnyReadTxn::Memory(backend.begin_read()?),
            #[cfg(feature = "lmdb")]
            Self::Lmdb(backend) => AnyReadTxn::Lmdb(backend.begin_read()?),
            #[cfg(feature = "lmdb")]
            Self::Pages(backend) => AnyReadTxn::Pages(backend.begin_read()?),
            #[cfg(feature = "rocks")]
            Self::Rocks(backend) => AnyReadTxn::Rocks(backend.begin_read()?),
            #[cfg(feature = "sled")]
            Self::Sled(backend) => AnyReadTxn::Sled(backend.begin_read()?),
        })
    }

    fn begin_write(&self) -> Result<AnyWriteTxn<'_>> {
        Ok(match self {
            Self::Memory(backend) => AnyWriteTxn::Memory(backend.begin_write()?),
            #[cfg(feature = "lmdb")]
            Self::Lmdb(backend) => AnyWriteTxn::Lmdb(backend.begin_write()?),
            #[cfg(feature = "lmdb")]
            Self::Pages(backend) => AnyWriteTxn::Pages(backend.begin_write()?),
            #[cfg(feature = "rocks")]
            Self::Rocks(backend) => AnyWriteTxn::Rocks(backend.begin_write()?),
            #[cfg(feature = "sled")]
            Self::Sled(backend) => AnyWriteTxn::Sled(backend.begin_write()?),
        })
    }

    fn sync(&self) -> Result<()> {
        on_engine!(AnyBackend, self, backend => backend.sync())
    }

    fn info(&self) -> Result<BackendInfo> {
        on_engine!(AnyBackend, self, backend => backend.info())
    }
}

macro_rules! read {
    ($txn:ident, $rocks_scan:ident) => {
        impl ReadTxn for $txn<'_> {
            type Value<'t>
                = AnyValue<'t>
            where
                Self: 't;
            type Scan<'t>
                = AnyScan<'t>
            where
                Self: 't;

            fn get(&self, key: &[u8]) -> Result<Option<AnyValue<'_>>> {
                Ok(match self {
                    Self::Memory(txn) => txn.get(key)?.map(AnyValue::Borrowed),
                    #[cfg(feature = "lmdb")]
                    Self::Lmdb(txn) => txn.get(key)?.map(AnyValue::Borrowed),
                    #[cfg(feature = "lmdb")]
                    Self::Pages(txn) => txn.get(key)?.map(AnyValue::Pages),
                    #[cfg(feature = "rocks")]
                    Self::Rocks(txn) => txn.get(key)?.map(AnyValue::Rocks),
                    #[cfg(feature = "sled")]
                    Self::Sled(txn) => txn.get(key)?.map(AnyValue::Sled),
                })
            }

            fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<AnyScan<'_>> {
                Ok(match self {
                    Self::Memory(txn) => AnyScan::Memory(txn.scan(range, order)?),
                    #[cfg(feature = "lmdb")]
                    Self::Lmdb(txn) => AnyScan::Lmdb(txn.scan(range, order)?),
                    #[cfg(feature = "lmdb")]
                    Self::Pages(txn) => AnyScan::Pages(txn.scan(range, order)?),
                    #[cfg(feature = "rocks")]
                    Self::Rocks(txn) => AnyScan::$rocks_scan(txn.scan(range, order)?),
                    #[cfg(feature = "sled")]
                    Self::Sled(txn) => AnyScan::Sled(txn.scan(range, order)?),
                })
            }

            fn last<T>(
                &self,
                range: KeyRange<'_>,
                read: impl FnOnce(&[u8], &[u8]) -> T,
            ) -> Result<Option<T>> {
                on_engine!($txn, self, txn => txn.last(range, read))
            }

            fn commit_number(&self) -> Option<u64> {
                on_engine!($txn, self, txn => txn.commit_number())
            }
        }
    };
}

read!(AnyReadTxn, Rocks);
read!(AnyWriteTxn, RocksChanged);

impl WriteTxn for AnyWriteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        on_engine!(AnyWriteTxn, self, txn => txn.put(key, value))
    }

    fn put_new(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        on_engine!(AnyWriteTxn, self, txn => txn.put_new(key, value))
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        on_engine!(AnyWriteTxn, self, txn => txn.insert(key, value))
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        on_engine!(AnyWriteTxn, self, txn => txn.delete(key))
    }

    fn commit(self) -> Result<()> {
        on_engine!(AnyWriteTxn, self, txn => txn.commit())
    }
}

impl AsRef<[u8]> for AnyValue<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            #[cfg(feature = "lmdb")]
            Self::Pages(value) => value.as_ref(),
            #[cfg(feature = "rocks")]
            Self::Rocks(value) => value.as_ref(),
            #[cfg(feature = "sled")]
            Self::Sled(value) => value.as_ref(),
        }
    }
}

impl Scan for AnyScan<'_> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Memory(scan) => scan.next(),
            #[cfg(feature = "lmdb")]
            Self::Lmdb(scan) => scan.next(),
            #[cfg(feature = "lmdb")]
            Self::Pages(scan) => scan.next(),
            #[cfg(feature = "rocks")]
            Self::Rocks(scan) => scan.next(),
            #[cfg(feature = "rocks")]
            Self::RocksChanged(scan) => scan.next(),
            #[cfg(feature = "sled")]
            Self::Sled(scan) => scan.next(),
        }
    }
}
