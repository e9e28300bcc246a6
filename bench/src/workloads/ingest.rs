//! Storing what happens in a realm, in batches.

use std::path::Path;

use crate::data::Generator;
use crate::line_up::Group;
use crate::measure::{Rounds, timed};
use crate::report::{Report, Target};
use crate::systems::{Sync, System};

/// Records of one commit.
const BATCH: u64 = 1_000;

/// Batches that are one round: the engines have bursts of work of their own,
/// which would fall on one of two and not on the other.
const BATCHES_PER_ROUND: usize = 40;

/// Stores everything in each system of a group, batch by batch in turns.
/// Returns the systems, for the answers to be asked of them, and what was stored.
pub fn run(
    group: &Group,
    publications: u64,
    sync: Sync,
    directory: &Path,
    report: &mut Report,
) -> (Vec<Box<dyn System>>, Generator) {
    let workload = match sync {
        Sync::Durable => "ingest, durable",
        Sync::Lazy => "ingest, not synced",
    };
    let mut systems = group.open(directory, sync);
    let mut rounds = Rounds::new(systems.len());
    let mut generator = Generator::new(publications, BATCH);
    let mut records = 0;
    let mut turn = 0;
    loop {
        let batches: Vec<_> = generator.by_ref().take(BATCHES_PER_ROUND).collect();
        if batches.is_empty() {
            break;
        }
        let mut times = vec![std::time::Duration::ZERO; systems.len()];
        for batch in &batches {
            records += batch.records();
            for place in 0..systems.len() {
                let system = (place + turn) % systems.len();
                times[system] += timed(|| systems[system].ingest(batch)).0;
            }
            turn += 1;
        }
        for (system, time) in times.into_iter().enumerate() {
            rounds.push(system, time);
        }
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
    (systems, generator)
}
