//! The native module of the Python package `scrubjay`: the path of a hit, and the table behind it.
//!
//! What a miss needs beyond a look-up (flights, lives, tags) is Python code of the package; it calls the table here.
//! No section of `object::Guarded` runs Python code, so no lock of this module is ever held while the user's code runs.

mod arrival;
mod clock;
mod codec;
mod command;
mod counters;
mod digest;
mod flight;
mod key;
mod lead;
mod lru;
mod memo;
mod memory;
mod object;
mod reader;
mod shape;
mod shelf;
mod stack;
mod store;
mod table;
mod trace;
mod watch;
mod wrapper;

use pyo3::prelude::*;

/// `scrubjay._native`: what the package needs to be fast. Everything public is re-exported by `scrubjay` itself.
#[pymodule(gil_used = false)]
mod _native {
    use super::{lru, memo, memory};
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::clock::ManualClock;
    #[pymodule_export]
    use super::codec::{decode, encode};
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::counters::{Counter, Counts};
    #[pymodule_export]
    use super::digest::digest;
    #[pymodule_export]
    use super::flight::{Flight, forked, watch};
    #[pymodule_export]
    use super::lead::Lead;
    #[pymodule_export]
    use super::memo::{keep_in_instances, make_memo};
    #[pymodule_export]
    use super::memory::{Memory, PyKey};
    #[pymodule_export]
    use super::reader::{DiskReader, Found, mark_of};
    #[pymodule_export]
    use super::store::{EntryHead, Fence, Heads, Record, Report, Store, StoreLead, key_digest};
    #[pymodule_export]
    use super::trace::{listen, recording};
    #[pymodule_export]
    use super::watch::Watch;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("PYTHON", super::codec::PYTHON)?;
        module.add("lru_cache_wrapper", lru::make_type(module.py())?)?;
        module.add("NoEntry", module.py().get_type::<memory::NoEntry>())?;
        module.add("memo", memo::make_type(module.py())?)
    }
}
