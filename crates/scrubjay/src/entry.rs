//! An entry as the memory tier holds it: key, value and what is known about them.
//!
//! An entry never changes once it is in the table but for its marks, which are atomics that a hit stores and
//! nothing waits for. What most entries do not have (an end, a weight, tags) is one null pointer to them.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::clock::{Timestamp, nanos};
use crate::expiration::{Freshness, Life, Lives};
use crate::policy::Marking;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::tier::memory::table::Hashed;

/// A label that many entries carry, so that they can be invalidated together.
pub(crate) type Tag = Arc<str>;

/// The id of an entry that the ledger knows nothing of.
pub(crate) const UNACCOUNTED: u64 = u64::MAX;

/// An error of a load, as waiters of any error type may find it.
pub(crate) type SharedError = Arc<dyn Any + Send + Sync>;

pub(crate) struct Entry<K, V> {
    pub(crate) hash: u64,
    /// Number and generation in the ledger, or [`UNACCOUNTED`]. Written under the shard's lock only.
    id: AtomicU64,
    mark: AtomicU64,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) key: K,
    pub(crate) held: Held<V>,
}

/// What an entry holds for its key.
pub(crate) enum Held<V> {
    Value(V),
    Weak(Box<dyn WeakRef<V>>),
    /// The load failed, and the cache was asked to remember that for a while.
    Failure(SharedError),
}

/// A value that does not keep itself alive.
pub(crate) trait WeakRef<V>: Send + Sync {
    fn upgrade(&self) -> Option<V>;
}

impl<T: Send + Sync + ?Sized> WeakRef<Arc<T>> for Weak<T> {
    fn upgrade(&self) -> Option<Arc<T>> {
        Weak::upgrade(self)
    }
}

/// What only some entries have.
#[derive(Debug)]
pub(crate) struct Extra {
    pub(crate) weight: u64,
    pub(crate) life: Life,
    accessed: AtomicU64,
    /// Until when a failed load is not tried again.
    rests_until: AtomicU64,
    pub(crate) tags: Box<[Tag]>,
}

impl Extra {
    /// `None` for what is assumed of an entry without it.
    pub(crate) fn of(weight: u64, life: Life, now: Timestamp, tags: Vec<Tag>) -> Option<Box<Self>> {
        (weight != 1 || life != Life::ENDLESS || !tags.is_empty()).then(|| {
            Box::new(Self {
                weight,
                life,
                accessed: AtomicU64::new(now.as_nanos()),
                rests_until: AtomicU64::new(0),
                tags: tags.into(),
            })
        })
    }

    pub(crate) fn end(&self) -> Timestamp {
        self.life.end(self.accessed())
    }
}

impl<K, V> Entry<K, V> {
    pub(crate) fn new(
        key: K,
        hash: u64,
        id: u64,
        tick: u64,
        extra: Option<Box<Extra>>,
        held: Held<V>,
    ) -> Self {
        Self {
            hash,
            id: AtomicU64::new(id),
            mark: AtomicU64::new(tick),
            extra,
            key,
            held,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        // Relaxed: a reader that sees an older id finds no record for it, and leaves the entry alone.
        self.id.load(Ordering::Relaxed)
    }

    /// Gives an entry that had none its place in the ledger.
    pub(crate) fn set_id(&self, id: u64) {
        // Relaxed: see `id`.
        self.id.store(id, Ordering::Relaxed);
    }

    pub(crate) fn weight(&self) -> u64 {
        self.extra.as_ref().map_or(1, |extra| extra.weight)
    }

    #[cfg(feature = "snapshot")]
    pub(crate) fn tags(&self) -> &[Tag] {
        self.extra.as_ref().map_or(&[], |extra| &extra.tags)
    }

    /// The first moment at which this entry is expired, as far as is known now.
    pub(crate) fn end(&self) -> Timestamp {
        self.extra
            .as_ref()
            .map_or(Timestamp::NEVER, |extra| extra.end())
    }

    /// Asks the clock only if the entry has a life.
    #[inline]
    pub(crate) fn freshness(&self, lives: &Lives, now: impl FnOnce() -> Timestamp) -> Freshness {
        match &self.extra {
            None => Freshness::Fresh,
            Some(extra) if extra.life == Life::ENDLESS => Freshness::Fresh,
            Some(extra) => {
                let now = now();
                match lives.freshness(&extra.life, extra.accessed(), now) {
                    // Relaxed: a hint; who misses it tries the load once more.
                    Freshness::Stale | Freshness::Fallback
                        if now.as_nanos() < extra.rests_until.load(Ordering::Relaxed) =>
                    {
                        Freshness::Resting
                    }
                    freshness => freshness,
                }
            }
        }
    }

    /// Notes that a load of this key just failed and should not be tried again for a while.
    pub(crate) fn rest_until(&self, moment: Timestamp) {
        if let Some(extra) = &self.extra {
            // Relaxed: see `freshness`.
            extra
                .rests_until
                .store(moment.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Notes a use for the time to idle, if the entry has one.
    pub(crate) fn touch(&self, now: impl FnOnce() -> Timestamp) {
        if let Some(extra) = &self.extra
            && nanos(extra.life.idle) < u64::MAX
        {
            // Relaxed: nothing is published with it; a slightly older time is a benign race.
            extra.accessed.store(now().as_nanos(), Ordering::Relaxed);
        }
    }

    /// Leaves the policy's mark of a hit.
    #[inline]
    pub(crate) fn mark(&self, marking: Marking, tick: impl FnOnce() -> u64) {
        // Relaxed throughout: the mark is a hint to the policy, and a lost one is a benign race.
        match marking {
            Marking::Nothing => {}
            Marking::Bit => {
                // A store only when it changes something leaves the cache line shared.
                if self.mark.load(Ordering::Relaxed) == 0 {
                    self.mark.store(1, Ordering::Relaxed);
                }
            }
            Marking::Tick => self.mark.store(tick(), Ordering::Relaxed),
        }
    }

    pub(crate) fn take_bit(&self) -> bool {
        // Relaxed: see `mark`.
        self.mark.swap(0, Ordering::Relaxed) != 0
    }

    pub(crate) fn tick(&self) -> u64 {
        // Relaxed: see `mark`.
        self.mark.load(Ordering::Relaxed)
    }
}

impl Extra {
    fn accessed(&self) -> Timestamp {
        // Relaxed: see `touch`.
        Timestamp::from_nanos(self.accessed.load(Ordering::Relaxed))
    }
}

impl<K, V> Hashed for Entry<K, V> {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash
    }
}

impl<V> Held<V> {
    /// Hands a value to `use_it`: directly, or for as long as it takes if it is held weakly.
    #[inline]
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&V) -> R) -> Option<R> {
        match self {
            Self::Value(value) => Some(use_it(value)),
            Self::Weak(weak) => weak.upgrade().map(|value| use_it(&value)),
            Self::Failure(_) => None,
        }
    }

    /// Whether it was held weakly and its last owner dropped it.
    pub(crate) fn is_collected(&self) -> bool {
        matches!(self, Self::Weak(weak) if weak.upgrade().is_none())
    }

    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failure(_))
    }
}

impl<K, V> fmt::Debug for Entry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("hash", &self.hash)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}
