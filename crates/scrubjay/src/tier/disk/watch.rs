//! What others say of a store's entries, for those who keep copies of them in memory.
//!
//! Invariants: nothing that was said after a watch began is missed, because what cannot be told apart any more is told
//! as [`Invalidation::All`]; and a look at a store where nothing was said reads one page and writes nothing.

use super::digest::Digest;
use super::index::Target;
use super::record::Fence;
use super::store::Store;

/// Something that somebody else said is no longer true.
///
/// # Example
///
/// See [`Watch`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Invalidation {
    /// The entry of this digest, which was discarded or replaced.
    Key(Digest),
    /// Every entry with this tag.
    Tag(String),
    /// Every entry of the functions of this name, whatever their code.
    Function(String),
    /// Nothing that is kept, but whatever is being loaded.
    Loads,
    /// Everything; also where it is not known any more what was said.
    All,
}

impl From<Target> for Invalidation {
    fn from(target: Target) -> Self {
        match target {
            Target::Key(digest) => Self::Key(digest),
            Target::Tag(tag) => Self::Tag(tag),
            Target::Function(name) => Self::Function(name),
            Target::Loads => Self::Loads,
            Target::All => Self::All,
        }
    }
}

/// Hears of the invalidations that others bring, in this process and in others; made by [`Store::watch`].
///
/// What is said through the handle that it was made from, or through clones of that one, is not among them. Caches have
/// handles of their own.
///
/// # Example
///
/// ```
/// use scrubjay::disk::Store;
///
/// let dir = std::env::temp_dir().join(format!("scrubjay-watch-{}", std::process::id()));
/// let store = Store::open(&dir)?;
/// let mut watch = store.watch(store.fence());
/// store.clear()?;
/// assert!(watch.news().is_empty(), "the same handle cleared it");
/// Store::open(&dir)?.clear()?;
/// assert_eq!(watch.news().len(), 1);
/// # drop((watch, store)); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    store: Store,
    seen: Fence,
    token: Option<u64>,
}

impl Watch {
    pub(super) fn new(store: Store, since: Fence) -> Self {
        Self {
            store,
            seen: since,
            token: None,
        }
    }

    /// Returns what was said since the last call, in its order; nothing, after reading one page, if nothing was.
    ///
    /// See [`Watch`] for an example.
    pub fn news(&mut self) -> Vec<Invalidation> {
        let token = self.store.token();
        if token.is_some() && token == self.token {
            return Vec::new();
        }
        self.token = token;
        let Ok((news, at)) = self.store.news(self.seen) else {
            // Nothing is known, so nothing may be kept.
            return vec![Invalidation::All];
        };
        self.seen = at;
        if news.has_gap {
            return vec![Invalidation::All];
        }
        news.targets.into_iter().map(Invalidation::from).collect()
    }

    /// Returns the point in the store's history up to which it has told.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-watch-at-{}", std::process::id()));
    /// let store = scrubjay::disk::Store::open(&dir)?;
    /// let watch = store.watch(store.fence());
    /// let again = store.watch(watch.at()); // goes on where the first one is
    /// # drop((watch, again, store)); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn at(&self) -> Fence {
        self.seen
    }
}
