//! The same random operations on every engine.

#[path = "engines/lmdb.rs"]
mod lmdb;
#[path = "engines/memory.rs"]
mod memory;
#[cfg(feature = "rocks")]
#[path = "engines/rocks.rs"]
mod rocks;
#[path = "engines/sled.rs"]
mod sled;

use conformance::differential::{Subject, assert_same};
use lmdb::Lmdb;
use memory::Memory;
#[cfg(feature = "rocks")]
use rocks::Rocks;
use sled::Sled;

#[test]
fn random_operations_have_the_same_outcome_on_every_engine() {
    assert_same(&[
        Subject::new::<Memory>("memory"),
        Subject::new::<Lmdb>("lmdb"),
        #[cfg(feature = "rocks")]
        Subject::new::<Rocks>("rocks"),
        Subject::new::<Sled>("sled"),
    ]);
}
