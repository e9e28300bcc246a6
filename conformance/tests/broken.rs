//! The suites find what they are there to find: engines that are broken on
//! purpose, each in one way, fail in the case that is named here, and the same
//! engine without the fault passes it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use conformance::{Engine, backend, collect, fails, store, tables};
use realmstore_core::memory::{MemoryBackend, MemoryReadTxn, MemoryWriteTxn};
use realmstore_core::{
    Backend, BackendInfo, Error, ErrorKind, KeyRange, Order, ReadTxn, Result, Scan, WriteTxn,
};

/// What is wrong with an engine.
type Fault = u8;
const NONE: Fault = 0;
/// A commit of several puts loses the last of them.
const TEARS_BATCHES: Fault = 1;
/// What a dropped transaction has put stays.
const KEEPS_WHAT_WAS_DROPPED: Fault = 2;
/// A snapshot sees later commits.
const NO_SNAPSHOTS: Fault = 3;
/// Shorter keys come first.
const SORTS_BY_LENGTH: Fault = 4;
/// An excluded end is part of the range.
const INCLUDES_THE_END: Fault = 5;
/// A descending scan leaves out the highest key.
const SKIPS_THE_HIGHEST: Fault = 6;
/// The last record is gone when the store is opened again.
const LOSES_THE_LAST_RECORD: Fault = 7;
/// Rows without a value, as those of an index are, cannot be put.
const FORGETS_INDEX_ROWS: Fault = 8;
/// Rows without a value cannot be deleted.
const KEEPS_INDEX_ROWS: Fault = 9;
/// An insert replaces what is there.
const INSERTS_OVER: Fault = 10;
/// Two threads write at once.
const TWO_WRITERS: Fault = 11;
/// A read-only store takes writers.
const WRITES_WHEN_READ_ONLY: Fault = 12;
/// A writer does not find in a scan what it has put.
const SCANS_PAST_OWN_PUTS: Fault = 13;

struct Broken<const FAULT: Fault>;

/// The stores in memory, by the directories in which they would be.
static STORES: LazyLock<Mutex<HashMap<PathBuf, Arc<MemoryBackend>>>> =
    LazyLock::new(Mutex::default);

impl<const FAULT: Fault> Broken<FAULT> {
    fn open(directory: &Path, read_only: bool) -> BrokenBackend {
        let mut stores = STORES.lock().unwrap();
        let reopened = stores.contains_key(directory);
        let store = Arc::clone(stores.entry(directory.to_owned()).or_default());
        drop(stores);
        if reopened && FAULT == LOSES_THE_LAST_RECORD {
            let mut txn = store.begin_write().unwrap();
            let last = txn
                .scan((Bound::Unbounded, Bound::Unbounded), Order::Descending)
                .unwrap()
                .next()
                .unwrap()
                .map(|(key, _)| key.to_vec());
            if let Some(key) = last {
                txn.delete(&key).unwrap();
            }
            txn.commit().unwrap();
        }
        BrokenBackend {
            fault: FAULT,
            store,
            other: MemoryBackend::new(),
            read_only,
        }
    }
}

impl<const FAULT: Fault> Engine for Broken<FAULT> {
    type Backend = BrokenBackend;

    fn open(directory: &Path) -> Result<BrokenBackend> {
        Ok(Self::open(directory, false))
    }

    fn open_read_only(directory: &Path) -> Result<BrokenBackend> {
        Ok(Self::open(directory, true))
    }
}

struct BrokenBackend {
    fault: Fault,
    store: Arc<MemoryBackend>,
    /// For a second writer at once.
    other: MemoryBackend,
    read_only: bool,
}

impl Backend for BrokenBackend {
    type ReadTxn<'b> = BrokenReadTxn<'b>;
    type WriteTxn<'b> = BrokenWriteTxn<'b>;

    fn begin_read(&self) -> Result<BrokenReadTxn<'_>> {
        Ok(BrokenReadTxn {
            backend: self,
            snapshot: self.store.begin_read()?,
        })
    }

    fn begin_write(&self) -> Result<BrokenWriteTxn<'_>> {
        if self.read_only && self.fault != WRITES_WHEN_READ_ONLY {
            return Err(Error::new(ErrorKind::ReadOnly, "read-only"));
        }
        let writes_elsewhere = self.fault == TWO_WRITERS && {
            // Only threads that a case starts have no name.
            let reader = self.store.begin_read()?;
            reader.get(b"count")?.is_none() && std::thread::current().name().is_none()
        };
        let store = if writes_elsewhere {
            let mut txn = self.other.begin_write()?;
            txn.put(b"count", &[1])?;
            txn.commit()?;
            &self.other
        } else {
            &*self.store
        };
        Ok(BrokenWriteTxn {
            fault: self.fault,
            txn: Some(store.begin_write()?),
            before: self.store.begin_read()?,
            puts: Vec::new(),
        })
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    fn info(&self) -> Result<BackendInfo> {
        let mut info = self.store.info()?;
        info.read_only = self.read_only;
        Ok(info)
    }
}

struct BrokenReadTxn<'b> {
    backend: &'b BrokenBackend,
    snapshot: MemoryReadTxn<'b>,
}

impl ReadTxn for BrokenReadTxn<'_> {
    type Value<'t>
        = Vec<u8>
    where
        Self: 't;
    type Scan<'t>
        = Entries
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.backend.fault == NO_SNAPSHOTS {
            return get(&self.backend.store.begin_read()?, key);
        }
        get(&self.snapshot, key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Entries> {
        if self.backend.fault == NO_SNAPSHOTS {
            return scan(&self.backend.store.begin_read()?, range, order, NONE);
        }
        scan(&self.snapshot, range, order, self.backend.fault)
    }
}

struct BrokenWriteTxn<'b> {
    fault: Fault,
    txn: Option<MemoryWriteTxn<'b>>,
    before: MemoryReadTxn<'b>,
    puts: Vec<Vec<u8>>,
}

impl<'b> BrokenWriteTxn<'b> {
    fn txn(&self) -> &MemoryWriteTxn<'b> {
        self.txn.as_ref().unwrap()
    }

    fn txn_mut(&mut self) -> &mut MemoryWriteTxn<'b> {
        self.txn.as_mut().unwrap()
    }
}

impl ReadTxn for BrokenWriteTxn<'_> {
    type Value<'t>
        = Vec<u8>
    where
        Self: 't;
    type Scan<'t>
        = Entries
    where
        Self: 't;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        get(self.txn(), key)
    }

    fn scan(&self, range: KeyRange<'_>, order: Order) -> Result<Entries> {
        if self.fault == SCANS_PAST_OWN_PUTS {
            return scan(&self.before, range, order, NONE);
        }
        scan(self.txn(), range, order, self.fault)
    }
}

impl WriteTxn for BrokenWriteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.fault == FORGETS_INDEX_ROWS && value.is_empty() {
            return Ok(());
        }
        self.puts.push(key.to_vec());
        self.txn_mut().put(key, value)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        if self.fault != INSERTS_OVER && self.get(key)?.is_some() {
            return Ok(false);
        }
        self.put(key, value)?;
        Ok(true)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool> {
        if self.fault == KEEPS_INDEX_ROWS && self.get(key)?.is_some_and(|value| value.is_empty()) {
            return Ok(true);
        }
        self.txn_mut().delete(key)
    }

    fn commit(mut self) -> Result<()> {
        if self.fault == TEARS_BATCHES
            && self.puts.len() > 1
            && let Some(key) = self.puts.pop()
        {
            self.txn_mut().delete(&key)?;
        }
        self.txn.take().unwrap().commit()
    }
}

impl Drop for BrokenWriteTxn<'_> {
    fn drop(&mut self) {
        if self.fault == KEEPS_WHAT_WAS_DROPPED
            && let Some(txn) = self.txn.take()
        {
            txn.commit().unwrap();
        }
    }
}

fn get(txn: &impl ReadTxn, key: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(txn.get(key)?.map(|value| value.as_ref().to_vec()))
}

fn scan(
    txn: &impl ReadTxn,
    mut range: KeyRange<'_>,
    order: Order,
    fault: Fault,
) -> Result<Entries> {
    if fault == INCLUDES_THE_END
        && let Bound::Excluded(key) = range.1
    {
        range.1 = Bound::Included(key);
    }
    let mut entries = collect(txn.scan(range, order)?);
    match fault {
        SORTS_BY_LENGTH => entries.sort_by_key(|(key, _)| key.len()),
        SKIPS_THE_HIGHEST if order == Order::Descending && !entries.is_empty() => {
            entries.remove(0);
        }
        _ => {}
    }
    Ok(Entries {
        entries: entries.into_iter(),
        entry: Default::default(),
    })
}

struct Entries {
    entries: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    entry: (Vec<u8>, Vec<u8>),
}

impl Scan for Entries {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.entry = entry;
        Ok(Some((&self.entry.0, &self.entry.1)))
    }
}

/// One test for each case that must catch a fault.
macro_rules! caught {
    ($($name:ident: $fault:ident, $suite:ident::$case:ident;)*) => {
        $(#[test]
        fn $name() {
            assert!(
                fails($suite::$case::<Broken<$fault>>),
                concat!(stringify!($fault), " goes unnoticed in ", stringify!($case))
            );
            $suite::$case::<Broken<NONE>>();
        })*
    };
}

caught! {
    a_torn_batch: TEARS_BATCHES, backend::random_operations_agree_with_a_model;
    a_torn_batch_beside_readers: TEARS_BATCHES, backend::readers_see_all_of_a_commit_or_nothing;
    a_torn_batch_on_disk: TEARS_BATCHES, backend::every_commit_survives_a_reopen;
    an_uncommitted_put: KEEPS_WHAT_WAS_DROPPED, backend::a_transaction_that_is_dropped_leaves_no_trace;
    an_uncommitted_put_on_disk: KEEPS_WHAT_WAS_DROPPED, backend::a_transaction_that_is_dropped_leaves_no_trace_on_disk;
    a_snapshot_of_later_commits: NO_SNAPSHOTS, backend::a_snapshot_sees_what_was_committed_before_it_and_nothing_else;
    a_snapshot_of_later_commits_beside_a_writer: NO_SNAPSHOTS, backend::readers_see_all_of_a_commit_or_nothing;
    another_order: SORTS_BY_LENGTH, backend::keys_are_ordered_as_byte_strings;
    another_order_of_ranges: SORTS_BY_LENGTH, backend::ranges_of_every_kind_agree_with_a_model;
    an_end_too_far: INCLUDES_THE_END, backend::ranges_of_every_kind_agree_with_a_model;
    a_scan_that_begins_too_late: SKIPS_THE_HIGHEST, backend::ranges_of_every_kind_agree_with_a_model;
    a_table_without_its_last_row: SKIPS_THE_HIGHEST, tables::ranges_and_prefixes_of_keys;
    a_history_without_its_newest: SKIPS_THE_HIGHEST, store::history_and_events_agree_with_a_model;
    a_lost_record: LOSES_THE_LAST_RECORD, backend::every_commit_survives_a_reopen;
    a_lost_record_of_a_table: LOSES_THE_LAST_RECORD, tables::records_survive_a_reopen;
    a_lost_record_of_a_realm: LOSES_THE_LAST_RECORD, store::own_tables_survive_a_reopen;
    an_index_row_that_is_missing: FORGETS_INDEX_ROWS, tables::indexes_follow_every_change;
    an_index_row_that_is_left: KEEPS_INDEX_ROWS, tables::indexes_follow_every_change;
    an_insert_over_another: INSERTS_OVER, backend::insert_takes_only_a_key_that_is_free;
    two_writers: TWO_WRITERS, backend::a_second_writer_waits_for_the_first;
    a_writer_of_a_read_only_store: WRITES_WHEN_READ_ONLY, backend::a_read_only_store_refuses_writers;
    a_writer_that_misses_its_own_puts: SCANS_PAST_OWN_PUTS, backend::a_writer_sees_its_own_changes_in_get_and_scan;
}
