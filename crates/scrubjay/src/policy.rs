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
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Finds by itself how much room recent and frequent entries deserve, and resists scans: CAR (Bansal and
    /// Modha, "CAR: Clock with Adaptive Replacement", FAST 2004). No knobs.
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
    /// One bit: hit since the policy last looked.
    Bit,
    /// The moment of the last hit, in ticks.
    Tick,
}

/// Reads the marks of entries by their number.
pub(crate) trait Marks {
    /// Takes the entry's bit away and says whether it was there.
    fn take_bit(&self, number: u32) -> bool;
    /// Returns the tick of the entry's last hit.
    fn tick(&self, number: u32) -> u64;
}

/// The rules of one policy. Entries are named by their number in the ledger, which is reused after removal.
pub(crate) trait Rules: fmt::Debug + Send + Sync {
    /// An entry came in at `tick`.
    fn insert(&mut self, number: u32, hash: u64, weight: u64, tick: u64);
    /// An entry went away for a reason of its own.
    fn remove(&mut self, number: u32);
    /// Chooses an entry to leave and forgets it; `None` only if there is none.
    fn victim(&mut self, marks: &dyn Marks) -> Option<u32>;
    /// The capacity is now another.
    fn set_capacity(&mut self, capacity: u64);
    /// Everything went away; what was learnt of the past may go with it.
    fn clear(&mut self);
    /// Panics unless exactly the `entries` (number and weight) are known and all sums are right.
    fn assert_consistent(&self, entries: &[(u32, u64)]);
}

impl Policy {
    pub(crate) fn marking(self) -> Marking {
        match self {
            Policy::Adaptive => Marking::Bit,
            Policy::Lru => Marking::Tick,
            Policy::Fifo => Marking::Nothing,
        }
    }

    pub(crate) fn rules(self, capacity: u64) -> Box<dyn Rules> {
        match self {
            Policy::Adaptive => Box::new(adaptive::Adaptive::new(capacity)),
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
