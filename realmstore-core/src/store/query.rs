//! Reading events and history: a range of time, a direction, a limit.

use std::iter::Peekable;
use std::ops::Bound;
use std::vec;

use crate::backend::{Order, ReadTxn};
use crate::key::{Key, KeyBuf};
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

    /// Scans the keys (subscription, time, …) of a space that are in range.
    pub(super) fn scan<'t, X: ReadTxn>(
        &self,
        space: &Space,
        txn: &'t X,
        subscription: SubscriptionId,
    ) -> Result<SpaceScan<'t, X>> {
        let at = |time: Option<Timestamp>| {
            move |out: &mut KeyBuf| {
                subscription.encode(out);
                if let Some(time) = time {
                    time.encode(out);
                }
            }
        };
        let bound = |bound: Bound<Timestamp>| match bound {
            Bound::Unbounded => Bound::Included(at(None)),
            bound => bound.map(|time| at(Some(time))),
        };
        space.scan(txn, bound(self.from), bound(self.until), self.order)
    }
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
        query: &HistoryQuery,
        own: I,
        mut foreign: Vec<T>,
        damage: Vec<Error>,
        key: fn(&T) -> K,
    ) -> Self {
        if query.order == Order::Descending {
            foreign.reverse();
        }
        Self {
            own,
            waiting: None,
            foreign: foreign.into_iter().peekable(),
            damage: damage.into_iter(),
            key,
            order: query.order,
            left: query.limit.unwrap_or(usize::MAX),
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
