//! The wrapper behind `lru_cache` and `cache`: functools' contract, to the letter.
//!
//! A hit reads the arguments where the caller put them: no tuple, no dictionary. The user's function, `__hash__`, `__eq__`
//! and `__del__` run outside every section, so each of them may call the wrapper again.
//! Concurrent callers of one key each run the function, as functools documents; `memoize` is for those who want one run.

use crate::key::Call;
use crate::object::{Guarded, Obj, Raised};
use crate::table::{Entry, Holds, Place, Table, key_objects, lookup};
use crate::typespec::{self, forever, no_member, offset, slot};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr;

/// An instance. The first field is what every Python object begins with.
#[repr(C)]
struct Wrapper {
    base: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    attributes: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
    state: State,
}

struct State {
    function: Obj,
    info_type: Obj,
    /// `None` is unbounded; 0 stores nothing.
    maxsize: Option<usize>,
    typed: bool,
    results: Guarded<Results>,
}

#[derive(Default)]
struct Results {
    table: Table<Obj>,
    hits: u64,
    misses: u64,
}

impl Holds for Results {
    type Content = Obj;
    #[inline(always)]
    fn table(&mut self) -> &mut Table<Obj> {
        &mut self.table
    }
}

/// The outcome of a look-up: the result, or the table's version when there was none.
enum Looked {
    Hit(Obj),
    Miss(u64),
}

/// The arguments of a vectorcall, as they came.
#[derive(Clone, Copy)]
struct Arguments {
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
}

unsafe extern "C" fn call_bounded(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a wrapper with its arguments.
    unsafe { call::<true>(callable, Arguments { args, count, names }) }
}

unsafe extern "C" fn call_unbounded(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a wrapper with its arguments.
    unsafe { call::<false>(callable, Arguments { args, count, names }) }
}

/// `maxsize=0`: counts, and calls. No key is built, so arguments need not be hashable.
unsafe extern "C" fn call_uncached(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a wrapper with its arguments.
    let state = unsafe { &(*callable.cast::<Wrapper>()).state };
    state.results.with(|results| results.misses += 1);
    // SAFETY: as above.
    unsafe { state.run(Arguments { args, count, names }) }.map_or(ptr::null_mut(), Obj::into_ptr)
}

#[inline(always)]
unsafe fn call<const BOUNDED: bool>(
    callable: *mut ffi::PyObject,
    arguments: Arguments,
) -> *mut ffi::PyObject {
    // SAFETY: only wrappers have this function.
    let state = unsafe { &(*callable.cast::<Wrapper>()).state };
    // SAFETY: the interpreter keeps the arguments alive during the call.
    let Ok(call) = (unsafe { arguments.as_call(state.typed) }) else {
        return ptr::null_mut();
    };
    let looked = lookup(&state.results, &call, |results, place| {
        results.look::<BOUNDED>(place)
    });
    match looked {
        Ok(Looked::Hit(result)) => result.into_ptr(),
        // SAFETY: as above.
        Ok(Looked::Miss(version)) => unsafe { state.miss::<BOUNDED>(arguments, &call, version) },
        Err(Raised) => ptr::null_mut(),
    }
}

impl Arguments {
    /// # Safety
    /// The arguments are alive for as long as the call is used.
    #[inline(always)]
    unsafe fn as_call<'a>(self, typed: bool) -> Result<Call<'a>, Raised> {
        // SAFETY: the caller vouches for the arguments.
        unsafe {
            let count = ffi::PyVectorcall_NARGS(self.count) as usize;
            Call::new(self.args, count, self.names, typed)
        }
    }
}

impl Results {
    #[inline(always)]
    fn look<const BOUNDED: bool>(&mut self, place: Option<Place>) -> Looked {
        match place {
            Some(place) => {
                self.hits += 1;
                if BOUNDED {
                    self.table.touch(place);
                }
                Looked::Hit(self.table.entry(place).content.clone())
            }
            None => {
                self.misses += 1;
                Looked::Miss(self.table.version())
            }
        }
    }
}

impl Results {
    /// Another call stored a result first: bounded caches keep that one, unbounded ones take the last, as functools does.
    fn meet<const BOUNDED: bool>(&mut self, place: Place, result: &Obj) -> Option<Obj> {
        let content = &mut self.table.entry_mut(place).content;
        (!BOUNDED).then(|| std::mem::replace(content, result.clone()))
    }
}

impl State {
    /// Runs the function and stores what it returned.
    #[inline(never)]
    unsafe fn miss<const BOUNDED: bool>(
        &self,
        arguments: Arguments,
        call: &Call<'_>,
        version: u64,
    ) -> *mut ffi::PyObject {
        // SAFETY: the caller passes on what the interpreter vouches for.
        let Ok(result) = (unsafe { self.run(arguments) }) else {
            return ptr::null_mut();
        };
        match self.store::<BOUNDED>(call, &result, version) {
            Ok(()) => result.into_ptr(),
            Err(Raised) => ptr::null_mut(),
        }
    }

    unsafe fn run(&self, arguments: Arguments) -> Result<Obj, Raised> {
        // SAFETY: the function is ours, and the interpreter vouches for the arguments.
        unsafe {
            if ffi::Py_EnterRecursiveCall(c" while calling a cached function".as_ptr()) != 0 {
                return Err(Raised);
            }
            let result = ffi::PyObject_Vectorcall(
                self.function.as_ptr(),
                arguments.args,
                arguments.count,
                arguments.names,
            );
            ffi::Py_LeaveRecursiveCall();
            Obj::from_owned(result)
        }
    }

    /// Stores a result under a key that was absent when the table had this version.
    fn store<const BOUNDED: bool>(
        &self,
        call: &Call<'_>,
        result: &Obj,
        mut version: u64,
    ) -> Result<(), Raised> {
        loop {
            // While nothing came or went, the key is still absent.
            let stored = self.results.with(|results| {
                (results.table.version() == version)
                    .then(|| self.insert::<BOUNDED>(results, call, result))
            });
            if stored.is_some() {
                return Ok(());
            }
            let looked = lookup(&self.results, call, |results, place| {
                place
                    .map(|place| results.meet::<BOUNDED>(place, result))
                    .ok_or(results.table.version())
            })?;
            match looked {
                Ok(_replaced) => return Ok(()),
                Err(now) => version = now,
            }
        }
    }

    /// Adds an entry, and returns the one that had to leave for it.
    fn insert<const BOUNDED: bool>(
        &self,
        results: &mut Results,
        call: &Call<'_>,
        result: &Obj,
    ) -> Option<Entry<Obj>> {
        let full = BOUNDED
            && self
                .maxsize
                .is_some_and(|maxsize| results.table.len() >= maxsize);
        let evicted = if full {
            results
                .table
                .oldest()
                .map(|place| results.table.remove(place))
        } else {
            None
        };
        results.table.insert(call.to_key(), result.clone());
        evicted
    }
}

/// `lru_cache_wrapper(function, maxsize, typed, info_type)`.
unsafe extern "C" fn new(
    kind: *mut ffi::PyTypeObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes a tuple, a dictionary or null, and the type to make an instance of.
    unsafe {
        let (mut function, mut maxsize, mut typed, mut info_type) = (
            ptr::null_mut(),
            ptr::null_mut(),
            0 as c_int,
            ptr::null_mut(),
        );
        let mut names = [c"user_function", c"maxsize", c"typed", c"cache_info_type"]
            .map(|name| name.as_ptr().cast_mut())
            .to_vec();
        names.push(ptr::null_mut());
        let parsed = ffi::PyArg_ParseTupleAndKeywords(
            args,
            keywords,
            c"OOpO:lru_cache".as_ptr(),
            names.as_mut_ptr().cast(),
            &mut function,
            &mut maxsize,
            &mut typed,
            &mut info_type,
        );
        if parsed == 0 {
            return ptr::null_mut();
        }
        match read_maxsize(function, maxsize) {
            Ok(size) => allocate(kind, function, size, typed != 0, info_type),
            Err(Raised) => ptr::null_mut(),
        }
    }
}

/// Checks the arguments as functools does, with its messages.
unsafe fn read_maxsize(
    function: *mut ffi::PyObject,
    maxsize: *mut ffi::PyObject,
) -> Result<Option<usize>, Raised> {
    // SAFETY: the caller passes live objects.
    unsafe {
        if ffi::PyCallable_Check(function) == 0 {
            ffi::PyErr_SetString(
                ffi::PyExc_TypeError,
                c"the first argument must be callable".as_ptr(),
            );
            return Err(Raised);
        }
        if maxsize == ffi::Py_None() {
            return Ok(None);
        }
        if ffi::PyIndex_Check(maxsize) == 0 {
            ffi::PyErr_SetString(
                ffi::PyExc_TypeError,
                c"maxsize should be integer or None".as_ptr(),
            );
            return Err(Raised);
        }
        let size = ffi::PyNumber_AsSsize_t(maxsize, ffi::PyExc_OverflowError);
        if size == -1 && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised);
        }
        Ok(Some(usize::try_from(size).unwrap_or(0)))
    }
}

unsafe fn allocate(
    kind: *mut ffi::PyTypeObject,
    function: *mut ffi::PyObject,
    maxsize: Option<usize>,
    typed: bool,
    info_type: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: `kind` is the wrapper's type: its allocator zeroes the instance, and every field is written here before
    // anyone sees it.
    unsafe {
        let Some(allocate) = (*kind).tp_alloc else {
            return ptr::null_mut();
        };
        let wrapper = allocate(kind, 0).cast::<Wrapper>();
        if wrapper.is_null() {
            return ptr::null_mut();
        }
        (&raw mut (*wrapper).vectorcall).write(match maxsize {
            Some(0) => call_uncached,
            Some(_) => call_bounded,
            None => call_unbounded,
        });
        (&raw mut (*wrapper).state).write(State {
            function: Obj::from_borrowed(function),
            info_type: Obj::from_borrowed(info_type),
            maxsize,
            typed,
            results: Guarded::new(Results::default()),
        });
        wrapper.cast()
    }
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes a wrapper. Before `state` is written it is all zeroes, so nothing is visited: the
    // allocator tracks the object, but no Python code runs until it is whole.
    unsafe {
        let wrapper = &*object.cast::<Wrapper>();
        let state = &wrapper.state;
        let results = state.results.traversed();
        let held = [
            ffi::Py_TYPE(object).cast(),
            wrapper.attributes,
            state.function.as_ptr(),
            state.info_type.as_ptr(),
        ];
        let stored = results.table.entries().map(|entry| entry.content.as_ptr());
        let keys = key_objects(&results.table).map(Obj::as_ptr);
        for object in held
            .into_iter()
            .filter(|object| !object.is_null())
            .chain(stored)
            .chain(keys)
        {
            let result = visit(object, arg);
            if result != 0 {
                return result;
            }
        }
        0
    }
}

unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector passes a wrapper that nobody else reaches.
    unsafe {
        let wrapper = &mut *object.cast::<Wrapper>();
        drop(wrapper.state.results.with(|results| results.table.take()));
        let attributes = std::mem::replace(&mut wrapper.attributes, ptr::null_mut());
        ffi::Py_XDECREF(attributes);
        // The wrapper may still be called on the way down: then it says that `None` is not callable.
        wrapper.state.function = Obj::from_borrowed(ffi::Py_None());
        0
    }
}

unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone, and nobody else reaches the wrapper.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        let wrapper = object.cast::<Wrapper>();
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

/// `wrapper.__get__(instance, owner)`: a bound method, or the wrapper itself on the class.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _owner: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter passes live objects; `instance` may be null.
    unsafe {
        if instance.is_null() || instance == ffi::Py_None() {
            ffi::Py_INCREF(object);
            return object;
        }
        typespec::PyMethod_New(object, instance)
    }
}

unsafe extern "C" fn cache_info(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on a wrapper; `O` takes references of its own and `N` takes over ours.
    unsafe {
        let state = &(*object.cast::<Wrapper>()).state;
        let (hits, misses, size) = state
            .results
            .with(|results| (results.hits, results.misses, results.table.len()));
        let maxsize = match state.maxsize {
            Some(maxsize) => ffi::PyLong_FromSize_t(maxsize),
            None => Obj::from_borrowed(ffi::Py_None()).into_ptr(),
        };
        ffi::PyObject_CallFunction(
            state.info_type.as_ptr(),
            c"KKNn".as_ptr(),
            hits,
            misses,
            maxsize,
            size as ffi::Py_ssize_t,
        )
    }
}

unsafe extern "C" fn cache_clear(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on a wrapper.
    unsafe {
        let state = &(*object.cast::<Wrapper>()).state;
        drop(state.results.with(|results| {
            (results.hits, results.misses) = (0, 0);
            results.table.take()
        }));
        Obj::from_borrowed(ffi::Py_None()).into_ptr()
    }
}

/// `wrapper.invalidate(*args, **keywords)`: whether there was a result to forget.
unsafe extern "C" fn invalidate(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let arguments = Arguments {
        args,
        count: count as usize,
        names,
    };
    // SAFETY: the method is called on a wrapper, with its arguments.
    unsafe {
        find(object, arguments, |results, place| {
            place.map(|place| results.table.remove(place))
        })
        .map_or(ptr::null_mut(), |removed| {
            ffi::PyBool_FromLong(removed.is_some().into())
        })
    }
}

/// `wrapper.contains(*args, **keywords)`: whether a call would be a hit. Counts nothing, and keeps the order of use.
unsafe extern "C" fn contains(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let arguments = Arguments {
        args,
        count: count as usize,
        names,
    };
    // SAFETY: the method is called on a wrapper, with its arguments.
    unsafe {
        find(object, arguments, |_, place| place.is_some())
            .map_or(ptr::null_mut(), |found| ffi::PyBool_FromLong(found.into()))
    }
}

unsafe fn find<R>(
    object: *mut ffi::PyObject,
    arguments: Arguments,
    then: impl Fn(&mut Results, Option<Place>) -> R,
) -> Result<R, Raised> {
    // SAFETY: the caller passes a wrapper and live arguments.
    unsafe {
        let state = &(*object.cast::<Wrapper>()).state;
        if state.maxsize == Some(0) {
            return Ok(then(&mut Results::default(), None));
        }
        lookup(&state.results, &arguments.as_call(state.typed)?, then)
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

const fn method(
    name: &'static std::ffi::CStr,
    pointer: ffi::PyMethodDefPointer,
    flags: c_int,
    doc: *const c_char,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: pointer,
        ml_flags: flags,
        ml_doc: doc,
    }
}

fn methods() -> Vec<ffi::PyMethodDef> {
    let plain = |function| ffi::PyMethodDefPointer {
        PyCFunction: function,
    };
    let fast = |function| ffi::PyMethodDefPointer {
        PyCFunctionFastWithKeywords: function,
    };
    let with_arguments = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    vec![
        method(
            c"cache_info",
            plain(cache_info),
            ffi::METH_NOARGS,
            c"cache_info($self, /)\n--\n\nReport cache statistics.".as_ptr(),
        ),
        method(
            c"cache_clear",
            plain(cache_clear),
            ffi::METH_NOARGS,
            c"cache_clear($self, /)\n--\n\nForget all results, and count from zero.".as_ptr(),
        ),
        method(
            c"invalidate",
            fast(invalidate),
            with_arguments,
            c"invalidate($self, /, *args, **kwargs)\n--\n\nForget the result for these arguments; whether there was one.".as_ptr(),
        ),
        method(
            c"contains",
            fast(contains),
            with_arguments,
            c"contains($self, /, *args, **kwargs)\n--\n\nWhether a call with these arguments would be a hit.".as_ptr(),
        ),
        method(c"__reduce__", plain(reduce), ffi::METH_NOARGS, ptr::null()),
        method(c"__copy__", plain(itself), ffi::METH_VARARGS, ptr::null()),
        method(c"__deepcopy__", plain(itself), ffi::METH_VARARGS, ptr::null()),
        ffi::PyMethodDef::zeroed(),
    ]
}

fn attributes() -> Vec<ffi::PyGetSetDef> {
    vec![
        ffi::PyGetSetDef {
            name: c"__dict__".as_ptr(),
            get: Some(ffi::PyObject_GenericGetDict),
            set: Some(ffi::PyObject_GenericSetDict),
            doc: ptr::null(),
            closure: ptr::null_mut(),
        },
        ffi::PyGetSetDef::default(),
    ]
}

/// The type `lru_cache_wrapper`.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let members = vec![
        offset(c"__vectorcalloffset__", offset_of!(Wrapper, vectorcall)),
        offset(c"__dictoffset__", offset_of!(Wrapper, attributes)),
        offset(c"__weaklistoffset__", offset_of!(Wrapper, weak_references)),
        no_member(),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_HAVE_GC
        | ffi::Py_TPFLAGS_HAVE_VECTORCALL
        | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_dealloc, deallocate as *mut c_void),
        slot(ffi::Py_tp_descr_get, bind as *mut c_void),
        slot(ffi::Py_tp_methods, forever(methods())),
        slot(ffi::Py_tp_members, forever(members)),
        slot(ffi::Py_tp_getset, forever(attributes())),
        slot(0, ptr::null_mut()),
    ];
    typespec::make::<Wrapper>(py, c"scrubjay._native.lru_cache_wrapper", flags, &mut slots)
}
