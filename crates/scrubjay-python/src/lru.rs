//! The wrapper behind `lru_cache` and `cache`: functools' contract, to the letter.
//!
//! A hit reads the arguments where the caller put them: no tuple, no dictionary. The user's function, `__hash__`,
//! `__eq__` and `__del__` run outside every section, so each of them may call the wrapper again. Concurrent callers of
//! one key each run the function, as functools documents; `memoize` is for those who want one run.

#![allow(
    unsafe_code,
    reason = "a type on CPython's C interface: a hit of #[pyclass] is slower than functools'"
)]

use crate::key::Call;
use crate::object::{Guarded, Obj, Raised};
use crate::table::{Entry, Holds, Place, Table, key_objects, lookup};
use crate::trace;
use crate::wrapper::{self, Arguments, Way, state};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::ptr;

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

/// A call of a cache that keeps results.
struct Cached<const BOUNDED: bool>;

impl<const BOUNDED: bool> Way<State> for Cached<BOUNDED> {
    #[inline(always)]
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        // SAFETY: the caller vouches for the arguments.
        unsafe { state.run::<BOUNDED>(arguments) }
    }
}

/// A call with `maxsize=0`: counts, and calls. No key is built, so arguments need not be hashable.
struct Uncached;

impl Way<State> for Uncached {
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        state.results.with(|results| results.misses += 1);
        trace::record_miss()?;
        // SAFETY: the caller vouches for the arguments.
        unsafe { arguments.call(state.function.as_ptr()) }
    }
}

impl State {
    /// # Safety
    /// The arguments are alive.
    #[inline(always)]
    unsafe fn run<const BOUNDED: bool>(&self, arguments: Arguments) -> Result<Obj, Raised> {
        // SAFETY: the caller vouches for the arguments.
        let call = unsafe { self.read(arguments)? };
        let looked = lookup(&self.results, &call, |results, place| {
            results.look::<BOUNDED>(place)
        });
        match looked? {
            Looked::Hit(result) => Ok(result),
            // SAFETY: as above.
            Looked::Miss(version) => unsafe { self.miss::<BOUNDED>(arguments, &call, version) },
        }
    }
}

impl State {
    /// # Safety
    /// The arguments are alive for as long as the call is used.
    #[inline(always)]
    unsafe fn read<'a>(&self, arguments: Arguments) -> Result<Call<'a>, Raised> {
        // SAFETY: the caller vouches for the arguments.
        unsafe {
            Call::new(
                arguments.args,
                arguments.positional(),
                arguments.names,
                self.typed,
            )
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
    /// Another call stored a result first: bounded caches keep that one, unbounded ones take the last, as functools
    /// does.
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
    ) -> Result<Obj, Raised> {
        trace::record_miss()?;
        // SAFETY: the caller passes on what the interpreter vouches for.
        let result = unsafe { arguments.call(self.function.as_ptr())? };
        self.store::<BOUNDED>(call, &result, version)?;
        Ok(result)
    }

    /// Stores a result under a key that was absent when the table had this version. Apart from `miss`, whose frame is
    /// on the stack while the function runs.
    #[inline(never)]
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
        let Ok(maxsize) = read_maxsize(function, maxsize) else {
            return ptr::null_mut();
        };
        let state = State {
            function: Obj::from_borrowed(function),
            info_type: Obj::from_borrowed(info_type),
            maxsize,
            typed: typed != 0,
            results: Guarded::new(Results::default()),
        };
        wrapper::allocate(kind, vectorcall_of(maxsize), state)
    }
}

fn vectorcall_of(maxsize: Option<usize>) -> ffi::vectorcallfunc {
    match maxsize {
        Some(0) => wrapper::vectorcall::<State, Uncached>,
        Some(_) => wrapper::vectorcall::<State, Cached<true>>,
        None => wrapper::vectorcall::<State, Cached<false>>,
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

impl wrapper::State for State {
    fn traverse(
        &self,
        visit: &mut dyn FnMut(*mut ffi::PyObject) -> Result<(), c_int>,
    ) -> Result<(), c_int> {
        // SAFETY: only the collector calls this.
        let results = unsafe { self.results.traversed() };
        visit(self.function.as_ptr())?;
        visit(self.info_type.as_ptr())?;
        results
            .table
            .entries()
            .try_for_each(|entry| visit(entry.content.as_ptr()))?;
        key_objects(&results.table).try_for_each(|held| visit(held.as_ptr()))
    }

    fn clear(&mut self) {
        drop(self.results.with(|results| results.table.take()));
        // SAFETY: `None` is always alive. Whoever still calls the wrapper is told that it is not callable.
        self.function = unsafe { Obj::from_borrowed(ffi::Py_None()) };
    }
}

unsafe extern "C" fn cache_info(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the method is called on a wrapper; `O` takes references of its own and `N` takes over ours.
    unsafe {
        let state: &State = state(object);
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
        let state: &State = state(object);
        drop(state.results.with(|results| {
            (results.hits, results.misses) = (0, 0);
            results.table.take()
        }));
        Obj::from_borrowed(ffi::Py_None()).into_ptr()
    }
}

/// `wrapper.invalidate(*args, **keywords)`: whether there was a result to forget.
struct Invalidate;

impl Way<State> for Invalidate {
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        // SAFETY: the caller vouches for the arguments.
        let removed = unsafe {
            state.find(arguments, |results, place| {
                place.map(|place| results.table.remove(place))
            })?
        };
        Ok(truth(removed.is_some()))
    }
}

/// `wrapper.contains(*args, **keywords)`: whether a call would be a hit. Counts nothing, and keeps the order of use.
struct Contains;

impl Way<State> for Contains {
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        // SAFETY: the caller vouches for the arguments.
        unsafe { state.find(arguments, |_, place| place.is_some()).map(truth) }
    }
}

/// `wrapper.untraced(*args, **keywords)`: the call as it is when nothing is recorded.
struct Untraced;

impl Way<State> for Untraced {
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        // SAFETY: the caller vouches for the arguments.
        unsafe {
            match state.maxsize {
                Some(0) => Uncached::run(state, arguments),
                Some(_) => state.run::<true>(arguments),
                None => state.run::<false>(arguments),
            }
        }
    }
}

impl State {
    /// # Safety
    /// The arguments are alive.
    unsafe fn find<R>(
        &self,
        arguments: Arguments,
        then: impl Fn(&mut Results, Option<Place>) -> R,
    ) -> Result<R, Raised> {
        if self.maxsize == Some(0) {
            return Ok(then(&mut Results::default(), None));
        }
        // SAFETY: the caller vouches for the arguments.
        let call = unsafe { self.read(arguments)? };
        lookup(&self.results, &call, then)
    }
}

fn truth(is_so: bool) -> Obj {
    // SAFETY: `True` and `False` are always alive, and the thread is attached.
    unsafe {
        let object = if is_so {
            ffi::Py_True()
        } else {
            ffi::Py_False()
        };
        Obj::from_borrowed(object)
    }
}

fn methods() -> Vec<ffi::PyMethodDef> {
    vec![
        wrapper::plain(
            c"cache_info",
            cache_info,
            c"cache_info($self, /)\n--\n\nReport cache statistics.",
        ),
        wrapper::plain(
            c"cache_clear",
            cache_clear,
            c"cache_clear($self, /)\n--\n\nForget all results, and count from zero.",
        ),
        wrapper::with_arguments::<State, Invalidate>(
            c"invalidate",
            c"invalidate($self, /, *args, **kwargs)\n--\n\nForget the result for these arguments; whether there was one.",
        ),
        wrapper::with_arguments::<State, Contains>(
            c"contains",
            c"contains($self, /, *args, **kwargs)\n--\n\nWhether a call with these arguments would be a hit.",
        ),
        wrapper::with_arguments::<State, Untraced>(
            c"untraced",
            c"untraced($self, /, *args, **kwargs)\n--\n\nThe call as it is when nothing is recorded.",
        ),
    ]
}

/// The type `lru_cache_wrapper`.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    // Under functools' own name: pydantic, for one, takes what is in a class for a field unless its type says so.
    let name = c"functools._lru_cache_wrapper";
    wrapper::make_type::<State>(
        py,
        name,
        ffi::Py_TPFLAGS_IMMUTABLETYPE,
        Some(new),
        methods(),
    )
}
