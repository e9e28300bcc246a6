//! Whether a store has everything that was acknowledged.

use std::collections::HashMap;
use std::ops::ControlFlow;

use realmstore::store::verify;
use realmstore::{
    AnyStore, Location, OpenOptions, Order, PublicationId, ReadTxn, SessionId, Timestamp,
};

use crate::Result;
use crate::client::id;
use crate::journal::Journal;

/// Verifies a store that is closed, and compares it with the journal. Prints
/// what is wrong, and says whether nothing is.
///
/// What is there and was not acknowledged, one write of each client at most,
/// counts as acknowledged from now on.
pub(crate) fn is_sound(location: &Location, journal: &Journal) -> Result<bool> {
    let store = OpenOptions::new().open(location)?;
    let mut problems = 0;
    let mut problem = |problem: String| {
        problems += 1;
        if problems <= 10 {
            println!("  {problem}");
        }
    };
    let verification = verify(store.db(), |finding| {
        problem(format!(
            "{} {}: {}",
            finding.table, finding.key, finding.problem
        ));
        ControlFlow::Continue(())
    })?;
    let txn = store.begin_read()?;
    let events = events_by_publication(&store, &txn)?;
    let (mut acknowledged, mut unacknowledged) = (0, 0);
    for (client, told) in (0..).zip(journal.clients()) {
        acknowledged += told.joined + told.left + told.published;
        let mut found = told;
        let mut received = 0;
        for number in 1..=told.published {
            let id = PublicationId::new(id(client, number))?;
            if store.publications().get(&txn, &id)?.is_none() {
                problem(format!(
                    "publication {id} was acknowledged and is not there"
                ));
            }
            received += events.get(&id).copied().unwrap_or_default();
        }
        if received != told.events {
            problem(format!(
                "{received} events of client {client} are there, and {} were acknowledged",
                told.events
            ));
        }
        let next = PublicationId::new(id(client, told.published + 1))?;
        if store.publications().get(&txn, &next)?.is_some() {
            found.published += 1;
            found.events += events.get(&next).copied().unwrap_or_default();
            unacknowledged += 1;
        }
        for number in 1..=told.joined + 1 {
            let id = SessionId::new(id(client, number))?;
            match store.session_by_id(&txn, id, Timestamp::MAX)? {
                None if number <= told.joined => {
                    problem(format!("session {id} was acknowledged and is not there"));
                }
                None => {}
                Some(session) if number <= told.left && session.view()?.left_at()?.is_none() => {
                    problem(format!("session {id} has left and is still open"));
                }
                Some(_) if number > told.joined => {
                    found.joined = number;
                    unacknowledged += 1;
                }
                Some(_) => {}
            }
        }
        journal.note(client, found)?;
    }
    println!(
        "checked: {acknowledged} writes were acknowledged, {unacknowledged} more are there; \
         {} rows verified; {problems} problems",
        verification.rows
    );
    Ok(problems == 0 && verification.is_sound())
}

/// How many receivers each publication had.
fn events_by_publication<X: ReadTxn>(
    store: &AnyStore,
    txn: &X,
) -> Result<HashMap<PublicationId, u64>> {
    let mut found = HashMap::new();
    let mut scan = store.events().range(txn, .., Order::Ascending)?;
    while let Some(entry) = scan.next()? {
        let event = entry.view()?;
        if event.receiver()?.is_some() {
            *found.entry(event.publication()?).or_default() += 1;
        }
    }
    Ok(found)
}
