//! `compact`: on every engine, beside others, and cut short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{copy_of_recording, realmstore, run_on, stderr, text};
use realmstore::{
    AnyStore, Engine, Event, Location, Publication, PublicationId, SubscriptionId, Timestamp,
    WriteTxn,
};

/// The locations of a store on each engine, LMDB 1.0 included.
fn places(directory: &Path) -> Vec<String> {
    realmstore::ENGINES
        .iter()
        .copied()
        .filter(|engine| *engine != Engine::Memory)
        .chain([Engine::Lmdb10])
        .map(|engine| Location::new(engine, directory.join(engine.name())).to_string())
        .collect()
}

fn path_of(location: &str) -> &Path {
    Path::new(location.split_once(':').unwrap().1)
}

fn compact(location: &str) -> Output {
    realmstore(&["compact", location]).output().unwrap()
}

fn export(location: &str) -> String {
    text(&run_on(Path::new(location), "export", &[]))
}

/// The bytes of all files in a directory.
fn size_of(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                size_of(&entry.path())
            } else {
                entry.metadata().unwrap().len()
            }
        })
        .sum()
}

/// The directories that compacting works in.
fn workplaces(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.contains(".compacting.") {
            found.push(name);
        } else if entry.file_type().unwrap().is_dir() {
            found.extend(workplaces(&entry.path()));
        }
    }
    found
}

/// Five of six publications do not stay.
const PUBLICATIONS: u64 = 3000;

fn stays(number: u64) -> bool {
    number.is_multiple_of(6)
}

fn id(number: u64) -> PublicationId {
    PublicationId::new(number).unwrap()
}

/// A publication with a payload that no compressor makes smaller.
fn publication(number: u64) -> Publication {
    let mut noise = number;
    let payload = std::iter::repeat_with(|| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.to_be_bytes()[0]
    });
    Publication {
        payload: Some(payload.take(2000).collect()),
        ..Publication::new(id(number), Timestamp::from_nanos(number), "com.example")
    }
}

/// Makes a store, and deletes most of it.
fn fill_and_delete(location: &str) {
    let location: Location = location.parse().unwrap();
    if location.engine() == Engine::Lmdb10 {
        return fill_and_delete_by_the_tool(&location);
    }
    let store = realmstore::OpenOptions::new().open(&location).unwrap();
    fill(&store);
    for number in (1..=PUBLICATIONS).filter(|&number| !stays(number)) {
        let mut txn = store.begin_write().unwrap();
        assert!(store.publications().delete(&mut txn, &id(number)).unwrap());
        txn.commit().unwrap();
    }
}

fn fill(store: &AnyStore) {
    let mut txn = store.begin_write().unwrap();
    for number in 1..=PUBLICATIONS {
        store
            .store_publication(&mut txn, &publication(number))
            .unwrap();
        if stays(number) {
            let subscription = SubscriptionId::new(7).unwrap();
            let event = Event::new(subscription, Timestamp::from_nanos(number), id(number));
            store.store_events(&mut txn, [&event]).unwrap();
        }
    }
    txn.commit().unwrap();
}

/// The same for LMDB 1.0, which this program cannot write: what does not stay
/// is overwritten with next to nothing.
fn fill_and_delete_by_the_tool(location: &Location) {
    let made = Location::new(Engine::Lmdb, location.path().with_extension("made"));
    fill(&realmstore::OpenOptions::new().open(&made).unwrap());
    let copied = realmstore(&["copy", &made.to_string(), &location.to_string()]).output();
    text(&copied.unwrap());
    fs::remove_dir_all(made.path()).unwrap();
    let lines: String = export(&location.to_string())
        .lines()
        .filter_map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            let record = line["record"].as_object_mut().unwrap();
            let does_stay = stays(record["publication"].as_u64().unwrap());
            record.remove("payload").filter(|_| !does_stay)?;
            Some(format!("{line}\n"))
        })
        .collect();
    let file = location.path().with_extension("jsonl");
    fs::write(&file, lines).unwrap();
    let arguments = [file.to_str().unwrap(), "--replace"];
    text(&run_on(
        Path::new(&location.to_string()),
        "import",
        &arguments,
    ));
    fs::remove_file(&file).unwrap();
}

#[test]
fn what_was_deleted_takes_no_space_after_compacting_and_nothing_else_changes() {
    let directory = tempfile::tempdir().unwrap();
    for location in places(directory.path()) {
        fill_and_delete(&location);
        let before = (export(&location), size_of(path_of(&location)));
        let said = text(&compact(&location));
        assert!(said.contains("takes") && said.contains("now"), "{said}");
        let size = size_of(path_of(&location));
        assert!(size * 2 <= before.1, "{location}: {size} of {}", before.1);
        assert!(export(&location) == before.0, "{location}");
        text(&run_on(Path::new(&location), "verify", &[]));
        assert_eq!(workplaces(directory.path()), [""; 0], "{location}");

        // The second time there is nothing to gain, or next to nothing.
        text(&compact(&location));
        let again = size_of(path_of(&location));
        assert!(again <= size + size / 10, "{location}: {again} of {size}");
        assert!(export(&location) == before.0, "{location}");
    }
}

#[test]
fn a_store_that_somebody_has_open_is_not_compacted() {
    let directory = tempfile::tempdir().unwrap();
    for engine in realmstore::ENGINES {
        if *engine == Engine::Memory {
            continue;
        }
        let location = Location::new(*engine, directory.path().join(engine.name()));
        let store = realmstore::OpenOptions::new().open(&location).unwrap();
        let mut txn = store.begin_write().unwrap();
        store.store_publication(&mut txn, &publication(1)).unwrap();
        txn.commit().unwrap();
        let output = compact(&location.to_string());
        assert_eq!(output.status.code(), Some(2), "{location}");
        let said = stderr(&output);
        assert!(
            said.contains(location.path().to_str().unwrap()) && said.contains("open"),
            "{said}"
        );
        if cfg!(unix) && engine.is_lmdb() {
            assert!(
                said.contains(&format!("process {}", std::process::id())),
                "{said}"
            );
        }
        assert_eq!(workplaces(directory.path()), [""; 0], "{location}");
        // Whoever has it open goes on.
        let mut txn = store.begin_write().unwrap();
        store.store_publication(&mut txn, &publication(2)).unwrap();
        txn.commit().unwrap();
        let txn = store.begin_read().unwrap();
        for number in [1, 2] {
            let found = store.publications().get(&txn, &id(number)).unwrap();
            assert!(found.is_some());
        }
    }
}

#[cfg(unix)]
#[test]
fn whoever_opens_a_store_of_lmdb_while_it_is_compacted_waits_and_loses_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let directory = tempfile::tempdir().unwrap();
    let location = format!("lmdb:{}", directory.path().join("store").display());
    fill_and_delete(&location);
    let stop = AtomicBool::new(false);
    let committed = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = PUBLICATIONS;
            while !stop.load(Ordering::Relaxed) {
                let store = realmstore::open(&location).unwrap();
                number += 1;
                let mut txn = store.begin_write().unwrap();
                store
                    .store_publication(&mut txn, &publication(number))
                    .unwrap();
                txn.commit().unwrap();
                drop(store);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            number
        });
        let mut compacted = 0;
        for _ in 0..200 {
            compacted += u32::from(compact(&location).status.success());
            if compacted == 10 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(compacted > 0, "never was the store closed");
        writer.join().unwrap()
    });
    let store = realmstore::open_read_only(&location).unwrap();
    let txn = store.begin_read().unwrap();
    for number in PUBLICATIONS + 1..=committed {
        let found = store.publications().get(&txn, &id(number)).unwrap();
        assert!(found.is_some(), "{number} of {committed} is lost");
    }
}

#[cfg(unix)]
#[test]
fn compacting_that_is_killed_never_loses_the_store() {
    let directory = tempfile::tempdir().unwrap();
    for location in places(directory.path()) {
        fill_and_delete(&location);
        let expected = export(&location);
        let mut interrupted = 0;
        for round in 0..20_u64 {
            let mut child = realmstore(&["compact", &location])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // In no order, between nothing and longer than it takes.
            std::thread::sleep(std::time::Duration::from_millis(round * 37 % 20 * 10));
            child.kill().unwrap();
            interrupted += u32::from(!child.wait().unwrap().success());
            assert!(export(&location) == expected, "{location}, round {round}");
        }
        assert!(interrupted > 0, "{location}: always faster than the kill");
        text(&compact(&location));
        assert!(export(&location) == expected, "{location}");
        text(&run_on(Path::new(&location), "verify", &[]));
        assert_eq!(workplaces(directory.path()), [""; 0], "{location}");
    }
}

#[cfg(unix)]
#[test]
fn a_copy_that_does_not_fit_leaves_the_store_as_it_was() {
    use std::process::Command;

    let directory = tempfile::tempdir().unwrap();
    for engine in [Engine::Lmdb, Engine::Sled] {
        if !realmstore::ENGINES.contains(&engine) {
            continue;
        }
        let path = directory.path().join(engine.name());
        let location = Location::new(engine, &path).to_string();
        fill_and_delete(&location);
        let expected = export(&location);
        // As if the disk were full after 200 KiB, and the process hears of it.
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$@\"", "sh"])
            .args([env!("CARGO_BIN_EXE_realmstore"), "compact", &location])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert_eq!(workplaces(directory.path()), [""; 0], "{location}");
        assert!(export(&location) == expected, "{location}");
    }
}

#[cfg(unix)]
#[test]
fn a_compacted_store_has_the_owner_the_permissions_and_the_adoption_of_the_old_one() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let recording = copy_of_recording();
    let location = recording.path().to_str().unwrap();
    text(&run_on(recording.path(), "adopt", &[]));
    let data = recording.path().join("data.mdb");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(recording.path().join("notes.txt"), "mine").unwrap();
    let other_user = fs::metadata(&data).unwrap().uid() == 0;
    if other_user {
        std::os::unix::fs::chown(&data, Some(1234), Some(1234)).unwrap();
    }
    let (before, expected) = (fs::metadata(&data).unwrap(), export(location));
    text(&compact(&format!("lmdb:{}", data.display())));
    let after = fs::metadata(&data).unwrap();
    assert!(after.len() < before.len());
    assert_ne!(after.ino(), before.ino());
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    let notes = fs::read_to_string(recording.path().join("notes.txt"));
    assert_eq!(notes.unwrap(), "mine");
    assert!(export(location) == expected);
    let store = realmstore::open_read_only(location).unwrap();
    assert!(store.is_adopted(&store.begin_read().unwrap()).unwrap());
}

#[cfg(unix)]
#[test]
fn a_link_to_a_store_stays_one() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    for location in places(directory.path()) {
        fill_and_delete(&location);
        let expected = export(&location);
        std::os::unix::fs::symlink(path_of(&location), &link).unwrap();
        text(&compact(link.to_str().unwrap()));
        assert!(link.is_symlink());
        assert!(export(&location) == expected, "{location}");
        fs::remove_file(&link).unwrap();
    }
}

#[cfg(feature = "sled")]
#[test]
fn a_file_that_is_not_of_sled_is_never_removed_with_the_old_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let location = format!("sled:{}", path.display());
    fill_and_delete(&location);
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let output = compact(&location);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("notes.txt"), "{}", stderr(&output));
    assert!(path.join("notes.txt").exists());
}

#[cfg(feature = "sled")]
#[test]
fn a_store_that_was_only_moved_aside_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let location = format!("sled:{}", path.display());
    fill_and_delete(&location);
    let workplace = directory.path().join(".store.compacting.a1B2c3");
    fs::create_dir(&workplace).unwrap();
    let old = workplace.join("old");
    fs::rename(&path, &old).unwrap();
    let output = compact(&location);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains(old.to_str().unwrap()),
        "{}",
        stderr(&output)
    );
    // Where another store was made there, nobody but the user knows which one counts.
    fill_and_delete(&location);
    let output = compact(&location);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(old.to_str().unwrap()),
        "{}",
        stderr(&output)
    );
    assert!(old.exists());
}
