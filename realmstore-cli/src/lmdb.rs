//! Reading LMDB files of both formats, beside whoever has them open.

use std::path::Path;

use realmstore_core::{Backend, Result};
use realmstore_lmdb_pages::{PageFinding, PagesBackend, Severity};

use crate::engines::Damage;

/// Checks every page of an LMDB file.
pub fn check_lmdb(file: &PagesBackend, on_damage: &mut dyn FnMut(Damage)) -> Result<()> {
    file.check(|finding| {
        if finding.severity == Severity::Damage {
            on_damage(damage(finding));
        }
    })
}

/// What reading an LMDB file past its damage left out.
pub fn skipped_in_lmdb(file: &PagesBackend) -> Vec<Damage> {
    file.skipped().into_iter().map(damage).collect()
}

fn damage(finding: PageFinding) -> Damage {
    Damage {
        place: format!("page {}", finding.page),
        problem: finding.message,
    }
}

/// The largest file of a running router that is copied to be read.
const LARGEST_COPY: u64 = 1 << 30;

/// Opens an LMDB file to be read, without LMDB: none of its locks is taken,
/// and whoever has the file open goes on undisturbed.
///
/// A file that somebody has open, as `holder` tells, is copied to a temporary
/// one first, since what is read of it in place is good only until two more
/// commits are made.
/// One of more than 1 GiB, or one that cannot be copied, for want of space or
/// because it is committed to faster, is read in place all the same; whoever
/// wants all of it takes a backup.
pub fn read_lmdb<H>(
    path: &Path,
    holder: impl FnOnce(&Path) -> Result<Option<H>>,
) -> Result<PagesBackend> {
    let mut in_place = PagesBackend::open(path)?;
    // Where it cannot be told, somebody may have it open.
    let may_be_held = holder(path).map_or(true, |holder| holder.is_some());
    if !may_be_held || in_place.info()?.size_on_disk > LARGEST_COPY {
        return Ok(in_place);
    }
    let copied = tempfile::tempfile().map(|copy| in_place.copied_into(copy));
    // Without a copy a short look may still be had before the next two commits.
    Ok(match copied {
        Ok(Ok(copy)) => copy,
        _ => in_place,
    })
}
