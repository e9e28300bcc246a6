//! Engines beside each other: the same operations must have the same outcome
//! on all of them, byte for byte.

use std::ops::Bound;

use proptest::prelude::*;
use realmstore_core::{Backend, ErrorKind, MAX_KEY_LEN, Order, ReadTxn, Scan, WriteTxn};

use crate::backend::{as_slices, bound, key, order};
use crate::{Engine, Fresh, collect, property};

/// Random programs, and the operations in each: 125,000 operations.
const PROGRAMS: u32 = 50;
const OPERATIONS: usize = 2_500;

/// The snapshots that are held open at once, at most.
const READERS: usize = 4;

/// An engine that runs programs.
pub struct Subject {
    name: &'static str,
    run: fn(&[Operation]) -> Vec<Outcome>,
}

impl Subject {
    pub fn new<E: Engine>(name: &'static str) -> Self {
        Self {
            name,
            run: run::<E>,
        }
    }
}

/// What a program does. Writing begins a write transaction where there is none.
#[derive(Debug, Clone)]
pub enum Operation {
    Put(Vec<u8>, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Commit,
    Abort,
    BeginRead,
    EndRead(usize),
    Get(Reader, Vec<u8>),
    Scan(Reader, Bound<Vec<u8>>, Bound<Vec<u8>>, Order, usize),
}

/// Who reads: the write transaction, or a snapshot by its number.
#[derive(Debug, Clone, Copy)]
pub enum Reader {
    Writer,
    Snapshot(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    Said(bool),
    Value(Option<Vec<u8>>),
    Entries(Vec<(Vec<u8>, Vec<u8>)>),
    Failed(ErrorKind),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => key(),
        1 => (250u8..).prop_map(|byte| vec![byte; MAX_KEY_LEN]),
        1 => prop_oneof![Just(0), Just(MAX_KEY_LEN + 1)].prop_map(|len| vec![1; len]),
    ]
}

/// Most are short; some take more than a page.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 2_000..20_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let reader = || {
        prop_oneof![
            Just(Reader::Writer),
            (0..READERS).prop_map(Reader::Snapshot)
        ]
    };
    prop_oneof![
        24 => (any_key(), value()).prop_map(|(key, value)| Operation::Put(key, value)),
        8 => (any_key(), value()).prop_map(|(key, value)| Operation::Insert(key, value)),
        16 => any_key().prop_map(Operation::Delete),
        3 => Just(Operation::Commit),
        1 => Just(Operation::Abort),
        2 => Just(Operation::BeginRead),
        1 => (0..READERS).prop_map(Operation::EndRead),
        16 => (reader(), any_key()).prop_map(|(reader, key)| Operation::Get(reader, key)),
        8 => (reader(), bound(), bound(), order(), 0..30usize).prop_map(
            |(reader, start, end, order, limit)| Operation::Scan(reader, start, end, order, limit)
        ),
    ]
}

/// Runs random programs on all engines, and fails where one differs from the first.
pub fn assert_same(subjects: &[Subject]) {
    let (first, others) = subjects.split_first().unwrap();
    let programs = prop::collection::vec(operation(), OPERATIONS..=OPERATIONS);
    property(file!(), PROGRAMS)
        .run(&programs, |program| {
            let expected = (first.run)(&program);
            for other in others {
                let found = (other.run)(&program);
                let differs = (0..expected.len()).find(|&at| found[at] != expected[at]);
                prop_assert!(
                    differs.is_none(),
                    "{} and {} differ in outcome {differs:?} of {:?}",
                    first.name,
                    other.name,
                    differs.and_then(|at| program.get(at))
                );
            }
            Ok(())
        })
        .unwrap();
}

/// The outcome of each operation, then what each snapshot that is left has, and
/// what the store has in both directions.
fn run<E: Engine>(program: &[Operation]) -> Vec<Outcome> {
    let store = Fresh::new::<E>();
    let mut readers = Vec::new();
    let mut writer = None;
    let mut outcomes = Vec::new();
    for operation in program {
        let outcome = match operation {
            Operation::BeginRead => {
                if readers.len() == READERS {
                    readers.remove(0);
                }
                readers.push(store.begin_read().unwrap());
                Outcome::Done
            }
            Operation::EndRead(number) => {
                if *number < readers.len() {
                    readers.remove(*number);
                }
                Outcome::Done
            }
            Operation::Abort => {
                writer = None;
                Outcome::Done
            }
            Operation::Commit => match writer.take().map(WriteTxn::commit) {
                None | Some(Ok(())) => Outcome::Done,
                Some(Err(error)) => Outcome::Failed(error.kind()),
            },
            Operation::Get(Reader::Snapshot(number), key) => match readers.get(*number) {
                Some(reader) => get(reader, key),
                None => Outcome::Done,
            },
            Operation::Scan(Reader::Snapshot(number), start, end, order, limit) => {
                match readers.get(*number) {
                    Some(reader) => scan(reader, start, end, *order, *limit),
                    None => Outcome::Done,
                }
            }
            writing => {
                let txn = writer.get_or_insert_with(|| store.begin_write().unwrap());
                match writing {
                    Operation::Put(key, value) => match txn.put(key, value) {
                        Ok(()) => Outcome::Done,
                        Err(error) => Outcome::Failed(error.kind()),
                    },
                    Operation::Insert(key, value) => said(txn.insert(key, value)),
                    Operation::Delete(key) => said(txn.delete(key)),
                    Operation::Get(_, key) => get(txn, key),
                    Operation::Scan(_, start, end, order, limit) => {
                        scan(txn, start, end, *order, *limit)
                    }
                    _ => unreachable!("all others are above"),
                }
            }
        };
        outcomes.push(outcome);
    }
    drop(writer);
    readers.push(store.begin_read().unwrap());
    let everything = (Bound::Unbounded, Bound::Unbounded);
    for reader in &readers {
        for order in [Order::Ascending, Order::Descending] {
            outcomes.push(Outcome::Entries(collect(
                reader.scan(everything, order).unwrap(),
            )));
        }
    }
    outcomes
}

fn said(result: realmstore_core::Result<bool>) -> Outcome {
    match result {
        Ok(said) => Outcome::Said(said),
        Err(error) => Outcome::Failed(error.kind()),
    }
}

fn get(txn: &impl ReadTxn, key: &[u8]) -> Outcome {
    let value = txn.get(key).unwrap();
    Outcome::Value(value.map(|value| value.as_ref().to_vec()))
}

fn scan(
    txn: &impl ReadTxn,
    start: &Bound<Vec<u8>>,
    end: &Bound<Vec<u8>>,
    order: Order,
    limit: usize,
) -> Outcome {
    let mut scan = txn.scan((as_slices(start), as_slices(end)), order).unwrap();
    let mut entries = Vec::new();
    while entries.len() < limit
        && let Some((key, value)) = scan.next().unwrap()
    {
        entries.push((key.to_vec(), value.to_vec()));
    }
    Outcome::Entries(entries)
}
