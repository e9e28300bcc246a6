//! Measures realmstore beside the engines that it stands on and beside what one
//! would use instead, all in one run, and says what was reached.

#![allow(
    unreachable_pub,
    reason = "a program has no other readers than its own modules"
)]
#![allow(clippy::print_stderr, reason = "progress, for whoever waits")]

mod cfxdb;
mod contender;
mod data;
mod line_up;
mod measure;
mod plots;
mod report;
mod scale;
mod svg;
mod systems;
mod workloads;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::contender::{Ask, Contender};
use crate::line_up::GROUPS;
use crate::report::Report;
use crate::scale::Scale;
use crate::systems::Sync;
use crate::workloads::{beside_cfxdb, codec, growth, ingest, read, size, tuning, writers};

/// Measures realmstore on every engine, beside the engine without it and beside
/// what one would use instead. Prints a table of ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// Whether everything works: some seconds, whose numbers mean nothing.
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// Also a million durable publications, and ten million events on sled. Takes hours.
    #[arg(long)]
    full: bool,

    /// Writes the table as JSON as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Writes plots as SVG into a directory.
    #[arg(long, value_name = "DIRECTORY")]
    plots: Option<PathBuf>,

    /// Where the stores are made, and removed at the end. What is durable is as
    /// fast as the disk under it.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench")]
    stores: PathBuf,

    /// Is one of the systems that are measured, for the process that measures them.
    #[arg(long, hide = true, value_name = "TASK")]
    serve: Option<String>,

    /// Measures some of the workloads only.
    #[arg(long, value_enum, value_name = "WORKLOAD", value_delimiter = ',')]
    only: Vec<Workload>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    Codec,
    Cfxdb,
    Durable,
    Writers,
    /// Ingest that is not synced, reads, and sizes.
    Lazy,
    Growth,
    /// Batch sizes, the order of rows, compression, filters.
    Tuning,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(task) = &arguments.serve {
        contender::serve(task, &arguments.stores)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scale = match (arguments.quick, arguments.full) {
        (true, _) => Scale::QUICK,
        (_, true) => Scale::FULL,
        _ => Scale::STANDARD,
    };
    fs::create_dir_all(&arguments.stores)?;
    let mut report = Report::default();
    let mut code = ExitCode::SUCCESS;
    let wanted = |workload| arguments.only.is_empty() || arguments.only.contains(&workload);
    let stores = || tempfile::tempdir_in(&arguments.stores);

    if wanted(Workload::Codec) {
        eprintln!("encoding and decoding");
        codec::run(&scale, &mut report);
    }
    if wanted(Workload::Cfxdb) {
        eprintln!("beside cfxdb");
        // What needs no Python can be measured all the same.
        if let Err(error) = beside_cfxdb::run(stores()?.path(), &scale, &mut report) {
            eprintln!("error: {error}");
            code = ExitCode::FAILURE;
        }
    }
    if wanted(Workload::Lazy) {
        let directory = stores()?;
        lazy(directory.path(), &scale, &mut report);
    }
    if wanted(Workload::Durable) {
        for group in &GROUPS {
            eprintln!("durable ingest: {}", group.engine.name());
            let directory = stores()?;
            ingest::run(
                group,
                scale.durable_publications,
                Sync::Durable,
                directory.path(),
                &mut report,
            );
        }
    }
    if wanted(Workload::Writers) {
        eprintln!("durable writers");
        writers::run(stores()?.path(), &scale, &mut report);
    }
    if wanted(Workload::Tuning) {
        eprintln!("tuning");
        tuning::run(stores()?.path(), &scale, &mut report);
    }
    let grown = if wanted(Workload::Growth) {
        eprintln!("growth");
        growth::run(stores()?.path(), &scale, &mut report)
    } else {
        Vec::new()
    };

    report.print();
    if let Some(file) = &arguments.json {
        report.write_json(file)?;
    }
    if let Some(directory) = &arguments.plots {
        fs::create_dir_all(directory)?;
        plots::draw(directory, &report, &grown)?;
    }
    for row in report.without_number() {
        eprintln!("error: no number: {row:?}");
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

/// Stores everything without waiting for the disk, and asks for it again.
fn lazy(directory: &Path, scale: &Scale, report: &mut Report) {
    let mut systems = Vec::new();
    let mut sizes = Vec::new();
    let mut stored = 0;
    for group in &GROUPS {
        eprintln!("ingest that is not synced: {}", group.engine.name());
        let (mut members, records) =
            ingest::run(group, scale.publications, Sync::Lazy, directory, report);
        let settle = |system: &mut Contender| system.ask(Ask::Settle).number;
        sizes.push(members.iter_mut().map(settle).collect::<Vec<_>>());
        systems.push(members);
        stored = records;
    }
    size::run(&sizes, stored, report);
    eprintln!("reads");
    read::run(&mut systems, scale, report);
}
