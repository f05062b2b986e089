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
//! an epoch. During a burst of sampling, hits of sampled keys are recorded too, if the ledger is free. An insertion looks
//! at one bucket of ghosts and at the ends of two lists, and passes over a bounded number of used entries; it
//! allocates nothing but room for more links, and one time in 64 pays for a lookup in the miniatures.
//! An entry has 8 bytes of links and 4 of ghosts; miniatures have under 200 kB.
//!
//! # How to change it
//!
//! Every number is a constant beside its meaning: `regions` (modes, epochs, the hits that promote), `ghosts` (slots per
//! resident), `shadows` (size and pay of the miniatures, decay, lead), `curve` (size of the advice's miniatures). None is
//! tuned to a trace: with five modes, each of a dozen of them changed by a factor of 1.5 to 2 left the mean hit ratio
//! between .4275 and .4287. So a change is worth making for its cost or its clarity. Measure hit ratios with `bench/`'s program
//! `hit_ratio`: the mean and the worst row, over several runs, because the seed of the hash decides which keys are the
//! sample.
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
//! Invariants: the policy's residents are the ledger's; signals say what `regions` and `shadows` are at.

mod curve;
mod ghosts;
mod miniature;
mod regions;
mod shadows;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Curve, Marks, Rules, Signals};
use regions::{MODES, Place, Regions};
use shadows::Shadows;

#[derive(Debug)]
pub(super) struct Adaptive {
    regions: Regions,
    /// Made when the first entry comes in, so that an empty cache is small.
    shadows: Option<Box<Shadows>>,
    /// Who went away last, by tag, in case its successor comes in next.
    replaced: Option<(u32, Place)>,
    signals: Arc<Signals>,
}

impl Adaptive {
    pub(super) fn new(capacity: u64, signals: Arc<Signals>) -> Self {
        Self {
            regions: Regions::new(capacity, MODES[0]),
            shadows: None,
            replaced: None,
            signals,
        }
    }

    /// Tells the shadows of a miss.
    fn missed(&mut self, tag: u32, weight: u64) {
        let capacity = self.regions.capacity();
        // Until somebody has to leave, entries are assumed to weigh 1.
        let residents = usize::try_from(capacity).unwrap_or(usize::MAX);
        let shadows =
            (self.shadows).get_or_insert_with(|| Box::new(Shadows::new(capacity, residents)));
        shadows.pay();
        self.look_up(tag, weight);
    }

    /// Tells the shadows of a lookup whose key may be in the sample, and does as they say.
    fn look_up(&mut self, tag: u32, weight: u64) {
        let mode = (self.shadows.as_mut()).and_then(|shadows| shadows.look_up(tag, weight));
        if let Some(mode) = mode {
            self.regions.set_mode(mode);
        }
    }

    fn signal(&self) {
        let sample_below = self
            .shadows
            .as_ref()
            .map_or(0, |shadows| shadows.sample_below());
        let (epoch, signals) = (self.regions.epoch(), &self.signals);
        // Relaxed: hints; whoever reads an older one leaves an older mark, or a hit out of the sample. They are written
        // only when they change, because every hit reads them.
        if signals.epoch.load(Ordering::Relaxed) != epoch {
            signals.epoch.store(epoch, Ordering::Relaxed);
        }
        if signals.sample_below.load(Ordering::Relaxed) != sample_below {
            signals.sample_below.store(sample_below, Ordering::Relaxed);
        }
    }
}

impl Rules for Adaptive {
    fn insert(&mut self, number: u32, weight: u64, marks: &dyn Marks) {
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
        self.signal();
    }

    fn remove(&mut self, number: u32, marks: &dyn Marks) {
        let place = self.regions.remove(number, marks);
        self.replaced = place.map(|place| (marks.tag(number), place));
    }

    fn victim(&mut self, marks: &dyn Marks) -> Option<u32> {
        if let Some(shadows) = &mut self.shadows {
            shadows.fit(self.regions.capacity(), self.regions.len());
        }
        self.regions.victim(marks)
    }

    fn knows(&self, number: u32) -> bool {
        self.regions.knows(number)
    }

    fn sampled(&mut self, tag: u32, weight: u64) {
        self.look_up(tag, weight);
        self.signal();
    }

    fn curve(&self) -> Option<Curve> {
        self.shadows.as_ref().map(|shadows| shadows.curve())
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.regions.set_capacity(capacity);
    }

    fn clear(&mut self) {
        // What the shadows know of the workload is as true as before.
        self.regions = Regions::new(self.regions.capacity(), self.regions.mode());
        self.replaced = None;
        self.signal();
    }

    fn assert_consistent(&self, entries: &[(u32, u64)]) {
        self.regions.assert_consistent(entries);
        if let Some(shadows) = &self.shadows {
            assert_eq!(self.regions.mode(), shadows.mode());
        }
    }
}
