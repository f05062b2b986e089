//! What a memoized function counts, over all its memories.
//!
//! Counters are read for reports only, so nothing is published by them: every access is `Relaxed`.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline(always)]
    pub(crate) fn add(&self, amount: u64) {
        // Under a GIL nobody else writes between the two.
        #[cfg(not(Py_GIL_DISABLED))]
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
        #[cfg(Py_GIL_DISABLED)]
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, amount: u64) {
        self.add(amount.wrapping_neg());
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) evictions: Counter,
    pub(crate) expirations: Counter,
    pub(crate) rejections: Counter,
    /// Entries with a value, expired ones that were not dropped yet included.
    pub(crate) entries: Counter,
    pub(crate) weight: Counter,
}
