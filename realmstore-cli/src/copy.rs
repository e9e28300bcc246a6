//! `copy`: a store, byte by byte, to another place or engine.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use realmstore_core::store::{Copied, copy, measure};
use realmstore_core::{Backend, Engine, Location};

use crate::engines::{Engines, Writing};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::table::{bytes, grouped};

/// Copies the store at `from` to `to`, where there must be nothing yet.
///
/// The copy is made in a directory beside its place, and moved there once it is
/// complete and was compared with its source: what stands at `to` is a whole
/// store, whatever interrupts this.
pub(crate) fn run<E: Engines>(
    engines: &E,
    from: &Location,
    to: &Location,
    output: &mut Output,
) -> Result<()> {
    for location in [from, to] {
        if location.engine() == Engine::Memory {
            return Err(Failure::new(format!(
                "{location} ends with this command; a copy needs two stores that stay"
            )));
        }
    }
    engines.will_write(to)?;
    let source = engines.read(from)?;
    require_nothing_at(to.path())?;
    let beside = parent(to.path());
    fs::create_dir_all(beside).map_err(|error| io(beside, "cannot be made", error))?;
    let name = to.path().file_name().unwrap_or_default();
    let workplace = tempfile::Builder::new()
        .prefix(&format!(".{}.copying.", name.to_string_lossy()))
        .tempdir_in(beside)
        .map_err(|error| io(beside, "does not take a new directory", error))?;
    let unfinished = Location::new(to.engine(), workplace.path().join("store"));

    let start = Instant::now();
    let writing = Writing {
        create: true,
        ..Writing::default()
    };
    let copied = copy_whole(&source, &engines.write(&unfinished, writing)?)?;
    drop(source);
    // An empty directory may stand in the way; rename does not replace one everywhere.
    let _ = fs::remove_dir(to.path());
    fs::rename(unfinished.path(), to.path())
        .and_then(|()| sync_directory(beside))
        .map_err(|error| io(to.path(), "cannot be put in place", error))?;

    output.line(format_args!(
        "{} entries, {}, copied from {from} to {to} and compared in {:.1} s",
        grouped(copied.entries),
        bytes(copied.bytes),
        start.elapsed().as_secs_f64()
    ))
}

fn copy_whole<S: Backend, D: Backend>(source: &S, destination: &D) -> Result<Copied> {
    let bar = ProgressBar::new(measure(source)?.bytes).with_style(
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let copied = copy(source, destination, |so_far| {
        bar.set_position(so_far.bytes);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    copied?.ok_or_else(|| Failure::new("the copy stopped"))
}

/// Puts a directory's entries on disk, where a directory can be opened for that.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        fs::File::open(path)?.sync_all()?;
    }
    Ok(())
}

fn require_nothing_at(path: &Path) -> Result<()> {
    if path.file_name().is_some_and(|name| name == "data.mdb") {
        return Err(Failure::new(format!(
            "{} names the file of a store; a copy goes to a directory",
            path.display()
        )));
    }
    match fs::read_dir(path).map(Iterator::count) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Failure::new(format!(
            "{} is not empty; a copy makes a new store",
            path.display()
        ))),
        Err(error) => Err(io(path, "cannot be looked into", error)),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn io(path: &Path, what: &str, error: std::io::Error) -> Failure {
    Failure::Other(format!("{} {what}", path.display()), Some(error))
}
