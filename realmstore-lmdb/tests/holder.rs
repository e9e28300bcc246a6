//! Several processes, and who is told of whom.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::path::Path;

use common::lmdb::{Exclusive, LmdbBackend, LmdbOptions, holder};
use common::*;
use realmstore_core::{Backend, ErrorKind, ReadTxn};

fn process_that_has(path: &Path) -> Option<u32> {
    let holder = holder(path).unwrap()?;
    let process = holder.process.unwrap();
    assert_eq!(holder.to_string(), format!("process {process}"));
    Some(process)
}

#[test]
#[ignore = "the other process of a test"]
fn other_process_holds_the_store() {
    if let Some(path) = store_of_the_test() {
        hold_the_store(&beside_another(&path));
    }
}

#[test]
#[ignore = "the other process of a test"]
fn other_process_tells_who_has_the_store() {
    if let Some(path) = store_of_the_test() {
        println!("{}", process_that_has(&path).unwrap_or_default());
    }
}

#[test]
fn a_store_that_nobody_has_open_has_no_holder() {
    let (_directory, path) = scratch();
    assert_eq!(holder(&path).unwrap(), None);
    store_with(&path, 1);
    assert!(path.join("lock.mdb").exists());
    assert_eq!(holder(&path).unwrap(), None);
}

#[test]
fn the_process_that_has_a_store_open_is_its_holder() {
    let (directory, path) = scratch();
    store_with(&path, 1);
    let other = OtherProcess::start(&mut other_process("other_process_holds_the_store", &path));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &data_file(&path), &link] {
        assert_eq!(process_that_has(path), Some(other.id()));
    }
    other.end();
    assert_eq!(process_that_has(&path), None);
}

#[test]
fn asking_about_an_open_store_takes_none_of_its_locks_away() {
    let (directory, path) = scratch();
    store_with(&path, 1);
    let store = LmdbBackend::open(&path).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &data_file(&path), &link] {
        assert_eq!(process_that_has(path), Some(std::process::id()));
        let error = LmdbOptions::new().open(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
        assert!(
            error.to_string().contains("open in this process"),
            "{error}"
        );
    }
    let output = process_that_has_for_others(&path);
    let expected = std::process::id().to_string();
    assert!(
        output.lines().any(|line| line.ends_with(&expected)),
        "{output}"
    );
    drop(store);
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_ask_and_open_at_once_take_no_locks_away() {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    let (_directory, path) = scratch();
    store_with(&path, 1);
    let inode = std::fs::metadata(path.join("lock.mdb")).unwrap().ino();
    let lock = format!(":{inode} 0 0");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    holder(&path).unwrap();
                }
            });
        }
        let kept = (0..500).all(|_| {
            let store = beside_another(&path);
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            drop(store);
            locks.lines().any(|line| line.ends_with(&lock))
        });
        done.store(true, Ordering::Relaxed);
        assert!(kept, "a lock was lost");
    });
}

#[test]
fn a_store_that_another_process_has_open_may_need_a_limit() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    let other = OtherProcess::start(&mut other_process("other_process_holds_the_store", &path));
    let opened = LmdbOptions::new().open(&path);
    if LIMIT_BESIDE_OTHERS {
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse);
        for part in [
            path.to_str().unwrap(),
            &format!("process {}", other.id()),
            "could outgrow the memory map",
            "128 MiB",
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
    } else {
        drop(opened.unwrap());
    }
    let reader = LmdbOptions::new().read_only(true).open(&path).unwrap();
    reader.begin_read().unwrap();
    drop(reader);
    put_all(&beside_another(&path), [("key".to_owned(), vec![1])]).unwrap();
    other.end();
    put_all(
        &LmdbBackend::open(&path).unwrap(),
        [("key".to_owned(), vec![2])],
    )
    .unwrap();
}

#[test]
#[ignore = "the other process of a test"]
fn other_process_commits_seven_times() {
    if let Some(path) = store_of_the_test() {
        let store = beside_another(&path);
        for n in 0..7 {
            put_all(&store, [("other".to_owned(), vec![n])]).unwrap();
        }
    }
}

#[test]
fn every_commit_counts_by_one_whoever_makes_it() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    let store = beside_another(&path);
    let number = || store.begin_read().unwrap().commit_number().unwrap();
    let first = number();
    for round in 1..=3 {
        let other = other_process("other_process_commits_seven_times", &path).output();
        assert!(other.unwrap().status.success());
        put_all(&store, [("own".to_owned(), vec![round])]).unwrap();
        // One in which nothing changes is none.
        put_all(&store, []).unwrap();
        assert_eq!(number(), first + 8 * u64::from(round));
    }
}

/// Who has the store open, as another process sees it.
fn process_that_has_for_others(path: &Path) -> String {
    let output = other_process("other_process_tells_who_has_the_store", path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_store_can_be_kept_from_everybody() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    let exclusive = Exclusive::lock(&path).unwrap();
    let this = std::process::id();
    assert_eq!(process_that_has(&path), Some(this));
    let errors = [
        LmdbBackend::open(&path).unwrap_err(),
        Exclusive::lock(&path).unwrap_err(),
    ];
    assert_eq!(errors.map(|error| error.kind()), [ErrorKind::InUse; 2]);
    // None of that took the lock away.
    let told = process_that_has_for_others(&path);
    assert!(
        told.lines().any(|line| line.ends_with(&this.to_string())),
        "{told}"
    );
    drop(exclusive);
    assert_eq!(process_that_has(&path), None);
    drop(LmdbBackend::open(&path).unwrap());
}

#[test]
fn a_store_that_is_open_cannot_be_kept_from_everybody() {
    let (_directory, path) = scratch();
    store_with(&path, 1);
    let store = LmdbBackend::open(&path).unwrap();
    let error = Exclusive::lock(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert_eq!(process_that_has(&path), Some(std::process::id()));
    drop(store);

    let other = OtherProcess::start(&mut other_process("other_process_holds_the_store", &path));
    let error = Exclusive::lock(data_file(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    let named = format!("process {}", other.id());
    assert!(error.to_string().contains(&named), "{error}");
    other.end();
}

#[test]
fn whoever_waits_for_a_store_opens_the_file_that_is_there_then() {
    let (directory, path) = scratch();
    store_with(&path, 3);
    let exclusive = Exclusive::lock(&path).unwrap();
    let waiting = [(), ()].map(|()| {
        other_process("other_process_commits_seven_times", &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    // With fewer commits than the lock file knew of.
    let new = directory.path().join("new");
    store_with(&new, 1);
    std::fs::rename(data_file(&new), data_file(&path)).unwrap();
    drop(exclusive);
    for mut other in waiting {
        assert!(other.wait().unwrap().success());
    }
    let store = LmdbBackend::open(&path).unwrap();
    let txn = store.begin_read().unwrap();
    assert_eq!(txn.get(b"other").unwrap(), Some(&[6][..]));
    assert_eq!(txn.commit_number(), Some(1 + 14));
}
