//! The queue between callers and the writer thread.
//!
//! It is first in, first out, for those who wait for room as well: a write
//! that finds no room is left here with its ticket, and let in by whoever
//! makes room. So nobody has to be woken to come back, nobody can overtake,
//! and a caller who gives up takes their write out again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use realmstore_core::{Error, ErrorKind, Result};

use super::sync::{self, Condvar, Mutex, MutexGuard};

/// What the queue may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Writes, at least 1.
    pub(crate) writes: usize,
    /// Bytes of all of them. One write alone may have more.
    pub(crate) bytes: usize,
}

/// When a batch is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gather {
    /// The most writes of a batch, at least 1.
    pub(crate) most: usize,
    /// How long the first of a batch may be kept waiting for others.
    pub(crate) delay: Duration,
    /// Others that are likely to come: up to how many there are, and until when.
    pub(crate) expected: Option<(usize, Instant)>,
}

/// A bounded queue with one taker.
pub(crate) struct Queue<T> {
    limits: Limits,
    state: Mutex<State<T>>,
    rouse: Condvar,
}

/// A write in the queue.
pub(crate) struct Accepted<T> {
    pub(crate) write: T,
    /// Its size in bytes, about.
    pub(crate) weight: usize,
    pub(crate) since: Instant,
}

/// The place of a write that waits for room.
pub(crate) type Ticket = u64;

/// What the taker is given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Some writes.
    Batch,
    /// Nothing until the time that was said.
    Nothing,
    /// The queue was closed, and there is nothing left in it.
    End,
}

/// How full the queue of a store is, and was at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueState {
    /// The writes in the queue.
    pub writes: usize,
    /// Their bytes, about.
    pub bytes: usize,
    /// The writes that wait for room in it.
    pub waiting: usize,
    /// The most writes that were in the queue at one time.
    pub most_writes: usize,
    /// The most bytes that were in the queue at one time.
    pub most_bytes: usize,
}

struct State<T> {
    accepted: VecDeque<Accepted<T>>,
    bytes: usize,
    /// Empty whenever `accepted` is: the first of them would fit.
    waiting: BTreeMap<Ticket, (T, usize)>,
    next_ticket: Ticket,
    /// Whether somebody was refused since the last batch.
    refused: bool,
    end: Option<End>,
    /// How many writes the taker sleeps for; unset while it does not sleep.
    asleep_for: Option<usize>,
    most_writes: usize,
    most_bytes: usize,
}

#[derive(Clone)]
enum End {
    Closed,
    Died(Error),
}

impl End {
    fn error(&self) -> Error {
        match self {
            Self::Closed => Error::new(ErrorKind::Closed, "the store was closed"),
            Self::Died(error) => error.clone(),
        }
    }
}

impl<T> State<T> {
    fn has_room(&self, weight: usize, limits: Limits) -> bool {
        self.accepted.is_empty()
            || (self.accepted.len() < limits.writes
                && self.bytes.saturating_add(weight) <= limits.bytes)
    }

    fn accept(&mut self, write: T, weight: usize) {
        self.accepted.push_back(Accepted {
            write,
            weight,
            since: Instant::now(),
        });
        self.bytes = self.bytes.saturating_add(weight);
        self.most_writes = self.most_writes.max(self.accepted.len());
        self.most_bytes = self.most_bytes.max(self.bytes);
    }

    /// Lets in who waits for room, the first first.
    fn admit(&mut self, limits: Limits) {
        while let Some(first) = self.waiting.first_entry() {
            let weight = first.get().1;
            if !self.has_room(weight, limits) {
                break;
            }
            if let Some((_, (write, weight))) = self.waiting.pop_first() {
                self.accept(write, weight);
            }
        }
    }

    /// Whether waiting for more would be in vain: there is no room for it, or
    /// none will come.
    fn is_pressed(&self) -> bool {
        self.refused || !self.waiting.is_empty() || self.end.is_some()
    }

    /// Whether the taker is to be woken. It is so once.
    fn rouses(&mut self) -> bool {
        let rouses = self
            .asleep_for
            .is_some_and(|enough| self.accepted.len() >= enough || self.is_pressed());
        if rouses {
            self.asleep_for = None;
        }
        rouses
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::new(State {
                accepted: VecDeque::new(),
                bytes: 0,
                waiting: BTreeMap::new(),
                next_ticket: 0,
                refused: false,
                end: None,
                asleep_for: None,
                most_writes: 0,
                most_bytes: 0,
            }),
            rouse: Condvar::new(),
        }
    }

    /// Puts a write in. Where there is no room it waits for it, and has a
    /// ticket; unless it is not to wait.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`]; [`ErrorKind::Busy`] when there is no room and it
    /// is not to wait.
    pub(crate) fn push(&self, write: T, weight: usize, may_wait: bool) -> Result<Option<Ticket>> {
        let mut state = self.lock();
        if let Some(end) = &state.end {
            return Err(end.error());
        }
        let pushed = if state.waiting.is_empty() && state.has_room(weight, self.limits) {
            state.accept(write, weight);
            Ok(None)
        } else if may_wait {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.insert(ticket, (write, weight));
            Ok(Some(ticket))
        } else {
            state.refused = true;
            Err(self.full(weight, &state))
        };
        self.rouse_after(state);
        pushed
    }

    /// Takes out a write that waits for room; says whether it still did.
    pub(crate) fn withdraw(&self, ticket: Ticket) -> bool {
        let mut state = self.lock();
        let withdrawn = state.waiting.remove(&ticket);
        if withdrawn.is_some() {
            state.admit(self.limits);
        }
        self.rouse_after(state);
        withdrawn.is_some()
    }

    /// Waits for writes and moves a batch of them, the first first, to the
    /// end of `batch`. With a time, it waits no longer than that for the first.
    pub(crate) fn take(
        &self,
        batch: &mut Vec<Accepted<T>>,
        gather: &Gather,
        until: Option<Instant>,
    ) -> Taken {
        let mut state = self.lock();
        let first = loop {
            if let Some(first) = state.accepted.front() {
                break first.since;
            }
            if state.end.is_some() {
                return Taken::End;
            }
            let (woken, late) = self.sleep(state, 1, until);
            state = woken;
            if late && state.accepted.is_empty() && state.end.is_none() {
                return Taken::Nothing;
            }
        };
        if !gather.delay.is_zero() {
            state = self.gather(state, gather.most, first.checked_add(gather.delay));
        } else if let Some((enough, until)) = gather.expected {
            state = self.gather(state, enough.min(gather.most), Some(until));
        }
        let taken = state.accepted.len().min(gather.most);
        let weight = state.accepted.iter().take(taken).map(|write| write.weight);
        state.bytes = state.bytes.saturating_sub(weight.sum());
        batch.extend(state.accepted.drain(..taken));
        state.refused = false;
        state.admit(self.limits);
        Taken::Batch
    }

    /// Refuses all writes from now on. Those that were called before are
    /// taken, with those that wait for room among them.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Closed);
        self.rouse_after(state);
    }

    /// Refuses all writes from now on with an error, and drops those that are
    /// here. Returns how many.
    pub(crate) fn die(&self, error: Error) -> usize {
        let mut state = self.lock();
        state.end = Some(End::Died(error));
        state.bytes = 0;
        let accepted = std::mem::take(&mut state.accepted);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        accepted.len() + waiting.len()
    }

    /// Why a write that was dropped here was dropped.
    pub(crate) fn error(&self) -> Error {
        let state = self.lock();
        state.end.as_ref().unwrap_or(&End::Closed).error()
    }

    pub(crate) fn state(&self) -> QueueState {
        let state = self.lock();
        QueueState {
            writes: state.accepted.len(),
            bytes: state.bytes,
            waiting: state.waiting.len(),
            most_writes: state.most_writes,
            most_bytes: state.most_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        sync::lock(&self.state)
    }

    fn rouse_after(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.rouses() {
            drop(state);
            self.rouse.notify_one();
        }
    }

    /// Sleeps for so many writes, or until a time; says whether it came.
    fn sleep<'q>(
        &'q self,
        mut state: MutexGuard<'q, State<T>>,
        enough: usize,
        until: Option<Instant>,
    ) -> (MutexGuard<'q, State<T>>, bool) {
        state.asleep_for = Some(enough);
        let (mut state, late) = sync::wait(&self.rouse, &self.state, state, until);
        state.asleep_for = None;
        (state, late)
    }

    fn gather<'q>(
        &'q self,
        mut state: MutexGuard<'q, State<T>>,
        enough: usize,
        until: Option<Instant>,
    ) -> MutexGuard<'q, State<T>> {
        let Some(until) = until else { return state };
        while state.accepted.len() < enough && !state.is_pressed() && Instant::now() < until {
            let (woken, late) = self.sleep(state, enough, Some(until));
            state = woken;
            if late {
                break;
            }
        }
        state
    }

    fn full(&self, weight: usize, state: &State<T>) -> Error {
        Error::new(
            ErrorKind::Busy,
            format!(
                "no room for a write of {weight} bytes: the queue has {} writes of {} bytes, and \
                 takes {} writes of {} bytes together; {} more wait for room",
                state.accepted.len(),
                state.bytes,
                self.limits.writes,
                self.limits.bytes,
                state.waiting.len(),
            ),
        )
    }
}
