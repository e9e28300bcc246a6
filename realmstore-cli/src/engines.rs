//! What an executable brings: the engines that it was built with.

use std::any::Any;

use realmstore_core::{Backend, Location};

use crate::failure::Result;

/// The engines of an executable. The commands are the same on all of them.
pub trait Engines {
    /// A store that is open to be read.
    type Reading: Backend;
    /// A store that is open to be written.
    type Writing: Backend;

    /// Opens the store at a location, and changes nothing about it. Where
    /// another process has it open, reading it comes to its end all the same,
    /// if it is not too large and not written to without a pause; else it may
    /// end with [`ErrorKind::Conflict`](realmstore_core::ErrorKind::Conflict).
    fn read(&self, location: &Location) -> Result<Self::Reading>;

    /// As [`read`](Self::read), and goes on behind what is damaged in the file,
    /// where that can be done: [`skipped`](Self::skipped) tells what it was.
    fn read_past_damage(&self, location: &Location) -> Result<Self::Reading>;

    /// What reading past damage left out.
    fn skipped(&self, store: &Self::Reading) -> Vec<Damage>;

    /// As [`read`](Self::read), for one short look: where another process
    /// commits while it is taken, it may end with
    /// [`ErrorKind::Conflict`](realmstore_core::ErrorKind::Conflict).
    fn read_in_place(&self, location: &Location) -> Result<Self::Reading>;

    /// The process that has the store at a location open, in words, where that
    /// can be told.
    fn holder(&self, location: &Location) -> Result<Option<String>>;

    /// Checks the file of an open store below its entries, where that can be
    /// done, and names all that is damaged in it.
    fn check_file(&self, store: &Self::Reading, on_damage: &mut dyn FnMut(Damage)) -> Result<()>;

    /// Hears that a command is going to write at a location, before it does
    /// anything. An executable that cannot write there hands over to one that
    /// can, with the same arguments, and does not return.
    fn will_write(&self, location: &Location) -> Result<()>;

    /// Opens a store to write.
    fn write(&self, location: &Location, writing: Writing) -> Result<Self::Writing>;

    /// Gives back the disk space that a store does not need, in place where its
    /// engine can do that. Otherwise calls `copy` with the store, which nobody
    /// else can open then, and closes it.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](realmstore_core::ErrorKind::InUse) when somebody has
    /// it open; those of `copy`.
    fn compact(
        &self,
        location: &Location,
        copy: &mut dyn FnMut(&Self::Reading) -> Result<()>,
    ) -> Result<Compaction>;
}

/// How a store was compacted.
pub enum Compaction {
    /// By its engine, in place.
    InPlace,
    /// Not yet: it was copied, is closed, and waits to be replaced.
    Copied {
        /// Nobody can open it until this is dropped.
        lock: Box<dyn Any>,
    },
}

/// Something in a file that is not as its engine leaves it.
#[derive(Debug, Clone)]
pub struct Damage {
    /// Where it is: `page 7`.
    pub place: String,
    /// What is the matter there.
    pub problem: String,
}

/// How a store is opened to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writing {
    /// Whether it is made where there is none.
    pub create: bool,
    /// What the file of an LMDB store may not outgrow, in bytes. With that, one
    /// of LMDB 1.0 is opened even while another process has it open.
    pub size_limit: Option<u64>,
}
