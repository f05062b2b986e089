//! `Flight`: one load, and those who wait for it.
//!
//! Who waits for whom is a graph: a flight is blocked on those that callers inside its load wait for. A wait that would close
//! a cycle is refused. The graph is one for all flights, guarded by one cell in whose sections no Python code runs: neither
//! a collection nor a signal can come between two steps here, as they could in Python.

use crate::object::{Guarded, Obj};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Guards every flight's state, so that the graph is seen whole.
static GRAPH: Guarded<()> = Guarded::new(());

/// Grows in a child process: flights of its parent have no leader there.
static GENERATION: AtomicU64 = AtomicU64::new(0);

#[pyclass(frozen, subclass, module = "scrubjay._native")]
#[derive(Debug)]
pub(crate) struct Flight {
    node: Arc<Node>,
    generation: u64,
}

#[derive(Debug)]
struct Node {
    state: Guarded<State>,
}

#[derive(Debug, Default)]
struct State {
    landed: bool,
    /// What wakes each of those who wait.
    waiters: Vec<Obj>,
    blocked_on: Vec<Arc<Node>>,
}

#[pymethods]
impl Flight {
    #[new]
    fn new() -> Self {
        let node = Arc::new(Node {
            state: Guarded::new(State::default()),
        });
        // SeqCst: it changes in a child process, before any of its threads begin.
        Self {
            node,
            generation: GENERATION.load(Ordering::SeqCst),
        }
    }

    /// Whether it belongs to the process that this one was forked from.
    fn is_orphan(&self) -> bool {
        self.generation != GENERATION.load(Ordering::SeqCst)
    }

    /// Whether it is over.
    #[getter]
    fn landed(&self) -> bool {
        GRAPH.with(|()| self.node.state.with(|state| state.landed))
    }

    /// Adds a waiter that `wake()` wakes, and that runs inside these flights. False, and nothing is added, if the flight has
    /// landed, or if it is or waits for one of these.
    fn join(&self, inside: &Bound<'_, PyTuple>, wake: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (inside, wake) = (nodes(inside)?, Obj::from_bound(wake));
        let mut seen = Vec::new();
        let joined = GRAPH.with(|()| {
            let landed = self.node.state.with(|state| state.landed);
            if landed || self.node.leads_to(&inside, &mut seen) {
                return false;
            }
            for node in &inside {
                node.state
                    .with(|state| state.blocked_on.push(Arc::clone(&self.node)));
            }
            self.node
                .state
                .with(|state| state.waiters.push(wake.clone()));
            true
        });
        Ok(joined)
    }

    /// Takes a waiter out again, woken or not.
    fn leave(&self, inside: &Bound<'_, PyTuple>, wake: &Bound<'_, PyAny>) -> PyResult<()> {
        let inside = nodes(inside)?;
        let mut gone = (Vec::new(), None);
        GRAPH.with(|()| {
            for node in &inside {
                gone.0.extend(node.state.with(|state| {
                    take(&mut state.blocked_on, |other| {
                        Arc::ptr_eq(other, &self.node)
                    })
                }));
            }
            let is_it = |waiter: &Obj| waiter.as_ptr() == wake.as_ptr();
            gone.1 = self
                .node
                .state
                .with(|state| take(&mut state.waiters, is_it));
        });
        drop(gone);
        Ok(())
    }

    /// Ends the flight, and wakes everyone who waits. If that fails half-way, another call goes on with it.
    fn land(&self, py: Python<'_>) -> PyResult<()> {
        let state = &self.node.state;
        GRAPH.with(|()| state.with(|state| state.landed = true));
        while let Some(wake) = GRAPH.with(|()| state.with(|state| state.waiters.pop())) {
            if let Err(error) = wake.as_py().call0(py) {
                GRAPH.with(|()| state.with(|state| state.waiters.push(wake)));
                return Err(error);
            }
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit_waiters(&self.node, &visit)
    }

    fn __clear__(&self) {
        drop(GRAPH.with(|()| self.node.state.with(std::mem::take)));
    }
}

impl Node {
    /// Whether this flight is, or waits for, one of these. What was looked at is kept for the caller to drop outside.
    fn leads_to(self: &Arc<Self>, inside: &[Arc<Self>], seen: &mut Vec<Arc<Self>>) -> bool {
        let mut looked = 0;
        seen.push(Arc::clone(self));
        while let Some(node) = seen.get(looked).map(Arc::clone) {
            looked += 1;
            if inside.iter().any(|other| Arc::ptr_eq(other, &node)) {
                return true;
            }
            let next: Vec<_> = node.state.with(|state| state.blocked_on.clone());
            for other in next {
                if !seen.iter().any(|known| Arc::ptr_eq(known, &other)) {
                    seen.push(other);
                }
            }
        }
        false
    }
}

/// Called in a child process, which finds flights of its parent.
#[pyfunction]
pub(crate) fn forked() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
}

fn nodes(flights: &Bound<'_, PyTuple>) -> PyResult<Vec<Arc<Node>>> {
    let node = |flight: Bound<'_, PyAny>| Ok(Arc::clone(&flight.cast::<Flight>()?.get().node));
    flights.iter().map(node).collect()
}

fn take<T>(from: &mut Vec<T>, is_it: impl Fn(&T) -> bool) -> Option<T> {
    from.iter()
        .position(is_it)
        .map(|position| from.swap_remove(position))
}

#[allow(
    unsafe_code,
    reason = "looks at the state while the collector has stopped the world"
)]
fn visit_waiters(node: &Node, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
    // SAFETY: only the collector calls this.
    let state = unsafe { node.state.traversed() };
    state
        .waiters
        .iter()
        .try_for_each(|waiter| visit.call(waiter.as_py()))
}
