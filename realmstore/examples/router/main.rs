//! A small router under load, on a realm store: simulated clients join,
//! subscribe, publish, ask for history and leave, each waiting until what it
//! did is acknowledged, which is when it is on disk.
//!
//! ```text
//! cargo run --release -p realmstore --features full --example router -- --engine rocks
//! ```
//!
//! What a router does with its store is in `broker.rs`; the rest is load and
//! measuring. Ctrl-C stops it, a second one ends it at once. In the end, and
//! when it is started again on the same `--store`, also after a `kill -9`, it
//! checks that every write that was acknowledged is there.
//!
//! Exit codes: 0 all is there, 1 the check found something, 2 it could not be done.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a program that prints what it measures"
)]

mod broker;
mod check;
mod client;
mod journal;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use metrics_util::debugging::DebuggingRecorder;
use realmstore::{
    AsyncOptions, AsyncRealmStore, Durability, ENGINES, Engine, Location, OpenOptions, Uuid,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::broker::Broker;
use crate::client::Client;
use crate::journal::Journal;
use crate::statistics::Statistics;

/// The router, as its sessions name it. What it leaves open when it is killed
/// is closed when it starts again.
const NODE: Uuid = Uuid::from_u128(0x5f0c7a52_6b0e_4c53_9d3c_0d8b4f2a9e11);

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// A small router under load, on a realm store.
#[derive(Parser)]
struct Arguments {
    /// The engine of the store
    #[arg(long, default_value = "lmdb", value_parser = engine())]
    engine: Engine,
    /// Where the store is; by default in a temporary directory
    #[arg(long)]
    store: Option<PathBuf>,
    /// How many clients there are
    #[arg(long, default_value_t = 1000)]
    clients: u32,
    /// How many topics they publish to
    #[arg(long, default_value_t = 1000)]
    topics: u32,
    /// For how long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What an acknowledgement is worth
    #[arg(long, default_value = "on-disk", value_parser = durability())]
    durability: Durability,
}

fn engine() -> impl TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(ENGINES.iter().map(|engine| engine.name())).try_map(|name| {
        let named = ENGINES.iter().find(|engine| engine.name() == name);
        named.copied().ok_or("no such engine")
    })
}

fn durability() -> impl TypedValueParser<Value = Durability> {
    PossibleValuesParser::new(["on-disk", "eventual", "no-sync"]).map(|name| match &*name {
        "no-sync" => Durability::NoSync,
        "eventual" => Durability::Eventual,
        _ => Durability::OnDisk,
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the router; says whether all that was acknowledged is in its store.
async fn run(arguments: &Arguments) -> Result<bool> {
    let temporary = tempfile::tempdir()?;
    let path = match (&arguments.store, arguments.engine) {
        (_, Engine::Memory) => PathBuf::new(),
        (Some(path), _) => path.clone(),
        (None, _) => temporary.path().join("store"),
    };
    let location = Location::new(arguments.engine, path);
    let is_kept = arguments.engine != Engine::Memory;
    let is_there = is_kept && location.path().exists();
    // Before the store, so that there is none without a journal.
    let journal = match is_kept {
        true => Journal::open(&location)?,
        false => Journal::none(),
    };
    if is_there && !check::is_sound(&location, &journal)? {
        return Ok(false);
    }

    let recorder = DebuggingRecorder::new();
    let statistics = Arc::new(Statistics::new(recorder.snapshotter()));
    recorder.install()?;

    // `realmstore::open_async` is the short way. This one knows which sessions it closed.
    let store = OpenOptions::new()
        .durability(arguments.durability)
        .open(&location)?;
    let store = AsyncOptions::new()
        .realm("realm1")
        .node(NODE)
        .start(store)?;
    if !store.closed_at_start().is_empty() {
        println!(
            "closed {} sessions that were left open",
            store.closed_at_start().len()
        );
    }
    let store: Arc<dyn AsyncRealmStore> = Arc::new(store);

    let broker = Arc::new(Broker::new(Arc::clone(&store), NODE));
    let journal = Arc::new(journal);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..arguments.clients {
        let client = Client::new(number, arguments.topics, &broker, &journal, &statistics)?;
        clients.spawn(client.live(Arc::clone(&stop)));
    }
    println!(
        "{} clients on {location}, for {} s; ctrl-C stops",
        arguments.clients, arguments.seconds
    );
    let failed = watch(&mut clients, &statistics, arguments.seconds).await;
    stop.store(true, Ordering::Relaxed);
    tokio::spawn(async {
        if stop_signal().await.is_ok() {
            std::process::exit(130);
        }
    });
    let mut outcome = failed;
    while let Some(ended) = clients.join_next().await {
        outcome = outcome.and(ended?);
    }
    store.close().await?;
    statistics.print_all();
    outcome?;
    if !is_kept {
        println!("a store in memory is gone when it is closed: nothing to check");
        return Ok(true);
    }
    check::is_sound(&location, &journal)
}

/// Says every second what was done in it, until the time is over, somebody
/// stops the program, or a client has failed.
async fn watch(
    clients: &mut JoinSet<Result<()>>,
    statistics: &Statistics,
    seconds: u64,
) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut every_second = interval(Duration::from_secs(1));
    every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every_second.tick().await;
    let mut stopped = std::pin::pin!(stop_signal());
    loop {
        tokio::select! {
            _ = every_second.tick() => statistics.print_last_second(),
            () = sleep_until(end) => return Ok(()),
            stopped = &mut stopped => return stopped,
            Some(ended) = clients.join_next() => ended??,
        }
    }
}

/// Waits until somebody wants the program to end: ctrl-C or SIGTERM.
async fn stop_signal() -> Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    println!("stopping");
    Ok(())
}
