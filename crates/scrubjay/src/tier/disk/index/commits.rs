//! How a reader sees, without a call of the kernel, that something was committed.
//!
//! The file `store.db-shm`, which SQLite keeps mapped for every connection, begins with a header that each commit
//! changes, and behind it stands how much of the log was moved into the database (<https://sqlite.org/walformat.html>,
//! "WAL-Index Header" and "Checkpoint Info"). Invariant: if two looks are equal, nothing was committed and no
//! checkpoint went on between them; whoever cannot be sure of that gets none.
#![allow(
    unsafe_code,
    reason = "a look by SQLite's own functions costs as much as a lookup: two locks of the kernel's"
)]

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, ffi};

/// The layout of the header that is known here, which is its first word.
const VERSION: u32 = 3_007_000;
/// The words of the header, of which there are two copies.
const HEADER: usize = 12;
/// The size of the pieces in which SQLite maps the file.
const PIECE: c_int = 32 << 10;

/// What stands in the file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    header: [u32; HEADER],
    checkpointed: u32,
}

/// The mapping of a connection's database; of no use after that connection was closed.
#[derive(Debug)]
pub(super) struct Commits(NonNull<[AtomicU32; 2 * HEADER + 1]>);

// SAFETY: the mapping belongs to the process and not to a thread, and all that is done with it are atomic loads.
unsafe impl Send for Commits {}

impl Commits {
    /// `None` unless the connection read something from a database with a log, which it and others may write to.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        let file = file(connection)?;
        // SAFETY: the file is open for as long as the connection is, and SQLite keeps its methods for ever.
        let methods = unsafe { file.as_ref().pMethods.as_ref() }?;
        let map = methods.xShmMap.filter(|_| methods.iVersion >= 2)?;
        let mut mapped: *mut c_void = null_mut();
        // SAFETY: as its declaration asks: an open file, a piece of the one size that SQLite uses, which is not made if
        // it is not there, and where to put its address.
        let result = unsafe { map(file.as_ptr(), 0, PIECE, 0, &raw mut mapped) };
        let found = NonNull::new(mapped)?.cast();
        (result == ffi::SQLITE_OK).then_some(Self(found))
    }

    /// What stands there now; `None` if it is not what is known here.
    pub(super) fn look(&self) -> Option<Look> {
        // SAFETY: the piece is larger than this, lies at the start of a page, and stays mapped until the connection
        // closes, which has an owner that drops this with it. SQLite, here and in other processes, writes to it; atomic
        // loads may meet that.
        let words = unsafe { self.0.as_ref() };
        // Relaxed: whoever knows of a commit was told by its writer after it, and so sees what it wrote before; one
        // that is half written is equal to nothing but itself.
        let word = |place: usize| words[place].load(Ordering::Relaxed);
        let look = Look {
            header: std::array::from_fn(word),
            checkpointed: word(2 * HEADER),
        };
        (look.header[0] == VERSION).then_some(look)
    }
}

/// The file of a connection's database, as SQLite has it open.
fn file(connection: &Connection) -> Option<NonNull<ffi::sqlite3_file>> {
    let mut file: *mut ffi::sqlite3_file = null_mut();
    // SAFETY: the connection is open while it is borrowed, by this thread alone; the call puts an address in `file`.
    let result = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        )
    };
    NonNull::new(file).filter(|_| result == ffi::SQLITE_OK)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_commit_and_a_checkpoint_of_another_connection_are_seen_and_nothing_else_is() {
        let name = format!("scrubjay-commits-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let open = || Connection::open(folder.join("store.db")).unwrap();
        let (ours, theirs) = (open(), open());
        let make = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a)";
        theirs.execute_batch(make).unwrap();
        let count = || -> u64 {
            let count = ours.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
            count.unwrap()
        };
        count();
        let commits = Commits::of(&ours).unwrap();
        let looks_after = |sql| {
            let before = commits.look().unwrap();
            theirs.execute_batch(sql).unwrap();
            (before, commits.look().unwrap())
        };

        let (before, after) = looks_after("SELECT 1; BEGIN; INSERT INTO t VALUES (1); ROLLBACK");
        assert_eq!(before, after);
        let (before, after) = looks_after("INSERT INTO t VALUES (1)");
        assert_ne!(before, after);
        let (before, after) = looks_after("PRAGMA wal_checkpoint(PASSIVE)");
        assert_ne!(before, after);
        assert_eq!(count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_database_without_a_log_has_nothing_to_look_at() {
        let memory = Connection::open_in_memory().unwrap();
        assert!(Commits::of(&memory).is_none());
    }
}
