//! How far a command is, for whoever looks at a terminal. Nothing is shown in a pipe.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Result;
use crate::output::to_stderr;

/// The progress of a command, on standard error.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of so many bytes.
    pub(crate) fn of_bytes(total: u64) -> Self {
        Self::new(
            ProgressBar::new(total),
            "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        )
    }

    /// Of bytes that must be counted, which is done only if it is shown.
    pub(crate) fn of_counted_bytes(count: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let unknown = Self::of_unknown_bytes();
        if unknown.0.is_hidden() {
            return Ok(unknown);
        }
        Ok(Self::of_bytes(count()?))
    }

    /// Of bytes whose number nobody knows.
    pub(crate) fn of_unknown_bytes() -> Self {
        Self::new(
            ProgressBar::no_length(),
            "{spinner} {bytes}, {bytes_per_sec}",
        )
    }

    /// Of records whose number nobody knows.
    pub(crate) fn of_records() -> Self {
        Self::new(
            ProgressBar::no_length(),
            "{spinner} {human_pos} records, {per_sec}",
        )
    }

    fn new(bar: ProgressBar, template: &str) -> Self {
        let style = ProgressStyle::with_template(template);
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// So much is done.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Prints a line to standard error, above what is shown.
    pub(crate) fn tell(&self, line: impl fmt::Display) {
        self.0
            .suspend(|| to_stderr(format_args!("realmstore: {line}\n")));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
