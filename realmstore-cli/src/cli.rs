//! The command line.

#[cfg(feature = "parquet")]
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use realmstore_core::{Location, MatchPolicy, SessionId, SubscriptionId, Timestamp};

use crate::history::HistoryArgs;
use crate::import::Source;
use crate::retained::RetainedArgs;
use crate::subscription::match_policy;

/// What a script can tell from the exit code.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 a check found something, 2 could not do it.";

#[cfg(not(feature = "parquet"))]
const EXPORT_EXAMPLES: &str =
    "Example:\n  realmstore export /var/lib/crossbar/realm1 > realm1.jsonl";
#[cfg(feature = "parquet")]
const EXPORT_EXAMPLES: &str = "Examples:
  realmstore export /var/lib/crossbar/realm1 > realm1.jsonl
  realmstore export /var/lib/crossbar/realm1 --parquet ./realm1
  duckdb -c \"SELECT topic, count(*) FROM './realm1/publications.parquet' GROUP BY topic\"";

/// Look into the realm stores of WAMP routers: sessions, publications, events
/// and the history of subscriptions.
///
/// A STORE is named by its engine and path, such as lmdb:PATH, or by its path
/// alone. Stores that Crossbar.io wrote are read as they are. Every command but
/// `demo`, `import`, `adopt`, `repair`, `purge`, `compact` and `restore` opens the store
/// read-only and changes nothing in it.
#[derive(Parser)]
#[command(name = "realmstore", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// See it work, on the recording of a real router
    ///
    /// Takes the bundled recording of a Crossbar.io router, stores its
    /// sessions, publications and events in a new realm store in one durable
    /// commit, and reads the history of a subscription back.
    #[command(after_long_help = "Example:\n  realmstore demo ./my-store")]
    Demo {
        /// Where to keep the new store [default: a temporary directory, removed at the end]
        store: Option<Location>,
    },
    /// What a store is and holds: engine, format, size, tables
    ///
    /// Counts the rows of every table, those of other programs included, by
    /// walking the whole store.
    #[command(after_long_help = "Example:\n  realmstore info /var/lib/crossbar/realm1")]
    Info {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        format: Format,
    },
    /// Who joined and left, by the time of joining
    #[command(
        after_long_help = "Example:\n  realmstore sessions ./my-store --authid joe --reverse --limit 10"
    )]
    Sessions {
        #[command(flatten)]
        store: Store,
        /// Only sessions with this authid
        #[arg(long)]
        authid: Option<String>,
        /// Only sessions with this WAMP session ID
        #[arg(long, value_name = "ID")]
        session: Option<SessionId>,
        /// Only sessions that have not left
        #[arg(long)]
        open: bool,
        /// Only sessions that were there at a time: they had joined, and not left (RFC 3339)
        #[arg(long, value_name = "TIME")]
        present_at: Option<Timestamp>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        format: Format,
    },
    /// What was published, by time
    #[command(
        after_long_help = "Example:\n  realmstore publications ./my-store --topic com.example.a --json"
    )]
    Publications {
        #[command(flatten)]
        store: Store,
        /// Only publications to exactly this topic
        #[arg(long)]
        topic: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        format: Format,
    },
    /// What was dispatched to whom, by subscription and time
    #[command(
        after_long_help = "Example:\n  realmstore events ./my-store 5926138259517046 --limit 20"
    )]
    Events {
        #[command(flatten)]
        store: Store,
        /// Only events of this subscription
        subscription: Option<SubscriptionId>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        format: Format,
    },
    /// What is known of subscriptions, and which have history, and of what
    ///
    /// For each subscription, by ID: what it is to, where the store knows that;
    /// whether a history is kept of it and how much of one; the number of
    /// publications and of events, the times of the first and the last one, and
    /// the topics. An alias is an ID that only stands for another one. All that
    /// is known of a subscription is in the JSON.
    #[command(after_long_help = "Example:\n  realmstore subscriptions ./my-store")]
    Subscriptions {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        format: Format,
    },
    /// The history of a subscription: each publication once
    ///
    /// Each publication stands at the time of its first event under the
    /// subscription, oldest first. The options are those of WAMP's
    /// `wamp.subscription.get_events`, and all that are given must hold.
    /// Everything is shown, unless it is asked for as somebody sees it. A
    /// subscription without history is an error (exit code 2), a history in
    /// which nothing is found is not.
    #[command(after_long_help = "Examples:
  realmstore history ./my-store 5926138259517046 --reverse --limit 10
  realmstore history ./my-store --uri com.example. --match prefix --topic com.example.a --json
  realmstore history ./my-store 5926138259517046 --from-time 2026-11-22T12:00:00Z --as-authid joe
  realmstore history ./my-store 5926138259517046 --limit 1000 --cursor")]
    History {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        wanted: Box<HistoryArgs>,
        #[command(flatten)]
        format: Format,
    },
    /// What is retained for those who subscribe later, by topic
    ///
    /// Everything that the store retains, also what has expired: of each topic
    /// the last publication that was for everybody, and later ones that were
    /// for some. As somebody sees it: what they would get if they subscribed
    /// now, one publication of a topic.
    #[command(after_long_help = "Examples:
  realmstore retained ./my-store
  realmstore retained ./my-store --uri com.example. --match prefix --as-authid joe")]
    Retained {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        wanted: RetainedArgs,
        #[command(flatten)]
        format: Format,
    },
    /// One record, as JSON
    #[command(after_long_help = "Examples:
  realmstore get ./my-store publication 145182023210062
  realmstore get ./my-store subscription 5926138259517046
  realmstore get ./my-store session b7dd361d-6dc7-4751-a9a2-38f7a4349ab2")]
    Get {
        #[command(flatten)]
        store: Store,
        /// The kind of record
        table: RecordKind,
        /// A publication's or a subscription's ID; a session's OID, or a WAMP session ID for the latest session that had it
        key: String,
    },
    /// Everything, as JSON Lines or as Parquet
    ///
    /// One object for each record, with its table: sessions by the time of
    /// joining, publications by time, events by subscription and time (those at
    /// the same time in the order of the history), subscriptions by ID, and what
    /// is retained by topic. A record that is damaged comes as far as it can be read, marked as
    /// damaged, and is named on standard error. So is a page of an LMDB file
    /// that cannot be read at all; what stood there is left out, and the exit
    /// code is 1.
    #[command(after_long_help = EXPORT_EXAMPLES)]
    Export {
        #[command(flatten)]
        store: Store,
        /// Write a file for each table, such as events.parquet, into DIR, in
        /// place of JSON Lines to standard output
        ///
        /// DIR is made where there is none. Files that are there are not
        /// overwritten, and a file is there only when it is complete; an
        /// export that is killed may leave a directory .exporting.* in DIR,
        /// which can be deleted. What is unset is null. CBOR is a text of JSON,
        /// as in the JSON Lines. A time after 2262, where those of Parquet end,
        /// is left out with a warning.
        #[cfg(feature = "parquet")]
        #[arg(long, value_name = "DIR")]
        parquet: Option<PathBuf>,
    },
    /// Records as they are committed, like `tail -f`
    ///
    /// Prints sessions that join or leave, publications and events, what is
    /// retained, and what becomes known of subscriptions, whoever commits it: a
    /// running Crossbar.io, or another realmstore. With LMDB a
    /// router is not disturbed; sled cannot be opened while somebody else has
    /// it open. Keeps the keys of all records in memory (8 to 32 bytes each).
    /// Ends when it is stopped.
    #[command(after_long_help = "Examples:
  realmstore tail /var/lib/crossbar/realm1
  realmstore tail ./my-store --from-time 2026-11-22T12:00:00Z --json")]
    Tail {
        #[command(flatten)]
        store: Store,
        /// Begin with what is there already, from this time on (RFC 3339)
        #[arg(long, value_name = "TIME")]
        from_time: Option<Timestamp>,
        #[command(flatten)]
        format: Format,
    },
    /// What export wrote, or the records of another store, into a store
    ///
    /// FROM is a file of JSON Lines as `realmstore export` writes it, - for
    /// standard input, or another store; STORE is made where there is none.
    /// Indexes and history are made anew; what was dispatched at the same time
    /// stands in a history in the order of the lines. Tables of other programs
    /// are not imported: that is `copy`.
    ///
    /// A record that is there already is passed over, so an import may be
    /// stopped at any time and run again. One that cannot be imported is named
    /// on standard error with the reason, the others go on, and the exit code
    /// is 1: a record of which the store has another one under the same key, a
    /// line of more than 64MiB, fields that do not exist, a subscription of which
    /// the store has another one to the same URI, something retained where the
    /// store retains what is later.
    ///
    /// A record that was exported as damaged is imported as far as it could be
    /// read, with a warning. Nobody can tell whom a damaged publication
    /// excluded, nor what one without a topic was: these become eligible for
    /// nobody.
    #[command(after_long_help = "Examples:
  realmstore import ./my-store realm1.jsonl
  ssh router realmstore export /var/lib/crossbar/realm1 | realmstore import sled:./my-store -
  realmstore import ./my-store /var/lib/crossbar/realm1")]
    Import {
        #[command(flatten)]
        store: Store,
        /// A file of JSON Lines, - for standard input, or a store: a directory, or ENGINE:PATH
        from: Source,
        /// Overwrite records that are there with another content
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        writing: WriteArgs,
    },
    /// Make a store of Crossbar.io our own, so that history is read fast
    ///
    /// Moves the events that Crossbar.io wrote into a table that is in order,
    /// and completes the indexes. Crossbar.io can still open the store; it
    /// does not see the events that were moved. May be stopped and run again
    /// at any time. Crossbar.io may have a file of LMDB 1.0 open meanwhile, with
    /// --size-limit; one of LMDB 0.9 it may not.
    #[command(after_long_help = "Example:\n  realmstore adopt /var/lib/crossbar/realm1")]
    Adopt {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        writing: WriteArgs,
    },
    /// What is damaged in a store
    ///
    /// Looks at the directory of tables, at every record and every row of an
    /// index, both ways, and names what it finds, a finding on each line:
    ///
    ///   error    damage: something cannot be read, is lost, or is not found
    ///   warning  not as it should be, but nothing is lost and no answer wrong
    ///   remark   how things are, and may be
    ///
    /// A store as Crossbar.io leaves it is sound: that its events are in no
    /// order, and that it lacks an index of ours, are remarks. But a publication
    /// that cfxdb damaged when it wrote it is an error: nobody can tell any more
    /// whom it was meant for. Exits with 1 when there is an error. With --json
    /// the summary goes to standard error.
    #[command(
        verbatim_doc_comment,
        after_long_help = "Example:\n  realmstore verify /var/lib/crossbar/realm1 --json"
    )]
    Verify {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        format: Format,
    },
    /// Put a damaged store right, deleting nothing
    ///
    /// What cannot stay goes to the quarantine, a table in the same store, byte
    /// for byte and with the reason:
    ///
    /// * A record that cannot be read, or that stands under another key than
    ///   its own, is moved there.
    /// * Of a record that can be read in part, what can be read takes its
    ///   place. Where it is not known any more who was to receive a
    ///   publication, that admits nobody. A record with fields that only a
    ///   newer realmstore knows is moved whole.
    /// * Events whose publication is lost stay; the loss is noted.
    /// * Rows of indexes that are wrong are moved there, and those that are
    ///   missing are made.
    ///
    /// What is sound is not touched. May be stopped and run again at any time.
    /// At its end the store is verified: exits with 1 when something remains.
    #[command(
        verbatim_doc_comment,
        after_long_help = "Example:\n  realmstore copy ./my-store ./my-copy && realmstore repair ./my-copy"
    )]
    Repair {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        writing: WriteArgs,
        #[command(flatten)]
        format: Format,
    },
    /// Take off what is too much, too old, or of somebody
    ///
    /// Of the history of a subscription, or of all, publications go from the
    /// old end until no more are left than the limits allow: those given here,
    /// or, where none is given, those that stand in the store for each
    /// subscription. A publication that is in no history any more and is not
    /// retained goes wholly. Without a subscription, so do retained
    /// publications that have expired and, with --older-than, older
    /// publications that no history has.
    ///
    /// With --authid, what there is of somebody goes: their sessions, what they
    /// published with all its events, that they received what others published
    /// (that it was dispatched stays), their authid on the lists of who may
    /// receive something, and rows of the quarantine with it. What payloads say
    /// of somebody cannot be known. Exits with 1 when there are records that
    /// cannot be read.
    ///
    /// A store that Crossbar.io wrote to must be adopted. May be stopped and run
    /// again at any time.
    #[command(after_long_help = "Examples:
  realmstore purge ./my-store --dry-run
  realmstore purge ./my-store --older-than 30d
  realmstore purge ./my-store --uri com.example. --match prefix --max-count 10000
  realmstore purge ./my-store --authid joe --dry-run")]
    Purge {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        wanted: PurgeArgs,
        #[command(flatten)]
        writing: WriteArgs,
        #[command(flatten)]
        format: Format,
    },
    /// What repairs moved aside, with the reasons
    ///
    /// With --json, the bytes as well: keys begin with the slot of their table.
    #[command(after_long_help = "Example:\n  realmstore quarantine ./my-store --json")]
    Quarantine {
        #[command(flatten)]
        store: Store,
        #[command(flatten)]
        format: Format,
    },
    /// Give back the disk space of what was deleted
    ///
    /// Makes the store as small as it can be. Nothing may have it open, and
    /// whoever opens it meanwhile waits or is refused. Takes as much free space
    /// as the store has content; where there is less, nothing is changed.
    ///
    /// LMDB and sled: writes a dense copy beside the store, every table
    /// included, compares the two, puts the copy in place, and then removes the
    /// old files. Killed at any moment it leaves the old or the new store in
    /// place, and perhaps a directory .data.mdb.compacting.* in that of the
    /// store (LMDB) or .STORE.compacting.* beside it (sled), which can be
    /// deleted; the next `compact` does so. Only where the file system cannot
    /// swap two directories at once may a store of sled be missing then; it is
    /// in that directory, as `old`, and the next `compact` says so.
    ///
    /// RocksDB: compacts all of it in place.
    #[command(after_long_help = "Example:\n  realmstore compact /var/lib/crossbar/realm1")]
    Compact {
        #[command(flatten)]
        store: Store,
    },
    /// A store, byte by byte, to another place or engine
    ///
    /// Copies every table, those of other programs included, as they are at
    /// one moment, and compares the copy with its source. Nothing may stand at
    /// TO yet. An interrupted copy leaves nothing there; beside it a directory
    /// .TO.copying.* may be left, which can be deleted.
    #[command(after_long_help = "Example:\n  realmstore copy lmdb:./my-store sled:./my-copy")]
    Copy {
        /// The store to copy: ENGINE:PATH, or its path alone
        from: Location,
        /// Where the copy goes: ENGINE:PATH, or a path alone for LMDB 0.9
        to: Location,
    },
    /// A copy of a store to keep, while whoever has it open goes on
    ///
    /// The backup is a store of the same engine and format, as it was at one
    /// moment. An LMDB file, of either format, is copied without LMDB: no lock
    /// is taken, and a running Crossbar.io goes on undisturbed. Where it
    /// commits faster than the file can be copied, that is tried some times,
    /// and then given up with the advice to stop it for a moment. RocksDB can
    /// be backed up beside a writer too; sled only when nobody has it open.
    #[command(
        after_long_help = "Example:\n  realmstore backup /var/lib/crossbar/realm1 ./realm1-backup"
    )]
    Backup {
        #[command(flatten)]
        store: Store,
        /// The directory that the backup goes to. Nothing may stand there yet
        to: Location,
    },
    /// Put a backup back in place
    ///
    /// Where a store stands at TO it is left alone, unless --replace is given:
    /// then it is moved aside, and where it went is printed. Nothing may have
    /// it open. The new files belong to whom the old ones belonged to.
    #[command(
        after_long_help = "Example:\n  realmstore restore ./realm1-backup /var/lib/crossbar/realm1 --replace"
    )]
    Restore {
        /// The backup: ENGINE:PATH, or its path alone
        backup: Location,
        /// Where the store goes
        to: Location,
        /// Move aside what stands there
        #[arg(long)]
        replace: bool,
    },
    /// Print the completions for a shell
    #[command(
        after_long_help = "Example:\n  realmstore completions bash > ~/.local/share/bash-completion/completions/realmstore"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The store that a command works on.
#[derive(Args)]
pub(crate) struct Store {
    /// The store: ENGINE:PATH, or its path alone
    #[arg(value_name = "STORE")]
    pub(crate) location: Location,
}

/// How a command writes to a store that others may have open.
#[derive(Args, Clone, Copy)]
pub(crate) struct WriteArgs {
    /// Write even while another process has the file open, and never let it
    /// outgrow SIZE: that process's memory map, such as the `maxsize` of
    /// Crossbar.io (128MiB by default). A file that outgrows it would stop the
    /// router
    #[arg(long, value_name = "SIZE")]
    pub(crate) size_limit: Option<Bytes>,
}

/// What is purged.
#[derive(Args)]
pub(crate) struct PurgeArgs {
    /// Only the history of this subscription
    #[arg(long, value_name = "ID")]
    pub(crate) subscription: Option<SubscriptionId>,
    /// Only the history of the subscription to this URI
    #[arg(long, conflicts_with = "subscription")]
    pub(crate) uri: Option<String>,
    /// How that subscription compares topics with its URI [default: exact]
    #[arg(long = "match", value_name = "POLICY", requires = "uri", value_parser = match_policy())]
    pub(crate) match_policy: Option<MatchPolicy>,
    /// That subscription's realm, where those of several have the same URI
    #[arg(long, requires = "uri")]
    pub(crate) realm: Option<String>,
    /// What is older than this: a duration such as 90s, 12h, 30d or 8w, or a time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<Age>,
    /// All but the newest N publications of each history
    #[arg(long, value_name = "N")]
    pub(crate) max_count: Option<u64>,
    /// All but the newest publications whose records take no more than SIZE in each history
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_bytes: Option<Bytes>,
    /// What there is of this authid
    #[arg(
        long,
        conflicts_with_all = ["subscription", "uri", "older_than", "max_count", "max_bytes"]
    )]
    pub(crate) authid: Option<String>,
    /// Say what would go, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How old something is, as people write it: `12h`, `30d`, or since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// For so long.
    Duration(Duration),
    /// Since that time.
    Since(Timestamp),
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let seconds = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            "w" => 7 * 24 * 3600,
            _ => 0,
        };
        match digits.parse::<u64>() {
            Ok(number) if seconds > 0 => {
                let seconds = number.checked_mul(seconds);
                let seconds = seconds.ok_or_else(|| format!("{text} is too long"))?;
                Ok(Self::Duration(Duration::from_secs(seconds)))
            }
            Ok(_) => Err(format!(
                "{text:?} has no unit of time; there are s, m, h, d and w"
            )),
            Err(_) => text.parse().map(Self::Since).map_err(|error| {
                format!("{text:?} is neither a duration such as 30d nor a time: {error}")
            }),
        }
    }
}

/// A number of bytes, as people write it: `134217728`, `128MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let factor = match &text[digits.len()..] {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            unit => {
                return Err(format!(
                    "{unit:?} is no unit of bytes; there are KiB, MiB, GiB and TiB"
                ));
            }
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("{digits:?} is no whole number"))?;
        let bytes = number.checked_mul(factor);
        bytes
            .map(Self)
            .ok_or_else(|| format!("{text} is too large"))
    }
}

/// Which part of a list is printed.
#[derive(Args)]
pub(crate) struct PageArgs {
    /// How many rows to print at most
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Begin with the last row; with --limit, print the last N
    #[arg(long)]
    pub(crate) reverse: bool,
}

/// For whom a command prints.
#[derive(Args)]
pub(crate) struct Format {
    /// Print JSON, an object on each line, in place of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The kinds of records that have a key of their own.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RecordKind {
    /// A session
    Session,
    /// A publication
    Publication,
    /// A subscription, or an alias of one
    Subscription,
}
