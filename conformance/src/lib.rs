//! The contract of realmstore's storage engines, as tests.
//!
//! What an engine promises stands on [`Backend`]; each sentence of it is a
//! test here (but for what takes an engine's own files, broken, to show), written once, against the trait. So are the tests of tables,
//! indexes and the realm store, which are core's but only as good as the
//! engine below. An engine says how it is opened ([`Engine`]) and runs them
//! all with one line, in a file of its own under `tests/`:
//!
//! ```ignore
//! conformance::suites!(Lmdb);
//! ```
//!
//! What an engine cannot do by its nature it says there, with the reason, and
//! the cases that need it are in the output as ignored for that reason:
//!
//! ```ignore
//! conformance::suites!(Memory, no reopening: "a store in memory ends with its backend");
//! ```
//!
//! Every test opens a fresh store. Property tests print the seed of a failure
//! and keep it in `proptest-regressions`, to be tried first from then on.

#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests: they fail by panicking, and their names say what they show"
)]

pub mod backend;
pub mod calls;
pub mod counting;
pub mod crash;
pub mod differential;
pub mod group_commit;
pub mod history_model;
pub mod history_properties;
pub mod recording;
pub mod retained;
pub mod retention;
pub mod sessions;
pub mod slow;
pub mod store;
pub mod tables;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use realmstore_core::directory::Directory;
use realmstore_core::store::{Finding, verify};
use realmstore_core::{Backend, RealmStore, Result, Scan};

use crate::counting::Counting;

/// How the suites open a store of an engine.
pub trait Engine {
    /// The engine's backend.
    type Backend: Backend + 'static;

    /// Opens the store in a directory, and makes it where there is none.
    fn open(directory: &Path) -> Result<Self::Backend>;

    /// Opens the store in a directory for reading.
    fn open_read_only(directory: &Path) -> Result<Self::Backend>;
}

/// A store in a directory of its own, which goes with it.
pub struct Fresh<B> {
    pub store: B,
    pub directory: tempfile::TempDir,
}

impl<B> std::ops::Deref for Fresh<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.store
    }
}

impl<B: Backend> Fresh<B> {
    /// A new, empty store.
    pub fn new<E: Engine<Backend = B>>() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: E::open(directory.path()).unwrap(),
            directory,
        }
    }

    /// Closes the store and opens it again.
    pub fn reopen<E: Engine<Backend = B>>(self) -> Self {
        let Self { store, directory } = self;
        drop(store);
        Self {
            store: E::open(directory.path()).unwrap(),
            directory,
        }
    }

    /// Closes the store and opens it for reading.
    pub fn reopen_read_only<E: Engine<Backend = B>>(self) -> Self {
        let Self { store, directory } = self;
        drop(store);
        Self {
            store: E::open_read_only(directory.path()).unwrap(),
            directory,
        }
    }

    /// Attaches a realm store.
    pub fn realm(self) -> Fresh<RealmStore<B>> {
        Fresh {
            store: RealmStore::attach(self.store).unwrap(),
            directory: self.directory,
        }
    }

    /// Attaches a realm store whose calls to the engine are counted.
    pub fn counted_realm(self) -> Fresh<RealmStore<Counting<B>>> {
        Fresh {
            store: Counting::new(self.store),
            directory: self.directory,
        }
        .realm()
    }
}

/// What a verification finds.
fn findings<B: Backend>(db: &B) -> Vec<Finding> {
    let mut findings = Vec::new();
    let found = verify(db, |finding| {
        findings.push(finding);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(found.complete);
    findings
}

/// The slot of the table with a name.
fn slot_named<B: Backend>(db: &B, name: &str) -> u16 {
    let directory = Directory::read(&db.begin_read().unwrap()).unwrap();
    let mut entries = directory.entries().iter();
    entries
        .find(|entry| entry.name.as_deref() == Some(name))
        .unwrap()
        .slot
}

/// Runs a property as often as `cases` says, or `PROPTEST_CASES`. The seed of
/// a failure is printed, and kept beside the suite's file to be tried first.
fn property(file: &'static str, cases: u32) -> TestRunner {
    let config = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        config.cases
    } else {
        cases
    };
    let failure_persistence = if EXPECTING_FAILURE.get() {
        None
    } else {
        config.failure_persistence.clone()
    };
    TestRunner::new(ProptestConfig {
        cases,
        source_file: Some(file),
        failure_persistence,
        ..config
    })
}

thread_local! {
    /// Whether a case runs on this thread that is to fail, whose seed is of no use.
    static EXPECTING_FAILURE: Cell<bool> = const { Cell::new(false) };
}

/// Whether a case fails. For tests of the suites themselves.
pub fn fails(case: fn()) -> bool {
    EXPECTING_FAILURE.set(true);
    let failed = std::panic::catch_unwind(case).is_err();
    EXPECTING_FAILURE.set(false);
    failed
}

/// All entries of a scan, owned.
pub fn collect(mut scan: impl Scan) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    while let Some((key, value)) = scan.next().unwrap() {
        entries.push((key.to_vec(), value.to_vec()));
    }
    entries
}

/// Runs every suite against an [`Engine`]: one `#[test]` for each case, named
/// `suite::case`.
///
/// Behind the engine stands what it cannot do, and why, in this order:
/// `no reopening: "…"` for one whose stores cannot be closed and opened again,
/// `no sharing: "…"` for one whose stores no other program writes to, which
/// has no [commit numbers](realmstore_core::ReadTxn::commit_number).
#[macro_export]
macro_rules! suites {
    (
        $engine:ty
        $(, no reopening: $no_reopening:literal)?
        $(, no sharing: $no_sharing:literal)?
        $(,)?
    ) => {
        $crate::suites! { @suites $engine;
            backend {
                [] [
                    keys_are_ordered_as_byte_strings
                    keys_have_1_to_511_bytes
                    values_may_be_empty_and_large
                    a_snapshot_sees_what_was_committed_before_it_and_nothing_else
                    a_reader_does_not_wait_for_a_writer
                    readers_see_all_of_a_commit_or_nothing
                    a_writer_sees_its_own_changes_in_get_and_scan
                    a_transaction_that_is_dropped_leaves_no_trace
                    insert_takes_only_a_key_that_is_free
                    delete_says_whether_the_key_was_there
                    a_second_writer_waits_for_the_first
                    a_second_writer_on_the_same_thread_is_refused
                    ranges_of_every_kind_agree_with_a_model
                    long_runs_of_255_in_keys_are_scanned_both_ways
                    random_operations_agree_with_a_model
                ]
                [$($no_reopening)?] [
                    large_values_survive_a_reopen
                    every_commit_survives_a_reopen
                    a_transaction_that_is_dropped_leaves_no_trace_on_disk
                    a_read_only_store_refuses_writers
                    the_same_faults_have_the_same_errors
                    random_operations_and_reopens_agree_with_a_model
                ]
            }
            tables {
                [] [
                    records_are_found_under_their_keys
                    ranges_and_prefixes_of_keys
                    the_last_slot_of_the_keyspace_is_scanned_to_its_end
                    indexes_follow_every_change
                    a_unique_index_refuses_a_second_owner
                    an_index_is_rebuilt_from_its_table
                    an_index_key_that_is_too_long_changes_nothing
                    rows_that_lead_nowhere_own_nothing
                    slots_of_others_are_left_alone
                    nothing_is_made_beside_an_entry_that_cannot_be_read
                ]
                [$($no_reopening)?] [
                    records_survive_a_reopen
                    another_version_of_a_table_is_refused_by_name
                ]
            }
            store {
                [] [
                    a_session_joins_and_leaves
                    the_newest_session_of_an_id_at_a_time
                    sessions_of_an_authid_come_newest_first
                    an_authid_of_any_length_is_found
                    a_session_that_cannot_be_read_in_full_is_left_as_it_is
                    records_without_identity_are_refused
                    an_event_that_is_refused_leaves_those_before_it_in_the_history
                    an_operation_that_fails_half_done_cannot_be_committed
                    history_lists_a_publication_once_at_its_first_event
                    history_and_events_agree_with_a_model
                    events_in_one_nanosecond_are_all_kept
                    the_same_event_again_changes_nothing
                    the_newest_ten_of_a_million_events_are_read_without_the_rest
                    events_of_crossbar_are_in_every_answer_before_and_after_adoption
                    an_adoption_that_is_stopped_goes_on
                    events_that_cannot_be_read_stay_and_are_named
                    events_that_arrive_behind_an_adoption_are_in_every_answer
                    an_adoption_changes_no_answer_even_of_damaged_events
                    a_damaged_stamp_only_costs_the_indexes
                    a_damaged_position_is_counted_anew
                    a_damaged_record_can_be_replaced_and_removed
                    rows_of_what_a_record_was_before_are_not_followed
                    an_adoption_forgets_no_damaged_session
                    nothing_is_found_after_any_operations_of_our_own
                    a_repair_leaves_nothing_to_find
                ]
                [$($no_sharing)?] [
                    what_others_commit_is_in_every_answer
                    a_writer_catches_up_with_many_events_of_others
                    a_store_that_was_repaired_is_caught_up_with_all_the_same
                ]
                [$($no_reopening)?] [
                    own_tables_survive_a_reopen
                    a_read_only_store_without_our_tables_reads_as_empty
                    a_table_is_not_taken_for_missing_when_its_entry_is_damaged
                    a_database_that_is_no_realm_store_is_refused_and_left_alone
                ]
            }
            sessions {
                [] [
                    those_present_at_any_time_agree_with_a_model
                    those_present_are_found_beside_a_damaged_record
                    a_crash_closes_the_sessions_of_its_own_node_when_it_was_last_alive
                    a_crash_closes_sessions_beside_damage
                ]
                [$($no_sharing)?] [
                    those_present_agree_with_a_model_where_others_write_too
                    what_left_beside_us_is_no_longer_passed_by
                ]
                [$($no_reopening)?] [
                    those_present_agree_with_a_model_over_reopens
                ]
            }
            calls {
                [] [
                    a_new_publication_is_recorded_without_a_look_at_the_store
                    a_commit_keeps_what_is_known_of_a_subscription_and_a_dropped_transaction_does_not
                    a_receiver_that_comes_later_costs_a_look_at_the_position
                    stored_events_touch_the_history_once_for_all_receivers
                    a_session_costs_its_record_and_a_row_of_each_index
                    a_session_is_found_by_one_seek_and_one_get
                    the_newest_events_cost_a_step_each
                    a_page_of_history_costs_a_step_and_a_get_for_each_row
                    a_transaction_costs_the_stamp
                ]
            }
            history_properties {
                [] [
                    history_agrees_with_the_specification
                    every_combination_of_options_selects_what_the_specification_says
                    the_example_of_the_specification_has_the_histories_that_it_says
                    a_limit_of_nothing_is_refused_and_no_history_is_another_thing_than_an_empty_one
                    rows_are_written_as_the_specification_has_them
                    ten_of_a_history_cost_the_same_with_a_thousand_receivers_as_with_one
                    ten_of_a_hundred_thousand_cost_the_same_as_ten_of_a_thousand
                ]
                [$($no_reopening)?] [
                    history_agrees_with_the_specification_over_reopens
                ]
            }
            recording {
                [] [
                    a_subscription_has_one_id_for_ever
                    only_a_prefix_may_be_empty
                    an_alias_stands_for_a_subscription_until_it_stands_for_another
                    an_id_that_is_somebody_elses_is_refused_as_an_alias
                    a_history_is_in_the_order_of_arrival_whatever_the_clock_says
                    receivers_may_come_one_after_the_other
                    what_is_refused_leaves_nothing
                    recordings_agree_with_a_model
                ]
                [$($no_reopening)?] [
                    a_subscription_has_the_same_id_after_a_reopen
                ]
            }
            retained {
                [] [
                    the_last_publication_of_a_topic_is_retained
                    whoever_is_not_admitted_gets_the_last_one_that_was_for_them
                    the_publisher_gets_what_it_did_not_exclude_itself_from
                    what_has_expired_is_not_retained
                    topics_are_matched_by_each_policy_and_read_page_by_page
                    a_topic_retains_so_many_and_the_one_for_everybody_is_among_them
                    a_publication_goes_when_nothing_refers_to_it_any_more
                    what_is_retained_agrees_with_a_model
                ]
                [$($no_reopening)?] [
                    what_is_retained_survives_a_reopen
                ]
            }
            retention {
                [] [
                    limits_agree_with_a_model
                    the_newest_stay_and_nothing_of_the_others
                    each_limit_is_kept
                    what_is_retained_stays_until_it_expires
                    events_that_came_late_or_between_others_go_as_well
                    a_step_costs_its_budget_however_much_is_stored
                    a_step_that_is_not_committed_does_not_count
                    damaged_histories_are_taken_off_all_the_same
                    nothing_goes_where_others_may_refer_to_it
                    a_purge_does_what_it_says
                    a_purge_that_is_stopped_goes_on
                    who_is_forgotten_leaves_nothing_but_that_others_were_there
                    to_forget_somebody_may_be_stopped_and_goes_on
                ]
            }
            group_commit {
                [] [
                    sixty_four_writers_share_commits_and_are_twenty_times_as_fast_as_one
                    a_slow_disk_makes_callers_wait_and_never_fills_the_queue_beyond_its_bounds
                ]
            }
            crash {
                [$($no_reopening)?] [
                    every_acknowledged_write_survives_a_kill_and_none_is_half_there
                ]
                ["runs in the process that the other case kills"] [
                    the_process_that_is_killed
                ]
            }
        }
    };
    (@suites $engine:ty; $($suite:ident { $($reason:tt [$($case:ident)*])* })*) => {
        $(mod $suite {
            #[allow(unused_imports, reason = "the engine may be named by its full path")]
            use super::*;

            $($crate::suites! { @cases $engine; $suite $reason [$($case)*] })*
        })*
    };
    (@cases $engine:ty; $suite:ident $reason:tt [$($case:ident)*]) => {
        $($crate::suites! { @case $engine; $suite $case $reason })*
    };
    (@case $engine:ty; $suite:ident $case:ident [$($reason:literal)?]) => {
        #[test]
        $(#[ignore = $reason])?
        fn $case() {
            $crate::$suite::$case::<$engine>();
        }
    };
}
