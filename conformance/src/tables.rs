//! Tables and indexes, defined here as a user would define their own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proptest::prelude::*;
use realmstore_core::directory::{Directory, attach_table};
use realmstore_core::table::{Index, IndexHandle, Table, TableHandle};
use realmstore_core::{Backend, Error, ErrorKind, Order, ReadTxn, Result, Uuid, WriteTxn};

use crate::{Engine, Fresh, collect, property};

/// People by number; a record is `nickname,team`, either of which may be empty.
struct People;

impl Table for People {
    const OID: Uuid = Uuid::from_u128(1);
    const NAME: &'static str = "test.people";
    const SCHEMA_VERSION: Option<u32> = Some(3);
    type Key = u64;
    type Record = Vec<u8>;
    type Companions = (IndexHandle<ByNickname>, IndexHandle<ByTeam>);
}

fn part(record: &[u8], number: usize) -> Result<Option<String>> {
    let text =
        std::str::from_utf8(record).map_err(|_| Error::new(ErrorKind::Damaged, "not a text"))?;
    Ok(text
        .split(',')
        .nth(number)
        .filter(|part| !part.is_empty())
        .map(str::to_owned))
}

/// One person a nickname.
struct ByNickname;

impl Index for ByNickname {
    const OID: Uuid = Uuid::from_u128(2);
    const NAME: &'static str = "test.people_by_nickname";
    const SCHEMA_VERSION: Option<u32> = None;
    const UNIQUE: bool = true;
    type Table = People;
    type Key = String;

    fn key(record: &&[u8]) -> Result<Option<String>> {
        part(record, 0)
    }
}

/// Any number of people a team.
struct ByTeam;

impl Index for ByTeam {
    const OID: Uuid = Uuid::from_u128(3);
    const NAME: &'static str = "test.people_by_team";
    const SCHEMA_VERSION: Option<u32> = None;
    const UNIQUE: bool = false;
    type Table = People;
    type Key = String;

    fn key(record: &&[u8]) -> Result<Option<String>> {
        part(record, 1)
    }
}

/// A table with nothing beside it, and keys of two parts.
struct Measurements;

impl Table for Measurements {
    const OID: Uuid = Uuid::from_u128(4);
    const NAME: &'static str = "test.measurements";
    const SCHEMA_VERSION: Option<u32> = None;
    type Key = (u64, u64);
    type Record = Vec<u8>;
    type Companions = ();
}

fn by_nickname(people: &TableHandle<People>) -> &IndexHandle<ByNickname> {
    &people.companions().0
}

fn by_team(people: &TableHandle<People>) -> &IndexHandle<ByTeam> {
    &people.companions().1
}

fn rows<X: ReadTxn, I: Index<Table = People, Key = String>>(
    index: &IndexHandle<I>,
    txn: &X,
) -> BTreeSet<(String, u64)> {
    let mut scan = index.range(txn, .., Order::Ascending).unwrap();
    let mut rows = BTreeSet::new();
    while let Some(row) = scan.next().unwrap() {
        assert!(rows.insert(row), "a row twice");
    }
    rows
}

pub fn records_are_found_under_their_keys<E: Engine>() {
    let store = Fresh::new::<E>();
    let table: TableHandle<Measurements> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    table.put(&mut txn, &(1, 2), &b"first".to_vec()).unwrap();
    table.put(&mut txn, &(1, 2), &b"second".to_vec()).unwrap();
    assert_eq!(
        table.get(&txn, &(1, 2)).unwrap().unwrap().bytes(),
        b"second"
    );
    assert!(table.get(&txn, &(2, 1)).unwrap().is_none());
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    assert!(table.delete(&mut txn, &(1, 2)).unwrap());
    assert!(!table.delete(&mut txn, &(1, 2)).unwrap());
    assert_eq!(table.count(&txn).unwrap(), 0);
}

pub fn records_survive_a_reopen<E: Engine>() {
    let store = Fresh::new::<E>();
    let table: TableHandle<Measurements> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    table.put(&mut txn, &(1, 2), &b"second".to_vec()).unwrap();
    txn.commit().unwrap();
    let store = store.reopen::<E>();
    let table: TableHandle<Measurements> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    assert_eq!(
        table
            .get(&txn, &(1, 2))
            .unwrap()
            .unwrap()
            .to_owned()
            .unwrap(),
        b"second"
    );
    assert!(table.delete(&mut txn, &(1, 2)).unwrap());
    assert!(!table.delete(&mut txn, &(1, 2)).unwrap());
    assert_eq!(table.count(&txn).unwrap(), 0);
}

pub fn ranges_and_prefixes_of_keys<E: Engine>() {
    let store = Fresh::new::<E>();
    let table: TableHandle<Measurements> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    let numbers = [0, 1, 255, 256, u64::MAX - 1, u64::MAX];
    for a in numbers {
        for b in numbers {
            table.put(&mut txn, &(a, b), &vec![]).unwrap();
        }
    }
    let all: Vec<(u64, u64)> = numbers
        .iter()
        .flat_map(|&a| numbers.iter().map(move |&b| (a, b)))
        .collect();
    let keys = |start: Bound<(u64, u64)>, end: Bound<(u64, u64)>, order| {
        let mut scan = table.range(&txn, (start, end), order).unwrap();
        let mut keys = Vec::new();
        while let Some(entry) = scan.next().unwrap() {
            keys.push(entry.key().unwrap());
        }
        keys
    };
    let bounds = || {
        all.iter()
            .flat_map(|&key| [Bound::Included(key), Bound::Excluded(key)])
            .chain([Bound::Unbounded])
    };
    for start in bounds() {
        for end in bounds() {
            let expected: Vec<_> = all
                .iter()
                .copied()
                .filter(|key| std::ops::RangeBounds::contains(&(start, end), key))
                .collect();
            assert_eq!(
                keys(start, end, Order::Ascending),
                expected,
                "{start:?} {end:?}"
            );
            let reversed: Vec<_> = expected.into_iter().rev().collect();
            assert_eq!(
                keys(start, end, Order::Descending),
                reversed,
                "{start:?} {end:?}"
            );
        }
    }
    for a in numbers {
        let mut scan = table.prefix(&txn, &a, Order::Descending).unwrap();
        for &b in numbers.iter().rev() {
            assert_eq!(scan.next().unwrap().unwrap().key().unwrap(), (a, b));
        }
        assert!(scan.next().unwrap().is_none());
    }
    assert_eq!(table.count(&txn).unwrap(), 36);
}

pub fn the_last_slot_of_the_keyspace_is_scanned_to_its_end<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut txn = store.begin_write().unwrap();
    // A directory whose highest slot but one is taken leaves 65535 for the next table.
    let entry = b"\xa1\x63oid\x78\x2400000000-0000-0000-0000-0000000000ff";
    txn.put(&[0, 0, 0xff, 0xfe], entry).unwrap();
    txn.commit().unwrap();
    let table: TableHandle<Measurements> = attach_table_without_meta(&*store);
    assert_eq!(table.slot(), Some(65535));
    let mut txn = store.begin_write().unwrap();
    for key in [(0, 0), (u64::MAX, u64::MAX)] {
        table.put(&mut txn, &key, &vec![]).unwrap();
    }
    assert_eq!(table.count(&txn).unwrap(), 2);
    let mut scan = table.prefix(&txn, &u64::MAX, Order::Descending).unwrap();
    assert_eq!(
        scan.next().unwrap().unwrap().key().unwrap(),
        (u64::MAX, u64::MAX)
    );
    assert!(scan.next().unwrap().is_none());
    drop(scan);
    txn.commit().unwrap();
    let error = attach_table::<_, People>(&*store)
        .err()
        .expect("there is no slot after the last one");
    assert_eq!(error.kind(), ErrorKind::Full);
}

/// Attaches with the meta table already in slot 1, so that the table gets the next slot.
fn attach_table_without_meta<B: Backend>(store: &B) -> TableHandle<Measurements> {
    let meta = "5e14e80d-6cb6-45a4-9501-e76f0a21cb17";
    let mut txn = store.begin_write().unwrap();
    let entry = [&b"\xa1\x63oid\x78\x24"[..], meta.as_bytes()].concat();
    txn.put(&[0, 0, 0, 1], &entry).unwrap();
    txn.commit().unwrap();
    attach_table(store).unwrap()
}

#[derive(Debug, Clone)]
enum Change {
    Put(u64, String),
    Delete(u64),
}

fn change() -> impl Strategy<Value = Change> {
    let record = ("[ab]?[ab]?", "[xy]?").prop_map(|(nickname, team)| format!("{nickname},{team}"));
    prop_oneof![
        3 => (0u64..6, record).prop_map(|(key, record)| Change::Put(key, record)),
        1 => (0u64..6).prop_map(Change::Delete),
    ]
}

pub fn indexes_follow_every_change<E: Engine>() {
    let store = Fresh::new::<E>();
    let people: TableHandle<People> = attach_table(&*store).unwrap();
    let mut runner = property(file!(), 256);
    runner
        .run(&prop::collection::vec(change(), 1..60), |changes| {
            let mut model: BTreeMap<u64, String> = BTreeMap::new();
            let mut txn = store.begin_write().unwrap();
            for change in changes {
                match change {
                    Change::Put(key, record) => {
                        let nickname = part(record.as_bytes(), 0).unwrap();
                        let taken = nickname.is_some()
                            && model.iter().any(|(&other, record)| {
                                other != key && part(record.as_bytes(), 0).unwrap() == nickname
                            });
                        match people.put(&mut txn, &key, &record.clone().into_bytes()) {
                            Ok(()) => {
                                prop_assert!(!taken, "a nickname was given twice");
                                model.insert(key, record);
                            }
                            Err(error) => {
                                prop_assert_eq!(error.kind(), ErrorKind::Duplicate);
                                prop_assert!(taken);
                            }
                        }
                    }
                    Change::Delete(key) => {
                        prop_assert_eq!(
                            people.delete(&mut txn, &key).unwrap(),
                            model.remove(&key).is_some()
                        );
                    }
                }
                let expected = |number| -> BTreeSet<(String, u64)> {
                    model
                        .iter()
                        .filter_map(|(&key, record)| {
                            Some((part(record.as_bytes(), number).unwrap()?, key))
                        })
                        .collect()
                };
                prop_assert_eq!(rows(by_nickname(&people), &txn), expected(0));
                prop_assert_eq!(rows(by_team(&people), &txn), expected(1));
            }
            for team in ["x", "y"] {
                let mut scan = by_team(&people)
                    .prefix(&txn, &team.to_owned(), Order::Ascending)
                    .unwrap();
                let mut members = Vec::new();
                while let Some((_, key)) = scan.next().unwrap() {
                    members.push(key);
                }
                let expected: Vec<u64> = model
                    .iter()
                    .filter(|(_, record)| {
                        part(record.as_bytes(), 1).unwrap().as_deref() == Some(team)
                    })
                    .map(|(&key, _)| key)
                    .collect();
                prop_assert_eq!(&members, &expected);
                prop_assert_eq!(
                    by_team(&people).get(&txn, &team.to_owned()).unwrap(),
                    expected.first().copied()
                );
            }
            Ok(())
        })
        .unwrap();
}

pub fn a_unique_index_refuses_a_second_owner<E: Engine>() {
    let store = Fresh::new::<E>();
    let people: TableHandle<People> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    people.put(&mut txn, &1, &b"nick,x".to_vec()).unwrap();
    let error = people.put(&mut txn, &2, &b"nick,y".to_vec()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert_eq!(error.table_name(), Some("test.people_by_nickname"));
    assert!(
        people.get(&txn, &2).unwrap().is_none(),
        "the refused record was stored"
    );
    assert_eq!(
        rows(by_team(&people), &txn),
        BTreeSet::from([("x".to_owned(), 1)])
    );
    assert_eq!(
        by_nickname(&people).get(&txn, &"nick".to_owned()).unwrap(),
        Some(1)
    );
    people.put(&mut txn, &1, &b"nick,y".to_vec()).unwrap();
    assert_eq!(
        rows(by_team(&people), &txn),
        BTreeSet::from([("y".to_owned(), 1)])
    );
}

pub fn an_index_is_rebuilt_from_its_table<E: Engine>() {
    let store = Fresh::new::<E>();
    let people: TableHandle<People> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    // More than are handled at a time, in keys whose order is not that of the index.
    for number in 0..3000u64 {
        people
            .put(
                &mut txn,
                &number,
                &format!("n{},t{}", number * 7 % 3000, number % 3).into_bytes(),
            )
            .unwrap();
    }
    let before = (
        rows(by_nickname(&people), &txn),
        rows(by_team(&people), &txn),
    );
    let slot = by_team(&people).slot().unwrap().to_be_bytes();
    let team_rows = collect(
        txn.scan((Bound::Included(&slot), Bound::Unbounded), Order::Ascending)
            .unwrap(),
    );
    for (key, _) in team_rows
        .iter()
        .filter(|(key, _)| key.starts_with(&slot))
        .step_by(2)
    {
        txn.delete(key).unwrap();
    }
    txn.put(&[&slot[..], b"t9\0\0", &[0; 8]].concat(), b"")
        .unwrap();
    // A record that no key can be made of is left out and named.
    let people_slot = people.slot().unwrap().to_be_bytes();
    txn.put(
        &[&people_slot[..], &9999u64.to_be_bytes()].concat(),
        &[0xff],
    )
    .unwrap();
    let mut damaged = Vec::new();
    let count = by_team(&people)
        .rebuild(&mut txn, &people, |key, _| damaged.push(key.to_vec()))
        .unwrap();
    assert_eq!(count, 3000);
    assert_eq!(damaged, [9999u64.to_be_bytes()]);
    assert_eq!(
        (
            rows(by_nickname(&people), &txn),
            rows(by_team(&people), &txn)
        ),
        before
    );
    assert_eq!(
        by_nickname(&people)
            .rebuild(&mut txn, &people, |_, _| ())
            .unwrap(),
        3000
    );
    assert_eq!(
        (
            rows(by_nickname(&people), &txn),
            rows(by_team(&people), &txn)
        ),
        before
    );
}

/// The table of people as a later version of the program would define it.
struct LaterPeople;

impl Table for LaterPeople {
    const OID: Uuid = People::OID;
    const NAME: &'static str = "test.people";
    const SCHEMA_VERSION: Option<u32> = Some(4);
    type Key = u64;
    type Record = Vec<u8>;
    type Companions = ();
}

pub fn another_version_of_a_table_is_refused_by_name<E: Engine>() {
    let store = Fresh::new::<E>();
    attach_table::<_, LaterPeople>(&*store).unwrap();
    let refused = |store: &E::Backend| {
        let error = attach_table::<_, People>(store)
            .err()
            .expect("a newer table was attached");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            "test.people: the store has version 4 of this table, this realmstore knows version 3: use a newer realmstore"
        );
    };
    refused(&store);
    let store = store.reopen_read_only::<E>();
    refused(&store);
    attach_table::<_, LaterPeople>(&*store).unwrap();
}

pub fn slots_of_others_are_left_alone<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut txn = store.begin_write().unwrap();
    // A slot with an entry in the directory, and one that has rows but none.
    txn.put(
        &[0, 0, 0, 5],
        b"\xa2\x63oid\x78\x2400000000-0000-0000-0000-0000000000ff\x64slot\x05",
    )
    .unwrap();
    txn.put(&[0, 5, 1], b"theirs").unwrap();
    txn.put(&[0, 9, 1], b"nobody's").unwrap();
    txn.commit().unwrap();
    let people: TableHandle<People> = attach_table(&*store).unwrap();
    assert!(people.slot().unwrap() > 9, "a slot with rows was given out");
    let mut txn = store.begin_write().unwrap();
    people.put(&mut txn, &1, &b"a,x".to_vec()).unwrap();
    assert_eq!(people.count(&txn).unwrap(), 1);
    assert_eq!(txn.get(&[0, 5, 1]).unwrap().unwrap().as_ref(), b"theirs");
    assert_eq!(txn.get(&[0, 9, 1]).unwrap().unwrap().as_ref(), b"nobody's");
    let directory = Directory::read(&txn).unwrap();
    assert_eq!(directory.slot(Uuid::from_u128(0xff)), Some(5));
    assert_eq!(directory.slot(People::OID), people.slot());
}

pub fn nothing_is_made_beside_an_entry_that_cannot_be_read<E: Engine>() {
    let store = Fresh::new::<E>();
    let mut txn = store.begin_write().unwrap();
    txn.put(&[0, 0, 0, 7], b"\xa1\x63oid").unwrap();
    // Neither of these is an entry.
    txn.put(&[0, 0], b"short").unwrap();
    txn.put(&[0, 0, 0, 0], b"\xa0").unwrap();
    txn.commit().unwrap();
    let directory = Directory::read(&store.begin_read().unwrap()).unwrap();
    assert_eq!(directory.entries().len(), 1);
    assert_eq!(
        (directory.entries()[0].slot, directory.entries()[0].oid),
        (7, None)
    );
    let error = attach_table::<_, Measurements>(&*store)
        .err()
        .expect("it may be this very table");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("slot 7"), "{error}");
}

pub fn an_index_key_that_is_too_long_changes_nothing<E: Engine>() {
    let store = Fresh::new::<E>();
    let people: TableHandle<People> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    people.put(&mut txn, &1, &b"a,x".to_vec()).unwrap();
    let long = format!("a,{}", "x".repeat(500)).into_bytes();
    for key in [1, 2] {
        let error = people.put(&mut txn, &key, &long).unwrap_err();
        let kinds = [ErrorKind::InvalidInput, ErrorKind::Duplicate];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
    assert_eq!(people.get(&txn, &1).unwrap().unwrap().bytes(), b"a,x");
    assert_eq!(people.count(&txn).unwrap(), 1);
    assert_eq!(
        rows(by_team(&people), &txn),
        BTreeSet::from([("x".to_owned(), 1)])
    );
}

pub fn rows_that_lead_nowhere_own_nothing<E: Engine>() {
    let store = Fresh::new::<E>();
    let people: TableHandle<People> = attach_table(&*store).unwrap();
    let mut txn = store.begin_write().unwrap();
    people.put(&mut txn, &1, &b"nick,x".to_vec()).unwrap();
    // The record goes behind the back of its indexes.
    let row = [
        &people.slot().unwrap().to_be_bytes()[..],
        &1u64.to_be_bytes(),
    ]
    .concat();
    assert!(txn.delete(&row).unwrap());
    people.put(&mut txn, &2, &b"nick,x".to_vec()).unwrap();
    let nickname = "nick".to_owned();
    assert_eq!(by_nickname(&people).get(&txn, &nickname).unwrap(), Some(2));
    // And comes back, without the row: when it goes, the row of the other stays.
    txn.put(&row, b"nick,x").unwrap();
    assert!(people.delete(&mut txn, &1).unwrap());
    assert_eq!(by_nickname(&people).get(&txn, &nickname).unwrap(), Some(2));
}
