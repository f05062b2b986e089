//! What is said of entries on disk through other stores and in other processes, for the thread that passes it on to
//! memory.
//!
//! Invariant: whoever waits holds neither the interpreter nor the inside of a store, and is stopped at once.

use crate::store::{Fence, after};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use scrubjay::disk::{self, Invalidation};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hears of what is not said through its own store, in this process and in others, in a thread that lets the
/// interpreter go while nothing is said.
#[pyclass(frozen, module = "scrubjay._native")]
pub(crate) struct Watch {
    watch: Mutex<disk::Watch>,
    is_stopped: Mutex<bool>,
    stopped: Condvar,
}

/// How often the page is read that tells whether something was said.
const LOOK: Duration = Duration::from_millis(20);

/// What was said: the kind, and the digest, tag or function if it is one's.
type Said<'py> = (&'static str, Option<Bound<'py, PyAny>>);

impl Watch {
    pub(crate) fn new(watch: disk::Watch) -> Self {
        Self {
            watch: Mutex::new(watch),
            is_stopped: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    /// Sleeps until it is time to look again; whether it was stopped.
    fn pause(&self) -> bool {
        let stopped = self
            .is_stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .stopped
            .wait_timeout_while(stopped, LOOK, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// `None` if it was stopped.
    fn next(&self, end: Instant) -> Option<(Vec<Invalidation>, disk::Fence)> {
        loop {
            if self.pause() {
                return None;
            }
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            let news = watch.news();
            if !news.is_empty() || Instant::now() >= end {
                return Some((news, watch.at()));
            }
        }
    }
}

#[pymethods]
impl Watch {
    fn wait<'py>(&self, py: Python<'py>, timeout: f64) -> Option<(Vec<Said<'py>>, Fence)> {
        let end = after(Instant::now(), timeout);
        let (news, at) = py.detach(|| self.next(end))?;
        let said = news.into_iter().map(|said| said_of(py, said));
        Some((said.collect(), Fence(at)))
    }

    fn stop(&self) {
        *self
            .is_stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }
}

fn said_of(py: Python<'_>, said: Invalidation) -> Said<'_> {
    let text = |text: &str| PyString::new(py, text).into_any();
    match said {
        Invalidation::Key(digest) => {
            let digest = PyBytes::new(py, digest.as_bytes());
            ("key", Some(digest.into_any()))
        }
        Invalidation::Tag(tag) => ("tag", Some(text(&tag))),
        Invalidation::Function(name) => ("function", Some(text(&name))),
        Invalidation::Loads => ("loads", None),
        // Whatever else there may come to be: nothing may be kept.
        _ => ("all", None),
    }
}
