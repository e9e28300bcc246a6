//! Any bytes at all, read as each kind of record in every way there is: no
//! input may panic, and what decodes is written and read again the same.
//!
//! `scripts/fuzz` runs this on a stable toolchain; `cargo fuzz run read_record`
//! works as well.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use realmstore_core::cbor::{Cbor, CborRef};
use realmstore_core::key::Key;
use realmstore_core::record::{Quarantined, Record, Retained};
use realmstore_core::store::EventKey;
use realmstore_core::{Event, Publication, Requester, Session, Subscription};

fn read<R: Record + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(record) = R::decode(bytes) else { return };
    if let Ok(again) = record.to_bytes() {
        assert_eq!(R::decode(&again).expect("own bytes"), record);
    }
}

fuzz_target!(|bytes: &[u8]| {
    read::<Session>(bytes);
    read::<Publication>(bytes);
    read::<Event>(bytes);
    read::<Subscription>(bytes);
    read::<Retained>(bytes);
    read::<Quarantined>(bytes);
    if let Ok(view) = Session::view(bytes) {
        let (_, damage) = view.salvage();
        assert!(view.to_owned().is_ok() || !damage.is_empty());
    }
    if let Ok(view) = Publication::view(bytes) {
        let (publication, damage) = view.salvage();
        assert!(view.to_owned().is_ok() || !damage.is_empty());
        let _ = view.was_for(&Requester::default());
        for cbor in [publication.args, publication.kwargs].into_iter().flatten() {
            let _ = cbor.as_ref().to_value();
        }
    }
    if let Ok(view) = Event::view(bytes) {
        let _ = view.salvage();
    }
    if let Ok(value) = CborRef::from_bytes(bytes).to_value() {
        let again = Cbor::from(&value).as_ref().to_value().expect("own CBOR");
        // Compared as text: a NaN is not equal to itself.
        assert_eq!(format!("{again:?}"), format!("{value:?}"));
    }
    let _ = EventKey::from_bytes(bytes);
    let _ = <(String, u64)>::from_bytes(bytes);
});
