//! Whether answers stay as fast as a store grows, and what a walk over all of
//! a large one takes in memory.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use realmstore::Order;
use realmstore::lmdb::LmdbBackend;
use realmstore::rocks::RocksBackend;
use realmstore::sled::SledBackend;

use super::read::{NEWEST, latest_of, subscriptions};
use crate::data::Generator;
use crate::line_up::Engine;
use crate::measure::{Rounds, timed};
use crate::report::{Report, Target};
use crate::scale::Scale;
use crate::systems::ours::{Ours, OwnBackend};
use crate::systems::{Sync, System};

/// Records of one commit: nobody waits for these.
const BATCH: u64 = 10_000;

/// What a walk may take in memory besides the map, in MiB.
const WALK_MEMORY: f64 = 64.0;

/// Microseconds for an answer by the number of events, and what that is of.
pub type Growth = (String, Vec<(f64, f64)>);

struct Grown<B> {
    events: u64,
    system: Ours<B>,
    generator: Generator,
}

/// Measures stores of all sizes in turns. What it returns is for a plot.
pub fn run(directory: &Path, scale: &Scale, report: &mut Report) -> Vec<Growth> {
    let mut plotted = Vec::new();
    plotted.extend(on::<LmdbBackend>(
        Engine::Lmdb,
        scale.growth,
        directory,
        scale,
        report,
    ));
    plotted.extend(on::<RocksBackend>(
        Engine::Rocks,
        scale.growth,
        directory,
        scale,
        report,
    ));
    plotted.extend(on::<SledBackend>(
        Engine::Sled,
        scale.growth_of_sled,
        directory,
        scale,
        report,
    ));
    plotted
}

fn on<B: OwnBackend>(
    engine: Engine,
    sizes: &[u64],
    directory: &Path,
    scale: &Scale,
    report: &mut Report,
) -> Vec<Growth> {
    let mut stores: Vec<_> = sizes
        .iter()
        .map(|events| {
            let directory = directory.join(format!("{}-{events}", engine.name()));
            let mut system = Ours::<B>::new(&directory, Sync::Lazy);
            let mut generator = Generator::new(events / 3, BATCH);
            for batch in generator.by_ref() {
                system.ingest(&batch);
            }
            system.settle();
            Grown {
                events: *events,
                system,
                generator,
            }
        })
        .collect();
    if let Some(largest) = stores.last() {
        walk(engine, largest, report);
    }
    let newest = |store: &Grown<B>, round| {
        let busy = store.generator.subscriptions(NEWEST as u64);
        for subscription in subscriptions(&busy, round, scale.queries) {
            black_box(store.system.newest(subscription, NEWEST));
        }
    };
    let latest = |store: &Grown<B>, round| {
        for session in latest_of(store.generator.sessions(), round, scale.queries) {
            black_box(store.system.latest_session(session));
        }
    };
    let mut plotted = Vec::new();
    for (workload, ask, bound) in [
        (
            "newest 100 events",
            &newest as &dyn Fn(&Grown<B>, usize),
            Some(Target::AtMost(2.0)),
        ),
        ("latest session", &latest, None),
    ] {
        // All that is asked for was asked for before.
        for store in &stores {
            (0..scale.rounds).for_each(|round| ask(store, round));
        }
        let rounds = Rounds::take(scale.rounds, &mut stores, |store, round| {
            timed(|| ask(store, round)).0
        });
        let micros = |store: usize| rounds.median(store) * 1e6 / scale.queries as f64;
        let smallest = format!("{} events", stores[0].events);
        for (place, store) in stores.iter().enumerate().skip(1) {
            let workload = format!("{workload}, {} events", store.events);
            let target = bound.filter(|_| place == stores.len() - 1);
            let slower = rounds.ratio(0, place);
            report.add(
                (&workload, engine.name(), &smallest),
                micros(place),
                "µs/query",
                slower,
                target,
            );
        }
        let points = stores.iter().enumerate();
        let points = points.map(|(place, store)| (store.events as f64, micros(place)));
        plotted.push((format!("{workload}, {}", engine.name()), points.collect()));
    }
    plotted
}

/// Walks over all events, and sees what memory that takes which is not a file's.
fn walk<B: OwnBackend>(engine: Engine, grown: &Grown<B>, report: &mut Report) {
    let Some(before) = anonymous_memory() else {
        return;
    };
    let store = grown.system.store();
    let txn = store.begin_read().expect("a snapshot");
    let mut events = store
        .events()
        .range(&txn, .., Order::Ascending)
        .expect("a scan");
    let (mut walked, mut most) = (0u64, before);
    while let Some(event) = events.next().expect("a scan") {
        black_box(
            event
                .view()
                .expect("an event")
                .receiver()
                .expect("a receiver"),
        );
        walked += 1;
        if walked.is_multiple_of(50_000) {
            most = most.max(anonymous_memory().unwrap_or_default());
        }
    }
    let taken = (most - before) as f64 / f64::from(1 << 20);
    let workload = format!("memory of a walk over {} events", grown.events);
    let about = (workload.as_str(), engine.name(), "64 MiB");
    report.add(
        about,
        taken,
        "MiB",
        taken / WALK_MEMORY,
        Some(Target::AtMost(1.0)),
    );
}

/// The memory of this process that is no file's, in bytes, where the system tells (Linux).
fn anonymous_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
