//! Types built by hand on CPython's C interface: those that calls go through.
//!
//! `#[pyclass]` offers neither vectorcall nor the flag of method descriptors, and a call through `tp_call` alone builds a
//! tuple and a dictionary that a hit has no use for.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::size_of;

unsafe extern "C" {
    /// A bound method. Not among PyO3's declarations.
    pub(crate) fn PyMethod_New(
        function: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Makes a type of instances that are laid out as `T`.
pub(crate) fn make<T>(
    py: Python<'_>,
    name: &'static CStr,
    flags: std::ffi::c_ulong,
    slots: &mut [ffi::PyType_Slot],
) -> PyResult<Py<PyAny>> {
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<T>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete: it ends with an empty slot, and its tables live as long as the process.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec)).map(Bound::unbind) }
}

pub(crate) const fn slot(number: c_int, value: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: number,
        pfunc: value,
    }
}

/// A member that tells the interpreter where in an instance something is (`__dictoffset__` and the like).
pub(crate) const fn offset(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

pub(crate) const fn no_member() -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: std::ptr::null(),
        type_code: 0,
        offset: 0,
        flags: 0,
        doc: std::ptr::null(),
    }
}

/// A table that the interpreter reads for as long as the process lives.
pub(crate) fn forever<T>(table: Vec<T>) -> *mut c_void {
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}
