//! Who was there, and when: sessions that are open, that were present at a
//! time, and that a crash left open.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use realmstore_core::record::Record;
use realmstore_core::{
    Backend, ReadTxn, RealmStore, Session, SessionId, Timestamp, Uuid, WriteTxn,
};

use crate::{Engine, Fresh, findings, property};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn oid(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn session(number: u64, joined_at: u64) -> Session {
    Session {
        oid: oid(number),
        ..Session::new(SessionId::from_stored(number), at(joined_at))
    }
}

/// The OIDs of sessions that an answer has.
fn oids<V: AsRef<[u8]>>(
    answer: impl Iterator<Item = realmstore_core::Result<realmstore_core::table::Guard<V, Session>>>,
) -> Vec<Uuid> {
    answer
        .map(|session| session.unwrap().view().unwrap().oid().unwrap())
        .collect()
}

fn open<B: Backend>(store: &RealmStore<B>, txn: &impl ReadTxn) -> Vec<Uuid> {
    oids(store.open_sessions(txn).unwrap())
}

fn present<B: Backend>(store: &RealmStore<B>, txn: &impl ReadTxn, time: u64) -> Vec<Uuid> {
    oids(store.sessions_present(txn, at(time)).unwrap())
}

/// Holds the answers of a store to a model: each session's times of joining and leaving.
fn assert_present<B: Backend>(
    store: &RealmStore<B>,
    txn: &impl ReadTxn,
    model: &BTreeMap<Uuid, (u64, Option<u64>)>,
) {
    let expected = |wanted: &dyn Fn(u64, Option<u64>) -> bool| -> Vec<Uuid> {
        let mut found: Vec<_> = model
            .iter()
            .filter(|(_, (joined_at, left_at))| wanted(*joined_at, *left_at))
            .map(|(oid, (joined_at, left_at))| (left_at.unwrap_or(u64::MAX), *joined_at, *oid))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(.., oid)| oid).collect()
    };
    assert_eq!(open(store, txn), expected(&|_, left_at| left_at.is_none()));
    for time in (0..14).chain([u64::MAX - 1, u64::MAX]) {
        // What has not left by the end of time is there at the end of time.
        let is_there = |joined_at, left_at: Option<u64>| {
            joined_at <= time && left_at.is_none_or(|left_at| left_at > time)
        };
        assert_eq!(present(store, txn, time), expected(&is_there), "at {time}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64, u64),
    Leave(u64, u64),
    Forget(u64),
    /// As Crossbar.io does it, past the store.
    LeaveBeside(u64, u64),
    ForgetBeside(u64),
    Drop,
    Commit,
    Reopen,
    Adopt,
}

fn step() -> impl Strategy<Value = Step> {
    let times = || (1u64..8, 0u64..12);
    prop_oneof![
        6 => times().prop_map(|(number, time)| Step::Join(number, time)),
        4 => times().prop_map(|(number, time)| Step::Leave(number, time)),
        1 => (1u64..8).prop_map(Step::Forget),
        2 => times().prop_map(|(number, time)| Step::LeaveBeside(number, time)),
        1 => (1u64..8).prop_map(Step::ForgetBeside),
        1 => Just(Step::Drop),
        2 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Adopt),
    ]
}

fn raw_key<B: Backend>(store: &RealmStore<B>, number: u64) -> Vec<u8> {
    let mut key = store.sessions().slot().unwrap().to_be_bytes().to_vec();
    key.extend_from_slice(oid(number).as_bytes());
    key
}

/// Runs steps against a model. `is_shared`: whether another program writes too.
fn agree_with_a_model<E: Engine>(is_shared: bool, reopens: bool, cases: u32) {
    let mut runner = property(file!(), cases);
    runner
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            let mut store = Fresh::new::<E>().realm();
            let mut committed = BTreeMap::new();
            let mut model = committed.clone();
            let mut waiting: Vec<Step> = Vec::new();
            for step in steps {
                match step {
                    Step::Join(..) | Step::Leave(..) | Step::Forget(_) => waiting.push(step),
                    Step::Drop => {
                        let mut txn = store.begin_write().unwrap();
                        for step in waiting.drain(..) {
                            apply(&store, &mut txn, &mut model, step);
                        }
                        assert_present(&*store, &txn, &model);
                        drop(txn);
                        model = committed.clone();
                    }
                    Step::Commit => {
                        let mut txn = store.begin_write().unwrap();
                        for step in waiting.drain(..) {
                            apply(&store, &mut txn, &mut model, step);
                        }
                        txn.commit().unwrap();
                        committed = model.clone();
                    }
                    Step::LeaveBeside(number, time) if is_shared => {
                        if let Some((joined_at, left_at)) = committed.get_mut(&oid(number)) {
                            *left_at = Some(time);
                            let session = Session {
                                left_at: Some(at(time)),
                                ..session(number, *joined_at)
                            };
                            let mut txn = store.db().begin_write().unwrap();
                            txn.put(&raw_key(&store, number), &session.to_bytes().unwrap())
                                .unwrap();
                            txn.commit().unwrap();
                        }
                        model = committed.clone();
                    }
                    Step::ForgetBeside(number) if is_shared => {
                        committed.remove(&oid(number));
                        let mut txn = store.db().begin_write().unwrap();
                        txn.delete(&raw_key(&store, number)).unwrap();
                        txn.commit().unwrap();
                        model = committed.clone();
                    }
                    Step::Reopen if reopens => {
                        let Fresh {
                            store: realm,
                            directory,
                        } = store;
                        drop(realm);
                        let db = E::open(directory.path()).unwrap();
                        store = Fresh {
                            store: db,
                            directory,
                        }
                        .realm();
                    }
                    Step::Adopt => {
                        store
                            .adopt(
                                |_| ControlFlow::Continue(()),
                                |key, error| panic!("{key:?} {error}"),
                            )
                            .unwrap();
                    }
                    Step::LeaveBeside(..) | Step::ForgetBeside(_) | Step::Reopen => {}
                }
                assert_present(&*store, &store.begin_read().unwrap(), &committed);
            }
            if !is_shared {
                prop_assert_eq!(findings(store.db()), []);
            }
            Ok(())
        })
        .unwrap();
}

fn apply<B: Backend>(
    store: &RealmStore<B>,
    txn: &mut realmstore_core::StoreWrite<'_, B>,
    model: &mut BTreeMap<Uuid, (u64, Option<u64>)>,
    step: Step,
) {
    match step {
        Step::Join(number, time) => {
            store.session_joined(txn, &session(number, time)).unwrap();
            model.insert(oid(number), (time, None));
        }
        Step::Leave(number, time) => {
            let left = store.session_left(txn, SessionId::from_stored(number), at(time));
            let known = model.get_mut(&oid(number));
            assert_eq!(left.unwrap(), known.is_some().then(|| oid(number)));
            if let Some((_, left_at)) = known {
                *left_at = Some(time);
            }
        }
        Step::Forget(number) => {
            let was_there = store.sessions().delete(txn, &oid(number)).unwrap();
            assert_eq!(was_there, model.remove(&oid(number)).is_some());
        }
        other => panic!("{other:?} is done past the store"),
    }
}

pub fn those_present_at_any_time_agree_with_a_model<E: Engine>() {
    agree_with_a_model::<E>(false, false, 48);
}

pub fn those_present_agree_with_a_model_where_others_write_too<E: Engine>() {
    agree_with_a_model::<E>(true, true, 32);
}

pub fn those_present_agree_with_a_model_over_reopens<E: Engine>() {
    agree_with_a_model::<E>(false, true, 24);
}

/// Where Crossbar.io has noted that sessions left, nothing is left of their being open.
pub fn what_left_beside_us_is_no_longer_passed_by<E: Engine>() {
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for number in 1..=3 {
        store.session_joined(&mut txn, &session(number, 1)).unwrap();
    }
    txn.commit().unwrap();
    let left = Session {
        left_at: Some(at(5)),
        ..session(1, 1)
    };
    let mut txn = store.db().begin_write().unwrap();
    txn.put(&raw_key(&store, 1), &left.to_bytes().unwrap())
        .unwrap();
    txn.delete(&raw_key(&store, 2)).unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    store.note_alive(&mut txn, oid(9), at(1)).unwrap();
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    assert!(store.is_adopted(&txn).unwrap());
    assert_eq!(store.idx_sessions_by_leaving().count(&txn).unwrap(), 2);
    assert_eq!(open(&store, &txn), [oid(3)]);
    drop(txn);
    let left = findings(store.db());
    let in_index =
        |finding: &&realmstore_core::store::Finding| finding.table == "sessions_by_leaving";
    assert_eq!(left.iter().find(in_index), None);
}

/// A damaged record is no answer, and keeps no other session from being one.
pub fn those_present_are_found_beside_a_damaged_record<E: Engine>() {
    for is_adopted in [true, false] {
        let store = Fresh::new::<E>().realm();
        let mut txn = store.begin_write().unwrap();
        for number in 1..=3 {
            store
                .session_joined(&mut txn, &session(number, number))
                .unwrap();
        }
        txn.commit().unwrap();
        let mut txn = store.db().begin_write().unwrap();
        txn.put(&raw_key(&store, 2), b"no record").unwrap();
        if !is_adopted {
            let meta = crate::slot_named(store.db(), "realmstore.meta");
            let stamp = [&meta.to_be_bytes()[..], &[0]].concat();
            txn.delete(&stamp).unwrap();
        }
        txn.commit().unwrap();
        let txn = store.begin_read().unwrap();
        let answers = [
            store
                .open_sessions(&txn)
                .unwrap()
                .map(|session| {
                    session
                        .unwrap()
                        .view()
                        .and_then(|view| Ok(view.oid()?))
                        .ok()
                })
                .collect::<Vec<_>>(),
            store
                .sessions_present(&txn, at(3))
                .unwrap()
                .map(|session| {
                    session
                        .unwrap()
                        .view()
                        .and_then(|view| Ok(view.oid()?))
                        .ok()
                })
                .collect::<Vec<_>>(),
        ];
        for mut answer in answers {
            answer.sort_unstable();
            assert_eq!(answer, [None, Some(oid(1)), Some(oid(3))], "{is_adopted}");
        }
    }
}

pub fn a_crash_closes_the_sessions_of_its_own_node_when_it_was_last_alive<E: Engine>() {
    let (node, other) = (oid(100), oid(200));
    let of = |number: u64, joined_at: u64, node: Option<Uuid>| Session {
        node_oid: node,
        ..session(number, joined_at)
    };
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for session in [
        of(1, 10, Some(node)),
        of(2, 40, Some(node)),
        of(3, 10, Some(other)),
        of(4, 10, None),
        of(5, 10, Some(node)),
    ] {
        store.session_joined(&mut txn, &session).unwrap();
    }
    let five = SessionId::from_stored(5);
    store.session_left(&mut txn, five, at(20)).unwrap();
    // The last note counts, and only that of the node itself.
    for (node, time) in [(node, 25), (node, 30), (other, 90)] {
        store.note_alive(&mut txn, node, at(time)).unwrap();
    }
    txn.commit().unwrap();

    let mut txn = store.begin_write().unwrap();
    let mut closed = store.close_left_open(&mut txn, node).unwrap();
    closed.sort_unstable();
    assert_eq!(closed, [oid(1), oid(2)]);
    for node in [node, oid(300)] {
        assert!(store.close_left_open(&mut txn, node).unwrap().is_empty());
    }
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    let left_at = |number: u64| {
        let session = store.sessions().get(&txn, &oid(number)).unwrap().unwrap();
        session.view().unwrap().left_at().unwrap()
    };
    assert_eq!(
        [1, 2, 3, 4, 5].map(left_at),
        // One joined after the node was last known to be alive.
        [Some(at(30)), Some(at(40)), None, None, Some(at(20))]
    );
    assert_eq!(open(&store, &txn), [oid(3), oid(4)]);
    drop(txn);
    assert_eq!(findings(store.db()), []);
}

/// A node of which nothing is known, or only what cannot be read, has its
/// sessions closed when they joined. A session that cannot be read stays, and
/// so do two that have one identity not keep each other open.
pub fn a_crash_closes_sessions_beside_damage<E: Engine>() {
    let node = oid(100);
    let of = |number: u64| Session {
        node_oid: Some(node),
        ..session(number, 10)
    };
    let store = Fresh::new::<E>().realm();
    let mut txn = store.begin_write().unwrap();
    for number in 1..=3 {
        store.session_joined(&mut txn, &of(number)).unwrap();
    }
    txn.commit().unwrap();
    let meta = crate::slot_named(store.db(), "realmstore.meta");
    let alive = [&meta.to_be_bytes()[..], &[2], node.as_bytes()].concat();
    let twin = Session {
        oid: oid(7),
        ..of(1)
    };
    let mut txn = store.db().begin_write().unwrap();
    txn.put(&raw_key(&store, 2), b"no record").unwrap();
    txn.put(&raw_key(&store, 7), &twin.to_bytes().unwrap())
        .unwrap();
    txn.put(&alive, &[1, 2, 3]).unwrap();
    // What is damaged keeps the store from being adopted, so that all is looked at.
    txn.delete(&[&meta.to_be_bytes()[..], &[0]].concat())
        .unwrap();
    txn.commit().unwrap();
    let mut txn = store.begin_write().unwrap();
    let mut closed = store.close_left_open(&mut txn, node).unwrap();
    closed.sort_unstable();
    assert_eq!(closed, [oid(1), oid(3), oid(7)]);
    txn.commit().unwrap();
    let txn = store.begin_read().unwrap();
    for number in [1, 3, 7] {
        let session = store.sessions().get(&txn, &oid(number)).unwrap().unwrap();
        assert_eq!(session.view().unwrap().left_at().unwrap(), Some(at(10)));
    }
    let two = store.sessions().get(&txn, &oid(2)).unwrap().unwrap();
    assert_eq!(two.bytes(), b"no record");
}
