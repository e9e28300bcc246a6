//! The same random operations on every engine.

mod engines;

use conformance::differential::{Subject, assert_same};
#[cfg(feature = "rocks")]
use engines::Rocks;
use engines::{Lmdb, Memory, Sled};

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
