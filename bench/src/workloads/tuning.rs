//! What settings are worth: how many records a commit has, the order in which
//! LMDB is given them, and what RocksDB is told to do with them.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use heed::PutFlags;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::read::{NEWEST, subscriptions};
use crate::data::Generator;
use crate::line_up::GROUPS;
use crate::measure::{Rounds, timed};
use crate::report::Report;
use crate::scale::Scale;
use crate::systems::kv::{Kv, KvWrite, Lmdb, Rocks, RocksTuning};
use crate::systems::raw::Raw;
use crate::systems::{Sync, System, Touched};

/// The batches that others are compared with.
const USUAL_BATCH: u64 = 1_000;

/// Rows that LMDB is given in one order or another, and what each has.
const KEY_LEN: usize = 16;
const VALUE: [u8; 200] = [7; 200];

pub fn run(directory: &Path, scale: &Scale, report: &mut Report) {
    batches(directory, scale, report);
    orders(directory, scale, report);
    rocks(directory, scale, report);
}

/// Durable commits of few records and of many.
fn batches(directory: &Path, scale: &Scale, report: &mut Report) {
    for group in &GROUPS {
        let mut sizes = [USUAL_BATCH, 10, 100, 10_000];
        let rounds = Rounds::take(3, &mut sizes, |batch, round| {
            let name = format!("batch-{}-{batch}-{round}", group.engine.name());
            let mut system = group.open_own(&directory.join(name), Sync::Durable);
            let batches: Vec<_> = Generator::new(scale.sample, *batch).collect();
            timed(|| batches.iter().for_each(|batch| system.ingest(batch))).0
        });
        let records = Generator::new(scale.sample, USUAL_BATCH)
            .map(|batch| batch.records())
            .sum::<u64>() as f64;
        for (place, size) in sizes.iter().enumerate().skip(1) {
            let workload = format!("ingest, durable, batches of {size}");
            let versus = format!("batches of {USUAL_BATCH}");
            let about = (workload.as_str(), group.engine.name(), versus.as_str());
            let per_second = records / rounds.median(place);
            report.add(about, per_second, "records/s", rounds.ratio(place, 0), None);
        }
    }
}

/// How LMDB is given its rows.
#[derive(Debug, Clone, Copy)]
enum Rows {
    Random,
    Ascending,
    Appended,
}

/// Rows at random, in the order of their keys, and in that order with LMDB told so.
fn orders(directory: &Path, scale: &Scale, report: &mut Report) {
    let mut orders = [Rows::Random, Rows::Ascending, Rows::Appended];
    let count = scale.sample * 10;
    let mut keys: Vec<[u8; KEY_LEN]> = (0..count)
        .map(|number| u128::from(number).to_be_bytes())
        .collect();
    let ascending = keys.clone();
    keys.shuffle(&mut StdRng::seed_from_u64(1));
    let mut sizes = [0; 3];
    let rounds = Rounds::take(3, &mut orders, |order, round| {
        let directory = directory.join(format!("order-{order:?}-{round}"));
        fs::create_dir_all(&directory).expect("a directory");
        let (keys, flags) = match order {
            Rows::Random => (&keys, PutFlags::empty()),
            Rows::Ascending => (&ascending, PutFlags::empty()),
            Rows::Appended => (&ascending, PutFlags::APPEND),
        };
        let (time, size) = put(&directory, keys, flags);
        sizes[*order as usize] = size;
        time
    });
    for (place, name) in [(1, "ascending"), (2, "ascending, appended")] {
        let workload = format!("LMDB's own puts, {name}");
        let about = (workload.as_str(), "LMDB", "at random");
        let per_second = count as f64 / rounds.median(place);
        report.add(about, per_second, "rows/s", rounds.ratio(place, 0), None);
    }
    for (place, name) in [
        (0, "at random"),
        (1, "ascending"),
        (2, "ascending, appended"),
    ] {
        let workload = format!("fill of LMDB's pages, rows put {name}");
        let about = (workload.as_str(), "LMDB", "keys and values");
        let content = count as f64 * (KEY_LEN + VALUE.len()) as f64;
        let per_row = sizes[place] as f64 / count as f64;
        report.add(
            about,
            per_row,
            "bytes/row",
            content / sizes[place] as f64,
            None,
        );
    }
}

/// Puts rows in batches; how long that took, and the size of the file.
fn put(directory: &Path, keys: &[[u8; KEY_LEN]], flags: PutFlags) -> (Duration, u64) {
    let mut lmdb = Lmdb::open_to_put(directory, Sync::Lazy, flags);
    let (time, ()) = timed(|| {
        for batch in keys.chunks(USUAL_BATCH as usize) {
            lmdb.write(|out| batch.iter().for_each(|key| out.put(key, &VALUE)));
        }
    });
    (time, lmdb.settle())
}

/// RocksDB with LZ4 and without, and with a filter of the subscriptions in a file.
fn rocks(directory: &Path, scale: &Scale, report: &mut Report) {
    let usual = RocksTuning::default();
    let variants = [
        ("as it is", usual),
        (
            "not compressed",
            RocksTuning {
                compressed: false,
                ..usual
            },
        ),
        (
            "with a filter of subscriptions",
            RocksTuning {
                filter_of_prefixes: true,
                ..usual
            },
        ),
    ];
    let mut generator = Generator::new(0, USUAL_BATCH);
    let (mut stores, mut sizes) = (Vec::new(), Vec::new());
    for (name, tuning) in variants {
        let directory = directory.join(name);
        fs::create_dir_all(&directory).expect("a directory");
        let mut store = Raw::over(Rocks::open_tuned(&directory, Sync::Lazy, tuning));
        generator = Generator::new(scale.sample * 10, USUAL_BATCH);
        generator.by_ref().for_each(|batch| store.ingest(&batch));
        sizes.push(store.settle() as f64);
        stores.push(store);
    }
    let busy = generator.subscriptions(NEWEST as u64);
    let ask = |store: &Raw<Rocks>, round: usize| {
        let asked = subscriptions(&busy, round, scale.queries);
        let answers = asked.map(|subscription| store.newest(subscription, NEWEST));
        answers.fold(Touched::default(), Touched::and)
    };
    for store in &stores {
        assert_eq!(
            ask(store, 0),
            ask(&stores[0], 0),
            "all give the same answer"
        );
    }
    let rounds = Rounds::take(scale.rounds, &mut stores, |store, round| {
        timed(|| black_box(ask(store, round))).0
    });
    for (place, (name, _)) in variants.iter().enumerate().skip(1) {
        let workload = format!("newest 100 events, raw RocksDB {name}");
        let per_second = scale.queries as f64 / rounds.median(place);
        let about = (workload.as_str(), "RocksDB", "raw RocksDB");
        report.add(about, per_second, "queries/s", rounds.ratio(place, 0), None);
        let workload = format!("size on disk, raw RocksDB {name}");
        let per_record = sizes[place] / generator.records() as f64;
        let about = (workload.as_str(), "RocksDB", "raw RocksDB");
        report.add(
            about,
            per_record,
            "bytes/record",
            sizes[0] / sizes[place],
            None,
        );
    }
}
