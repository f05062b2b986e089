//! Who leaves when the capacity is exceeded.
//!
//! Each shard has rules of its own for its own entries, which learn of insertions and removals as they happen, under
//! the shard's lock. Of hits they learn only when they look: a hit leaves a mark on the entry and takes no lock, and
//! the rules read the marks when they need a victim. Invariant: the rules of a shard know exactly the entries that its
//! ledger has.

mod adaptive;
mod fifo;
mod list;
mod lru;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use adaptive::Tuner;

use crate::sync::PerThread;

/// The rules by which a bounded cache chooses who leaves.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, Policy};
///
/// let cache = Cache::builder().capacity(2).policy(Policy::Lru).build()?;
/// cache.insert("a", 1);
/// cache.insert("b", 2);
/// cache.get("a");
/// cache.insert("c", 3);
/// assert!(cache.contains_key("a") && !cache.contains_key("b"));
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Policy {
    /// Finds by itself how much room recent and frequent entries deserve, and follows the workload when it changes.
    ///
    /// Scans and loops do not push out what is used. A newcomer always comes in. No knobs: the cache tries
    /// six settings in miniature on a sample of its keys and takes the one that hits most.
    #[default]
    Adaptive,
    /// The least recently used leaves first.
    ///
    /// Exact within a thread. Hits of different threads between two insertions have no order among them,
    /// because a hit writes nothing that threads share; every insertion aligns them.
    Lru,
    /// The first to be inserted leaves first, whatever was hit.
    Fifo,
}

/// What a hit leaves on an entry for the policy to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marking {
    /// Nothing.
    Nothing,
    /// How often it was hit since the policy last looked, and when last: see [`used`].
    Use,
    /// The moment of the last hit, in ticks.
    Tick,
}

/// The hits that a mark counts; a mark that has them all changes only with the epoch.
const MOST_HITS: u16 = 4;
const HITS: u16 = 0b111;
const HITS_BITS: u32 = 3;

/// The mark of an entry that came in during an epoch.
fn unused(epoch: u16) -> u16 {
    epoch << HITS_BITS
}

/// A mark after a hit: the number of hits in the lower bits, the epoch of the last one in the others.
#[inline]
pub(crate) fn used(mark: u16, epoch: u16) -> u16 {
    unused(epoch) | ((mark & HITS) + 1).min(MOST_HITS)
}

/// Spreads the tags that are near each other, so that any part of their range is a sample of the keys.
#[inline]
pub(crate) fn spread(tag: u32) -> u32 {
    tag.wrapping_mul(0x9E37_79B1)
        .rotate_left(16)
        .wrapping_mul(0x85EB_CA6B)
}

/// What a policy may ask of an entry, by its place.
pub(crate) trait Marks {
    /// The mark that hits have left.
    fn mark(&self, place: u32) -> u16;
    fn set_mark(&self, place: u32, mark: u16);
    /// The tick of the last hit, or of the insertion.
    fn tick(&self, place: u32) -> u64;
    /// The half of its key's hash that is kept.
    fn tag(&self, place: u32) -> u32;
    fn weight(&self, place: u32) -> u64;
    /// Says that the entry of a place will be asked for soon.
    fn prefetch(&self, _place: u32) {}
    /// Says that an entry with this tag will leave soon.
    fn prefetch_home(&self, _tag: u32) {}
}

/// The rules of one policy for the entries of one shard, which are named by their places. Places are used again after
/// removal.
#[derive(Debug)]
pub(crate) enum Rules {
    Adaptive(Box<adaptive::Adaptive>),
    Lru(lru::Lru),
    Fifo(fifo::Fifo),
}

impl Rules {
    /// An entry came in, of a `weight` above 0.
    pub(crate) fn insert(&mut self, place: u32, weight: u64, marks: &impl Marks) {
        match self {
            Self::Adaptive(rules) => rules.insert(place, weight, marks),
            Self::Lru(rules) => rules.insert(place, marks),
            Self::Fifo(rules) => rules.insert(place),
        }
    }

    /// An entry with this tag will come in soon, or another one will leave.
    #[inline]
    pub(crate) fn expect(&self, tag: u32) {
        if let Self::Adaptive(rules) = self {
            rules.expect(tag);
        }
    }

    /// An entry goes away for a reason of its own.
    pub(crate) fn remove(&mut self, place: u32, marks: &impl Marks) {
        match self {
            Self::Adaptive(rules) => rules.remove(place, marks),
            Self::Lru(rules) => rules.remove(place),
            Self::Fifo(rules) => rules.remove(place),
        }
    }

    /// Chooses an entry to leave and forgets it; `None` only if there is none.
    pub(crate) fn victim(&mut self, marks: &impl Marks) -> Option<u32> {
        match self {
            Self::Adaptive(rules) => rules.victim(marks),
            Self::Lru(rules) => rules.victim(marks),
            Self::Fifo(rules) => rules.victim(),
        }
    }

    pub(crate) fn knows(&self, place: u32) -> bool {
        match self {
            Self::Adaptive(rules) => rules.knows(place),
            Self::Lru(rules) => rules.knows(place),
            Self::Fifo(rules) => rules.knows(place),
        }
    }

    /// What hits leave on entries: a coarse time of the policy's own.
    pub(crate) fn epoch(&self) -> u16 {
        match self {
            Self::Adaptive(rules) => rules.epoch(),
            Self::Lru(_) | Self::Fifo(_) => 0,
        }
    }

    /// The shard's share of the capacity is now another.
    pub(crate) fn set_capacity(&mut self, share: u64) {
        if let Self::Adaptive(rules) = self {
            rules.set_capacity(share);
        }
    }

    /// Everything went away; what was learnt of the past may go with it.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Adaptive(rules) => rules.clear(),
            Self::Lru(rules) => *rules = lru::Lru::default(),
            Self::Fifo(rules) => *rules = fifo::Fifo::default(),
        }
    }

    /// Panics unless exactly the `entries` (place and weight) are known and all sums are right.
    pub(crate) fn assert_consistent(&self, entries: &[(u32, u64)]) {
        match self {
            Self::Adaptive(rules) => rules.assert_consistent(entries),
            Self::Lru(rules) => rules.assert_consistent(entries),
            Self::Fifo(rules) => rules.assert_consistent(entries),
        }
    }
}

/// The scales of the capacity that a curve covers, in halves: from a half to eight times.
pub(crate) const HALVES: [u64; 5] = [1, 2, 4, 8, 16];

/// Lookups of a sample, and how many of them would have hit at each of the scales.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Curve {
    pub(crate) lookups: u64,
    pub(crate) hits: [u64; HALVES.len()],
}

impl Policy {
    pub(crate) fn marking(self) -> Marking {
        match self {
            Policy::Adaptive => Marking::Use,
            Policy::Lru => Marking::Tick,
            Policy::Fifo => Marking::Nothing,
        }
    }

    /// Whether the order among all entries must be one, so that they cannot be kept by the shard.
    pub(crate) fn is_exact(self) -> bool {
        self != Policy::Adaptive
    }

    /// Rules for one shard, whose share of the capacity this is.
    pub(crate) fn rules(self, share: u64, tuner: &Arc<Tuner>) -> Rules {
        match self {
            Policy::Adaptive => {
                Rules::Adaptive(Box::new(adaptive::Adaptive::new(share, tuner.clone())))
            }
            Policy::Lru => Rules::Lru(lru::Lru::default()),
            Policy::Fifo => Rules::Fifo(fifo::Fifo::default()),
        }
    }
}

/// Moments for the order of recency, without memory that all threads write on a hit.
///
/// Each thread counts its own hits, never behind the last insertion of any thread.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    last_insertion: AtomicU64,
    last: PerThread<AtomicU64>,
}

impl Ticks {
    pub(crate) fn hit(&self, thread: usize) -> u64 {
        let last = self.last.of(thread);
        // Relaxed throughout: ticks order hints, and publish nothing.
        let inserted = self.last_insertion.load(Ordering::Relaxed);
        let tick = last.load(Ordering::Relaxed).max(inserted) + 1;
        last.store(tick, Ordering::Relaxed);
        tick
    }

    pub(crate) fn insertion(&self, thread: usize) -> u64 {
        let tick = self.hit(thread);
        // Relaxed: as above.
        self.last_insertion.fetch_max(tick, Ordering::Relaxed);
        tick
    }
}
