//! What a repair moved aside.

use uuid::Uuid;

use super::field::Field;
use super::{Problem, RecordError, record};
use crate::Timestamp;
use crate::generated::realmstore::Quarantined as Generated;

record! {
    /// A row that a repair moved aside, its bytes as they were
    /// ([`repair`](crate::store::repair)).
    Quarantined,
    /// A [`Quarantined`] row, read in place.
    QuarantinedView<'a>, "quarantined row", check |_| Ok(());

    /// When it was moved.
    moved_at: Timestamp | Timestamp = VT_MOVED_AT,
    /// The OID of the table that it stood in; unset for a row of the directory itself.
    table: Option<Uuid> | Option<Uuid> = VT_TABLE,
    /// Its key: the table's slot (`u16`, big-endian), then the table's own key.
    key: Option<Vec<u8>> | Option<&'a [u8]> = VT_KEY,
    /// Its value. Unset where there was none: for a publication that events
    /// lead to, but that was lost before the repair.
    value: Option<Vec<u8>> | Option<&'a [u8]> = VT_VALUE,
    /// What was wrong with it, in words.
    problem: Option<String> | Option<&'a str> = VT_PROBLEM,
}
