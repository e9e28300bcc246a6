//! `copy`: a store, byte by byte, to another place or engine.

use std::ops::ControlFlow;
use std::time::Instant;

use realmstore_core::store::{Copied, copy, measure};
use realmstore_core::{Backend, Location};

use crate::engines::{Engines, Writing};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::place::{NewStore, require_lasting, require_nothing_at};
use crate::progress::Progress;
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
    require_lasting([from, to])?;
    require_nothing_at(to.path())?;
    engines.will_write(to)?;
    let start = Instant::now();
    let source = engines.read(from)?;
    let made = NewStore::at(to, "copying")?;
    let copied = copy_into(engines, &source, &made)?;
    drop(source);
    made.put_in_place()?;
    output.line(format_args!(
        "{} entries, {}, copied from {from} to {to} and compared in {:.1} s",
        grouped(copied.entries),
        bytes(copied.bytes),
        start.elapsed().as_secs_f64()
    ))
}

/// Fills a store in the making with all that a source holds, and compares the two.
pub(crate) fn copy_into<E: Engines>(
    engines: &E,
    source: &impl Backend,
    made: &NewStore<'_>,
) -> Result<Copied> {
    let writing = Writing {
        create: true,
        ..Writing::default()
    };
    let destination = engines.write(&made.unfinished(), writing)?;
    let progress = Progress::of_counted_bytes(|| Ok(measure(source)?.bytes))?;
    let copied = copy(source, &destination, |so_far| {
        progress.set(so_far.bytes);
        ControlFlow::Continue(())
    });
    drop(progress);
    copied?.ok_or_else(|| Failure::new("the copy stopped"))
}
