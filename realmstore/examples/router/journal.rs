//! What was acknowledged, in a file beside the store, so that the store can be
//! held to it after this program was killed.
//!
//! It is written after each acknowledgement and not flushed: what it says was
//! acknowledged, and the end of the process loses none of it. The end of the
//! machine may lose its newest entries, so it then asks for less.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use realmstore::Location;

use crate::Result;

/// What a client was told to be stored. Each of its writes has the next
/// number of its kind, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Acknowledged {
    pub(crate) joined: u64,
    pub(crate) left: u64,
    pub(crate) published: u64,
    /// How many receivers its publications had.
    pub(crate) events: u64,
}

impl Acknowledged {
    const LEN: usize = 32;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let fields = [self.joined, self.left, self.published, self.events];
        for (to, field) in bytes.chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (fields, _) = bytes.as_chunks();
        let field = |index: usize| {
            fields
                .get(index)
                .map_or(0, |field| u64::from_le_bytes(*field))
        };
        Self {
            joined: field(0),
            left: field(1),
            published: field(2),
            events: field(3),
        }
    }
}

pub(crate) struct Journal(Mutex<Inner>);

struct Inner {
    file: Option<File>,
    clients: Vec<Acknowledged>,
}

impl Journal {
    /// The journal beside a store, made where there is none.
    ///
    /// # Errors
    /// When there is a store without one: it is not of this program.
    pub(crate) fn open(location: &Location) -> Result<Self> {
        let mut path = location.path().as_os_str().to_owned();
        path.push(".acknowledged");
        let path = PathBuf::from(path);
        if location.path().exists() && !path.exists() {
            return Err(format!(
                "{location} is not a store of this program: {} is missing beside it",
                path.display()
            )
            .into());
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (clients, _) = bytes.as_chunks();
        let clients = clients.iter().map(Acknowledged::from_bytes).collect();
        Ok(Self(Mutex::new(Inner {
            file: Some(file),
            clients,
        })))
    }

    /// For a store that does not outlive the program.
    pub(crate) fn none() -> Self {
        Self(Mutex::new(Inner {
            file: None,
            clients: Vec::new(),
        }))
    }

    /// All clients, by number.
    pub(crate) fn clients(&self) -> Vec<Acknowledged> {
        self.inner().clients.clone()
    }

    pub(crate) fn of(&self, client: u32) -> Acknowledged {
        let inner = self.inner();
        inner
            .clients
            .get(client as usize)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn note(&self, client: u32, acknowledged: Acknowledged) -> Result<()> {
        let mut inner = self.inner();
        let client = client as usize;
        if inner.clients.len() <= client {
            inner.clients.resize(client + 1, Acknowledged::default());
        }
        inner.clients[client] = acknowledged;
        if let Some(file) = &mut inner.file {
            // Some microseconds, into the cache of the operating system.
            file.seek(SeekFrom::Start((client * Acknowledged::LEN) as u64))?;
            file.write_all(&acknowledged.to_bytes())?;
        }
        Ok(())
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
