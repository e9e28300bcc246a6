//! Comparing the positions of publications with their events.
//!
//! Events stand in the order of subscription and time, positions in that of
//! publications, and neither fits into memory. So the numbers of events are
//! compared in sums, each over a part of the positions: a sum that is not even
//! names a part that is then counted. A sound store is read once; in another
//! one what is counted is what may be wrong.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

use super::super::history::Position;
use super::super::tables::EventKey;
use super::tables::{Kind, Tables};
use crate::backend::{Order, ReadTxn};
use crate::key::{Key, KeyBuf};
use crate::table::{SpaceScan, successor};
use crate::{PublicationId, Result, SubscriptionId};

/// The parts that the positions of a store are compared in.
const PARTS: usize = 1 << 16;

/// How many positions are counted at a time.
pub(in super::super) const COUNTED: usize = 1 << 16;

/// What has a position: a publication in the history of a subscription.
pub(in super::super) type Place = (PublicationId, SubscriptionId);

/// The sums of the parts, all 0 where events and positions agree.
struct Sums {
    hash: RandomState,
    parts: Vec<u64>,
}

impl Sums {
    fn hash(&self, (publication, subscription): Place) -> u64 {
        self.hash.hash_one((publication.get(), subscription.get()))
    }

    fn add(&mut self, place: Place, events: u64) {
        let hash = self.hash(place);
        // An even factor would lose what the highest bits count.
        let part = &mut self.parts[hash as usize % PARTS];
        *part = part.wrapping_add((hash | 1).wrapping_mul(events));
    }

    fn is_even(&self, place: Place) -> bool {
        self.parts[self.hash(place) as usize % PARTS] == 0
    }
}

/// Names each publication in a history whose position is missing or does not
/// say what its events say. Positions that cannot be read, or that lead to no
/// event, are not looked at. A publication may be named more than once.
pub(in super::super) fn compare<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    mut on_wrong: impl FnMut(Place, String) -> ControlFlow<()>,
) -> Result<()> {
    let mut sums = Sums {
        hash: RandomState::new(),
        parts: vec![0; PARTS],
    };
    let mut last: Option<(Place, Option<Position>)> = None;
    let mut events = Events::all(txn, tables)?;
    while let Some(event) = events.next()? {
        let place = (event.publication, event.subscription);
        let position = match last {
            Some((known, position)) if known == place => position,
            _ => {
                let value = tables
                    .space(Kind::Positions)
                    .get(txn, |out| place.encode(out))?;
                let position = value.as_ref().map(|value| read(value.as_ref()));
                if position.is_none()
                    && on_wrong(
                        place,
                        format!("is missing, there is an event at {}", event.timestamp),
                    )
                    .is_break()
                {
                    return Ok(());
                }
                position.flatten()
            }
        };
        last = Some((place, position));
        let Some(position) = position else { continue };
        sums.add(place, 1);
        if event.timestamp < position.first {
            let problem = format!(
                "begins at {}, and there is an event at {}",
                position.first, event.timestamp
            );
            if on_wrong(place, problem).is_break() {
                return Ok(());
            }
        }
    }
    let mut positions = Positions::from(txn, tables, KeyBuf::new())?;
    while let Some((place, position)) = positions.next()? {
        sums.add(place, position.events.wrapping_neg());
    }
    if sums.parts.iter().all(|sum| *sum == 0) {
        return Ok(());
    }
    let mut next = KeyBuf::new();
    loop {
        let mut said = HashMap::new();
        let mut positions = Positions::from(txn, tables, next)?;
        while said.len() < COUNTED
            && let Some((place, position)) = positions.next()?
        {
            if !sums.is_even(place) {
                said.insert(place, position.events);
            }
        }
        next = positions.next;
        if said.is_empty() {
            return Ok(());
        }
        for (place, counted) in count(txn, tables, said.keys().copied())? {
            let (said, counted) = (said[&place], counted.map_or(0, |counted| counted.events));
            let problem = format!("counts {said} events, there are {counted}");
            if said != counted && counted > 0 && on_wrong(place, problem).is_break() {
                return Ok(());
            }
        }
    }
}

/// The positions that the events give publications; `None` for one without
/// events. Where several begin at the same time, their order is not to be had
/// from the events.
pub(in super::super) fn count<X: ReadTxn>(
    txn: &X,
    tables: &Tables,
    places: impl Iterator<Item = Place>,
) -> Result<HashMap<Place, Option<Position>>> {
    let mut counted: HashMap<_, Option<Position>> = places.map(|place| (place, None)).collect();
    let mut events = Events::all(txn, tables)?;
    while let Some(event) = events.next()? {
        if let Some(position) = counted.get_mut(&(event.publication, event.subscription)) {
            let position = position.get_or_insert(Position {
                first: event.timestamp,
                ordinal: 0,
                events: 0,
            });
            position.events += 1;
        }
    }
    Ok(counted)
}

fn read(position: &[u8]) -> Option<Position> {
    Position::from_bytes(position).ok()
}

/// The events that have a key.
struct Events<'t, X: ReadTxn + 't>(SpaceScan<'t, X>);

impl<'t, X: ReadTxn> Events<'t, X> {
    fn all(txn: &'t X, tables: &Tables) -> Result<Self> {
        let scan = tables.space(Kind::Events).scan_all(txn, Order::Ascending)?;
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

/// The positions that can be read, from a key on.
struct Positions<'t, X: ReadTxn + 't> {
    scan: SpaceScan<'t, X>,
    next: KeyBuf,
}

impl<'t, X: ReadTxn> Positions<'t, X> {
    fn from(txn: &'t X, tables: &Tables, start: KeyBuf) -> Result<Self> {
        Ok(Self {
            scan: tables.space(Kind::Positions).scan_from(txn, &start)?,
            next: start,
        })
    }

    fn next(&mut self) -> Result<Option<(Place, Position)>> {
        while let Some((key, value)) = self.scan.next()? {
            self.next = successor(key);
            if let (Ok(place), Some(position)) = (Place::from_bytes(key), read(value)) {
                return Ok(Some((place, position)));
            }
        }
        Ok(None)
    }
}
