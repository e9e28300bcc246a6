//! Files of LMDB 0.9, made by heed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

#[macro_use]
mod common;

tests_with!(heed, Lmdb09);

#[test]
fn the_lmdb_in_this_test_is_the_one_for_its_format() {
    let version = heed::lmdb_version();
    assert_eq!((version.major, version.minor), (0, 9));
    assert!(version.patch < 80, "{version:?}");
}

#[test]
fn a_store_of_a_real_router_holds_what_was_recorded() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../realmstore-cli/recording/data.mdb"
    );
    common::a_recording_holds_what_was_recorded(
        file.as_ref(),
        realmstore_lmdb_pages::FileFormat::Lmdb09,
        &[(0, 4), (1, 4), (2, 4), (3, 117), (4, 276)],
    );
}
