//! The systems that are measured, each behind the same few questions.

#![allow(clippy::expect_used, reason = "a system that fails ends the benchmark")]

pub mod kv;
pub mod ours;
pub mod raw;
pub mod sqlite;

use std::fs;
use std::path::Path;

use realmstore::{SessionId, SubscriptionId};
use serde::{Deserialize, Serialize};

use crate::data::Batch;

/// What was read: how many rows, and a sum over the fields that were asked for.
/// Every system must come to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Touched {
    pub rows: u64,
    sum: u64,
}

impl Touched {
    pub fn row(&mut self) {
        self.rows += 1;
    }

    /// Both answers.
    pub fn and(mut self, other: Self) -> Self {
        self.rows += other.rows;
        self.number(other.sum);
        self
    }

    pub fn number(&mut self, number: u64) {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(number);
    }

    /// Takes note of a text or of bytes without reading all of it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.number(bytes.last().copied().map_or(0, u64::from));
    }
}

/// What a commit is worth when it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sync {
    /// It is on disk.
    Durable,
    /// It is left to the operating system to put it there.
    Lazy,
}

/// A store of one system, in a directory of its own.
///
/// A failure of a system ends the benchmark: nothing could be compared with it.
pub trait System {
    /// Stores everything of a batch in one commit.
    fn ingest(&mut self, batch: &Batch);

    /// The newest events of a subscription, the newest first, each with its
    /// publication. Of an event the time and the receiver are read, of the
    /// publication the time, the topic and the arguments; a publication is
    /// looked up once for events of it that follow each other.
    fn newest(&self, subscription: SubscriptionId, limit: usize) -> Touched;

    /// The session with a WAMP session ID that joined last: its time of joining and its authid.
    fn latest_session(&self, session: SessionId) -> Touched;

    /// Every publication in the order of their IDs: its time, its publisher and its topic.
    fn scan_publications(&self) -> Touched;

    /// The same, with a topic that is known to be UTF-8, for those that check it.
    fn scan_checked(&self) -> Touched {
        self.scan_publications()
    }

    /// Puts all that was stored on disk, and returns the bytes that it takes there.
    fn settle(&mut self) -> u64;
}

/// How a system is opened in an empty directory.
pub type Open = fn(&Path, Sync) -> Box<dyn System>;

/// The bytes that the files in a directory take.
fn files_size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("a directory");
    let sizes = entries.map(|entry| {
        entry
            .and_then(|entry| entry.metadata())
            .expect("a file")
            .len()
    });
    sizes.sum()
}
