//! Owned references to Python objects, and the cell that guards what wrappers share.
//!
//! An [`Obj`] is cloned and dropped only by a thread that is attached to the interpreter, and is never dropped inside
//! [`Guarded::with`]: dropping may run any Python code.

#![allow(
    unsafe_code,
    reason = "references that do not ask for the attached thread"
)]

use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// The interpreter has an exception set; whoever receives this passes it on.
#[derive(Debug)]
pub(crate) struct Raised;

/// A strong reference. Unlike `pyo3::Py` it never asks whether the thread is attached, so a hit does not pay for it.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Obj(NonNull<ffi::PyObject>);

impl Obj {
    /// Takes a reference of its own to a borrowed object.
    ///
    /// # Safety
    /// `object` is a live object, and the thread is attached.
    #[inline(always)]
    pub(crate) unsafe fn from_borrowed(object: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller vouches for a live object.
        unsafe {
            ffi::Py_INCREF(object);
            Self(NonNull::new_unchecked(object))
        }
    }

    /// Takes over a reference that the caller owns; `None` stands for a raised exception.
    ///
    /// # Safety
    /// `object` is null or a reference that the caller owns and gives up.
    #[inline(always)]
    pub(crate) unsafe fn from_owned(object: *mut ffi::PyObject) -> Result<Self, Raised> {
        NonNull::new(object).map(Self).ok_or(Raised)
    }

    pub(crate) fn from_bound(object: &Bound<'_, PyAny>) -> Self {
        // SAFETY: a bound object is alive, and its thread is attached.
        unsafe { Self::from_borrowed(object.as_ptr()) }
    }

    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: the reference is ours, and is given up.
        unsafe { Bound::from_owned_ptr(py, self.into_ptr()) }
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.clone().into_bound(py)
    }

    /// The same reference as PyO3 has it, for its visitor.
    pub(crate) fn as_py(&self) -> &Py<PyAny> {
        // SAFETY: both are transparent wrappers of the same pointer.
        unsafe { &*(&raw const *self).cast() }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference up to the caller.
    #[inline(always)]
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        let object = self.0.as_ptr();
        std::mem::forget(self);
        object
    }
}

impl Clone for Obj {
    #[inline(always)]
    fn clone(&self) -> Self {
        // SAFETY: `self` keeps the object alive.
        unsafe { Self::from_borrowed(self.as_ptr()) }
    }
}

impl Drop for Obj {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and the thread is attached (see the module's first lines).
        unsafe { ffi::Py_DECREF(self.as_ptr()) }
    }
}

// SAFETY: objects belong to the interpreter, not to a thread; whoever uses one is attached.
unsafe impl Send for Obj {}
// SAFETY: as above.
unsafe impl Sync for Obj {}

/// What the threads of an interpreter share. Under a GIL the GIL is the lock; without one there is a lock.
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    #[cfg(Py_GIL_DISABLED)]
    lock: std::sync::Mutex<()>,
    #[cfg(debug_assertions)]
    busy: std::sync::atomic::AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached under the GIL or the lock only.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            #[cfg(Py_GIL_DISABLED)]
            lock: std::sync::Mutex::new(()),
            #[cfg(debug_assertions)]
            busy: std::sync::atomic::AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `section` alone. It runs no Python code, so it neither detaches nor comes back here; the caller is
    /// attached. Waiting for the lock while attached is harmless for the same reason: its holder never waits for
    /// anyone.
    #[inline(always)]
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(Py_GIL_DISABLED)]
        let _locked = self
            .lock
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        #[cfg(debug_assertions)]
        assert!(
            !self.busy.swap(true, std::sync::atomic::Ordering::SeqCst),
            "a section runs no Python code"
        );
        // SAFETY: the GIL or the lock keeps other threads out, and sections do not nest.
        let result = section(unsafe { &mut *self.value.get() });
        #[cfg(debug_assertions)]
        self.busy.store(false, std::sync::atomic::Ordering::SeqCst);
        result
    }

    /// Looks at the value while every other thread stands still.
    ///
    /// # Safety
    /// The caller is `tp_traverse`, which the collector calls with the world stopped and never inside a section.
    pub(crate) unsafe fn traversed(&self) -> &T {
        // SAFETY: nobody changes the value while the collector traverses.
        unsafe { &*self.value.get() }
    }
}
