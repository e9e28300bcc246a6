//! Files of LMDB 1.0, made by heed3.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

#[macro_use]
mod common;

tests_with!(heed3, Lmdb10);

#[test]
fn the_lmdb_in_this_test_is_the_one_for_its_format() {
    let version = heed3::lmdb_version();
    // LMDB 1.0 called itself 0.9.90 and up before it was released.
    assert_eq!((version.major, version.minor), (0, 9));
    assert!(version.patch >= 90, "{version:?}");
}

#[test]
fn a_store_of_a_real_router_holds_what_was_recorded() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/crossbar-lmdb10.mdb"
    );
    common::a_recording_holds_what_was_recorded(
        file.as_ref(),
        realmstore_lmdb_pages::FileFormat::Lmdb10,
        &[(0, 4), (1, 4), (2, 4), (3, 114), (4, 264)],
    );
}
