//! Time for lives of entries: the system's monotonic clock, or one that a test moves.
//!
//! Reading the exact clock costs as much as the rest of a hit. The kernel's coarse clock costs a third of it and is
//! behind by one tick; it decides wherever an entry has more than a second left, and the exact one everywhere else.

#![allow(
    unsafe_code,
    reason = "asks the kernel's coarse clock, which std does not offer"
)]

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds since some moment; `NEVER` is later than any.
pub(crate) type Moment = u64;

pub(crate) const NEVER: Moment = u64::MAX;

const SECOND: u64 = 1_000_000_000;

/// A clock for tests: it stands still until it is told to advance.
#[pyclass(frozen, module = "scrubjay")]
#[derive(Debug, Default)]
pub(crate) struct ManualClock {
    now: Arc<AtomicU64>,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward by so many seconds. It stops before the end of time.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!(
                "a clock is moved forward by a number of seconds, not by {seconds}"
            )));
        }
        let moved = |now: Moment| Some(now.saturating_add(nanoseconds(seconds)).min(NEVER - 1));
        // It never refuses.
        let _ = self
            .now
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
        Ok(())
    }

    /// The seconds by which the clock was moved so far.
    fn now(&self) -> f64 {
        self.now.load(Ordering::SeqCst) as f64 / SECOND as f64
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Clock {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    pub(crate) fn of(manual: Option<&Bound<'_, ManualClock>>) -> Self {
        manual.map_or(Self::System, |clock| {
            Self::Manual(Arc::clone(&clock.get().now))
        })
    }

    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System => read(libc::CLOCK_MONOTONIC),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Whether a moment has not come yet.
    #[inline(always)]
    pub(crate) fn is_before(&self, moment: Moment) -> bool {
        moment == NEVER || self.is_before_finite(moment)
    }

    fn is_before_finite(&self, moment: Moment) -> bool {
        #[cfg(target_os = "linux")]
        if matches!(self, Self::System)
            && read(libc::CLOCK_MONOTONIC_COARSE).saturating_add(SECOND) < moment
        {
            return true;
        }
        self.now() < moment
    }
}

/// Seconds as nanoseconds, rounded; what is out of range is as near as can be.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * SECOND as f64).round() as u64
}

fn read(clock: libc::clockid_t) -> Moment {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours. The call fails for unknown clocks only.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}
