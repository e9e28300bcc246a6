//! Comparing the positions of a subscription's publications with its events.
//!
//! Events stand in the order of time, positions in that of publications, and
//! neither fits into memory. So the numbers of events are compared in sums,
//! each over a part of the publications: a sum that is not even names a part
//! that is then counted. A sound subscription is read once; in another one
//! what is counted is what may be wrong.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

use super::super::history::Position;
use super::super::tables::EventKey;
use super::tables::{Kind, Tables};
use crate::backend::{Order, ReadTxn};
use crate::key::{Key, KeyBuf, prefix_end};
use crate::table::{Space, successor};
use crate::{PublicationId, Result, SubscriptionId, Timestamp};

/// The parts that the publications of a subscription are compared in.
const PARTS: usize = 4096;

/// How many positions are counted at a time.
pub(in super::super) const COUNTED: usize = 1 << 16;

/// The sums of a subscription's parts, all 0 where events and positions agree.
struct Sums {
    hash: RandomState,
    parts: Vec<u64>,
}

impl Sums {
    fn hash(&self, publication: PublicationId) -> u64 {
        self.hash.hash_one(publication.get())
    }

    fn add(&mut self, publication: PublicationId, events: u64) {
        let hash = self.hash(publication);
        // An even factor would lose what the highest bits count.
        let part = &mut self.parts[hash as usize % PARTS];
        *part = part.wrapping_add((hash | 1).wrapping_mul(events));
    }

    fn is_even(&self, publication: PublicationId) -> bool {
        self.parts[self.hash(publication) as usize % PARTS] == 0
    }
}

/// Names each publication of a subscription whose position is missing or does
/// not say what its events say. Positions that cannot be read, or that lead to
/// no event, are not looked at. A publication may be named more than once.
pub(in super::super) fn compare<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    subscription: SubscriptionId,
    mut on_wrong: impl FnMut(PublicationId, String) -> ControlFlow<()>,
) -> Result<()> {
    let mut sums = Sums {
        hash: RandomState::new(),
        parts: vec![0; PARTS],
    };
    let mut last: Option<(PublicationId, Option<Position>)> = None;
    let mut events = Events::of(txn, tables, subscription)?;
    while let Some(event) = events.next()? {
        let position = match last {
            Some((publication, position)) if publication == event.publication => position,
            _ => {
                let value = tables.space(Kind::Positions).get(txn, |out| {
                    (subscription, event.publication).encode(out);
                })?;
                let position = value.as_ref().map(|value| read(value.as_ref()));
                if position.is_none()
                    && on_wrong(
                        event.publication,
                        format!("is missing, there is an event at {}", event.timestamp),
                    )
                    .is_break()
                {
                    return Ok(());
                }
                position.flatten()
            }
        };
        last = Some((event.publication, position));
        let Some(position) = position else { continue };
        sums.add(event.publication, 1);
        if event.timestamp < position.first {
            let problem = format!(
                "begins at {}, and there is an event at {}",
                position.first, event.timestamp
            );
            if on_wrong(event.publication, problem).is_break() {
                return Ok(());
            }
        }
    }
    let mut positions = Positions::from(txn, tables, subscription, KeyBuf::new())?;
    while let Some((publication, position)) = positions.next()? {
        sums.add(publication, position.events.wrapping_neg());
    }
    if sums.parts.iter().all(|sum| *sum == 0) {
        return Ok(());
    }
    let mut next = KeyBuf::new();
    loop {
        let mut said = HashMap::new();
        let mut positions = Positions::from(txn, tables, subscription, next)?;
        while said.len() < COUNTED
            && let Some((publication, position)) = positions.next()?
        {
            if !sums.is_even(publication) {
                said.insert(publication, position.events);
            }
        }
        next = positions.next;
        if said.is_empty() {
            return Ok(());
        }
        let publications = said.keys().copied();
        for (publication, counted) in count(txn, tables, subscription, publications)? {
            let (said, counted) = (
                said[&publication],
                counted.map_or(0, |counted| counted.events),
            );
            let problem = format!("counts {said} events, there are {counted}");
            if said != counted && counted > 0 && on_wrong(publication, problem).is_break() {
                return Ok(());
            }
        }
    }
}

/// The positions that the events of a subscription give publications; `None`
/// for one without events.
pub(in super::super) fn count<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    subscription: SubscriptionId,
    publications: impl Iterator<Item = PublicationId>,
) -> Result<HashMap<PublicationId, Option<Position>>> {
    let mut counted: HashMap<_, Option<Position>> = publications
        .map(|publication| (publication, None))
        .collect();
    let mut events = Events::of(txn, tables, subscription)?;
    while let Some(event) = events.next()? {
        if let Some(position) = counted.get_mut(&event.publication) {
            let position = position.get_or_insert(Position {
                first: event.timestamp,
                events: 0,
            });
            position.events += 1;
        }
    }
    Ok(counted)
}

/// The first subscription after one that has events or positions.
pub(in super::super) fn next_subscription<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    after: Option<SubscriptionId>,
) -> Result<Option<SubscriptionId>> {
    let next_in = |space: &Space| -> Result<Option<SubscriptionId>> {
        let mut next = match after {
            None => Some(KeyBuf::new()),
            Some(after) => {
                let mut prefix = KeyBuf::new();
                after.encode(&mut prefix);
                prefix_end(&prefix)
            }
        };
        while let Some(start) = next {
            let mut scan = space.scan_from(txn, &start)?;
            let Some((mut key, _)) = scan.next()? else {
                return Ok(None);
            };
            match SubscriptionId::decode(&mut key) {
                Ok(subscription) => return Ok(Some(subscription)),
                Err(_) => next = Some(successor(key)),
            }
        }
        Ok(None)
    };
    let events = next_in(&tables.space(Kind::Events))?;
    let positions = next_in(&tables.space(Kind::Positions))?;
    Ok(events.into_iter().chain(positions).min())
}

fn read(position: &[u8]) -> Option<Position> {
    let (first, events): (Timestamp, u64) = Key::from_bytes(position).ok()?;
    Some(Position { first, events })
}

/// The events of a subscription that have a key.
struct Events<'t, X: ReadTxn + 't>(crate::table::SpaceScan<'t, X>);

impl<'t, X: ReadTxn> Events<'t, X> {
    fn of(txn: &'t X, tables: &Tables, subscription: SubscriptionId) -> Result<Self> {
        let events = tables.space(Kind::Events);
        let scan = events.scan_prefix(txn, |out| subscription.encode(out), Order::Ascending)?;
        Ok(Self(scan))
    }

    fn next(&mut self) -> Result<Option<EventKey>> {
        while let Some((key, _)) = self.0.next()? {
            if let Ok(key) = EventKey::from_bytes(key) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// The positions of a subscription that can be read, from a key on.
struct Positions<'t, X: ReadTxn + 't> {
    scan: crate::table::SpaceScan<'t, X>,
    subscription: SubscriptionId,
    next: KeyBuf,
}

impl<'t, X: ReadTxn> Positions<'t, X> {
    fn from(
        txn: &'t X,
        tables: &Tables,
        subscription: SubscriptionId,
        mut start: KeyBuf,
    ) -> Result<Self> {
        if start.is_empty() {
            subscription.encode(&mut start);
        }
        Ok(Self {
            scan: tables.space(Kind::Positions).scan_from(txn, &start)?,
            subscription,
            next: start,
        })
    }

    fn next(&mut self) -> Result<Option<(PublicationId, Position)>> {
        while let Some((key, value)) = self.scan.next()? {
            let place = <(SubscriptionId, PublicationId)>::from_bytes(key);
            if place.is_ok_and(|(subscription, _)| subscription > self.subscription) {
                break;
            }
            self.next = successor(key);
            if let (Ok((subscription, publication)), Some(position)) = (place, read(value))
                && subscription == self.subscription
            {
                return Ok(Some((publication, position)));
            }
        }
        Ok(None)
    }
}
