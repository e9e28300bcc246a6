//! Reading LMDB files of both formats, beside whoever has them open.

use std::path::Path;

use realmstore_core::{Backend, Error, ErrorKind, Result};
use realmstore_lmdb_pages::{PagesBackend, Severity, copy_snapshot};

use crate::engines::Damage;

/// Checks every page of an LMDB file.
pub fn check_lmdb(file: &PagesBackend, on_damage: &mut dyn FnMut(Damage)) -> Result<()> {
    file.check(|finding| {
        if finding.severity == Severity::Damage {
            on_damage(Damage {
                place: format!("page {}", finding.page),
                problem: finding.message,
            });
        }
    })
}

/// The largest file of a running router that is copied to be read.
const LARGEST_COPY: u64 = 1 << 30;

/// Opens an LMDB file to be read, without LMDB: none of its locks is taken,
/// and whoever has the file open goes on undisturbed.
///
/// A file that somebody has open, as `holder` tells, is copied first, since
/// what is read of it in place is good only until two more commits are made.
/// One of more than 1 GiB is read in place all the same; whoever wants all of
/// it takes a backup.
pub fn read_lmdb<H>(
    path: &Path,
    holder: impl FnOnce(&Path) -> Result<Option<H>>,
) -> Result<PagesBackend> {
    let in_place = PagesBackend::open(path)?;
    // Where it cannot be told, somebody may have it open.
    let may_be_held = holder(path).map_or(true, |holder| holder.is_some());
    if !may_be_held || in_place.info()?.size_on_disk > LARGEST_COPY {
        return Ok(in_place);
    }
    let directory = tempfile::tempdir().map_err(|reason| {
        Error::new(
            ErrorKind::Io,
            "no temporary directory can be made to copy the store to",
        )
        .source(reason)
    })?;
    let copy = directory.path().join("data.mdb");
    copy_snapshot(path, &copy)?;
    // Open, it needs no name; the directory goes now, whatever ends this process.
    PagesBackend::open(copy)
}
