//! LMDB beside the realm store of Crossbar.io, which is in Python: on a sample,
//! since a million of its writes take minutes.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use realmstore::lmdb::LmdbBackend;
use realmstore::{PublicationId, SessionId, Timestamp};

use super::read::latest_of;
use crate::cfxdb::{self, Cfxdb, Python};
use crate::data::{Batch, Generator};
use crate::measure::{Rounds, timed};
use crate::report::{Report, Target};
use crate::scale::Scale;
use crate::systems::ours::Ours;
use crate::systems::{Sync, System};

/// Records of one commit.
const BATCH: u64 = 1_000;

/// One of the two.
enum Contender<'c> {
    Ours(&'c mut Option<Ours<LmdbBackend>>),
    Cfxdb(&'c mut Cfxdb),
}

/// What one does in a round, with a directory for a new store.
type Run<'r> = dyn Fn(&mut Contender<'_>, &Path) -> Duration + 'r;

struct Sample {
    batches: Vec<Batch>,
    publications: Vec<PublicationId>,
    sessions: Vec<SessionId>,
}

/// Measures both in turns, on a sample and on a fourth of it: what LMDB takes
/// grows with the store, what Python takes does not.
///
/// # Errors
/// When cfxdb cannot be installed.
pub fn run(directory: &Path, scale: &Scale, report: &mut Report) -> Result<(), String> {
    let python = cfxdb::install()?;
    for publications in [scale.sample / 4, scale.sample] {
        let directory = directory.join(publications.to_string());
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        on_sample(&python, publications, &directory, scale, report);
    }
    Ok(())
}

fn on_sample(
    python: &Python,
    publications: u64,
    directory: &Path,
    scale: &Scale,
    report: &mut Report,
) {
    let size = format!(", {publications} publications");
    let mut generator = Generator::new(publications, BATCH);
    let batches: Vec<_> = generator.by_ref().collect();
    let dispatches = batches.iter().flat_map(|batch| &batch.dispatches);
    let sample = Sample {
        publications: dispatches
            .map(|dispatch| dispatch.publication.publication)
            .collect(),
        sessions: latest_of(generator.sessions(), 0, scale.queries).collect(),
        batches,
    };
    let (mut ours, mut cfxdb) = (None, Cfxdb::start(python, directory));
    let mut contenders = [Contender::Ours(&mut ours), Contender::Cfxdb(&mut cfxdb)];

    let records = generator.records() as f64;
    let publications = sample.publications.len() as f64;
    let mut compare = |workload: &str, unit, operations: f64, target, run: &Run<'_>| {
        let rounds = Rounds::take(scale.rounds, &mut contenders, |contender, round| {
            run(contender, &directory.join(format!("{workload}-{round}")))
        });
        let workload = format!("{workload}{size}");
        let about = (workload.as_str(), "LMDB", "cfxdb");
        let per_second = operations / rounds.median(0);
        let target = Some(Target::AtLeast(target));
        report.add(about, per_second, unit, rounds.ratio(0, 1), target);
    };
    compare(
        "ingest, durable",
        "records/s",
        records,
        5.0,
        &|contender, directory| contender.ingest(Sync::Durable, &sample, directory),
    );
    compare(
        "ingest, not synced",
        "records/s",
        records,
        25.0,
        &|contender, directory| contender.ingest(Sync::Lazy, &sample, directory),
    );
    compare(
        "two fields of a publication",
        "reads/s",
        publications,
        15.0,
        &|contender, _| contender.two_fields(&sample),
    );
    compare(
        "a whole publication",
        "reads/s",
        publications,
        60.0,
        &|contender, _| contender.whole(&sample),
    );
    compare(
        "scan of all publications",
        "records/s",
        publications,
        150.0,
        &|contender, _| contender.scan(),
    );
    let sessions = sample.sessions.len() as f64;
    compare(
        "latest session",
        "queries/s",
        sessions,
        150.0,
        &|contender, _| contender.latest_sessions(&sample),
    );
}

impl Contender<'_> {
    fn ingest(&mut self, sync: Sync, sample: &Sample, directory: &Path) -> Duration {
        match self {
            Self::Ours(ours) => {
                **ours = None;
                let ours = ours.insert(Ours::new(directory, sync));
                timed(|| sample.batches.iter().for_each(|batch| ours.ingest(batch))).0
            }
            Self::Cfxdb(cfxdb) => cfxdb.ingest(sync, &sample.batches),
        }
    }

    fn two_fields(&mut self, sample: &Sample) -> Duration {
        match self {
            Self::Ours(ours) => {
                timed(|| {
                    let store = ours.as_ref().expect("a store").store();
                    let txn = store.begin_read().expect("a snapshot");
                    for id in &sample.publications {
                        let found = store
                            .publications()
                            .get(&txn, id)
                            .expect("a get")
                            .expect("a publication");
                        let view = found.view().expect("a publication");
                        black_box((
                            view.timestamp().expect("a time"),
                            view.topic().expect("a topic"),
                        ));
                    }
                })
                .0
            }
            Self::Cfxdb(cfxdb) => cfxdb.point_reads(&sample.publications),
        }
    }

    fn whole(&mut self, sample: &Sample) -> Duration {
        match self {
            Self::Ours(ours) => {
                timed(|| {
                    let store = ours.as_ref().expect("a store").store();
                    let txn = store.begin_read().expect("a snapshot");
                    for id in &sample.publications {
                        let found = store
                            .publications()
                            .get(&txn, id)
                            .expect("a get")
                            .expect("a publication");
                        black_box(found.to_owned().expect("a publication"));
                    }
                })
                .0
            }
            Self::Cfxdb(cfxdb) => cfxdb.whole_records(&sample.publications),
        }
    }

    fn scan(&mut self) -> Duration {
        match self {
            Self::Ours(ours) => {
                timed(|| black_box(ours.as_ref().expect("a store").scan_publications())).0
            }
            Self::Cfxdb(cfxdb) => cfxdb.scan().0,
        }
    }

    fn latest_sessions(&mut self, sample: &Sample) -> Duration {
        match self {
            Self::Ours(ours) => {
                timed(|| {
                    let store = ours.as_ref().expect("a store").store();
                    let txn = store.begin_read().expect("a snapshot");
                    for id in &sample.sessions {
                        let found = store
                            .session_by_id(&txn, *id, Timestamp::MAX)
                            .expect("a lookup");
                        let found = found.expect("a session");
                        let view = found.view().expect("a session");
                        black_box((
                            view.joined_at().expect("a time"),
                            view.authid().expect("an authid"),
                        ));
                    }
                })
                .0
            }
            Self::Cfxdb(cfxdb) => cfxdb.session_lookups(&sample.sessions),
        }
    }
}
