//! What follows every change of a table.

use super::{Table, ViewOf};
use crate::Result;
use crate::backend::{ReadTxn, WriteTxn};
use crate::directory::Slots;

/// What was under a key before a change.
#[derive(Debug)]
pub enum Before<'v, V> {
    /// Nothing.
    Nothing,
    /// A record.
    Record(&'v V),
    /// A record that cannot be read at all. It can still be replaced and
    /// removed; the rows that led to it, whichever they are, stay. Whoever
    /// follows a row compares it with the record that it leads to.
    Unreadable,
}

impl<V> Clone for Before<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Before<'_, V> {}

/// What follows every change of a table: an index, several of them (a tuple),
/// or something that is derived from the table in another way.
///
/// A change is followed in three steps, so that nothing is written before all
/// that could refuse it was asked: [`plan`](Self::plan) looks at the records,
/// [`check`](Self::check) at the store, [`apply`](Self::apply) writes.
pub trait Companion<T: Table>: Sized {
    /// Whether there is nothing to follow: a put need then not look for what was there before.
    const NOTHING: bool = false;

    /// What a change of a record means for this companion.
    type Plan;

    /// Finds its own slots.
    fn attach(slots: &mut dyn Slots) -> Result<Self>;

    /// What to do when the record under `key` changes from `old` to `new`.
    fn plan(
        &self,
        key: &T::Key,
        old: Before<'_, ViewOf<'_, T>>,
        new: Option<&ViewOf<'_, T>>,
    ) -> Result<Self::Plan>;

    /// Refuses a change that must not be.
    fn check<X: ReadTxn>(&self, txn: &X, key: &T::Key, plan: &Self::Plan) -> Result<()>;

    /// Does it.
    fn apply<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, plan: Self::Plan) -> Result<()>;
}

impl<T: Table> Companion<T> for () {
    const NOTHING: bool = true;
    type Plan = ();

    fn attach(_slots: &mut dyn Slots) -> Result<Self> {
        Ok(())
    }

    fn plan(
        &self,
        _key: &T::Key,
        _old: Before<'_, ViewOf<'_, T>>,
        _new: Option<&ViewOf<'_, T>>,
    ) -> Result<()> {
        Ok(())
    }

    fn check<X: ReadTxn>(&self, _txn: &X, _key: &T::Key, _plan: &()) -> Result<()> {
        Ok(())
    }

    fn apply<X: WriteTxn>(&self, _txn: &mut X, _key: &T::Key, _plan: ()) -> Result<()> {
        Ok(())
    }
}

macro_rules! companions {
    ($($part:ident $number:tt),*) => {
        impl<T: Table, $($part: Companion<T>),*> Companion<T> for ($($part,)*) {
            type Plan = ($($part::Plan,)*);

            fn attach(slots: &mut dyn Slots) -> Result<Self> {
                Ok(($($part::attach(slots)?,)*))
            }

            fn plan(
                &self,
                key: &T::Key,
                old: Before<'_, ViewOf<'_, T>>,
                new: Option<&ViewOf<'_, T>>,
            ) -> Result<Self::Plan> {
                Ok(($(self.$number.plan(key, old, new)?,)*))
            }

            fn check<X: ReadTxn>(&self, txn: &X, key: &T::Key, plan: &Self::Plan) -> Result<()> {
                $(self.$number.check(txn, key, &plan.$number)?;)*
                Ok(())
            }

            fn apply<X: WriteTxn>(&self, txn: &mut X, key: &T::Key, plan: Self::Plan) -> Result<()> {
                $(self.$number.apply(txn, key, plan.$number)?;)*
                Ok(())
            }
        }
    };
}

companions!(A 0);
companions!(A 0, B 1);
companions!(A 0, B 1, C 2);
