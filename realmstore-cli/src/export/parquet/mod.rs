//! Everything that a realm store holds, as Parquet: a file for each table.

mod columns;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use realmstore_core::record::Retained;
use realmstore_core::{Backend, Event, Publication, RealmStore, Session, Subscription};
use tempfile::TempDir;

use self::columns::{Columns, Row};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::place::sync_directory;
use crate::rows::{self, Found, Page, Stored};
use crate::table::grouped;

/// How many records are turned into columns together at most.
const BATCH_RECORDS: usize = 8192;

/// How many bytes of them, about, as they are stored.
const BATCH_BYTES: usize = 4 << 20;

/// How many bytes a row group has in memory, about, before it is written.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Writes a file for each table, such as `sessions.parquet`, into a directory,
/// which is made where there is none. The files are put in their places when
/// all are complete.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    directory: &Path,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    fs::create_dir_all(directory)
        .map_err(|error| Failure::at(directory, "cannot be made", error))?;
    let names = [
        name::<Session>(),
        name::<Publication>(),
        name::<Event>(),
        name::<Subscription>(),
        name::<Retained>(),
    ];
    let require_nothing = || {
        let mut there = names.iter().map(|name| directory.join(name));
        match there.find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Err(Failure::new(format!(
                "{} is there already, and is not overwritten",
                path.display()
            ))),
            None => Ok(()),
        }
    };
    require_nothing()?;
    let workplace = tempfile::Builder::new()
        .prefix(".exporting.")
        .tempdir_in(directory)
        .map_err(|error| Failure::at(directory, "does not take a new directory", error))?;

    let mut file = TableFile::<Session>::create(&workplace)?;
    rows::sessions(
        store,
        &txn,
        Page::ALL,
        |_| Ok(true),
        |found| file.add(&found),
    )?;
    let sessions = file.finish()?;
    let mut file = TableFile::<Publication>::create(&workplace)?;
    rows::publications(
        store,
        &txn,
        Page::ALL,
        |_| Ok(true),
        |found| file.add(&found),
    )?;
    let publications = file.finish()?;
    let mut file = TableFile::<Event>::create(&workplace)?;
    rows::events(store, &txn, None, Page::ALL, |found| file.add(&found))?;
    let events = file.finish()?;
    let mut file = TableFile::<Subscription>::create(&workplace)?;
    rows::by_key(store.subscriptions(), &txn, |found| file.add(&found))?;
    let subscriptions = file.finish()?;
    let mut file = TableFile::<Retained>::create(&workplace)?;
    rows::by_key(store.retained(), &txn, |found| file.add(&found))?;
    let retained = file.finish()?;

    require_nothing()?;
    let records = [sessions, publications, events, subscriptions, retained];
    for (name, records) in names.iter().zip(records) {
        let path = directory.join(name);
        fs::rename(workplace.path().join(name), &path)
            .map_err(|error| Failure::at(&path, "cannot be put in place", error))?;
        output.line(format_args!(
            "{}: {} rows",
            path.display(),
            grouped(records)
        ))?;
    }
    sync_directory(directory).map_err(|error| Failure::at(directory, "cannot be synced", error))
}

fn name<R: Stored>() -> String {
    format!("{}.parquet", R::TABLE)
}

/// The file of a table, in the making.
struct TableFile<R> {
    path: PathBuf,
    writer: ArrowWriter<File>,
    columns: Columns<R>,
    bytes: usize,
    records: u64,
}

impl<R: Stored + Row> TableFile<R> {
    fn create(workplace: &TempDir) -> Result<Self> {
        let path = workplace.path().join(name::<R>());
        let file =
            File::create_new(&path).map_err(|error| Failure::at(&path, "cannot be made", error))?;
        let columns = Columns::new();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("realmstore ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, columns.schema(), Some(properties))
            .map_err(|error| failed(&path, error))?;
        Ok(Self {
            path,
            writer,
            columns,
            bytes: 0,
            records: 0,
        })
    }

    fn add(&mut self, found: &Found<R>) -> Result<()> {
        let is_damaged = found.warn_of_damage();
        self.columns.add(&found.record, is_damaged)?;
        self.records += 1;
        self.bytes = self.bytes.saturating_add(found.stored_bytes);
        if self.columns.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.bytes = 0;
        let path = &self.path;
        let written = self.columns.take().and_then(|batch| {
            self.writer.write(&batch)?;
            if self.writer.memory_size() >= ROW_GROUP_BYTES {
                self.writer.flush()?;
            }
            Ok(())
        });
        written.map_err(|error| failed(path, error))
    }

    /// Puts the whole file on disk; the number of its rows.
    fn finish(mut self) -> Result<u64> {
        self.write()?;
        let file = self.writer.into_inner();
        let file = file.map_err(|error| failed(&self.path, error))?;
        file.sync_all()
            .map_err(|error| Failure::at(&self.path, "cannot be synced", error))?;
        Ok(self.records)
    }
}

fn failed(path: &Path, error: ParquetError) -> Failure {
    Failure::at(path, "cannot be written", std::io::Error::other(error))
}
