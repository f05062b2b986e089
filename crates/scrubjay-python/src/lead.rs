//! `Lead`: what the leader of a flight holds, and nobody else.
//!
//! When a lead goes without having landed, the flight lands: an interrupt between any two steps, a coroutine that is
//! thrown away, or a call at the limit of recursion leaves nobody waiting for a run that does not run. Taking the
//! flight out of the memory needs no Python code. Waking the waiters does; where even that fails, for want of stack, it
//! is tried again from the interpreter's loop.

#![allow(
    unsafe_code,
    reason = "asks the interpreter to call back, which PyO3 does not offer"
)]

use crate::memory::{Memory, PyKey};
use crate::object::{Guarded, Obj};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit, ffi};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

#[pyclass(frozen, module = "scrubjay._native")]
#[derive(Debug)]
pub(crate) struct Lead {
    #[pyo3(get)]
    memory: Py<Memory>,
    #[pyo3(get)]
    key: Py<PyKey>,
    #[pyo3(get)]
    flight: Py<PyAny>,
    /// The flight is in the memory, or was, and has not landed.
    under_way: AtomicBool,
}

#[pymethods]
impl Lead {
    #[new]
    fn new(memory: Py<Memory>, key: Py<PyKey>, flight: Py<PyAny>) -> Self {
        Self {
            memory,
            key,
            flight,
            under_way: AtomicBool::new(false),
        }
    }

    /// What to do on a miss: `(state, object)`. With `LEAD` and `REFRESH` the flight is in the key's entry now.
    fn begin<'py>(&self, py: Python<'py>) -> PyResult<(u8, Option<Bound<'py, PyAny>>)> {
        let (state, found) =
            self.memory
                .get()
                .begin(py, self.key.bind(py), self.flight.bind(py))?;
        // SeqCst: the lead is its leader's alone, so there is nothing to pair with.
        self.under_way
            .store(Memory::takes_off(state), Ordering::SeqCst);
        Ok((state, found))
    }

    /// Whether nothing happened in memory between the moment when the disk was asked for the key, and had nothing, and
    /// the beginning of the flight: then nobody in this process can have stored it meanwhile.
    #[getter]
    fn has_missed(&self) -> bool {
        let missed = self.key.get().1.as_ref();
        missed.is_some_and(|missed| self.memory.get().turn() == missed.turn + 1)
    }

    /// Ends the flight, whether or not it stored anything. Once only; later calls do nothing.
    fn land(&self, py: Python<'_>) {
        if self.under_way.swap(false, Ordering::SeqCst) {
            let abandoned = self
                .memory
                .get()
                .abandon(py, self.key.bind(py), self.flight.bind(py));
            if let Err(error) = abandoned {
                error.write_unraisable(py, None);
            }
            wake_or_postpone(py, Obj::from_bound(self.flight.bind(py)));
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.memory)?;
        visit.call(&self.key)?;
        visit.call(&self.flight)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if *self.under_way.get_mut() {
            // SAFETY: an instance is dropped by a thread that is attached. An exception that is on its way stays.
            unsafe {
                let py = Python::assume_attached();
                let error = PyErr::take(py);
                self.land(py);
                if let Some(error) = error {
                    error.restore(py);
                }
            }
        }
    }
}

/// Flights whose waiters could not be woken yet.
static POSTPONED: Guarded<Vec<Obj>> = Guarded::new(Vec::new());

fn wake_or_postpone(py: Python<'_>, flight: Obj) {
    if flight.as_py().call_method0(py, "land").is_ok() {
        return;
    }
    POSTPONED.with(|postponed| postponed.push(flight));
    // SAFETY: the function takes no argument. If the interpreter's list is full, those on it run `wake_postponed` too.
    unsafe { ffi::Py_AddPendingCall(Some(wake_postponed), std::ptr::null_mut()) };
}

extern "C" fn wake_postponed(_: *mut c_void) -> c_int {
    // SAFETY: the interpreter calls this from its loop, attached.
    let py = unsafe { Python::assume_attached() };
    for flight in POSTPONED.with(std::mem::take) {
        wake_or_postpone(py, flight);
    }
    0
}
