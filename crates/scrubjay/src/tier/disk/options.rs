//! The options of a store.

use std::path::Path;

use super::store::Store;
use crate::error::{Error, ErrorKind};

/// What a write survives once it was committed. Every level survives the death of any process (`kill -9`), and
/// after none is anything corrupt ever served.
///
/// # Example
///
/// ```
/// use scrubjay::disk::Durability;
///
/// assert_eq!(Durability::default(), Durability::Process);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Commits survive the death of processes. A power loss may undo those since the log was last emptied: entries are
    /// lost, and an entry that was replaced may be the old one again; invalidations are never undone.
    #[default]
    Process,
    /// Commits survive a power loss too. Costs a flush of the disk for each batch.
    Sync,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) capacity_bytes: u64,
    /// Whether somebody asked for this capacity; if not, the folder's own counts.
    pub(crate) is_capacity_given: bool,
    pub(crate) durability: Durability,
    pub(crate) write_through: bool,
    pub(crate) allow_network: bool,
}

/// The smallest capacity.
pub(super) const SMALLEST: u64 = 1 << 20;
/// What the folder takes besides data and log: the shared memory of the index, the page, the files for locks.
const OVERHEAD: u64 = 128 << 10;

impl Default for Options {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 30,
            is_capacity_given: false,
            durability: Durability::default(),
            write_through: false,
            allow_network: false,
        }
    }
}

impl Options {
    /// The most that the log of the index may grow to.
    pub(crate) fn log_limit(&self) -> u64 {
        (self.capacity_bytes / 8).min(64 << 20)
    }

    /// What is left for entries.
    pub(crate) fn data_limit(&self) -> u64 {
        self.capacity_bytes - self.log_limit() - OVERHEAD
    }
}

/// Collects the options of a [`Store`]; made by [`Store::builder`].
///
/// # Example
///
/// ```
/// use scrubjay::disk::{Durability, Store};
///
/// let dir = std::env::temp_dir().join(format!("scrubjay-builder-{}", std::process::id()));
/// let store = Store::builder()
///     .capacity_bytes(64 << 20)
///     .durability(Durability::Sync)
///     .write_through(true)
///     .open(&dir)?;
/// assert_eq!(store.stats()?.capacity_bytes, 64 << 20);
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `open`"]
pub struct StoreBuilder(Options);

impl StoreBuilder {
    /// Bounds the bytes that the folder takes, log and files included; at least 1 MiB. The folder remembers it with the
    /// next write. Default: what the folder remembers, at first 1 GiB.
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.0.capacity_bytes = bytes;
        self.0.is_capacity_given = true;
        self
    }

    /// Says what a commit survives. Default: [`Durability::Process`].
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.0.durability = durability;
        self
    }

    /// Says whether `put` returns after its entry was committed (`true`), or queues it for a thread that commits
    /// within about 5 ms (`false`, the default). A queued entry is lost if the process dies before.
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn write_through(mut self, write_through: bool) -> Self {
        self.0.write_through = write_through;
        self
    }

    /// Allows a folder on a network file system. Default: refused, because its locks cannot be relied on.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-network-{}", std::process::id()));
    /// let store = scrubjay::disk::Store::builder().allow_network_file_system(true).open(&dir)?;
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn allow_network_file_system(mut self, allow: bool) -> Self {
        self.0.allow_network = allow;
        self
    }

    /// Opens the folder, which is made if it is not there. A process that opens one folder twice gets one store, with the
    /// options of the first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Option`] for a capacity under 1 MiB or a network file system, [`ErrorKind::Version`] if the folder
    /// has another program's database, and [`ErrorKind::Io`] if it cannot be used.
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store, Error> {
        if self.0.capacity_bytes < SMALLEST {
            let message = "disk tier: the capacity must be at least 1 MiB";
            return Err(Error::new(ErrorKind::Option, message));
        }
        Store::open_with(dir.as_ref(), &self.0)
    }
}
