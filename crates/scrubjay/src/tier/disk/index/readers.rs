//! The connections that read, and the transactions that they keep open while nothing changes.
//!
//! To begin and end a read transaction costs as much as a lookup. So a connection that is asked often stays in one for
//! as long as a look at the [`Commits`] is what it was. Invariants: a kept transaction began after that look, so it
//! lacks nothing that was committed by then; and [`Readers::release`], called in time, leaves none that nobody uses,
//! because the log cannot be begun anew meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::commits::{Commits, Look};
use super::connection::{Opened, connect, is_frozen};
use crate::error::Error;
use crate::tier::disk::directory::Directory;
use crate::tier::disk::error;
use crate::tier::disk::record::Function;

/// A connection keeps its transaction from so many reads on.
const OFTEN: u32 = 32;
/// A kept transaction is not older than this, or one that has not been asked for so long.
pub(crate) const KEPT: Duration = Duration::from_millis(50);
/// How many reads go by before a kept transaction's age is looked at.
const AGE_EVERY: u32 = 256;

/// A transaction that is open.
#[derive(Debug, Clone, Copy)]
struct Kept {
    look: Look,
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    /// Functions never change once they are there.
    pub(super) functions: HashMap<i64, Arc<Function>>,
    commits: Option<Commits>,
    reads: u32,
    kept: Option<Kept>,
    /// It sees nothing of what changes from now on.
    is_frozen: bool,
}

impl Reader {
    pub(super) fn new(opened: Opened) -> Self {
        Self {
            is_frozen: opened.is_frozen,
            connection: opened.connection,
            functions: HashMap::new(),
            commits: None,
            reads: 0,
            kept: None,
        }
    }

    fn look(&self) -> Option<Look> {
        self.commits.as_ref()?.look()
    }

    fn is_current(&self) -> bool {
        self.kept.is_some_and(|kept| {
            self.look() == Some(kept.look)
                && (!self.reads.is_multiple_of(AGE_EVERY) || kept.since.elapsed() < KEPT)
        })
    }

    /// Sees to it that what is looked up next sees all that was committed before. Says whether that ended a
    /// transaction.
    fn begin(&mut self) -> rusqlite::Result<bool> {
        self.reads = self.reads.wrapping_add(1);
        if self.is_current() {
            return Ok(false);
        }
        let was_kept = self.kept.is_some();
        self.end()?;
        if self.reads > OFTEN && !self.is_frozen {
            self.commits = (self.commits.take()).or_else(|| Commits::of(&self.connection));
            if let Some(look) = self.look() {
                self.connection.prepare_cached("BEGIN")?.execute([])?;
                let since = Instant::now();
                self.kept = Some(Kept { look, since });
            }
        }
        Ok(was_kept)
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        if self.kept.take().is_some() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Reader>>,
    kept: AtomicUsize,
}

impl Readers {
    pub(super) fn new(first: Opened) -> Self {
        Self {
            idle: Mutex::new(vec![Reader::new(first)]),
            kept: AtomicUsize::new(0),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks something outside every transaction that is kept.
    pub(super) fn ask<R>(
        &self,
        directory: &Directory,
        ask: impl FnOnce(&mut Reader) -> rusqlite::Result<R>,
    ) -> Result<R, Error> {
        self.with(directory, |reader| {
            reader.end()?;
            ask(reader)
        })
    }

    /// Asks something in a transaction that may be kept.
    pub(super) fn look_up<R>(
        &self,
        directory: &Directory,
        ask: impl FnOnce(&mut Reader) -> rusqlite::Result<R>,
    ) -> Result<R, Error> {
        self.with(directory, |reader| {
            if reader.begin()? {
                // What it lacked, those that nobody uses now lack too, and the log cannot be emptied before they end.
                self.end_those(|idle| !idle.is_current());
            }
            ask(reader)
        })
    }

    fn with<R>(
        &self,
        directory: &Directory,
        ask: impl FnOnce(&mut Reader) -> rusqlite::Result<R>,
    ) -> Result<R, Error> {
        let pooled = self.idle().pop();
        let is_of_use = |reader: &Reader| !reader.is_frozen || is_frozen(directory);
        let mut reader = match pooled.filter(is_of_use) {
            Some(reader) => reader,
            None => Reader::new(connect(directory).map_err(error::index)?),
        };
        let was_kept = reader.kept.is_some();
        let answer = ask(&mut reader);
        if answer.is_err() && reader.end().is_err() {
            // Closing it ends its transaction.
            self.count(was_kept, false);
            return answer.map_err(error::index);
        }
        self.count(was_kept, reader.kept.is_some());
        self.idle().push(reader);
        answer.map_err(error::index)
    }

    fn count(&self, was_kept: bool, is_kept: bool) {
        // SeqCst: see `Shared::tend`, which must not miss one that is kept from now on.
        match (was_kept, is_kept) {
            (false, true) => _ = self.kept.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.kept.fetch_sub(1, Ordering::SeqCst),
            _ => {}
        }
    }

    /// Whether some transaction is kept open.
    pub(super) fn is_any_kept(&self) -> bool {
        // SeqCst: see `count`.
        self.kept.load(Ordering::SeqCst) > 0
    }

    /// Ends the transactions of connections that are not in use and are older than `age`.
    pub(super) fn release(&self, age: Duration) {
        self.end_those(|reader| reader.kept.is_some_and(|kept| kept.since.elapsed() >= age));
    }

    /// Ends the transactions of some connections that are not in use.
    fn end_those(&self, are_due: impl Fn(&Reader) -> bool) {
        let is_due = |reader: &mut Reader| reader.kept.is_some() && are_due(reader);
        let due: Vec<Reader> = self.idle().extract_if(.., is_due).collect();
        for mut reader in due {
            reader.reads = 0;
            let ended = reader.end();
            self.count(true, false);
            if ended.is_ok() {
                self.idle().push(reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::tier::disk::index::{read, schema};

    #[test]
    fn a_lookup_that_sees_a_commit_ends_what_connections_keep_open_that_nobody_uses() {
        let name = format!("scrubjay-readers-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let directory = Directory::open(&folder, false).unwrap();
        schema::create(&directory).unwrap();
        let connect = || connect(&directory).unwrap();
        let readers = Readers::new(connect());
        let look_up = |meanwhile: &dyn Fn()| {
            let ask = |reader: &mut Reader| {
                meanwhile();
                read::last(&reader.connection)
            };
            readers.look_up(&directory, ask).unwrap();
        };
        let kept = || readers.kept.load(Ordering::SeqCst);
        (0..=OFTEN).for_each(|_| look_up(&|| look_up(&|| ())));
        assert_eq!(kept(), 2);
        let other = connect().connection;
        other.execute_batch("UPDATE m SET v = v + 1").unwrap();
        look_up(&|| ());
        assert_eq!(kept(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
