//! A data file, read by position.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use realmstore_core::{Error, ErrorKind, Result};

use crate::{DATA_FILE, error};

/// An open data file, and where it is.
#[derive(Debug)]
pub(crate) struct DataFile {
    file: File,
    path: PathBuf,
}

/// The data file that a path means: itself, or the `data.mdb` in it where it
/// is a directory.
pub(crate) fn data_file(path: &Path) -> PathBuf {
    if path.is_file() {
        path.to_owned()
    } else {
        path.join(DATA_FILE)
    }
}

impl DataFile {
    /// `None` where there is none.
    pub(crate) fn open(path: PathBuf) -> Result<Option<Self>> {
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(error::system(reason, &path, "cannot be read")),
        }
    }

    /// Another file, by the path of this one.
    pub(crate) fn with_content_of(&self, file: File) -> Self {
        Self {
            file,
            path: self.path.clone(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself. Its position is nobody's.
    pub(crate) fn as_file(&self) -> &File {
        &self.file
    }

    /// Its length in bytes, now.
    pub(crate) fn len(&self) -> Result<u64> {
        match self.file.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(reason) => Err(self.unreadable(reason)),
        }
    }

    /// Fills the buffer from `offset` on; says how much of it, which is less
    /// than all only at the end of the file.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(filled as u64) else {
                break;
            };
            match read_some(&self.file, rest, at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                Err(reason) => return Err(self.unreadable(reason)),
            }
        }
        Ok(filled)
    }

    pub(crate) fn damaged(&self, what: &str) -> Error {
        self.error(ErrorKind::Damaged, what)
    }

    pub(crate) fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("{} {what}", self.path.display()))
    }

    fn unreadable(&self, reason: io::Error) -> Error {
        error::system(reason, &self.path, "cannot be read")
    }
}

#[cfg(unix)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
