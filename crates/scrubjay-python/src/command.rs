//! `python -m scrubjay`: the tools of the `scrubjay` command, in this process.
//!
//! Invariant: the interpreter is let go while a tool runs; what it prints goes to the process's own streams.

use pyo3::prelude::*;
use std::ffi::OsString;

/// Does what the arguments ask for, the name of the program first; the status to exit with.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| scrubjay_cli::tools(arguments))
}
