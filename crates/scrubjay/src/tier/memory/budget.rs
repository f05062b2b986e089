//! The one capacity of a cache, and what all shards together have of it.
//!
//! Invariant: the weight never exceeds the capacity, because it is taken here before an entry is linked; only while the
//! capacity is being lowered is there more, until those who must leave have left. A shard whose newcomer weighs what
//! its victim did takes nothing and writes nothing here.

use crate::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Budget {
    capacity: AtomicU64,
    weight: AtomicU64,
    /// How many of the entries that are accounted for `len` counts.
    fresh: AtomicU64,
}

impl Budget {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity: AtomicU64::new(capacity),
            weight: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::SeqCst)
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::SeqCst);
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::SeqCst)
    }

    pub(super) fn fresh(&self) -> u64 {
        self.fresh.load(Ordering::SeqCst)
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.weight() > self.capacity()
    }

    /// Takes so much, if there is as much.
    pub(super) fn take(&self, weight: u64) -> bool {
        let capacity = self.capacity();
        let sum = |held: u64| held.checked_add(weight).filter(|sum| *sum <= capacity);
        (self.weight)
            .try_update(Ordering::SeqCst, Ordering::SeqCst, sum)
            .is_ok()
    }

    /// Takes what is there already and must be accounted for.
    pub(super) fn take_anyway(&self, weight: u64) {
        self.weight.fetch_add(weight, Ordering::SeqCst);
    }

    pub(super) fn give(&self, weight: u64) {
        if weight > 0 {
            self.weight.fetch_sub(weight, Ordering::SeqCst);
        }
    }

    /// Counts those who became fresh, or no longer are.
    pub(super) fn count_fresh(&self, change: i64) {
        if change != 0 {
            (self.fresh).fetch_add(change.cast_unsigned(), Ordering::SeqCst);
        }
    }
}
