//! Counts how often the body of a memoized function ran.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::sync::atomic::{AtomicUsize, Ordering};

/// The runs of one function's body.
pub struct Runs(AtomicUsize);

impl Runs {
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Notes a run; returns how many there have been.
    pub fn count(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
