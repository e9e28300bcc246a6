//! What opening a store accepts, refuses, and leaves alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::fs;
use std::io::Write;
use std::ops::Bound;
use std::path::Path;

use common::lmdb::{LmdbBackend, LmdbOptions, sniff};
use common::*;
use realmstore_core::{Backend, Durability, ErrorKind, Order, ReadTxn, WriteTxn};

#[test]
fn a_missing_store_is_created_with_its_directories() {
    let (_directory, path) = scratch();
    let path = path.join("deeper").join("still");
    store_with(&path, 3);
    assert!(data_file(&path).is_file());
}

#[test]
fn an_empty_directory_becomes_a_store() {
    let (_directory, path) = scratch();
    fs::create_dir(&path).unwrap();
    store_with(&path, 1);
}

#[test]
fn an_empty_data_file_becomes_a_store() {
    let (_directory, path) = scratch();
    fs::create_dir(&path).unwrap();
    fs::write(data_file(&path), b"").unwrap();
    store_with(&path, 1);
}

#[test]
fn a_missing_store_is_not_found_when_it_is_not_to_be_created() {
    let (_directory, path) = scratch();
    let options = LmdbOptions::new().create(false);
    assert_eq!(open_error(&options, &path).kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    assert_eq!(open_error(&options, &path).kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn a_missing_store_is_not_found_when_it_is_opened_read_only() {
    let (_directory, path) = scratch();
    let options = LmdbOptions::new().read_only(true);
    assert_eq!(open_error(&options, &path).kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    fs::write(data_file(&path), b"").unwrap();
    assert_eq!(open_error(&options, &path).kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn the_path_of_the_data_file_means_its_directory() {
    let (_directory, path) = scratch();
    LmdbBackend::open(data_file(&path)).unwrap();
    assert!(data_file(&path).is_file());
    let store = LmdbBackend::open(data_file(&path)).unwrap();
    assert_eq!(store.info().unwrap().path, Some(path));
}

#[test]
fn another_file_is_no_store() {
    let (_directory, path) = scratch();
    fs::write(&path, b"text").unwrap();
    assert_open_fails(
        &path,
        ErrorKind::InvalidInput,
        "is a file; an LMDB store is a directory",
    );
}

#[test]
fn a_path_through_a_file_is_no_store() {
    let (_directory, path) = scratch();
    fs::write(&path, b"text").unwrap();
    assert_open_fails(
        &path.join("store"),
        ErrorKind::InvalidInput,
        "leads through a file",
    );
}

#[test]
fn a_file_of_something_else_is_not_an_lmdb_file() {
    for garbage in [&b"x"[..], b"SQLite format 3\0", &[0; 8192], &[0xFF; 300]] {
        let (_directory, path) = scratch();
        fs::create_dir(&path).unwrap();
        fs::write(data_file(&path), garbage).unwrap();
        assert_open_fails(&path, ErrorKind::Damaged, "is not an LMDB file");
        assert_eq!(sniff(&path).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(fs::read(data_file(&path)).unwrap(), garbage);
        assert!(!path.join("lock.mdb").exists());
    }
}

#[test]
fn a_file_of_the_other_format_is_unsupported_and_its_lock_file_stays_as_it_is() {
    let (other, version, magic, what_to_do) = OTHER;
    let (_directory, path) = scratch();
    fs::create_dir(&path).unwrap();
    let mut file = vec![0; 8192];
    file[magic..magic + 4].copy_from_slice(&0xBEEF_C0DE_u32.to_ne_bytes());
    file[magic + 4..magic + 8].copy_from_slice(&version.to_ne_bytes());
    fs::write(data_file(&path), &file).unwrap();
    fs::write(path.join("lock.mdb"), b"untouched").unwrap();
    assert_eq!(sniff(&path).unwrap(), Some(other));
    let expected = format!("(data version {version}");
    assert_open_fails(&path, ErrorKind::Unsupported, &expected);
    assert_open_fails(&path, ErrorKind::Unsupported, what_to_do);
    assert_eq!(fs::read(path.join("lock.mdb")).unwrap(), b"untouched");
    assert_eq!(fs::read(data_file(&path)).unwrap(), file);
}

#[test]
fn another_data_version_is_unsupported() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    patch_headers(&path, META + 4, &999_u32.to_ne_bytes());
    assert_open_fails(&path, ErrorKind::Unsupported, "data version 999");
}

#[test]
fn another_byte_order_is_unsupported() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    patch_headers(&path, META, &0xBEEF_C0DE_u32.swap_bytes().to_ne_bytes());
    assert_open_fails(&path, ErrorKind::Unsupported, "byte order");
}

#[test]
fn another_word_size_is_unsupported() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    let mut data = fs::read(data_file(&path)).unwrap();
    data.drain(META - 4..META);
    fs::write(data_file(&path), data).unwrap();
    assert_open_fails(&path, ErrorKind::Unsupported, "word size");
}

#[test]
fn a_store_can_be_sniffed() {
    let (_directory, path) = scratch();
    assert_eq!(sniff(&path).unwrap(), None);
    store_with(&path, 1);
    assert_eq!(sniff(&path).unwrap(), Some(FORMAT));
    assert_eq!(sniff(&data_file(&path)).unwrap(), Some(FORMAT));
}

#[test]
fn a_truncated_file_is_cut_short_wherever_it_ends() {
    let (_directory, path) = scratch();
    store_with(&path, 2000);
    let whole = fs::read(data_file(&path)).unwrap();
    let page = page_size(&path);
    for len in [
        page * 2,
        page * 2 + 1,
        page * 3,
        whole.len() - page,
        whole.len() - 1,
    ] {
        fs::write(data_file(&path), &whole[..len]).unwrap();
        let expected = format!("is cut short: {len} bytes, {} expected", whole.len());
        assert_open_fails(&path, ErrorKind::Damaged, &expected);
    }
    fs::write(data_file(&path), &whole).unwrap();
    LmdbBackend::open(&path).unwrap();
}

#[test]
fn a_file_that_ends_within_its_header_pages_is_damaged() {
    let (_directory, path) = scratch();
    store_with(&path, 10);
    let whole = fs::read(data_file(&path)).unwrap();
    let page = page_size(&path);
    for len in [
        META + 8,
        100,
        META + 135,
        META + 136,
        page,
        page + META + 135,
    ] {
        fs::write(data_file(&path), &whole[..len]).unwrap();
        assert_open_fails(&path, ErrorKind::Damaged, "header page is not sound");
    }
}

#[test]
fn a_damaged_header_is_refused() {
    let (_directory, path) = scratch();
    store_with(&path, 10);
    let whole = fs::read(data_file(&path)).unwrap();
    let page = page_size(&path);
    let damages: [(usize, &[u8], &str); 8] = [
        (META + 24, &4095_u32.to_ne_bytes(), "first header page"),
        (META + 24, &0_u32.to_ne_bytes(), "first header page"),
        (META + 24, &(1_u32 << 20).to_ne_bytes(), "first header page"),
        (META - 6, &[0, 0], "first header page"),
        (page + META, &[0; 4], "second header page"),
        (
            page + META + 24,
            &512_u32.to_ne_bytes(),
            "second header page",
        ),
        (
            page + META + 112,
            &1_u64.to_ne_bytes(),
            "a page that does not exist",
        ),
        (
            page + META + 120,
            &(u64::MAX - 3).to_ne_bytes(),
            "impossibly many pages",
        ),
    ];
    for (at, bytes, text) in damages {
        fs::write(data_file(&path), &whole).unwrap();
        patch(&path, at, bytes);
        assert_open_fails(&path, ErrorKind::Damaged, text);
    }
}

#[test]
fn a_root_beyond_the_last_page_is_refused() {
    let (_directory, path) = scratch();
    store_with(&path, 10);
    for (at, page) in [
        (META + 112, 1_000_000_u64),
        (META + 64, 1_000_000),
        (META + 112, 0),
    ] {
        let whole = fs::read(data_file(&path)).unwrap();
        patch_headers(&path, at, &page.to_ne_bytes());
        assert_open_fails(&path, ErrorKind::Damaged, "a page that does not exist");
        fs::write(data_file(&path), whole).unwrap();
    }
}

#[test]
fn a_database_with_duplicates_is_no_realm_store() {
    let (_directory, path) = scratch();
    store_with(&path, 10);
    patch_headers(&path, META + 76, &0x04_u16.to_ne_bytes());
    assert_open_fails(&path, ErrorKind::Damaged, "is not a realm store");
}

/// Makes a store that is shorter than its header says, but whole: free pages
/// of older commits make LMDB reuse those given back, and leave unwritten what
/// was given back at the end of the file.
fn store_short_of_free_pages(path: &Path) {
    store_with(path, 500);
    let store = LmdbBackend::open(path).unwrap();
    put_all(&store, (0..500).map(|n| (format!("key{n}"), vec![7; 50]))).unwrap();
    put_all(&store, (0..9).map(|n| (format!("key{n}"), vec![7; 60]))).unwrap();
    let mut transaction = store.begin_write().unwrap();
    transaction.put(b"large", &vec![1; 4 * MIB]).unwrap();
    transaction.delete(b"large").unwrap();
    transaction.put(b"small", b"value").unwrap();
    transaction.commit().unwrap();
}

/// A number in the header that counts.
fn header_number(data: &[u8], page: usize, at: usize) -> usize {
    let number = |meta: usize, at: usize| {
        u64::from_ne_bytes(data[meta * page + META + at..][..8].try_into().unwrap()) as usize
    };
    number(usize::from(number(1, 128) > number(0, 128)), at)
}

#[test]
fn a_file_short_of_free_pages_only_is_whole() {
    let (_directory, path) = scratch();
    store_short_of_free_pages(&path);
    let data = fs::read(data_file(&path)).unwrap();
    let page = page_size(&path);
    let last_page = header_number(&data, page, 120);
    assert!(
        data.len() < last_page * page,
        "the test is about a file that is shorter"
    );
    let store = LmdbBackend::open(&path).unwrap();
    let snapshot = store.begin_read().unwrap();
    assert_eq!(snapshot.get(b"small").unwrap(), Some(&b"value"[..]));
    assert_eq!(snapshot.get(b"key499").unwrap(), Some(&[7; 50][..]));
    drop(snapshot);
    put_all(&store, [("large".to_owned(), vec![2; 5 * MIB])]).unwrap();
    drop(store);
    LmdbBackend::open(&path).unwrap();
}

#[test]
fn a_file_cut_after_any_page_is_refused_unless_it_is_whole() {
    let (_directory, path) = scratch();
    store_short_of_free_pages(&path);
    let data = fs::read(data_file(&path)).unwrap();
    let page = page_size(&path);
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let expected = {
        let store = LmdbBackend::open(&path).unwrap();
        all(&store.begin_read().unwrap(), everything, Order::Ascending)
    };
    let (mut opened, mut refused) = (0, 0);
    // From where the list of free pages can still be read.
    for pages in header_number(&data, page, 64) + 1..data.len() / page {
        fs::write(data_file(&path), &data[..pages * page]).unwrap();
        match LmdbOptions::new().read_only(true).open(&path) {
            Ok(store) => {
                let found = all(&store.begin_read().unwrap(), everything, Order::Ascending);
                assert_eq!(found, expected, "cut after {pages} pages");
                opened += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                refused += 1;
            }
        }
    }
    assert!(
        refused > 0,
        "every page after the list of free pages was free, {opened} of them"
    );
}

#[test]
fn a_store_can_be_open_only_once_in_a_process() {
    let (_directory, path) = scratch();
    store_with(&path, 3);
    let store = LmdbBackend::open(&path).unwrap();
    assert_open_fails(&path, ErrorKind::InUse, "already open in this process");
    put_all(&store, [("more".to_owned(), vec![1])]).unwrap();
    drop(store);
    LmdbBackend::open(&path).unwrap();
}

#[test]
#[ignore = "the other process of a test"]
fn other_process_holds_the_store() {
    let Some(path) = store_of_the_test() else {
        return;
    };
    hold_the_store(&LmdbBackend::open(path).unwrap());
}

#[test]
fn a_store_that_another_version_of_lmdb_has_open_is_in_use() {
    let (_directory, path) = scratch();
    store_with(&path, 3);
    let other = OtherProcess::start(&mut other_process("other_process_holds_the_store", &path));

    // The version of the lock file stands after its magic number.
    let lock = path.join("lock.mdb");
    let sound = fs::read(&lock).unwrap();
    let mut bytes = sound.clone();
    bytes[4] ^= 0x55;
    fs::File::options()
        .write(true)
        .open(&lock)
        .unwrap()
        .write_all(&bytes[..8])
        .unwrap();
    let expected = format!("is open in process {}, whose version of LMDB", other.id());
    let error = open_error(&LmdbOptions::new().size_limit(64 * MIB), &path);
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains(&expected), "{error}");
    fs::File::options()
        .write(true)
        .open(&lock)
        .unwrap()
        .write_all(&sound[..8])
        .unwrap();

    // With the same version, both may have it open.
    let store = beside_another(&path);
    put_all(&store, [("key".to_owned(), vec![1])]).unwrap();
    other.end();
}

#[test]
fn a_read_only_store_leaves_the_data_file_as_it_is() {
    let (_directory, path) = scratch();
    store_with(&path, 100);
    let before = fs::read(data_file(&path)).unwrap();
    let modified = fs::metadata(data_file(&path)).unwrap().modified().unwrap();
    {
        let store = LmdbOptions::new().read_only(true).open(&path).unwrap();
        let snapshot = store.begin_read().unwrap();
        assert_eq!(snapshot.get(b"key7").unwrap(), Some(&[7; 100][..]));
        assert_eq!(store.begin_write().unwrap_err().kind(), ErrorKind::ReadOnly);
        store.sync().unwrap();
        assert!(store.info().unwrap().read_only);
    }
    assert_eq!(fs::read(data_file(&path)).unwrap(), before);
    assert_eq!(
        fs::metadata(data_file(&path)).unwrap().modified().unwrap(),
        modified
    );
}

#[test]
fn the_facts_about_a_store_are_told() {
    let (_directory, path) = scratch();
    store_with(&path, 100);
    let store = LmdbBackend::open(&path).unwrap();
    let info = store.info().unwrap();
    assert_eq!(info.engine, ENGINE);
    assert_eq!(info.format, FORMAT_NAME);
    assert_eq!(info.path.as_deref(), Some(path.as_path()));
    assert_eq!(
        info.size_on_disk,
        fs::metadata(data_file(&path)).unwrap().len()
    );
    assert!(!info.read_only);
}

#[test]
fn less_durability_is_told_and_can_be_made_good() {
    for durability in [Durability::OnDisk, Durability::Eventual, Durability::NoSync] {
        let directory = tempfile::tempdir().unwrap();
        let options = LmdbOptions::new().durability(durability);
        let store = options.open(directory.path()).unwrap();
        assert_eq!(store.info().unwrap().durability, Some(durability));
        let mut txn = store.begin_write().unwrap();
        txn.put(b"key", b"value").unwrap();
        txn.commit().unwrap();
        store.sync().unwrap();
        drop(store);
        let store = LmdbBackend::open(directory.path()).unwrap();
        let txn = store.begin_read().unwrap();
        assert_eq!(txn.get(b"key").unwrap(), Some(&b"value"[..]));
    }
}

#[test]
fn more_snapshots_than_there_is_room_for_are_refused_as_busy() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    fs::remove_file(path.join("lock.mdb")).unwrap();
    let store = LmdbOptions::new().max_readers(2).open(&path).unwrap();
    let first = store.begin_read().unwrap();
    let second = store.begin_read().unwrap();
    // LMDB rounds the number up to what fits its lock file.
    let mut more = Vec::new();
    let refused = loop {
        match store.begin_read() {
            Ok(snapshot) if more.len() < 1000 => more.push(snapshot),
            Ok(_) => panic!("a thousand readers fitted"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Busy);
    drop((first, second, more));
    store.begin_read().unwrap();
}

#[cfg(unix)]
mod on_unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Root may do everything, so there is nothing to refuse.
    fn is_root(path: &Path) -> bool {
        fs::metadata(path).unwrap().uid() == 0
    }

    #[test]
    fn a_missing_lock_file_gets_the_owner_and_the_permissions_of_the_data_file() {
        for read_only in [true, false] {
            let (_directory, path) = scratch();
            store_with(&path, 1);
            let lock = path.join("lock.mdb");
            set_mode(&data_file(&path), 0o664);
            if is_root(&path) {
                std::os::unix::fs::chown(data_file(&path), Some(1234), Some(4321)).unwrap();
            }
            fs::remove_file(&lock).unwrap();
            let store = LmdbOptions::new().read_only(read_only).open(&path).unwrap();
            store.begin_read().unwrap();
            let (data, lock) = (
                fs::metadata(data_file(&path)).unwrap(),
                fs::metadata(&lock).unwrap(),
            );
            assert_eq!(lock.mode() & 0o777, 0o664);
            assert_eq!((lock.uid(), lock.gid()), (data.uid(), data.gid()));
            assert!(lock.len() > 0, "LMDB has set the empty file up");
        }
    }

    #[test]
    fn what_root_makes_in_a_directory_of_another_user_is_that_user_s() {
        let directory = tempfile::tempdir().unwrap();
        if !is_root(directory.path()) {
            eprintln!("skipped: only root can give files to another user");
            return;
        }
        std::os::unix::fs::chown(directory.path(), Some(1234), Some(4321)).unwrap();
        let deeper = directory.path().join("deeper");
        for store in [directory.path(), &deeper.join("still")] {
            put_all(
                &LmdbBackend::open(store).unwrap(),
                [("key".to_owned(), vec![1])],
            )
            .unwrap();
        }
        for made in ["data.mdb", "lock.mdb", "deeper", "deeper/still"]
            .into_iter()
            .chain(["deeper/still/data.mdb", "deeper/still/lock.mdb"])
        {
            let found = fs::metadata(directory.path().join(made)).unwrap();
            assert_eq!((found.uid(), found.gid()), (1234, 4321), "{made}");
        }
        // That user can open it, and nobody else could write to it.
        assert_eq!(
            fs::metadata(data_file(directory.path())).unwrap().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn an_existing_lock_file_keeps_its_permissions() {
        let (_directory, path) = scratch();
        store_with(&path, 1);
        let lock = path.join("lock.mdb");
        set_mode(&lock, 0o640);
        LmdbBackend::open(&path).unwrap();
        assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_write_protected_data_file_can_be_opened_read_only() {
        let (_directory, path) = scratch();
        store_with(&path, 1);
        set_mode(&data_file(&path), 0o444);
        fs::remove_file(path.join("lock.mdb")).unwrap();
        if !is_root(&path) {
            let error = open_error(&LmdbOptions::new(), &path);
            assert_eq!(error.kind(), ErrorKind::ReadOnly);
            assert!(error.to_string().contains("open it read-only"), "{error}");
        }
        let store = LmdbOptions::new().read_only(true).open(&path).unwrap();
        store.begin_read().unwrap();
    }

    #[test]
    fn what_this_user_may_not_touch_is_refused_with_the_reason() {
        let (_directory, path) = scratch();
        store_with(&path, 1);
        if is_root(&path) {
            return;
        }
        let lock = path.join("lock.mdb");
        let reading = LmdbOptions::new().read_only(true);

        set_mode(&lock, 0o444);
        let error = open_error(&reading, &path);
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error.to_string().contains("open a copy of the directory"),
            "{error}"
        );

        fs::remove_file(&lock).unwrap();
        set_mode(&path, 0o555);
        let error = open_error(&reading, &path);
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("has no lock.mdb"), "{error}");
        let error = open_error(&LmdbOptions::new(), &path.join("below"));
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error
                .to_string()
                .contains("cannot be created: permission denied"),
            "{error}"
        );

        set_mode(&path, 0o755);
        set_mode(&data_file(&path), 0o000);
        let error = open_error(&reading, &path);
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error
                .to_string()
                .contains("cannot be read: permission denied"),
            "{error}"
        );

        set_mode(&path, 0o000);
        let error = open_error(&reading, &path);
        set_mode(&path, 0o755);
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
}
