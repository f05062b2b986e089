//! Who leaves when the capacity is exceeded.
//!
//! A policy learns of insertions and removals as they happen, under the ledger's lock. Of hits it learns
//! only when it looks: a hit leaves a mark on the entry and takes no lock, and the policy reads the marks when
//! it needs a victim. Invariant: a policy knows exactly the entries that the ledger has.

mod adaptive;
mod fifo;
mod list;
mod lru;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

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

/// What a policy tells those who hit. Written under the ledger's lock, read without one.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// A coarse time of the policy's own: what a hit leaves on an entry.
    pub(crate) epoch: AtomicU16,
    /// Hits of entries whose [`spread`] tag is below this are told to the policy.
    pub(crate) sample_below: AtomicU32,
}

/// Spreads the tags that are near each other, so that any part of their range is a sample of the keys.
#[inline]
pub(crate) fn spread(tag: u32) -> u32 {
    tag.wrapping_mul(0x9E37_79B1)
        .rotate_left(16)
        .wrapping_mul(0x85EB_CA6B)
}

/// What a policy may ask of an entry, by its number.
pub(crate) trait Marks {
    /// The mark that hits have left.
    fn mark(&self, number: u32) -> u16;
    fn set_mark(&self, number: u32, mark: u16);
    /// The tick of the last hit, or of the insertion.
    fn tick(&self, number: u32) -> u64;
    /// The half of its key's hash that is kept.
    fn tag(&self, number: u32) -> u32;
    fn weight(&self, number: u32) -> u64;
}

/// The rules of one policy. Entries are named by their numbers, which are used again after removal.
pub(crate) trait Rules: fmt::Debug + Send {
    /// An entry came in, of a `weight` above 0.
    fn insert(&mut self, number: u32, weight: u64, marks: &dyn Marks);
    /// An entry goes away for a reason of its own.
    fn remove(&mut self, number: u32, marks: &dyn Marks);
    /// Chooses an entry to leave and forgets it; `None` only if there is none.
    fn victim(&mut self, marks: &dyn Marks) -> Option<u32>;
    fn knows(&self, number: u32) -> bool;
    /// An entry was hit whose tag is in the sample that the signals ask for.
    fn sampled(&mut self, _tag: u32, _weight: u64) {}
    /// What other capacities would hit, by the sample.
    fn curve(&self) -> Option<Curve> {
        None
    }
    /// The capacity is now another.
    fn set_capacity(&mut self, capacity: u64);
    /// Everything went away; what was learnt of the past may go with it.
    fn clear(&mut self);
    /// Panics unless exactly the `entries` (number and weight) are known and all sums are right.
    fn assert_consistent(&self, entries: &[(u32, u64)]);
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

    pub(crate) fn rules(self, capacity: u64, signals: Arc<Signals>) -> Box<dyn Rules> {
        match self {
            Policy::Adaptive => Box::new(adaptive::Adaptive::new(capacity, signals)),
            Policy::Lru => Box::<lru::Lru>::default(),
            Policy::Fifo => Box::<fifo::Fifo>::default(),
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
