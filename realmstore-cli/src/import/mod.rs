//! `import`: what `export` wrote, or the records of another store.

mod importer;
mod lines;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use realmstore_core::record::Retained;
use realmstore_core::{
    Backend, Engine, Event, Location, Publication, RealmStore, Session, Subscription,
};
use serde_json::Value;

use self::importer::{Candidate, Fate, Import, Importer};
use self::lines::Lines;
use crate::Outcome;
use crate::cli::WriteArgs;
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::json::{Object, excerpt, too_wide_integer};
use crate::output::Output;
use crate::progress::Progress;
use crate::rows::{self, Found, Page, Stored};
use crate::table::grouped;

/// The longest line that is read, in bytes: a message of WAMP is far from it.
const LONGEST_LINE: usize = 64 << 20;

/// Where the records come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// JSON Lines, on standard input.
    Stdin,
    /// JSON Lines, in a file.
    File(PathBuf),
    /// Another store.
    Store(Location),
}

impl FromStr for Source {
    type Err = realmstore_core::Error;

    fn from_str(text: &str) -> realmstore_core::Result<Self> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let location: Location = text.parse()?;
        let path = Path::new(text);
        let names_engine = location.path() != path;
        let is_store = path.is_dir() || path.file_name().is_some_and(|name| name == "data.mdb");
        Ok(if names_engine || is_store {
            Self::Store(location)
        } else {
            Self::File(path.to_owned())
        })
    }
}

/// Imports all records of `from` into the store at `into`, which is made where
/// there is none. Those that are refused are named on standard error.
pub(crate) fn run<E: Engines>(
    engines: &E,
    into: &Location,
    from: &Source,
    replace: bool,
    writing: WriteArgs,
    output: &mut Output,
) -> Result<Outcome> {
    if into.engine() == Engine::Memory {
        return Err(Failure::new(format!(
            "{into} ends with this command; an import needs a store that stays"
        )));
    }
    engines.will_write(into)?;
    let mut is_whole = true;
    // Nothing is made before it is known that there is something to read.
    let tally = match from {
        Source::Stdin => {
            let store = crate::open_or_make(engines, into, writing)?;
            let import = Run::new(&store, replace, Progress::of_unknown_bytes());
            let stdin = io::stdin();
            import.lines(
                buffered(stdin.lock()),
                || would_wait(&stdin),
                "standard input",
            )?
        }
        Source::File(path) => {
            let name = path.display();
            let failed = |error| Failure::Other(format!("{name} cannot be read"), Some(error));
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            let other_handle = file.try_clone().map_err(failed)?;
            let progress = if metadata.is_file() {
                Progress::of_bytes(metadata.len())
            } else {
                Progress::of_unknown_bytes()
            };
            let store = crate::open_or_make(engines, into, writing)?;
            Run::new(&store, replace, progress).lines(
                buffered(file),
                || would_wait(&other_handle),
                name,
            )?
        }
        Source::Store(location) => {
            let mut tally = Tally::default();
            is_whole = crate::past_damage(engines, location, |source| {
                let store = crate::open_or_make(engines, into, writing)?;
                tally = Run::new(&store, replace, Progress::of_records()).store(source)?;
                Ok(())
            })? == Outcome::Done;
            tally
        }
    };
    output.line(&tally)?;
    Ok(if tally.refused == 0 && is_whole {
        Outcome::Done
    } else {
        Outcome::Found
    })
}

/// Whether there is nothing to read from an input yet.
#[cfg(unix)]
fn would_wait(input: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let at_once = Timespec::default();
    let mut watched = [PollFd::new(input, PollFlags::IN)];
    poll(&mut watched, Some(&at_once)) == Ok(0)
}

#[cfg(not(unix))]
fn would_wait<I>(_input: &I) -> bool {
    true
}

fn buffered<I: Read>(input: I) -> BufReader<I> {
    BufReader::with_capacity(1 << 18, input)
}

/// What became of the records.
#[derive(Default)]
struct Tally {
    imported: u64,
    already_there: u64,
    replaced: u64,
    refused: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} imported, {} already there, {} replaced, {} refused",
            grouped(self.imported),
            grouped(self.already_there),
            grouped(self.replaced),
            grouped(self.refused)
        )
    }
}

/// An import under way.
struct Run<'s, B: Backend> {
    importer: Importer<'s, B>,
    progress: Progress,
    tally: Tally,
}

impl<'s, B: Backend> Run<'s, B> {
    fn new(store: &'s RealmStore<B>, replace: bool, progress: Progress) -> Self {
        Self {
            importer: Importer::new(store, replace),
            progress,
            tally: Tally::default(),
        }
    }

    /// Imports lines that `export` wrote. `name` is what their input is called.
    /// Where reading it `would_wait`, what is there is put on disk before:
    /// nobody else could write to the store meanwhile.
    fn lines(
        mut self,
        input: BufReader<impl Read>,
        would_wait: impl Fn() -> bool,
        name: impl fmt::Display,
    ) -> Result<Tally> {
        let failed = |error| Failure::Other(format!("{name} cannot be read"), Some(error));
        let mut lines = Lines::new(input, LONGEST_LINE);
        loop {
            if !lines.has_next() && would_wait() {
                self.importer.commit()?;
            }
            let Some(line) = lines.next().map_err(failed)? else {
                break;
            };
            self.progress.set(line.end);
            let place = format_args!("line {}", line.number);
            match line.text {
                None => self.refuse(
                    place,
                    format_args!("it has more than the {LONGEST_LINE} bytes that a line may have"),
                ),
                Some(text) if text.trim_ascii().is_empty() => {}
                Some(text) => self.line(place, text)?,
            }
        }
        self.finish()
    }

    fn line(&mut self, place: fmt::Arguments<'_>, line: &[u8]) -> Result<()> {
        let (table, fields, is_damaged) = match parse(line) {
            Ok(parsed) => parsed,
            Err(reason) => {
                self.refuse(place, reason);
                return Ok(());
            }
        };
        let bytes = line.len();
        match table.as_str() {
            Session::TABLE => self.fields::<Session>(place, fields, is_damaged, bytes),
            Publication::TABLE => self.fields::<Publication>(place, fields, is_damaged, bytes),
            Event::TABLE => self.fields::<Event>(place, fields, is_damaged, bytes),
            Subscription::TABLE => self.fields::<Subscription>(place, fields, is_damaged, bytes),
            Retained::TABLE => self.fields::<Retained>(place, fields, is_damaged, bytes),
            table => {
                let (table, names) = (excerpt(table), TABLES.join(", "));
                self.refuse(
                    place,
                    format_args!("{table}: there is no such table; there are {names}"),
                );
                Ok(())
            }
        }
    }

    fn fields<R: Import>(
        &mut self,
        place: fmt::Arguments<'_>,
        fields: Object,
        is_damaged: bool,
        bytes: usize,
    ) -> Result<()> {
        match R::from_json(fields) {
            Ok(record) => {
                let candidate = Candidate {
                    record,
                    is_damaged,
                    bytes,
                };
                self.take(place, candidate)
            }
            Err(reason) => {
                self.refuse(place, format_args!("{}: {reason}", R::TABLE));
                Ok(())
            }
        }
    }

    /// Imports the records of another store, in the order in which they are exported.
    fn store<S: Backend>(mut self, source: &RealmStore<S>) -> Result<Tally> {
        let txn = source.begin_read()?;
        let mut done = 0;
        let mut next = |progress: &Progress| {
            done += 1;
            progress.set(done);
        };
        rows::sessions(
            source,
            &txn,
            Page::ALL,
            |_| Ok(true),
            |found| {
                next(&self.progress);
                self.found(found)
            },
        )?;
        rows::publications(
            source,
            &txn,
            Page::ALL,
            |_| Ok(true),
            |found| {
                next(&self.progress);
                self.found(found)
            },
        )?;
        rows::events(source, &txn, None, Page::ALL, |found| {
            next(&self.progress);
            self.found(found)
        })?;
        rows::by_key(source.subscriptions(), &txn, |found| {
            next(&self.progress);
            self.found(found)
        })?;
        rows::by_key(source.retained(), &txn, |found| {
            next(&self.progress);
            self.found(found)
        })?;
        self.finish()
    }

    fn found<R: Import>(&mut self, found: Found<R>) -> Result<()> {
        let key = found.record.key_text();
        let place = format_args!("{} {key}", R::TABLE);
        for damage in &found.damage {
            self.progress.tell(format_args!("warning: {damage}"));
        }
        if found.has_unknown_fields {
            self.refuse(
                place,
                "it has fields that only a newer realmstore knows, which would be lost",
            );
            return Ok(());
        }
        let (is_damaged, bytes) = (!found.damage.is_empty(), found.stored_bytes);
        if is_damaged {
            // What a file would have of it: no more than what can be read.
            return self.fields::<R>(place, found.record.to_json(), is_damaged, bytes);
        }
        let candidate = Candidate {
            record: found.record,
            is_damaged,
            bytes,
        };
        self.take(place, candidate)
    }

    fn take<R: Import>(
        &mut self,
        place: fmt::Arguments<'_>,
        candidate: Candidate<R>,
    ) -> Result<()> {
        let is_damaged = candidate.is_damaged;
        match self.importer.take(candidate)? {
            Err(reason) => self.refuse(place, format_args!("{}: {reason}", R::TABLE)),
            Ok(Fate::AlreadyThere) => self.tally.already_there += 1,
            Ok(fate) => {
                if fate == Fate::Imported {
                    self.tally.imported += 1;
                } else {
                    self.tally.replaced += 1;
                }
                if is_damaged {
                    self.progress.tell(format_args!(
                        "warning: {place}: imported as far as the damaged record can be read"
                    ));
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, place: fmt::Arguments<'_>, reason: impl fmt::Display) {
        self.tally.refused += 1;
        self.progress
            .tell(format_args!("refused: {place}: {reason}"));
    }

    fn finish(mut self) -> Result<Tally> {
        self.importer.commit()?;
        Ok(self.tally)
    }
}

/// The names of the tables.
const TABLES: [&str; 5] = [
    Session::TABLE,
    Publication::TABLE,
    Event::TABLE,
    Subscription::TABLE,
    Retained::TABLE,
];

/// The table of a line, the fields of its record, and whether it is marked as damaged.
fn parse(line: &[u8]) -> Result<(String, Object, bool), String> {
    if let Some(number) = too_wide_integer(line) {
        let number = number.get(..60).unwrap_or(number);
        return Err(format!(
            "the integer {number} has more than 64 bits; what JSON cannot hold is written as its CBOR"
        ));
    }
    let mut line: Object = serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = text.strip_suffix(&place).unwrap_or(&text);
        format!("it is no JSON object: {what}, at byte {}", error.column())
    })?;
    let table = match line.swap_remove("table") {
        Some(Value::String(table)) => table,
        _ => return Err(format!("\"table\" must be one of {}", TABLES.join(", "))),
    };
    let Some(Value::Object(fields)) = line.swap_remove("record") else {
        return Err("\"record\" must be the object with the record's fields".to_owned());
    };
    let is_damaged = match line.swap_remove("damaged") {
        None => false,
        Some(Value::Bool(is_damaged)) => is_damaged,
        Some(_) => return Err("\"damaged\" must be true or false".to_owned()),
    };
    match line.keys().next() {
        None => Ok((table, fields, is_damaged)),
        Some(key) => Err(format!(
            "{}: a line has \"table\", \"record\" and \"damaged\", and nothing else",
            excerpt(key)
        )),
    }
}
