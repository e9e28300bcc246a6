//! `info`: what a store is and holds.

use std::collections::BTreeMap;
use std::ops::Bound;

use realmstore_core::backend::BackendInfo;
use realmstore_core::directory::{Directory, DirectoryEntry};
use realmstore_core::table::Slot;
use realmstore_core::{Backend, ErrorKind, Order, ReadTxn, RealmStore, Scan};
use serde_json::Value;

use crate::failure::Result;
use crate::json::Object;
use crate::output::{Output, warn};
use crate::table::{Column, List, bytes, grouped, ids, numbers, optional, texts};

const COLUMNS: &[Column] = &[
    numbers("SLOT"),
    texts("TABLE"),
    texts("OWNER"),
    numbers("ROWS"),
    ids("OID"),
];

/// The slot of the directory itself.
const DIRECTORY: Slot = 0;

/// Prints what the store is, and its tables.
pub(crate) fn run<B: Backend>(
    store: &RealmStore<B>,
    json: bool,
    output: &mut Output,
) -> Result<()> {
    let txn = store.begin_read()?;
    let facts = Facts {
        info: store.db().info()?,
        adopted: store.is_adopted(&txn)?,
        subscriptions: count_subscriptions(store, &txn)?,
        tables: tables(&txn)?,
    };
    if json {
        output.json(&facts.to_json())
    } else {
        facts.print(output)
    }
}

struct Facts {
    info: BackendInfo,
    adopted: bool,
    /// `None` when they cannot be told from what is stored.
    subscriptions: Option<usize>,
    tables: Vec<TableFacts>,
}

struct TableFacts {
    slot: Slot,
    /// `None` for a slot that has rows but does not stand in the directory.
    entry: Option<DirectoryEntry>,
    rows: u64,
}

fn count_subscriptions<B: Backend, X: ReadTxn>(
    store: &RealmStore<B>,
    txn: &X,
) -> Result<Option<usize>> {
    match store.subscriptions_with_history(txn) {
        Ok(subscriptions) => Ok(Some(subscriptions.len())),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            warn(format_args!("subscriptions cannot be counted: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// All tables by slot, also those that nobody has told the directory of.
fn tables<X: ReadTxn>(txn: &X) -> Result<Vec<TableFacts>> {
    let mut tables: BTreeMap<Slot, TableFacts> = Directory::read(txn)?
        .entries()
        .iter()
        .map(|entry| {
            (
                entry.slot,
                TableFacts {
                    slot: entry.slot,
                    entry: Some(entry.clone()),
                    rows: 0,
                },
            )
        })
        .collect();
    let mut scan = txn.scan((Bound::Unbounded, Bound::Unbounded), Order::Ascending)?;
    while let Some((key, _)) = scan.next()? {
        let slot = key
            .first_chunk()
            .map_or(DIRECTORY, |bytes| Slot::from_be_bytes(*bytes));
        if slot != DIRECTORY {
            tables
                .entry(slot)
                .or_insert(TableFacts {
                    slot,
                    entry: None,
                    rows: 0,
                })
                .rows += 1;
        }
    }
    Ok(tables.into_values().collect())
}

impl TableFacts {
    fn name(&self) -> Option<&str> {
        self.entry.as_ref()?.name.as_deref()
    }

    /// Whose table it is. Those of others are left alone.
    fn owner(&self) -> &'static str {
        match self.name() {
            Some(name) if name.starts_with("realmstore.") => "realmstore",
            Some(name) if name.starts_with("cfxdb.realmstore.") => "Crossbar.io",
            Some(_) => "others",
            None => "unknown",
        }
    }

    fn to_json(&self) -> Object {
        let mut object = Object::new();
        object.insert("slot".to_owned(), self.slot.into());
        if let Some(oid) = self.entry.as_ref().and_then(|entry| entry.oid) {
            object.insert("oid".to_owned(), oid.to_string().into());
        }
        if let Some(name) = self.name() {
            object.insert("name".to_owned(), name.into());
        }
        object.insert("rows".to_owned(), self.rows.into());
        object
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.slot.to_string(),
            optional(self.name()),
            self.owner().to_owned(),
            grouped(self.rows),
            optional(self.entry.as_ref().and_then(|entry| entry.oid)),
        ]
    }
}

impl Facts {
    fn to_json(&self) -> Object {
        let mut object = Object::new();
        object.insert("engine".to_owned(), self.info.engine.into());
        object.insert("format".to_owned(), self.info.format.as_str().into());
        if let Some(path) = &self.info.path {
            object.insert("path".to_owned(), path.to_string_lossy().into());
        }
        object.insert("size_on_disk".to_owned(), self.info.size_on_disk.into());
        object.insert("read_only".to_owned(), self.info.read_only.into());
        object.insert("adopted".to_owned(), self.adopted.into());
        if let Some(subscriptions) = self.subscriptions {
            object.insert("subscriptions".to_owned(), subscriptions.into());
        }
        let tables = self.tables.iter().map(|table| Value::from(table.to_json()));
        object.insert("tables".to_owned(), tables.collect());
        object
    }

    fn print(&self, output: &mut Output) -> Result<()> {
        output.line(format_args!(
            "engine         {}, {}",
            self.info.engine, self.info.format
        ))?;
        if let Some(path) = &self.info.path {
            output.line(format_args!("path           {}", path.display()))?;
        }
        output.line(format_args!(
            "size on disk   {}",
            bytes(self.info.size_on_disk)
        ))?;
        output.line(format_args!(
            "opened         {}",
            if self.info.read_only {
                "read-only"
            } else {
                "to write"
            }
        ))?;
        output.line(format_args!(
            "adopted        {}",
            if self.adopted { "yes" } else { "no" }
        ))?;
        if !self.adopted {
            output.line(
                "               Answers are right, but slow: they read the events that Crossbar.io",
            )?;
            output.line(
                "               wrote in no order. `realmstore adopt` puts them in order, once.",
            )?;
        }
        output.line(format_args!(
            "subscriptions  {}",
            optional(self.subscriptions.map(grouped))
        ))?;
        output.line("")?;
        let mut list = List::new(output, false, COLUMNS);
        for table in &self.tables {
            list.add(Object::new, || table.cells())?;
        }
        list.finish("tables")
    }
}
