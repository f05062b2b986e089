//! Traces: whether any is being recorded, and whom to tell of a call then.
//!
//! While none is, a call pays one comparison. The tree itself is built by the package's `_trace`.

#![allow(unsafe_code, reason = "takes arguments where the caller put them")]

use crate::object::{Obj, Raised};
use crate::wrapper::{Arguments, call_with};
use pyo3::ffi;
use pyo3::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many traces are being recorded.
static TRACES: AtomicUsize = AtomicUsize::new(0);

static LISTENER: OnceLock<Listener> = OnceLock::new();

struct Listener {
    /// `(wrapper, args, kwargs)`: the call while a trace is recorded.
    call: Obj,
    /// `()`: the current call is a miss.
    miss: Obj,
}

#[inline(always)]
pub(crate) fn is_recording() -> bool {
    // Relaxed: a call that races with the beginning of a trace may be recorded or not.
    TRACES.load(Ordering::Relaxed) != 0
}

/// A vectorcall of a wrapper, recorded. It takes what a vectorcall takes, so that one that looks here first moves
/// nothing.
///
/// # Safety
/// `callable` is a wrapper, and the arguments are alive.
#[cold]
#[inline(never)]
pub(crate) unsafe extern "C" fn record(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let arguments = Arguments { args, count, names };
    let recorded = arguments.pack().and_then(|(args, kwargs)| {
        let parts = [callable, args.as_ptr(), kwargs.as_ptr()];
        call_with(&listener().call, &parts)
    });
    recorded.map_or(std::ptr::null_mut(), Obj::into_ptr)
}

/// Says of the current call that it is a miss.
pub(crate) fn record_miss() -> Result<(), Raised> {
    if is_recording() {
        call_with(&listener().miss, &[])?;
    }
    Ok(())
}

fn listener() -> &'static Listener {
    LISTENER
        .get()
        .expect("a trace is recorded by whoever listens")
}

/// Says who is told of calls. Once only; later ones are not heard.
#[pyfunction]
pub(crate) fn listen(call: &Bound<'_, PyAny>, miss: &Bound<'_, PyAny>) {
    LISTENER.get_or_init(|| Listener {
        call: Obj::from_bound(call),
        miss: Obj::from_bound(miss),
    });
}

/// Counts a trace that begins or ends.
#[pyfunction]
pub(crate) fn recording(begins: bool) {
    // Relaxed: see `is_recording`.
    if begins {
        TRACES.fetch_add(1, Ordering::Relaxed);
    } else {
        TRACES.fetch_sub(1, Ordering::Relaxed);
    }
}
