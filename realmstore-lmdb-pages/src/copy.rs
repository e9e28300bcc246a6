//! A copy of a file that others may be writing to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use realmstore_core::{Error, ErrorKind, Result};

use crate::ENGINE;
use crate::backend::open_file;
use crate::error;
use crate::file::DataFile;
use crate::format::FileFormat;
use crate::header::COMMIT_NUMBER_AT;
use crate::page::META_FLAG;
use crate::snapshot::Snapshot;

/// How often a copy is begun.
const ATTEMPTS: u32 = 10;

/// How long to wait before the second attempt; each further wait is longer by
/// as much.
const PAUSE: Duration = Duration::from_millis(20);

/// What [`copy_snapshot`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedSnapshot {
    /// The format of the file and of its copy.
    pub format: FileFormat,
    /// The number of the commit that the copy holds.
    pub commit_number: u64,
    /// The length of the copy in bytes.
    pub len: u64,
    /// How often the copy was begun.
    pub attempts: u32,
}

/// Copies what one commit left in an LMDB file of either format, while other
/// programs may be writing to it. No lock is taken and no lock file opened.
///
/// `source` is a store's directory or a data file. `to` is the file to make;
/// it must not exist, and is readable by its owner only. When the call
/// returns, it is on disk, whole, and can be opened by LMDB or by
/// [`PagesBackend`](crate::PagesBackend). After an error it is gone.
///
/// The pages are copied at the speed of the disk, damaged ones as they are.
/// The copy is good if not more than one commit was made meanwhile; otherwise
/// it is made again, up to ten times. Where the file system can share blocks
/// between files, it takes no time at all.
///
/// # Errors
/// * [`ErrorKind::Busy`]: too many commits were made each time; stop the
///   router for a moment, or try again when it writes less;
/// * [`ErrorKind::InvalidInput`]: `to` exists;
/// * [`ErrorKind::Full`], [`ErrorKind::Io`]: `to` cannot be written;
/// * those of [`PagesBackend::open`](crate::PagesBackend::open).
pub fn copy_snapshot(source: &Path, to: &Path) -> Result<CopiedSnapshot> {
    let copied = (|| {
        let (file, format) = open_file(source)?;
        // Before anything is made that would have to go again.
        Snapshot::begin(&file, format)?;
        let copy = create(to)?;
        copy_patiently(&file, format, &copy, to, true).inspect_err(|_| {
            // The first error is the one that matters.
            let _ = fs::remove_file(to);
        })
    })();
    copied.map_err(|error: Error| error.engine(ENGINE).operation("copy"))
}

fn create(to: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(to).map_err(|reason| {
        if reason.kind() == io::ErrorKind::AlreadyExists {
            let message = format!("{} exists already; copy to another place", to.display());
            return Error::new(ErrorKind::InvalidInput, message).source(reason);
        }
        error::system(reason, to, "cannot be created")
    })
}

/// Copies until a copy is good; `durable` says whether it is then on disk.
pub(crate) fn copy_patiently(
    file: &DataFile,
    format: FileFormat,
    copy: &File,
    to: &Path,
    durable: bool,
) -> Result<CopiedSnapshot> {
    for attempt in 1..=ATTEMPTS {
        match copy_once(file, format, copy, to, durable) {
            Ok(snapshot) => {
                return Ok(CopiedSnapshot {
                    format,
                    commit_number: snapshot.meta.commit_number,
                    len: copy
                        .metadata()
                        .map_err(|reason| error::system(reason, to, "cannot be looked at"))?
                        .len(),
                    attempts: attempt,
                });
            }
            Err(error) if error.kind() == ErrorKind::Conflict => thread::sleep(PAUSE * attempt),
            Err(error) => return Err(error),
        }
    }
    Err(file.error(
        ErrorKind::Busy,
        &format!(
            "was written to faster than it could be copied, {ATTEMPTS} times; stop the router \
             for a moment, or try again when it writes less"
        ),
    ))
}

fn copy_once<'f>(
    file: &'f DataFile,
    format: FileFormat,
    copy: &File,
    to: &Path,
    durable: bool,
) -> Result<Snapshot<'f>> {
    let failed = |reason| error::system(reason, to, "cannot be written");
    let snapshot = Snapshot::begin(file, format)?;
    let begin = 2 * snapshot.meta.page_size;
    // Pages behind the end of the file are free ones, and stay behind it.
    let end = snapshot
        .meta
        .expected_len()
        .unwrap_or_default()
        .min(file.len()?);
    copy.set_len(0).map_err(failed)?;
    copy_range(file.as_file(), copy, begin..end).map_err(failed)?;
    snapshot.confirm()?;
    // Whoever opens the copy before it is whole finds that it is no LMDB file.
    if durable {
        copy.sync_all().map_err(failed)?;
    }
    let mut place = copy;
    place.rewind().map_err(failed)?;
    place.write_all(&headers(&snapshot)).map_err(failed)?;
    if durable {
        copy.sync_all().map_err(failed)?;
    }
    Ok(snapshot)
}

fn copy_range(mut from: &File, mut to: &File, range: std::ops::Range<u64>) -> io::Result<()> {
    let len = range.end.saturating_sub(range.start);
    from.seek(SeekFrom::Start(range.start))?;
    to.seek(SeekFrom::Start(range.start))?;
    let copied = io::copy(&mut from.take(len), &mut to)?;
    if copied < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the original became shorter",
        ));
    }
    Ok(())
}

/// Both header pages of the copy. What the commit before left may be
/// overwritten already, so the page that would tell of it tells of the same
/// trees, with a smaller number.
fn headers(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let meta = &snapshot.meta;
    let header = meta.format.header_len();
    let mut pages = Vec::new();
    for number in [0, 1] {
        let mut page = vec![0; header];
        put(&mut page, 0, &u64::to_ne_bytes(number));
        put(&mut page, meta.format.flags_at(), &META_FLAG.to_ne_bytes());
        page.extend_from_slice(&meta.raw);
        if number != meta.page {
            let older = meta.commit_number.saturating_sub(1);
            put(&mut page, header + COMMIT_NUMBER_AT, &older.to_ne_bytes());
        }
        page.resize(meta.page_size as usize, 0);
        pages.append(&mut page);
    }
    pages
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *new;
    }
}
