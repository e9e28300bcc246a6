//! Any bytes at all, as an LMDB file of either format: read in every way there
//! is, checked, and copied. No input may panic, hang, or take more memory than
//! the file has bytes.
//!
//! `scripts/fuzz` runs this on a stable toolchain; `cargo fuzz run walk_pages`
//! works as well.

#![no_main]

use std::cell::RefCell;
use std::ops::Bound;

use libfuzzer_sys::fuzz_target;
use realmstore_core::{Backend, KeyRange, Order, ReadTxn, Scan};
use realmstore_lmdb_pages::{PagesBackend, Severity, check, check_header, copy_snapshot};

thread_local! {
    /// Where the input is put, since only a file can be opened; in memory where
    /// there is such a place, for the sake of the copy's flushes.
    static DIRECTORY: RefCell<tempfile::TempDir> =
        RefCell::new(
            tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .expect("a temporary directory"),
        );
}

fn scan(snapshot: &impl ReadTxn, range: KeyRange<'_>, order: Order) -> Option<usize> {
    let mut scan = snapshot.scan(range, order).ok()?;
    let mut entries = 0;
    while scan.next().ok()?.is_some() {
        entries += 1;
    }
    Some(entries)
}

fuzz_target!(|bytes: &[u8]| {
    DIRECTORY.with_borrow(|directory| {
        let file = directory.path().join("data.mdb");
        std::fs::write(&file, bytes).expect("a temporary file");
        let mut damaged = false;
        let checked = check(&file, |finding| {
            damaged |= finding.severity == Severity::Damage
        });
        let Ok(store) = PagesBackend::open(&file) else {
            return;
        };
        let snapshot = store.begin_read().expect("a header that was read before");
        let all = (Bound::Unbounded, Bound::Unbounded);
        let ascending = scan(&snapshot, all, Order::Ascending);
        let descending = scan(&snapshot, all, Order::Descending);
        if checked.is_ok() && !damaged {
            assert!(ascending.is_some() && ascending == descending);
            assert!(matches!(check_header(&file, store.format()), Ok(true)));
        }
        let middle: &[u8] = &[0, 3];
        let _ = snapshot.get(middle);
        scan(
            &snapshot,
            (Bound::Excluded(middle), Bound::Unbounded),
            Order::Ascending,
        );
        scan(
            &snapshot,
            (Bound::Unbounded, Bound::Included(middle)),
            Order::Descending,
        );
        let copy = directory.path().join("copy.mdb");
        if copy_snapshot(&file, &copy).is_ok() {
            std::fs::remove_file(&copy).expect("the copy");
        }
    });
});
