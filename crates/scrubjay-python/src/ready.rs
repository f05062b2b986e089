//! The awaitable of a hit on a memoized coroutine function: it is done before it is awaited.
//!
//! It has what `collections.abc.Coroutine` asks for, so event loops make tasks of it as of any coroutine. Awaiting it runs
//! no Python code and allocates nothing. Whoever takes the value first has it: threads without a GIL may await at once.

#![allow(unsafe_code, reason = "a type on CPython's C interface")]

use crate::object::Obj;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_int, c_void};
use std::mem::size_of;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

#[repr(C)]
struct Ready {
    base: ffi::PyObject,
    /// Null once it was awaited.
    value: AtomicPtr<ffi::PyObject>,
}

impl Ready {
    /// The value, if nobody had it yet; null otherwise.
    fn take(&self) -> *mut ffi::PyObject {
        // AcqRel: of threads that swap, one gets the value, which was written before the object was handed to any.
        self.value.swap(ptr::null_mut(), Ordering::AcqRel)
    }
}

/// The type, made when the module is.
static TYPE: OnceLock<Py<PyAny>> = OnceLock::new();

/// An awaitable that gives this value.
pub(crate) fn ready(value: Obj) -> *mut ffi::PyObject {
    let Some(kind) = TYPE.get() else {
        return ptr::null_mut();
    };
    // SAFETY: the type is ours; its allocator zeroes the instance.
    unsafe {
        let ready = ffi::PyType_GenericAlloc(kind.as_ptr().cast(), 0).cast::<Ready>();
        if !ready.is_null() {
            (&raw mut (*ready).value).write(AtomicPtr::new(value.into_ptr()));
        }
        ready.cast()
    }
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the slot is called on a live object.
    unsafe { Obj::from_borrowed(object).into_ptr() }
}

/// The value, once.
unsafe fn take(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the slots are called on instances only.
    unsafe {
        let value = (*object.cast::<Ready>()).take();
        if value.is_null() {
            let message = c"cannot reuse already awaited coroutine";
            ffi::PyErr_SetString(ffi::PyExc_RuntimeError, message.as_ptr());
        }
        value
    }
}

unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    _sent: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: the interpreter passes a place for the result.
    unsafe {
        *result = take(object);
        if (*result).is_null() {
            ffi::PySendResult::PYGEN_ERROR
        } else {
            ffi::PySendResult::PYGEN_RETURN
        }
    }
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above. The exception is made here, because one made from a bare value takes a tuple apart.
    unsafe {
        let value = take(object);
        if !value.is_null() {
            let stop = ffi::PyObject_CallOneArg(ffi::PyExc_StopIteration, value);
            ffi::Py_DECREF(value);
            if !stop.is_null() {
                ffi::PyErr_SetObject(ffi::PyExc_StopIteration, stop);
                ffi::Py_DECREF(stop);
            }
        }
        ptr::null_mut()
    }
}

unsafe extern "C" fn send(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on an instance.
    unsafe { next(object) }
}

/// `close()`: the value is not wanted any more.
unsafe extern "C" fn close(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on an instance.
    unsafe {
        let value = (*object.cast::<Ready>()).take();
        ffi::Py_XDECREF(value);
        Obj::from_borrowed(ffi::Py_None()).into_ptr()
    }
}

/// `throw(exception)`, also in its older form `throw(type, value, traceback)`.
unsafe extern "C" fn throw(
    object: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on an instance, with a tuple.
    unsafe {
        ffi::Py_DECREF(close(object, ptr::null_mut()));
        let (mut kind, mut value, mut traceback) = (
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut::<ffi::PyObject>(),
        );
        let parsed = ffi::PyArg_ParseTuple(
            args,
            c"O|OO:throw".as_ptr(),
            &mut kind,
            &mut value,
            &mut traceback,
        );
        if parsed == 0 {
            return ptr::null_mut();
        }
        let given = [value, kind]
            .into_iter()
            .find(|object: &*mut ffi::PyObject| {
                !object.is_null()
                    && ffi::PyObject_IsInstance(*object, ffi::PyExc_BaseException) == 1
            });
        match given {
            Some(exception) => ffi::PyErr_SetObject(ffi::Py_TYPE(exception).cast(), exception),
            None => ffi::PyErr_SetObject(kind, value),
        }
        ptr::null_mut()
    }
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes an instance.
    unsafe {
        match visit(ffi::Py_TYPE(object).cast(), arg) {
            0 => {}
            stop => return stop,
        }
        // Relaxed: the collector has stopped the world.
        let value = (*object.cast::<Ready>()).value.load(Ordering::Relaxed);
        if value.is_null() {
            0
        } else {
            visit(value, arg)
        }
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector passes an instance.
    unsafe { ffi::Py_DECREF(close(object, ptr::null_mut())) };
    0
}

unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::Py_XDECREF((*object.cast::<Ready>()).take());
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

/// Makes the type. The module calls this once.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    const fn method(
        name: &'static CStr,
        function: ffi::PyCFunction,
        flags: c_int,
    ) -> ffi::PyMethodDef {
        let ml_meth = ffi::PyMethodDefPointer {
            PyCFunction: function,
        };
        ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth,
            ml_flags: flags,
            ml_doc: ptr::null(),
        }
    }
    let methods = vec![
        method(c"send", send, ffi::METH_O),
        method(c"throw", throw, ffi::METH_VARARGS),
        method(c"close", close, ffi::METH_NOARGS),
        ffi::PyMethodDef::zeroed(),
    ];
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, am_send as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, next as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_dealloc, deallocate as *mut c_void),
        slot(
            ffi::Py_tp_methods,
            Box::leak(methods.into_boxed_slice()).as_mut_ptr().cast(),
        ),
        slot(0, ptr::null_mut()),
    ];
    let flags =
        ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: c"scrubjay._native.ready".as_ptr(),
        basicsize: size_of::<Ready>() as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete: it ends with an empty slot, and its methods live as long as the process.
    let kind =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec)) }?.unbind();
    Ok(TYPE.get_or_init(|| kind).clone_ref(py))
}
