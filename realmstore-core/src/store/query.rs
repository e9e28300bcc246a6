//! Reading events and history: a range of time, a direction, a limit.

use std::iter::Peekable;
use std::ops::Bound;
use std::vec;

use crate::backend::{Order, ReadTxn};
use crate::key::{Key, KeyBuf, prefix_end};
use crate::table::{Space, SpaceScan};
use crate::{Error, ErrorKind, Result, SubscriptionId, Timestamp};

/// What part of a subscription's history or events is asked for.
///
/// ```
/// use realmstore_core::{HistoryQuery, Order};
///
/// let newest_ten = HistoryQuery { order: Order::Descending, limit: Some(10), ..HistoryQuery::default() };
/// # let _ = newest_ten;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Where in time it begins.
    pub from: Bound<Timestamp>,
    /// Where in time it ends.
    pub until: Bound<Timestamp>,
    /// Oldest first, or newest first.
    pub order: Order,
    /// How many at most: the oldest, or the newest when [`order`](Self::order) is descending.
    pub limit: Option<usize>,
}

impl Default for HistoryQuery {
    /// Everything, oldest first.
    fn default() -> Self {
        Self {
            from: Bound::Unbounded,
            until: Bound::Unbounded,
            order: Order::Ascending,
            limit: None,
        }
    }
}

impl HistoryQuery {
    pub(super) fn contains(&self, time: Timestamp) -> bool {
        std::ops::RangeBounds::contains(&(self.from, self.until), &time)
    }

    /// The keys (subscription, time, …) that are in range.
    pub(super) fn range(&self, subscription: SubscriptionId) -> KeySpan {
        let mut span = KeySpan::of(&subscription);
        span.begin(self.from.map(|time| (subscription, time)));
        span.end(self.until.map(|time| (subscription, time)));
        span
    }
}

/// A range of keys, narrowed bound by bound.
pub(super) struct KeySpan {
    /// Where it begins; `None` behind all keys.
    start: Option<KeyBuf>,
    /// The first key behind it; `None` where it goes to the end.
    end: Option<KeyBuf>,
}

impl KeySpan {
    /// All keys that begin with a part.
    pub(super) fn of(part: &impl Key) -> Self {
        let mut start = KeyBuf::new();
        part.encode(&mut start);
        Self {
            end: prefix_end(&start),
            start: Some(start),
        }
    }

    /// Lets it begin no earlier than with a key, or the beginning of one.
    pub(super) fn begin(&mut self, bound: Bound<impl Key>) {
        let start = match bound {
            Bound::Unbounded => return,
            Bound::Included(part) => Some(bytes_of(&part)),
            Bound::Excluded(part) => prefix_end(&bytes_of(&part)),
        };
        let is_later = match (&self.start, &start) {
            (Some(old), Some(new)) => new > old,
            (old, _) => old.is_some(),
        };
        if is_later {
            self.start = start;
        }
    }

    /// Lets it end no later than with a key, or with all that begin as it does.
    pub(super) fn end(&mut self, bound: Bound<impl Key>) {
        let end = match bound {
            Bound::Unbounded => return,
            Bound::Included(part) => prefix_end(&bytes_of(&part)),
            Bound::Excluded(part) => Some(bytes_of(&part)),
        };
        if let Some(end) = end
            && self.end.as_ref().is_none_or(|old| end < *old)
        {
            self.end = Some(end);
        }
    }

    pub(super) fn contains(&self, key: &impl Key) -> bool {
        let key = bytes_of(key);
        self.start.as_ref().is_some_and(|start| key >= *start)
            && self.end.as_ref().is_none_or(|end| key < *end)
    }

    /// Scans the keys of a space that are in it.
    pub(super) fn scan<'t, X: ReadTxn>(
        &self,
        space: &Space,
        txn: &'t X,
        order: Order,
    ) -> Result<SpaceScan<'t, X>> {
        let append = |bytes: &KeyBuf| {
            let bytes = bytes.clone();
            move |out: &mut KeyBuf| out.extend_from_slice(&bytes)
        };
        match &self.start {
            None => Ok(SpaceScan::empty(space)),
            Some(start) => space.scan(
                txn,
                Bound::Included(append(start)),
                self.end
                    .as_ref()
                    .map_or(Bound::Unbounded, |end| Bound::Excluded(append(end))),
                order,
            ),
        }
    }
}

fn bytes_of(key: &impl Key) -> KeyBuf {
    let mut bytes = KeyBuf::new();
    key.encode(&mut bytes);
    bytes
}

/// Two sorted sequences as one: our own, read as it goes, and a foreign one
/// that is in memory. What stands in both comes once.
pub(super) struct Merge<I, T, K> {
    own: I,
    waiting: Option<T>,
    foreign: Peekable<vec::IntoIter<T>>,
    damage: vec::IntoIter<Error>,
    key: fn(&T) -> K,
    order: Order,
    left: usize,
}

impl<I, T, K> Merge<I, T, K>
where
    I: Iterator<Item = Result<T>>,
    K: Ord,
{
    /// `foreign` is in ascending order, and in range already. The errors in
    /// `damage` come first.
    pub(super) fn new(
        order: Order,
        limit: Option<usize>,
        own: I,
        mut foreign: Vec<T>,
        damage: Vec<Error>,
        key: fn(&T) -> K,
    ) -> Self {
        if order == Order::Descending {
            foreign.reverse();
        }
        Self {
            own,
            waiting: None,
            foreign: foreign.into_iter().peekable(),
            damage: damage.into_iter(),
            key,
            order,
            left: limit.unwrap_or(usize::MAX),
        }
    }
}

impl<I, T, K> Iterator for Merge<I, T, K>
where
    I: Iterator<Item = Result<T>>,
    K: Ord,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if let Some(error) = self.damage.next() {
            return Some(Err(error));
        }
        self.left = self.left.checked_sub(1)?;
        if self.waiting.is_none() {
            match self.own.next() {
                Some(Ok(item)) => self.waiting = Some(item),
                Some(Err(error)) => {
                    // Behind a damaged row there are others; behind an engine that failed there is nothing.
                    self.left = if error.kind() == ErrorKind::Damaged {
                        self.left + 1
                    } else {
                        0
                    };
                    return Some(Err(error));
                }
                None => {}
            }
        }
        let Some(foreign) = self.foreign.peek() else {
            return self.waiting.take().map(Ok);
        };
        let Some(own) = &self.waiting else {
            return self.foreign.next().map(Ok);
        };
        let order = (self.key)(own).cmp(&(self.key)(foreign));
        let order = if self.order == Order::Ascending {
            order
        } else {
            order.reverse()
        };
        if order.is_eq() {
            self.foreign.next();
        }
        if order.is_le() {
            self.waiting.take().map(Ok)
        } else {
            self.foreign.next().map(Ok)
        }
    }
}
