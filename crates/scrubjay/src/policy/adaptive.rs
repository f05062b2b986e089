//! The policy that tunes itself: a window, a main region, ghosts, and shadows that choose among six modes.
//!
//! # What it does
//!
//! ```text
//!            no ghost                    used twice or more
//! newcomer ───────────► window (queue) ────────────────────► main (clock)
//!     │                    │   ▲                               │   ▲
//!     │                    │   └───── main's next victim ──────┘   │
//!     │                    ▼                                       │
//!     │                 evicted, leaves a ghost                    │
//!     └── a ghost that was away for less time than main's next victim has been unused
//! ```
//!
//! - **Window.** Newcomers wait in a queue for the second hit that proves them. A scan goes through the
//!   window and leaves main as it was. From W-TinyLFU (Einziger, Friedman and Manes, "TinyLFU", ACM ToS 2017), and the
//!   `A1in` of 2Q (Johnson and Shasha, VLDB 1994).
//! - **Main.** A clock (Corbató 1968): a hit is a mark on the entry, and the hand gives an entry one more round for
//!   each of up to four hits, so that what is hit often outlasts a few bursts of what is not.
//! - **Reuse distance.** Who deserves main is decided as in LIRS (Jiang and Zhang, SIGMETRICS 2002): by the time
//!   between an entry's uses, not by their number. A mark tells the epoch of the last hit, and a ghost when its
//!   entry left. So a newcomer with a ghost takes a place in main if it was away for less time than main's next
//!   victim has been unused; in a loop larger than the cache, where everything was away for longer, main stays
//!   as it is and goes on hitting. Time is counted in weight inserted, 32 epochs to a capacity.
//! - **Modes.** How large the window should be, and how long a ghost is worth anything, depends on the workload: a
//!   window of everything is a plain clock, for recency; one of a hundredth keeps what is frequent. Six modes
//!   are tried all the time in miniatures, small caches over a sample of the keys by hash (SHARDS: Waldspurger, Park,
//!   Garthwaite and Ahmad, FAST 2015; miniature simulations: Waldspurger and others, ATC 2017), and the cache takes the
//!   mode whose miniature hits most. In a cache of at most 256 entries the sample is all keys.
//! - **Advice.** Five more miniatures, in the mode of the cache, stand for a half to eight times the capacity.
//!
//! # What it costs
//!
//! A hit stores a mark of 16 bits, and only if that changes it: an entry that was hit four times is written to once in
//! an epoch. During a burst of sampling, hits of sampled keys are recorded too, if the tuner is free. An insertion
//! looks at one bucket of ghosts and at the ends of two lists, and passes over a bounded number of used entries; it
//! allocates nothing but room for more links, and one time in 64 pays for a lookup in the miniatures. Each eviction
//! asks for the memory of the next two victims of its region, because waiting for it was half of the time. An entry has
//! 8 bytes of links and 4 of ghosts; miniatures have under 200 kB.
//!
//! # How to change it
//!
//! Every number is a constant beside its meaning: `regions` (modes, epochs, the hits that promote), `ghosts` (slots per
//! resident), `shadows` (size and pay of the miniatures, decay, lead), `curve` (size of the advice's miniatures). None
//! is tuned to a trace: with five modes, each of a dozen of them changed by a factor of 1.5 to 2 left the mean hit
//! ratio between .4275 and .4287. So a change is worth making for its cost or its clarity. Measure hit ratios with
//! `bench/`'s program `hit_ratio`: the mean and the worst row, over several runs, because the seed of the hash decides
//! which keys are the sample.
//!
//! What was measured and left out, with means over 29 rows of those traces, where these rules have .430:
//!
//! - no miniatures, one window of 30 %: .412;
//! - five modes, without the short reach that resists long loops: .428;
//! - three more modes whose admission compares frequencies in a sketch (TinyLFU): .430, for a sketch more;
//! - miniatures with a third more entries: the same;
//! - for the advice, stack distances of an exact LRU (SHARDS): a mean error of .029 instead of .012; miniatures of five
//!   modes at every capacity: .009, for five times the memory.
//!
//! Known limits: a small cache (hundreds of entries) has few lookups to learn from and pays for each with 64 misses, so
//! that it follows a workload that changes after some hundred thousand misses only; and a window that has to
//! shrink gives one entry to main with every eviction.
//!
//! Each shard has regions of its own, in the mode that the one `tuner` of the cache says. Invariant: the residents are
//! those of the shard's ledger.

mod curve;
mod ghosts;
mod miniature;
mod regions;
mod shadows;
mod tuner;

use std::sync::Arc;

use super::Marks;
use regions::{Place, Regions};

pub(crate) use tuner::Tuner;

/// Misses that a shard tells the tuner of at once.
const TOLD_AT_ONCE: u32 = 16;

/// The rules for the entries of one shard.
#[derive(Debug)]
pub(crate) struct Adaptive {
    regions: Regions,
    /// Who went away last, by tag, in case its successor comes in next.
    replaced: Option<(u32, Place)>,
    tuner: Arc<Tuner>,
    /// Misses that the tuner was not told of.
    untold: u32,
    /// Whether anybody had to leave, so that the residents are what the capacity holds.
    has_evicted: bool,
}

impl Adaptive {
    pub(super) fn new(share: u64, tuner: Arc<Tuner>) -> Self {
        Self {
            regions: Regions::new(share, tuner.mode()),
            replaced: None,
            tuner,
            untold: TOLD_AT_ONCE,
            has_evicted: false,
        }
    }

    pub(super) fn epoch(&self) -> u16 {
        self.regions.epoch()
    }

    #[inline]
    pub(super) fn expect(&self, tag: u32) {
        self.regions.expect(tag);
    }

    pub(super) fn insert(&mut self, number: u32, weight: u64, marks: &impl Marks) {
        let tag = marks.tag(number);
        match self.replaced.take() {
            // Another value for the same key: no lookup, and no reason to lose a place.
            Some((replaced, place)) if replaced == tag => {
                self.regions.put_back(number, weight, place, marks);
            }
            _ => {
                self.regions.insert(number, weight, marks);
                self.missed(tag, weight);
            }
        }
    }

    /// Tells the tuner of misses by the dozen, or of one whose key is in its sample; and does as it says.
    fn missed(&mut self, tag: u32, weight: u64) {
        self.untold += 1;
        if self.untold > TOLD_AT_ONCE || self.tuner.wants(tag) {
            self.tell(tag, weight);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&mut self, tag: u32, weight: u64) {
        let residents = self.has_evicted.then(|| self.regions.len());
        let share = self.regions.capacity();
        if (self.tuner).missed(self.untold, tag, weight, share, residents) {
            self.untold = 0;
        }
        let mode = self.tuner.mode();
        if self.regions.mode() != mode {
            self.regions.set_mode(mode);
        }
    }

    pub(super) fn remove(&mut self, number: u32, marks: &impl Marks) {
        let place = self.regions.remove(number, marks);
        self.replaced = place.map(|place| (marks.tag(number), place));
    }

    pub(super) fn victim(&mut self, marks: &impl Marks) -> Option<u32> {
        self.has_evicted = true;
        self.regions.victim(marks)
    }

    pub(super) fn knows(&self, number: u32) -> bool {
        self.regions.knows(number)
    }

    pub(super) fn set_capacity(&mut self, share: u64) {
        self.regions.set_capacity(share);
        self.has_evicted = false;
    }

    pub(super) fn clear(&mut self) {
        // What the tuner knows of the workload is as true as before.
        self.regions = Regions::new(self.regions.capacity(), self.regions.mode());
        self.replaced = None;
        self.has_evicted = false;
    }

    pub(super) fn assert_consistent(&self, entries: &[(u32, u64)]) {
        self.regions.assert_consistent(entries);
    }
}
