//! A model of the queue: [shuttle](https://docs.rs/shuttle) runs the very same
//! source, with its own locks and threads, through thousands of schedules.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use realmstore_core::{Error, ErrorKind};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use self::queue::{Gather, Limits, Queue, Taken, Ticket};

#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "the same source, over another `sync`"
)]
#[path = "queue.rs"]
mod queue;

mod sync {
    use std::sync::PoisonError;
    use std::time::Instant;

    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    use shuttle::thread;

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shuttle has no clock: a time that is waited for has come as soon as
    /// others had a chance to run.
    pub(super) fn wait<'g, T>(
        condvar: &Condvar,
        mutex: &'g Mutex<T>,
        guard: MutexGuard<'g, T>,
        until: Option<Instant>,
    ) -> (MutexGuard<'g, T>, bool) {
        if until.is_none() {
            return (
                condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
                false,
            );
        }
        drop(guard);
        thread::yield_now();
        (lock(mutex), true)
    }
}

/// Schedules by each of the two schedulers.
const SCHEDULES: usize = 20_000;

const PRODUCERS: usize = 3;
const WRITES_OF_EACH: usize = 3;

const LIMITS: Limits = Limits {
    writes: 2,
    bytes: 6,
};

/// The last one is more than the queue takes, but for one that is empty.
const WEIGHTS: [usize; 4] = [1, 2, 3, 8];

/// The producer, and which of its writes it is.
type Name = (usize, usize);

struct Write {
    name: Name,
    caller: oneshot::Sender<()>,
}

/// What a producer knows of a write in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was stored.
    Acknowledged,
    /// It was accepted, and given up after that.
    GivenUp,
    /// It was taken back while it waited for room.
    Withdrawn,
    /// It was not accepted.
    Refused(ErrorKind),
    /// It was accepted, and its caller was told that it will not be stored.
    Told(ErrorKind),
}

/// A write that was called and not waited for yet.
struct Called {
    name: Name,
    ticket: Option<Ticket>,
    answer: oneshot::Receiver<()>,
}

impl Called {
    fn settle(self, queue: &Queue<Write>) -> (Name, Fate) {
        if thread_rng().gen_bool(0.3) {
            drop(self.answer);
            let withdrawn = self.ticket.is_some_and(|ticket| queue.withdraw(ticket));
            let fate = if withdrawn {
                Fate::Withdrawn
            } else {
                Fate::GivenUp
            };
            return (self.name, fate);
        }
        match block_on(self.answer) {
            Ok(()) => (self.name, Fate::Acknowledged),
            Err(oneshot::Canceled) => (self.name, Fate::Told(queue.error().kind())),
        }
    }
}

/// Calls writes, some at once and some one after the other.
fn produce(queue: &Queue<Write>, producer: usize) -> Vec<(Name, Fate)> {
    let mut fates = Vec::new();
    let mut called = Vec::new();
    for number in 0..WRITES_OF_EACH {
        let name = (producer, number);
        let weight = *WEIGHTS
            .get(thread_rng().gen_range(0..WEIGHTS.len()))
            .unwrap();
        let may_wait = thread_rng().gen_bool(0.8);
        let (caller, answer) = oneshot::channel();
        match queue.push(Write { name, caller }, weight, may_wait) {
            Ok(ticket) => called.push(Called {
                name,
                ticket,
                answer,
            }),
            Err(error) => {
                assert!(!may_wait || error.kind() == ErrorKind::Closed);
                fates.push((name, Fate::Refused(error.kind())));
            }
        }
        if thread_rng().gen_bool(0.4) {
            fates.extend(called.drain(..).map(|called| called.settle(queue)));
        }
    }
    fates.extend(called.into_iter().map(|called| called.settle(queue)));
    fates
}

/// Takes batches until the end, or until it dies. Returns what it has stored.
fn consume(queue: &Queue<Write>, may_die: bool) -> (Vec<Name>, bool) {
    let mut stored = Vec::new();
    let mut batch = Vec::new();
    loop {
        let gather = Gather {
            most: thread_rng().gen_range(1..4),
            delay: Duration::from_secs(if thread_rng().gen_bool(0.3) { 3600 } else { 0 }),
            expected: None,
        };
        match queue.take(&mut batch, &gather, None) {
            Taken::Batch => {}
            Taken::Nothing => panic!("it was told to wait for ever"),
            Taken::End => return (stored, false),
        }
        assert!((1..=gather.most).contains(&batch.len()));
        if may_die && thread_rng().gen_bool(0.2) {
            queue.die(Error::new(ErrorKind::Closed, "the model's writer has died"));
            return (stored, true);
        }
        // A commit takes its time.
        thread::yield_now();
        for taken in batch.drain(..) {
            stored.push(taken.write.name);
            let _ = taken.write.caller.send(());
        }
    }
}

fn run(may_die: bool) {
    let queue = Arc::new(Queue::new(LIMITS));
    let consumer = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || consume(&queue, may_die))
    };
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || produce(&queue, producer))
        })
        .collect();
    if thread_rng().gen_bool(0.5) {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.close());
    }
    let fates: Vec<(Name, Fate)> = producers
        .into_iter()
        .flat_map(|producer| producer.join().unwrap())
        .collect();
    queue.close();
    let (stored, died) = consumer.join().unwrap();

    let at_once: BTreeSet<Name> = stored.iter().copied().collect();
    assert_eq!(at_once.len(), stored.len(), "stored twice: {stored:?}");
    for producer in 0..PRODUCERS {
        let own = stored.iter().filter(|name| name.0 == producer);
        assert!(own.is_sorted(), "out of order: {stored:?}");
    }
    for (name, fate) in fates {
        let is_stored = at_once.contains(&name);
        match fate {
            Fate::Acknowledged => assert!(is_stored, "{name:?} was acknowledged"),
            Fate::GivenUp => assert!(is_stored || died, "{name:?} was accepted"),
            Fate::Withdrawn => assert!(!is_stored, "{name:?} was withdrawn"),
            Fate::Refused(kind) => {
                assert!(!is_stored, "{name:?} was refused");
                assert!(matches!(kind, ErrorKind::Busy | ErrorKind::Closed));
            }
            Fate::Told(kind) => {
                assert!(
                    died && !is_stored,
                    "{name:?} was told that it is not stored"
                );
                assert_eq!(kind, ErrorKind::Closed);
            }
        }
    }
    let state = queue.state();
    assert!(state.most_writes <= LIMITS.writes, "{state:?}");
    assert!(
        state.most_bytes <= LIMITS.bytes || state.most_bytes == 8,
        "{state:?}"
    );
    assert_eq!((state.writes, state.bytes, state.waiting), (0, 0, 0));
}

#[test]
fn every_accepted_write_is_stored_once_and_in_order_in_random_schedules() {
    shuttle::check_random(|| run(false), SCHEDULES);
}

#[test]
fn every_accepted_write_is_stored_once_and_in_order_in_schedules_of_few_preemptions() {
    shuttle::check_pct(|| run(false), SCHEDULES, 4);
}

#[test]
fn a_writer_that_dies_is_told_to_every_caller_in_random_schedules() {
    shuttle::check_random(|| run(true), SCHEDULES);
}

#[test]
fn a_writer_that_dies_is_told_to_every_caller_in_schedules_of_few_preemptions() {
    shuttle::check_pct(|| run(true), SCHEDULES, 4);
}
