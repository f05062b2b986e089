//! `Flight`: one load, and those who wait for it.
//!
//! Who waits for whom is a graph: a flight is blocked on those that callers inside its load wait for. A wait that would
//! close a cycle is refused. The graph is one for all flights, guarded by one cell in whose sections no Python code
//! runs: neither a collection nor a signal can come between two steps here, as they could in Python.

use crate::arrival;
use crate::object::{Guarded, Obj};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Guards every flight's state, so that the graph is seen whole.
static GRAPH: Guarded<Graph> = Guarded::new(Graph {
    waiting: 0,
    watchers: Vec::new(),
});

/// What concerns all flights.
#[derive(Debug)]
struct Graph {
    /// How many callers wait, for whichever flight.
    waiting: usize,
    /// Those who want to know when so many callers wait.
    watchers: Vec<(usize, Obj)>,
}

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
        GRAPH.with(|_| self.node.has_landed())
    }

    /// Adds a waiter that `wake()` wakes, and that runs inside these flights. False, and nothing is added, if the
    /// flight has landed, or if it is or waits for one of these.
    fn join(
        &self,
        py: Python<'_>,
        inside: &Bound<'_, PyTuple>,
        wake: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let (inside, wake) = (nodes(inside)?, Obj::from_bound(wake));
        let mut seen = Vec::new();
        let told = GRAPH.with(|graph| {
            if self.node.has_landed() || self.node.leads_to(&inside, &mut seen) {
                return None;
            }
            for node in &inside {
                node.state
                    .with(|state| state.blocked_on.push(Arc::clone(&self.node)));
            }
            self.node
                .state
                .with(|state| state.waiters.push(wake.clone()));
            graph.waiting += 1;
            Some(graph.due())
        });
        let joined = told.is_some();
        tell(py, told.unwrap_or_default());
        Ok(joined)
    }

    /// Takes a waiter out again, woken or not.
    fn leave(&self, inside: &Bound<'_, PyTuple>, wake: &Bound<'_, PyAny>) -> PyResult<()> {
        let inside = nodes(inside)?;
        let mut gone = (Vec::new(), None);
        GRAPH.with(|graph| {
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
            graph.waiting -= usize::from(gone.1.is_some());
        });
        drop(gone);
        Ok(())
    }

    /// Ends the flight, and wakes everyone who waits. If that fails half-way, another call goes on with it.
    fn land(&self, py: Python<'_>) -> PyResult<()> {
        let state = &self.node.state;
        GRAPH.with(|_| state.with(|state| state.landed = true));
        while let Some(wake) = GRAPH.with(|graph| {
            let waiter = state.with(|state| state.waiters.pop());
            graph.waiting -= usize::from(waiter.is_some());
            waiter
        }) {
            if let Err(error) = wake.as_py().call0(py) {
                GRAPH.with(|graph| {
                    graph.waiting += 1;
                    state.with(|state| state.waiters.push(wake));
                });
                return Err(error);
            }
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit_waiters(&self.node, &visit)
    }

    fn __clear__(&self) {
        drop(GRAPH.with(|graph| {
            let state = self.node.state.with(std::mem::take);
            graph.waiting -= state.waiters.len();
            state
        }));
    }
}

impl Graph {
    /// Takes out the watchers that have what they wait for.
    fn due(&mut self) -> Vec<Obj> {
        let waiting = self.waiting;
        let due = self.watchers.extract_if(.., |(count, _)| *count <= waiting);
        due.map(|(_, tell)| tell).collect()
    }
}

impl Node {
    fn has_landed(&self) -> bool {
        self.state.with(|state| state.landed)
    }

    /// Whether this flight is, or waits for, one of these; of those that have landed, nobody waits for any. What was
    /// looked at is kept for the caller to drop outside.
    fn leads_to(self: &Arc<Self>, inside: &[Arc<Self>], seen: &mut Vec<Arc<Self>>) -> bool {
        let mut looked = 0;
        seen.push(Arc::clone(self));
        while let Some(node) = seen.get(looked).map(Arc::clone) {
            looked += 1;
            if node.has_landed() {
                continue;
            }
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

/// Called in a child process, which finds flights and arrivals of its parent.
#[pyfunction]
pub(crate) fn forked() {
    arrival::forget();
    GENERATION.fetch_add(1, Ordering::SeqCst);
}

/// Calls `tell()` once at least so many callers wait, for whichever flights. For tests, which otherwise could not know.
#[pyfunction]
pub(crate) fn watch(py: Python<'_>, count: usize, tell: &Bound<'_, PyAny>) {
    let watcher = (count, Obj::from_bound(tell));
    let due = GRAPH.with(|graph| {
        graph.watchers.push(watcher);
        graph.due()
    });
    self::tell(py, due);
}

fn tell(py: Python<'_>, watchers: Vec<Obj>) {
    for watcher in watchers {
        if let Err(error) = watcher.as_py().call0(py) {
            error.write_unraisable(py, None);
        }
    }
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
