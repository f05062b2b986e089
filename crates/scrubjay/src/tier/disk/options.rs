//! The options of a store.

use std::path::Path;
use std::time::Duration;

use super::store::Store;
use crate::error::{Error, ErrorKind};

/// What a write survives once it was committed. Every level survives the death of any process (`kill -9`), and
/// after none is anything corrupt ever served.
///
/// | | a process is killed | the power fails | costs |
/// |---|---|---|---|
/// | `Process` | nothing is lost | commits since the log was last emptied may be undone: up to 32 MiB of them | nothing |
/// | `Flush(interval)` | nothing is lost | commits of the last `interval` may be undone | one flush of the disk for each interval in which something was written |
/// | `Sync` | nothing is lost | nothing is lost | one flush of the disk for each commit: a batch, or with `write_through` an entry |
///
/// Undone means that an entry is missing, or is the one that it replaced. Invalidations are flushed at every level and
/// never undone.
///
/// # Example
///
/// ```
/// use scrubjay::disk::{Durability, Store};
/// use std::time::Duration;
///
/// assert_eq!(Durability::default(), Durability::Process);
/// # let dir = std::env::temp_dir().join(format!("scrubjay-durability-{}", std::process::id()));
/// // A power loss costs at most the results of the last second.
/// let store = Store::builder().durability(Durability::Flush(Duration::from_secs(1))).open(&dir)?;
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Commits survive the death of processes. A power loss may undo those since the log was last emptied.
    #[default]
    Process,
    /// Commits survive a power loss too, once this time has passed, [`Store::flush`] returned, or the last handle of
    /// the store was dropped. Starts a thread with the first write.
    Flush(Duration),
    /// Commits survive a power loss as soon as they are made.
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
/// The room that is kept for a full disk in a small folder: half of it is enough to empty a small index.
pub(super) const LEAST_BALLAST: u64 = 192 << 10;

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

    /// The most that is written in one transaction, so that the bound is exceeded by little before room is made.
    pub(crate) fn batch_bytes(&self) -> u64 {
        (self.capacity_bytes / 64).clamp(16 << 10, 1 << 20)
    }

    /// The largest entry that is stored: one that is larger would push out all others and not fit.
    pub(crate) fn largest_entry(&self) -> u64 {
        self.data_limit() / 2
    }

    /// The room that is kept for a full disk.
    pub(crate) fn ballast(&self) -> u64 {
        (self.capacity_bytes / 128 * 2).clamp(LEAST_BALLAST, 512 << 10)
    }

    /// What is left for entries.
    pub(crate) fn data_limit(&self) -> u64 {
        self.capacity_bytes - self.log_limit() - self.ballast() - OVERHEAD
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

    /// Says whether `put` returns after its entry outlives this process and is what every other one finds (`true`), or
    /// queues it for a thread that commits within about 5 ms (`false`, the default). A queued entry is lost if the
    /// process dies before.
    ///
    /// While no other process has the folder open, an entry under [`LARGE`](super::LARGE) is appended to a journal,
    /// which whoever opens the folder reads first, and is committed with others a moment later: about a tenth of what a
    /// commit costs. It is committed at once if somebody else is there, with [`Durability::Sync`], while the disk has
    /// less than 16 MiB left, and if an invalidation may concern it. A disk that fills up within that moment loses
    /// entries, which is counted.
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn write_through(mut self, write_through: bool) -> Self {
        self.0.write_through = write_through;
        self
    }

    /// Says that no other machine uses a folder on a network file system, so that this one may use it as it is.
    /// Default: each machine has a folder of its own inside it, and says so on standard error when it makes it: locks
    /// and shared memory do not reach other machines, so they would serve what somebody said to be untrue.
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

    /// Opens the folder, which is made if it is not there. A process that opens one folder twice gets one store, with
    /// the options of the first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Option`] for a capacity under 1 MiB, [`ErrorKind::Version`] if the folder
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
