//! Storing what happens in a realm, in batches.

use std::path::Path;

use crate::contender::{Ask, Contender};
use crate::line_up::Group;
use crate::measure::Rounds;
use crate::report::{Report, Target};
use crate::systems::Sync;

/// Records of one commit.
const BATCH: u64 = 1_000;

/// Batches that are one round: the engines have bursts of work of their own,
/// which would fall on one of two and not on the other.
const BATCHES_PER_ROUND: usize = 20;

/// Stores everything in each system of a group, some batches each in turns.
/// Returns the systems, for the answers to be asked of them, and the number of
/// records.
pub fn run(
    group: &Group,
    publications: u64,
    sync: Sync,
    directory: &Path,
    report: &mut Report,
) -> (Vec<Contender>, u64) {
    let workload = match sync {
        Sync::Durable => "ingest, durable",
        Sync::Lazy => "ingest, not synced",
    };
    let mut contenders = group.start(directory, sync, publications, BATCH);
    let mut rounds = Rounds::new(contenders.len());
    let mut records = 0;
    for turn in 0.. {
        let mut stored = 0;
        for place in 0..contenders.len() {
            let place = (place + turn) % contenders.len();
            let answer = contenders[place].ask(Ask::Ingest {
                batches: BATCHES_PER_ROUND,
            });
            stored = answer.number;
            if stored > 0 {
                rounds.push(place, answer.time());
            }
        }
        if stored == 0 {
            break;
        }
        records += stored;
    }
    let per_second = records as f64 / rounds.sum(0);
    for (system, name) in group.others() {
        let target = match (name, sync) {
            ("SQLite", _) => Some(Target::AtLeast(3.0)),
            (name, _) if name.starts_with("raw") => Some(Target::AtLeast(0.9)),
            _ => None,
        };
        report.add(
            (workload, group.engine.name(), name),
            per_second,
            "records/s",
            rounds.ratio(0, system),
            target,
        );
    }
    (contenders, records)
}
