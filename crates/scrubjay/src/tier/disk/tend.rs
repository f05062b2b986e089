//! What is done for a store off everybody's path: batches, flushes of the disk, read transactions, and the folder's
//! size.
//!
//! One thread of each process does it, started by the first thing that needs it: a queued write, [`Durability::Flush`],
//! or lookups in quick succession. Invariant: it wakes only while there is something to do.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::index::{Index, KEPT, LOG_AT_REST, Op};
use super::options::Durability;
use super::queue::{Queue, Wake};
use super::shared::Shared;
use super::{error, fork, values};
use crate::error::Error;

/// How long nothing must have been committed before the folder is tidied.
const QUIET: Duration = Duration::from_millis(100);
/// How long the last handle of a store may take to tidy it.
const LEAVE_WITHIN: Duration = Duration::from_millis(100);

/// What was committed and leaves something to do.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// The first commit that the disk has not been told to flush.
    unflushed: Option<Instant>,
    /// Value files that it has not been told to flush.
    files: Vec<i64>,
    /// The last commit since the folder was tidied.
    untidy: Option<Instant>,
}

/// The thread.
pub(super) fn run(queue: &Arc<Queue>, shared: &Weak<Shared>) {
    let mut next = None;
    loop {
        let wake = queue.wait(next);
        let Some(shared) = shared.upgrade().filter(|_| wake != Wake::End) else {
            return;
        };
        let inside = fork::enter();
        if wake == Wake::Drain {
            // A failure was counted and said, and `flush` tells of it.
            let _ = shared.drain(&[]);
        }
        next = shared.tend();
        // The last handle's end enters by itself.
        drop(inside);
    }
}

impl Shared {
    fn duties(&self) -> MutexGuard<'_, Duties> {
        self.duties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a commit leaves to do.
    pub(super) fn remember_duties(&self, ops: &[Op]) {
        let now = Instant::now();
        let mut duties = self.duties();
        duties.untidy = Some(now);
        if !matches!(self.options.durability, Durability::Flush(_)) {
            return;
        }
        duties.unflushed.get_or_insert(now);
        let files = ops.iter().filter_map(|op| match op {
            Op::Put(put) => put.file.map(|(id, _)| id),
            _ => None,
        });
        duties.files.extend(files);
        drop(duties);
        self.ensure_thread();
        self.queue.call();
    }

    /// To be called after lookups: has the thread end transactions that they left open.
    pub(super) fn tend_transactions(&self) {
        // SeqCst: the thread looks for such transactions once more after it said that it does not tend them.
        if self.index.keeps_transactions() && !self.is_tended.swap(true, Ordering::SeqCst) {
            self.ensure_thread();
            self.queue.call();
            if !self.has_thread() {
                // None can be started, so what would stay open ends at once.
                self.index.release_transactions(Duration::ZERO);
                // SeqCst: as above.
                self.is_tended.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Does what is due, and says when it is to be called again.
    fn tend(&self) -> Option<Instant> {
        let now = Instant::now();
        let transactions = self.release_transactions().then(|| now + KEPT);
        let flush = self.flush_when_due(now);
        let tidy = self.tidy_when_due(now);
        [transactions, flush, tidy].into_iter().flatten().min()
    }

    /// Says whether some are still kept.
    fn release_transactions(&self) -> bool {
        self.index.release_transactions(KEPT);
        // SeqCst: see `tend_transactions`.
        self.is_tended.store(false, Ordering::SeqCst);
        let some = self.index.keeps_transactions();
        if some {
            self.is_tended.store(true, Ordering::SeqCst);
        }
        some
    }

    fn flush_when_due(&self, now: Instant) -> Option<Instant> {
        let Durability::Flush(interval) = self.options.durability else {
            return None;
        };
        let due = self.duties().unflushed? + interval;
        if now < due {
            return Some(due);
        }
        // A failure was counted and said.
        let _ = self.flush_disk();
        None
    }

    /// Has the disk keep all that was committed, whatever happens to its power.
    pub(super) fn flush_disk(&self) -> Result<(), Error> {
        let files = {
            let mut duties = self.duties();
            if duties.unflushed.take().is_none() {
                return Ok(());
            }
            std::mem::take(&mut duties.files)
        };
        let flushed = self.flush_files(&files);
        flushed
            .map_err(|cause| error::folder(self.directory.path(), cause))
            .inspect_err(|error| self.failed(error))
    }

    fn flush_files(&self, files: &[i64]) -> std::io::Result<()> {
        let mut folders = HashSet::new();
        for id in files {
            let path = values::path_of(&self.directory, *id);
            // One that was removed meanwhile needs no flush.
            if let Ok(file) = File::open(&path) {
                file.sync_data()?;
                folders.extend(path.parent().map(Path::to_owned));
            }
        }
        for folder in folders {
            values::sync_names(&self.directory, &folder)?;
        }
        // No lock of SQLite's is on the log, so that it may be opened and closed here.
        match File::open(self.directory.log()) {
            Ok(log) => log.sync_data(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn tidy_when_due(&self, now: Instant) -> Option<Instant> {
        let due = self.duties().untidy? + QUIET;
        if now < due {
            return Some(due);
        }
        self.journal.shrink(&self.queue);
        let is_more = self.index.tidy();
        if is_more.unwrap_or(false) {
            // Whoever wants to write comes first.
            return Some(now);
        }
        self.duties().untidy = None;
        None
    }

    /// What the last handle does before it goes.
    pub(super) fn leave_tidy(&self) {
        // A failure was counted and said.
        let _ = self.flush_disk();
        let log = std::fs::metadata(self.directory.log()).map_or(0, |log| log.len());
        if self.duties().untidy.is_none() && log <= LOG_AT_REST {
            return;
        }
        let begun = Instant::now();
        while self.index.tidy().unwrap_or(false) && begun.elapsed() < LEAVE_WITHIN {}
    }
}
