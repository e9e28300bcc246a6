//! What the commands print: lines, JSON, and notes to standard error.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use crate::failure::Result;
use crate::json::Object;

/// Standard output.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Output {
    /// Takes standard output for this command alone.
    pub(crate) fn new() -> Self {
        let out = io::stdout().lock();
        let is_terminal = out.is_terminal();
        Self {
            out: BufWriter::with_capacity(1 << 16, out),
            is_terminal,
        }
    }

    /// Whether somebody looks at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Prints an object on a line of its own.
    pub(crate) fn json(&mut self, object: &Object) -> Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Prints an object for whoever looks at it: indented on a terminal.
    pub(crate) fn pretty_json(&mut self, object: &Object) -> Result<()> {
        if !self.is_terminal {
            return self.json(object);
        }
        serde_json::to_writer_pretty(&mut self.out, object)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Waits for some time, or until nobody is left who reads the output.
    ///
    /// # Errors
    /// When nobody is left.
    #[cfg(unix)]
    pub(crate) fn wait(&self, duration: Duration) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let time = Timespec::try_from(duration).map_err(io::Error::other)?;
        let stdout = io::stdout();
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut watched, Some(&time)) {
            Err(rustix::io::Errno::INTR) | Ok(0) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
            Ok(_) => {
                let [stdout] = &watched;
                if stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                }
                // What is there to see stays, so poll would not wait again.
                std::thread::sleep(duration);
                Ok(())
            }
        }
    }

    /// Waits for some time.
    #[cfg(not(unix))]
    pub(crate) fn wait(&self, duration: Duration) -> Result<()> {
        std::thread::sleep(duration);
        Ok(())
    }

    /// Writes out what is still held back.
    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Tells the user of something that does not keep the command from its work.
pub(crate) fn warn(text: impl fmt::Display) {
    to_stderr(format_args!("realmstore: warning: {text}\n"));
}

/// Prints to standard error. Where that fails there is nobody left to tell.
pub(crate) fn to_stderr(text: impl fmt::Display) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}
