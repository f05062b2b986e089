//! The tuner: what chooses the mode for all shards of a cache, and what they and those who hit tell it.
//!
//! Invariant: what it says (the mode, the sample) is that of its shadows. Nobody waits for it: who finds it busy tells
//! it later, or not at all.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::regions::{MODES, Mode};
use super::shadows::Shadows;
use crate::policy::{Curve, spread};
use crate::sync::Mutex;

/// One for a cache; its shards share it.
#[derive(Debug)]
pub(crate) struct Tuner {
    /// Lookups of keys whose [`spread`] tags are below this are told to the tuner.
    sample_below: AtomicU32,
    /// By its position in [`MODES`].
    mode: AtomicU8,
    /// How many shards have an equal share of the capacity.
    shards: u64,
    /// Made when the first entry comes in, so that an empty cache is small.
    shadows: Mutex<Option<Box<Shadows>>>,
}

impl Tuner {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            sample_below: AtomicU32::new(0),
            mode: AtomicU8::new(0),
            shards: shards as u64,
            shadows: Mutex::new(None),
        }
    }

    /// Whether lookups of keys with this tag are to be told.
    #[inline]
    pub(crate) fn wants(&self, tag: u32) -> bool {
        // Relaxed: who misses the beginning or the end of a sample is a part of the noise in it.
        spread(tag) < self.sample_below.load(Ordering::Relaxed)
    }

    pub(super) fn mode(&self) -> Mode {
        // Relaxed: who sees it late changes late.
        MODES[usize::from(self.mode.load(Ordering::Relaxed))]
    }

    /// Hears of a hit in its sample, unless it is busy.
    #[cold]
    #[inline(never)]
    pub(crate) fn hit(&self, tag: u32, weight: u64) {
        if let Some(mut shadows) = self.shadows.try_lock()
            && let Some(shadows) = &mut *shadows
        {
            shadows.look_up(tag, weight);
            self.publish(shadows);
        }
    }

    /// Hears of so many misses of a shard, the last of which was of this key; false if it is busy.
    ///
    /// `residents` are those of the shard, if it is known how many its share of the capacity holds.
    pub(super) fn missed(
        &self,
        misses: u32,
        tag: u32,
        weight: u64,
        share: u64,
        residents: Option<usize>,
    ) -> bool {
        let Some(mut shadows) = self.shadows.try_lock() else {
            return false;
        };
        let capacity = share.saturating_mul(self.shards);
        // Until somebody has to leave, entries are assumed to weigh 1.
        let assumed = || usize::try_from(capacity).unwrap_or(usize::MAX);
        let shadows = shadows.get_or_insert_with(|| Box::new(Shadows::new(capacity, assumed())));
        if let Some(residents) = residents {
            shadows.fit(capacity, residents.saturating_mul(self.shards as usize));
        }
        shadows.pay(misses);
        shadows.look_up(tag, weight);
        self.publish(shadows);
        true
    }

    /// Says what the shadows are at. Written only when it changes, because every hit reads it.
    fn publish(&self, shadows: &Shadows) {
        let (mode, below) = (shadows.chosen() as u8, shadows.sample_below());
        // Relaxed: hints; whoever reads an older one tells of a hit too many or too few.
        if self.sample_below.load(Ordering::Relaxed) != below {
            self.sample_below.store(below, Ordering::Relaxed);
        }
        if self.mode.load(Ordering::Relaxed) != mode {
            self.mode.store(mode, Ordering::Relaxed);
        }
    }

    pub(crate) fn curve(&self) -> Option<Curve> {
        self.shadows.lock().as_ref().map(|shadows| shadows.curve())
    }
}
