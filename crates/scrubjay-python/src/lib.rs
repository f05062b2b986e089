//! The native module of the Python package `scrubjay`: the path of a hit, and the table behind it.
//!
//! What a miss needs beyond a look-up (flights, lives, tags) is Python code of the package; it calls the table here.
//! No section of [`object::Guarded`] runs Python code, so no lock of this module is ever held while the user's code runs.

// CPython's C interface is unsafe throughout: the types that calls go through are built on it, because a call through
// `#[pyclass]` is slower than functools (`bench/python` has the figures).
#![allow(
    unsafe_code,
    reason = "the types that calls go through are built on CPython's C interface"
)]

mod key;
mod lru;
mod object;
mod table;
mod typespec;

use pyo3::prelude::*;

/// `scrubjay._native`: what the package needs to be fast. Everything public is re-exported by `scrubjay` itself.
#[pymodule(gil_used = false)]
mod _native {
    use super::lru;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("lru_cache_wrapper", lru::make_type(module.py())?)
    }
}
