//! The index: which entries there are, where their payloads are, and which invalidations happened.
//!
//! [`Index`] is all that the store asks of an engine; SQLite is the one behind it. Invariant: a batch of operations is
//! applied whole or not at all, in its order, and is seen by every process once `apply` returned.

mod check;
mod commits;
mod connection;
pub(super) mod evict;
mod inode;
mod read;
mod readers;
mod schema;
mod sqlite;
mod sums;
mod write;

pub(crate) use evict::LOG_AT_REST;
pub(super) use read::decode_target;
pub(crate) use readers::KEPT;
pub(crate) use sqlite::{Sqlite, Unusable};
pub(crate) use write::AT_ONCE;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::digest::Digest;
use super::record::Function;
use crate::error::Error;

/// One row as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) digest: Digest,
    pub(crate) function: Arc<Function>,
    pub(crate) file: Option<i64>,
    /// When it was last used, in steps of ten minutes.
    pub(crate) bucket: i64,
    pub(crate) bytes: Vec<u8>,
}

/// What an index keeps beside an entry to find, count and evict it; the entry itself says what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guides {
    pub(crate) ends: Option<i64>,
    pub(crate) bucket: i64,
    /// Bytes that are charged for it.
    pub(crate) bytes: u64,
    /// How many tags it is said to have, and how many lead to it.
    pub(crate) tags: (u64, u64),
    /// Whether the rest of its row is as it was written.
    pub(crate) is_whole: bool,
}

/// What an invalidation is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Key(Digest),
    Tag(String),
    /// Every entry of the functions of this name, whatever their code.
    Function(String),
    All,
    /// Nothing that is stored, but whatever is being loaded.
    Loads,
}

/// The numbers of what was said last. Invalidations and batches of insertions are counted by one count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Last {
    /// The last of all.
    pub(crate) number: u64,
    /// The last invalidation, or a later number.
    pub(crate) invalidation: u64,
}

/// What other stores said, as far as it is remembered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// What is no longer true.
    pub(crate) targets: Vec<Target>,
    /// Some of it is forgotten, so anything may be untrue.
    pub(crate) has_gap: bool,
    /// The number of the last.
    pub(crate) last: u64,
}

/// Who says something in a process: what is said is news to everybody else there, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Speaker(u32);

impl Speaker {
    /// Those of one process have different numbers, of which there are about a million.
    const MOST: u32 = (1 << 20) - 1;

    /// One that nobody else is. The default one is nobody's.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only the number counts.
        Self(LAST.fetch_add(1, Ordering::Relaxed) % Self::MOST + 1)
    }
}

/// One step of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put(Box<Put>),
    /// Writes an invalidation down, and removes what is found at once.
    Invalidate(Target, Speaker),
    /// Says that everything is untrue and removes it, in one transaction that writes next to nothing.
    Clear(Speaker),
    /// Notes a use of the row.
    Touch {
        id: i64,
        bucket: i64,
    },
    /// Removes rows that an invalidation of this number is about.
    Remove {
        ids: Vec<i64>,
        before: u64,
    },
    /// Removes a row that could not be read, if its bytes are still these.
    Discard {
        id: i64,
        bytes: Vec<u8>,
    },
    /// Forgets how far a journal was applied: it is no longer there.
    CloseJournal(i64),
}

/// The place of an entry in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) journal: i64,
    /// From 1 on, in the order in which the entries were queued.
    pub(crate) sequence: u64,
}

impl Op {
    /// Whether an entry that it is about must never come back.
    pub(crate) fn invalidates(&self) -> bool {
        matches!(
            self,
            Self::Invalidate(..) | Self::Clear(_) | Self::Remove { .. }
        )
    }

    pub(crate) fn is_put(&self) -> bool {
        matches!(self, Self::Put(_))
    }

    /// Whether nothing untrue is served and nothing promised is lost if it is not applied.
    pub(crate) fn can_be_lost(&self) -> bool {
        match self {
            Self::Put(put) => put.noted.is_none(),
            other => !other.invalidates(),
        }
    }

    /// Whether it removes entries, or says that they are untrue, and adds nothing.
    pub(crate) fn makes_room(&self) -> bool {
        self.invalidates() || matches!(self, Self::Discard { .. })
    }
}

/// An entry as it goes into the index.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) digest: Digest,
    pub(crate) function: Arc<Function>,
    pub(crate) tags: Vec<String>,
    /// The last number that its writer knew of.
    pub(crate) born: u64,
    /// A load brought it, so what came meanwhile is newer.
    pub(crate) is_load: bool,
    /// It makes untrue whatever others hold for its key.
    pub(crate) replaces: bool,
    pub(crate) by: Speaker,
    /// When nothing of it is of use any more, in milliseconds since 1970.
    pub(crate) ends: Option<i64>,
    pub(crate) bucket: i64,
    /// The number of its value file, and that file's size.
    pub(crate) file: Option<(i64, u64)>,
    /// Where it was noted, so that it is applied once although others may read that too.
    pub(crate) noted: Option<Noted>,
    pub(crate) bytes: Vec<u8>,
}

/// What a batch did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Entries that invalidations removed.
    pub(crate) invalidated: u64,
    /// Entries that were refused because something newer was said about them.
    pub(crate) fenced: u64,
    pub(crate) stored: u64,
    pub(crate) evicted: u64,
    /// Value files that no row names any more.
    pub(crate) unnamed: Vec<i64>,
    pub(crate) last: Last,
    /// The index has become smaller, so its file should.
    pub(crate) shrank: bool,
}

/// What one function has in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionStats {
    /// Which function.
    pub function: Function,
    /// Its entries, expired ones included until they are swept.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// What the store asks of an engine. All methods may be called by any thread.
pub(crate) trait Index: Send + Sync {
    /// Finds a row. Sees all that any process committed before.
    fn get(&self, digest: &Digest) -> Result<Option<Row>, Error>;
    /// Whether lookups left something open that [`release_transactions`](Self::release_transactions) must close in
    /// time.
    fn keeps_transactions(&self) -> bool;
    fn release_transactions(&self, age: Duration);
    /// Applies a batch; `durable` asks that it survives a power loss once this returned.
    fn apply(&self, batch: &[Op], durable: bool) -> Result<Applied, Error>;
    /// Whether the log may grow before it is emptied.
    fn has_room_in_log(&self) -> bool;
    /// Keeps the log within its bounds.
    fn keep_small(&self, shrank: bool) -> Result<(), Error>;
    /// Does a little of what can wait; says whether there is more to do.
    fn tidy(&self) -> Result<bool, Error>;
    /// Some rows after `after` that an invalidation of this number is about; none: no more.
    fn concerned(&self, target: &Target, before: u64, after: i64) -> Result<Vec<i64>, Error>;
    /// Up to `limit` rows after the row `after`, in the order in which they were first written.
    fn rows(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error>;
    /// What was said by others than one after a number.
    fn news(&self, after: u64, but: Speaker) -> Result<News, Error>;
    fn last(&self) -> Result<Last, Error>;
    fn functions(&self) -> Result<Vec<FunctionStats>, Error>;
    fn len(&self) -> Result<u64, Error>;
    /// Bytes in use, value files included.
    fn used(&self) -> Result<u64, Error>;
    /// Whether a row names this value file.
    fn names_file(&self, id: i64) -> Result<bool, Error>;
    fn guides(&self, id: i64) -> Result<Option<Guides>, Error>;
    /// What is wrong with the index itself.
    fn check(&self) -> Result<Vec<String>, Error>;
}
