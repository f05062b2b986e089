//! Types built by hand on CPython's C interface: those that calls go through.
//!
//! `#[pyclass]` offers neither vectorcall nor the flag of method descriptors, and a call through `tp_call` alone builds
//! a tuple and a dictionary that a hit has no use for. What the two kinds of wrapper have in common is here: the
//! layout, the collector's view, attributes, and behaving as functions do when they are copied or pickled.

#![allow(
    unsafe_code,
    reason = "types on CPython's C interface: a hit of #[pyclass] is slower than functools'"
)]

use crate::object::{Obj, Raised};
use crate::{stack, trace};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::{offset_of, size_of};
use std::ptr;

unsafe extern "C" {
    /// A bound method. Not among PyO3's declarations.
    fn PyMethod_New(
        function: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// An instance. The first field is what every Python object begins with.
#[repr(C)]
pub(crate) struct Wrapper<S> {
    base: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    attributes: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
    state: S,
}

/// What a kind of wrapper keeps.
pub(crate) trait State: Sized {
    /// Shows every object that is held to the collector; stops at the first answer other than 0.
    fn traverse(
        &self,
        visit: &mut dyn FnMut(*mut ffi::PyObject) -> Result<(), c_int>,
    ) -> Result<(), c_int>;

    /// Lets go of what may be part of a cycle. The wrapper may still be called once or twice on the way down.
    fn clear(&mut self);

    /// The wrapper as the attribute of an instance: a bound method, as with functions.
    ///
    /// # Safety
    /// Both are alive, and `wrapper` is the one of this state.
    unsafe fn bind(
        &self,
        wrapper: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> Result<Obj, Raised> {
        // SAFETY: the caller vouches for both.
        unsafe { Obj::from_owned(PyMethod_New(wrapper, instance)) }
    }
}

/// One way to call a wrapper: as the function itself, or through a method that takes what the function takes.
pub(crate) trait Way<S> {
    /// # Safety
    /// The arguments are alive.
    unsafe fn run(state: &S, arguments: Arguments) -> Result<Obj, Raised>;
}

/// A call of the wrapper itself, recorded if any trace is.
pub(crate) unsafe extern "C" fn vectorcall<S: State, W: Way<S>>(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: only wrappers of this kind have this function, and the interpreter keeps the arguments alive.
    unsafe {
        if trace::is_recording() {
            return trace::record(callable, args, count, names);
        }
        let arguments = Arguments { args, count, names };
        W::run(state(callable), arguments).map_or(ptr::null_mut(), Obj::into_ptr)
    }
}

unsafe extern "C" fn method<S: State, W: Way<S>>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let count = count as usize;
    // SAFETY: the method is called on a wrapper of this kind, with its arguments.
    unsafe {
        let arguments = Arguments { args, count, names };
        W::run(state(object), arguments).map_or(ptr::null_mut(), Obj::into_ptr)
    }
}

/// The arguments of a vectorcall, as they came.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    pub(crate) args: *const *mut ffi::PyObject,
    /// The number of positional ones, and a flag for the callee.
    pub(crate) count: usize,
    pub(crate) names: *mut ffi::PyObject,
}

impl Arguments {
    /// Calls a function with these arguments.
    ///
    /// # Safety
    /// The arguments are alive, and so is the function.
    pub(crate) unsafe fn call(self, function: *mut ffi::PyObject) -> Result<Obj, Raised> {
        stack::check()?;
        // SAFETY: the caller vouches for function and arguments.
        unsafe {
            if ffi::Py_EnterRecursiveCall(c" while calling a cached function".as_ptr()) != 0 {
                return Err(Raised);
            }
            let result = ffi::PyObject_Vectorcall(function, self.args, self.count, self.names);
            ffi::Py_LeaveRecursiveCall();
            Obj::from_owned(result)
        }
    }

    /// The arguments as a tuple and a dictionary.
    #[inline(never)]
    pub(crate) fn pack(self) -> Result<(Obj, Obj), Raised> {
        let (positional, parts) = (self.positional(), self.parts());
        // SAFETY: the interpreter keeps the arguments alive; the tuple takes over a reference to each.
        unsafe {
            let args = Obj::from_owned(ffi::PyTuple_New(positional as ffi::Py_ssize_t))?;
            for (position, part) in parts[..positional].iter().enumerate() {
                let part = Obj::from_borrowed(*part);
                ffi::PyTuple_SET_ITEM(args.as_ptr(), position as ffi::Py_ssize_t, part.into_ptr());
            }
            let kwargs = Obj::from_owned(ffi::PyDict_New())?;
            for (position, part) in parts[positional..].iter().enumerate() {
                let name = ffi::PyTuple_GET_ITEM(self.names, position as ffi::Py_ssize_t);
                if ffi::PyDict_SetItem(kwargs.as_ptr(), name, *part) != 0 {
                    return Err(Raised);
                }
            }
            Ok((args, kwargs))
        }
    }

    /// Positional arguments, then those of keywords.
    #[inline(always)]
    pub(crate) fn parts<'a>(self) -> &'a [*mut ffi::PyObject] {
        // SAFETY: the interpreter passes one argument for each position and each name, alive during the call. An empty
        // call may come without an array.
        unsafe {
            let keywords = if self.names.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(self.names) as usize
            };
            match self.positional() + keywords {
                0 => &[],
                length => std::slice::from_raw_parts(self.args, length),
            }
        }
    }

    pub(crate) fn without_first(self) -> Self {
        // SAFETY: the caller has seen a first argument.
        let args = unsafe { self.args.add(1) };
        Self {
            args,
            count: self.positional() - 1,
            names: self.names,
        }
    }

    /// The number of positional arguments.
    #[inline(always)]
    pub(crate) fn positional(self) -> usize {
        // SAFETY: only removes a flag.
        unsafe { ffi::PyVectorcall_NARGS(self.count) as usize }
    }
}

/// Calls a function with positional arguments, all alive.
pub(crate) fn call_with(function: &Obj, args: &[*mut ffi::PyObject]) -> Result<Obj, Raised> {
    let arguments = Arguments {
        args: args.as_ptr(),
        count: args.len(),
        names: ptr::null_mut(),
    };
    // SAFETY: the caller keeps function and arguments alive.
    unsafe { arguments.call(function.as_ptr()) }
}

/// The state of a wrapper.
///
/// # Safety
/// `object` is a live `Wrapper<S>`.
#[inline(always)]
pub(crate) unsafe fn state<'a, S>(object: *mut ffi::PyObject) -> &'a S {
    // SAFETY: the caller vouches for the object.
    unsafe { &(*object.cast::<Wrapper<S>>()).state }
}

/// Makes an instance of a type that [`make_type`] made for `S`.
///
/// # Safety
/// `kind` is such a type, or null has been returned for it.
pub(crate) unsafe fn allocate<S: State>(
    kind: *mut ffi::PyTypeObject,
    vectorcall: ffi::vectorcallfunc,
    state: S,
) -> *mut ffi::PyObject {
    // SAFETY: the allocator zeroes the instance, and every field is written here before anyone sees it. It is tracked
    // already, but no Python code, and so no collection, runs before it is whole.
    unsafe {
        let Some(allocate) = (*kind).tp_alloc else {
            return ptr::null_mut();
        };
        let wrapper = allocate(kind, 0).cast::<Wrapper<S>>();
        if !wrapper.is_null() {
            (&raw mut (*wrapper).vectorcall).write(vectorcall);
            (&raw mut (*wrapper).state).write(state);
        }
        wrapper.cast()
    }
}

unsafe extern "C" fn traverse<S: State>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes a wrapper and its own function.
    unsafe {
        let wrapper = &*object.cast::<Wrapper<S>>();
        let mut show = |held: *mut ffi::PyObject| match held.is_null() {
            true => Ok(()),
            false => match visit(held, arg) {
                0 => Ok(()),
                stop => Err(stop),
            },
        };
        show(ffi::Py_TYPE(object).cast())
            .and_then(|()| show(wrapper.attributes))
            .and_then(|()| wrapper.state.traverse(&mut show))
            .err()
            .unwrap_or(0)
    }
}

unsafe extern "C" fn clear<S: State>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector passes a wrapper that nobody else reaches.
    unsafe {
        let wrapper = &mut *object.cast::<Wrapper<S>>();
        let attributes = std::mem::replace(&mut wrapper.attributes, ptr::null_mut());
        ffi::Py_XDECREF(attributes);
        wrapper.state.clear();
        0
    }
}

unsafe extern "C" fn deallocate<S: State>(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone, and nobody else reaches the wrapper.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        let wrapper = object.cast::<Wrapper<S>>();
        ffi::PyObject_GC_UnTrack(object.cast());
        if !(*wrapper).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ffi::Py_XDECREF((*wrapper).attributes);
        ptr::drop_in_place(&raw mut (*wrapper).state);
        if let Some(free) = (*kind).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}

/// `wrapper.__get__(instance, owner)`: bound to the instance, or the wrapper itself on the class.
unsafe extern "C" fn bind<S: State>(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _owner: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes live objects; `instance` may be null.
    unsafe {
        if instance.is_null() || instance == ffi::Py_None() {
            return Obj::from_borrowed(object).into_ptr();
        }
        let bound = state::<S>(object).bind(object, instance);
        bound.map_or(ptr::null_mut(), Obj::into_ptr)
    }
}

/// `copy`, `deepcopy`: the wrapper itself, as for functions.
unsafe extern "C" fn itself(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on a live wrapper.
    unsafe { Obj::from_borrowed(object).into_ptr() }
}

/// Pickled by name, as functions are.
unsafe extern "C" fn reduce(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on a live wrapper.
    unsafe { ffi::PyObject_GetAttrString(object, c"__qualname__".as_ptr()) }
}

/// A method without arguments.
pub(crate) fn plain(
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: function,
        },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

/// A method that takes what the function takes.
pub(crate) fn with_arguments<S: State, W: Way<S>>(
    name: &'static CStr,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: method::<S, W>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// Makes a type whose instances are `Wrapper<S>`.
pub(crate) fn make_type<S: State>(
    py: Python<'_>,
    name: &'static CStr,
    flags: std::ffi::c_ulong,
    new: Option<ffi::newfunc>,
    mut methods: Vec<ffi::PyMethodDef>,
) -> PyResult<Py<PyAny>> {
    let copying = |name: &'static CStr| ffi::PyMethodDef {
        ml_flags: ffi::METH_VARARGS,
        ..plain(name, itself, c"")
    };
    methods.push(plain(c"__reduce__", reduce, c""));
    methods.extend([
        copying(c"__copy__"),
        copying(c"__deepcopy__"),
        ffi::PyMethodDef::zeroed(),
    ]);
    let members = vec![
        offset(c"__vectorcalloffset__", offset_of!(Wrapper<S>, vectorcall)),
        offset(c"__dictoffset__", offset_of!(Wrapper<S>, attributes)),
        offset(
            c"__weaklistoffset__",
            offset_of!(Wrapper<S>, weak_references),
        ),
        ffi::PyMemberDef {
            name: ptr::null(),
            ..offset(c"", 0)
        },
    ];
    let mut slots = vec![
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<S> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<S> as *mut c_void),
        slot(ffi::Py_tp_dealloc, deallocate::<S> as *mut c_void),
        slot(ffi::Py_tp_descr_get, bind::<S> as *mut c_void),
        slot(ffi::Py_tp_methods, forever(methods)),
        slot(ffi::Py_tp_members, forever(members)),
        slot(ffi::Py_tp_getset, forever(attributes())),
    ];
    slots.extend(new.map(|new| slot(ffi::Py_tp_new, new as *mut c_void)));
    slots.push(slot(0, ptr::null_mut()));
    let refused = if new.is_none() {
        ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
    } else {
        0
    };
    let flags = flags
        | refused
        | ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_HAVE_GC
        | ffi::Py_TPFLAGS_HAVE_VECTORCALL
        | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<Wrapper<S>>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is complete: it ends with an empty slot, and its tables live as long as the process.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec)).map(Bound::unbind) }
}

/// Attributes of an instance are in a dictionary, as with functions.
fn attributes() -> Vec<ffi::PyGetSetDef> {
    let dictionary = ffi::PyGetSetDef {
        name: c"__dict__".as_ptr(),
        get: Some(ffi::PyObject_GenericGetDict),
        set: Some(ffi::PyObject_GenericSetDict),
        doc: ptr::null(),
        closure: ptr::null_mut(),
    };
    vec![dictionary, ffi::PyGetSetDef::default()]
}

const fn slot(number: c_int, value: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: number,
        pfunc: value,
    }
}

/// A member that tells the interpreter where in an instance something is.
const fn offset(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// A table that the interpreter reads for as long as the process lives.
fn forever<T>(table: Vec<T>) -> *mut c_void {
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}
