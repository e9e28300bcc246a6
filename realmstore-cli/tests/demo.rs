//! The demonstration, and what belongs to the tool itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fs;

use common::{SUBSCRIPTION, clean_lines, copy_of_recording, realmstore, run_on, stderr, text};

#[test]
fn the_demonstration_shows_what_the_store_does() {
    let output = realmstore(&["demo"]).output().unwrap();
    let printed = text(&output);
    assert_eq!(stderr(&output), "");
    for part in [
        "397 records in one commit",
        "SESSION",
        "The history of subscription 5926138259517046, newest first",
        "… 107 more",
        "117 publications",
        "276 events",
        "realmstore demo ./my-store",
    ] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
}

#[test]
fn the_demonstration_leaves_no_files_behind() {
    let directory = tempfile::tempdir().unwrap();
    let output = realmstore(&["demo"])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    text(&output);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_store_that_the_demonstration_keeps_answers_as_the_recording_does() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("my store");
    let printed = text(
        &realmstore(&["demo", kept.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    let quoted = format!(
        "realmstore history 'lmdb:{}' {SUBSCRIPTION} --reverse",
        kept.display()
    );
    assert!(printed.contains(&quoted), "{printed}");
    let recording = copy_of_recording();
    for (command, arguments) in [("export", &[][..]), ("history", &[SUBSCRIPTION, "--json"])] {
        assert_eq!(
            clean_lines(&run_on(&kept, command, arguments)),
            clean_lines(&run_on(recording.path(), command, arguments)),
            "{command}"
        );
    }
}

#[test]
fn the_demonstration_refuses_a_store_that_holds_records_and_leaves_it_as_it_is() {
    let store = copy_of_recording();
    let data = store.path().join("data.mdb");
    let before = fs::read(&data).unwrap();
    let output = realmstore(&["demo", store.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("holds records already"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
    assert!(fs::read(&data).unwrap() == before);
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(
            text(&realmstore(&["completions", shell]).output().unwrap()).contains("subscriptions"),
            "{shell}"
        );
    }
}

#[test]
fn the_version_and_the_help_are_printed() {
    let version = text(&realmstore(&["--version"]).output().unwrap());
    assert_eq!(
        version.trim(),
        concat!("realmstore ", env!("CARGO_PKG_VERSION"))
    );
    assert!(text(&realmstore(&["--help"]).output().unwrap()).contains("Exit codes"));
    assert!(text(&realmstore(&["history", "--help"]).output().unwrap()).contains("Examples:"));
}
