//! What a memoized function counts, over all its memories, on the way of a miss, and below memory.
//!
//! Counters are read for reports only, so nothing is published by them: every access is `Relaxed`.

use crate::clock::nanoseconds;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that any threads count up.
#[pyclass(frozen, module = "scrubjay._native")]
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

#[pymethods]
impl Counter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Counts one more.
    fn count(&self) {
        self.add(1);
    }

    #[getter]
    fn total(&self) -> u64 {
        self.get()
    }

    /// Counts from zero.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

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

/// What is counted on the way of a miss.
#[pyclass(frozen, module = "scrubjay._native")]
#[derive(Debug, Default)]
pub(crate) struct Counts {
    loads: Counter,
    errors: Counter,
    waits: Counter,
    refreshes: Counter,
    load_nanoseconds: Counter,
}

#[pymethods]
impl Counts {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// A run returned, after so many seconds.
    fn loaded(&self, seconds: f64) {
        self.loads.add(1);
        self.load_nanoseconds.add(nanoseconds(seconds));
    }

    /// A run raised.
    fn failed(&self) {
        self.errors.add(1);
    }

    /// A caller is about to wait for another's run.
    fn waited(&self) {
        self.waits.add(1);
    }

    /// A run in the background begins.
    fn refreshed(&self) {
        self.refreshes.add(1);
    }

    /// Counts from zero.
    fn reset(&self) {
        let all = [
            &self.loads,
            &self.errors,
            &self.waits,
            &self.refreshes,
            &self.load_nanoseconds,
        ];
        all.into_iter().for_each(Counter::reset);
    }

    #[getter]
    fn loads(&self) -> u64 {
        self.loads.get()
    }

    #[getter]
    fn errors(&self) -> u64 {
        self.errors.get()
    }

    #[getter]
    fn waits(&self) -> u64 {
        self.waits.get()
    }

    #[getter]
    fn refreshes(&self) -> u64 {
        self.refreshes.get()
    }

    /// The seconds that runs took which returned.
    #[getter]
    fn load_time(&self) -> f64 {
        self.load_nanoseconds.get() as f64 / 1e9
    }
}
