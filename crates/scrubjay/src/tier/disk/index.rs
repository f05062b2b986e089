//! The index: which entries there are, where their payloads are, and which invalidations happened.
//!
//! [`Index`] is all that the store asks of an engine; SQLite is the one behind it. Invariant: a batch of operations is
//! applied whole or not at all, in its order, and is seen by every process once `apply` returned.

pub(super) mod evict;
mod read;
mod schema;
mod sqlite;
mod write;

pub(super) use read::decode_target;
pub(crate) use sqlite::{Sqlite, Unusable};

use super::digest::Digest;
use super::record::Function;
use crate::error::Error;

/// One row as it is kept.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) digest: Digest,
    pub(crate) function: Function,
    pub(crate) file: Option<i64>,
    /// When it was last used, in steps of ten minutes.
    pub(crate) bucket: i64,
    pub(crate) bytes: Vec<u8>,
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

/// An invalidation that happened, as other processes learn of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalidation {
    pub(crate) number: u64,
    pub(crate) target: Target,
    /// The open store that brought it.
    pub(crate) origin: i64,
}

/// One step of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put(Put),
    Invalidate(Target),
    /// Notes a use of the row.
    Touch {
        id: i64,
        bucket: i64,
    },
    /// Removes a row that could not be read, if its bytes are still these.
    Discard {
        id: i64,
        digest: Digest,
    },
}

/// An entry as it goes into the index.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) digest: Digest,
    pub(crate) function: Function,
    pub(crate) tags: Vec<String>,
    /// The last invalidation that the load knew of.
    pub(crate) born: u64,
    pub(crate) replaces: bool,
    /// When nothing of it is of use any more, in milliseconds since 1970.
    pub(crate) ends: Option<i64>,
    pub(crate) bucket: i64,
    /// The number of its value file, and that file's size.
    pub(crate) file: Option<(i64, u64)>,
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
    /// The number of the last invalidation.
    pub(crate) invalidation: u64,
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
    fn get(&self, digest: &Digest) -> Result<Option<Row>, Error>;
    /// Applies a batch; `durable` asks that it survives a power loss once this returned.
    fn apply(&self, batch: &[Op], durable: bool) -> Result<Applied, Error>;
    /// Up to `limit` rows after the row `after`, in the order in which they were first written.
    fn rows(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error>;
    /// The invalidations after number `after`, and the number below which they are forgotten.
    fn invalidations(&self, after: u64) -> Result<(Vec<Invalidation>, u64), Error>;
    /// The number of the last invalidation.
    fn last_invalidation(&self) -> Result<u64, Error>;
    fn functions(&self) -> Result<Vec<FunctionStats>, Error>;
    fn len(&self) -> Result<u64, Error>;
    /// Bytes in use, value files included.
    fn used(&self) -> Result<u64, Error>;
    /// Whether a row names this value file.
    fn names_file(&self, id: i64) -> Result<bool, Error>;
    /// What the engine's own check finds wrong.
    fn check(&self) -> Result<Vec<String>, Error>;
}
