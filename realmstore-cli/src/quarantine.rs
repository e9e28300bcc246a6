//! `quarantine`: what repairs moved aside.

use realmstore_core::record::Quarantined;
use realmstore_core::store::{place_of, quarantine};
use realmstore_core::{Backend, Order};

use crate::failure::Result;
use crate::findings::place;
use crate::json::{Object, ToJson};
use crate::output::{Output, warn};
use crate::table::{Column, List, excerpts, numbers, text, texts, times};

const COLUMNS: &[Column] = &[
    numbers("NUMBER"),
    times("MOVED"),
    texts("ROW"),
    excerpts("PROBLEM"),
];

/// Prints what is in the quarantine, in the order in which it came there.
pub(crate) fn run<B: Backend>(db: &B, json: bool, output: &mut Output) -> Result<()> {
    let txn = db.begin_read()?;
    let table = quarantine(&txn)?;
    let mut list = List::new(output, json, COLUMNS);
    let mut scan = table.range(&txn, .., Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        let row = entry
            .key()
            .and_then(|number| Ok((number, entry.to_owned()?)));
        match row {
            Ok((number, row)) => list.add(|| as_json(number, &row), || cells(number, &row))?,
            Err(error) => warn(error),
        }
    }
    list.finish("quarantined rows")
}

fn as_json(number: u64, row: &Quarantined) -> Object {
    let mut object = Object::new();
    object.insert("number".to_owned(), number.into());
    object.extend(row.to_json());
    object
}

fn cells(number: u64, row: &Quarantined) -> Vec<String> {
    let (table, key) = place_of(row);
    vec![
        number.to_string(),
        row.moved_at.to_string(),
        place(table, &key),
        text(row.problem.as_deref().unwrap_or_default()),
    ]
}
