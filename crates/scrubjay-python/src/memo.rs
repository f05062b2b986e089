//! The wrapper behind `memoize`: the path of a hit. What a miss needs is the package's `_load`, which this calls.
//!
//! A call is brought into its one form, looked up in the memory of the function or of the instance, and answered. No
//! section is open while the user's code runs.

#![allow(
    unsafe_code,
    reason = "a type on CPython's C interface: a hit of #[pyclass] is slower than functools'"
)]

use crate::key::Call;
use crate::memory::{Memory, PyKey};
use crate::object::{Obj, Raised};
use crate::reader::{Answer, DiskReader, Missed};
use crate::shape::{Extra, Parameter, Parts, Shape};
use crate::trace;
use crate::wrapper::{self, Arguments, Way, call_with, state};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::ptr;
use std::sync::OnceLock;

/// The type, made when the module is.
static TYPE: OnceLock<Py<PyAny>> = OnceLock::new();

struct State {
    function: Obj,
    memory: Obj,
    /// `None` where the function's signature is not known: then calls are known by what they pass, as they pass it.
    shape: Option<Shape>,
    hooks: Hooks,
    /// Reads what the disk has for plain calls, if what it has is simply kept and handed out.
    reader: Option<Py<DiskReader>>,
    instances: OnceLock<Instances>,
}

/// What is called besides the function.
struct Hooks {
    /// `key=`
    key: Option<Obj>,
    /// The content of an unhashable argument, hashable.
    freeze: Obj,
    /// `(memory, key, args, kwargs)`: the answer in a tuple; a lead that the call is to take; or `None`, and the call
    /// runs the function without storing anything. For a coroutine function: the coroutine that does it all.
    enter: Obj,
    /// `(lead, value, args, kwargs)`: stores, wakes the waiters, and gives what the leader returns.
    succeed: Obj,
    /// `(lead, error)`: wakes the waiters.
    fail: Obj,
    /// `(value)`: the copy that a hit hands out.
    copy: Option<Obj>,
    /// `(value)`: a coroutine that returns it; of coroutine functions only.
    give: Option<Obj>,
    /// `(wrapper, instance)`: the method as the attribute of an instance.
    bind: Obj,
}

/// Methods have a memory in each instance.
struct Instances {
    /// Where in the instance's dictionary.
    attribute: Obj,
    /// `(instance)`: makes or finds the memory elsewhere; `None` if the instance can have none.
    attach: Obj,
    /// The function's, without the instance.
    shape: Option<Shape>,
}

impl Hooks {
    fn objects(&self) -> impl Iterator<Item = &Obj> {
        let always = [
            &self.freeze,
            &self.enter,
            &self.succeed,
            &self.fail,
            &self.bind,
        ];
        let some = [&self.key, &self.copy, &self.give];
        always.into_iter().chain(some.into_iter().flatten())
    }
}

impl wrapper::State for State {
    fn traverse(
        &self,
        visit: &mut dyn FnMut(*mut ffi::PyObject) -> Result<(), c_int>,
    ) -> Result<(), c_int> {
        let instances = self
            .instances
            .get()
            .into_iter()
            .flat_map(|found| [&found.attribute, &found.attach]);
        let shape = self.shape.iter().flat_map(Shape::objects);
        let held = [&self.function, &self.memory]
            .into_iter()
            .chain(self.hooks.objects());
        held.chain(instances)
            .chain(shape)
            .try_for_each(|held| visit(held.as_ptr()))?;
        self.reader
            .iter()
            .try_for_each(|reader| visit(reader.as_ptr()))
    }

    fn clear(&mut self) {
        // SAFETY: `None` is always alive. Whoever still calls the wrapper is told that it is not callable.
        let none = || unsafe { Obj::from_borrowed(ffi::Py_None()) };
        self.function = none();
        self.hooks.enter = none();
        self.hooks.key = None;
        self.reader = None;
        self.instances = OnceLock::new();
        self.memory().clear();
    }

    unsafe fn bind(
        &self,
        wrapper: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> Result<Obj, Raised> {
        call_with(&self.hooks.bind, &[wrapper, instance])
    }
}

/// `memo.untraced(*args, **kwargs)`, and a call of the memo while nothing is recorded.
struct Untraced;

impl Way<State> for Untraced {
    #[inline(always)]
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        state.run(arguments)
    }
}

impl State {
    fn memory(&self) -> &Memory {
        memory_of(&self.memory)
    }

    #[inline(always)]
    fn run(&self, arguments: Arguments) -> Result<Obj, Raised> {
        let answer = self.locate(arguments, |memory, call| {
            match memory_of(memory).hit_for(call)? {
                Some(value) => self.answer(value),
                None => self.miss(memory, call, arguments),
            }
        })?;
        match answer {
            Some(answer) => Ok(answer),
            // SAFETY: the interpreter vouches for the arguments.
            None => unsafe { arguments.call(self.function.as_ptr()) },
        }
    }

    /// What the caller gets of a stored value.
    #[inline(always)]
    fn answer(&self, value: Obj) -> Result<Obj, Raised> {
        let value = match &self.hooks.copy {
            None => value,
            Some(copy) => call_with(copy, &[value.as_ptr()])?,
        };
        match &self.hooks.give {
            None => Ok(value),
            Some(give) => call_with(give, &[value.as_ptr()]),
        }
    }

    #[cold]
    #[inline(never)]
    fn miss(&self, memory: &Obj, call: &Call<'_>, arguments: Arguments) -> Result<Obj, Raised> {
        let missed = match self.read_below(memory, call)? {
            Answer::Value(value) => return self.answer(value),
            Answer::Missed(missed) => Some(missed),
            Answer::Unknown => None,
        };
        let key = make_key(call, missed)?;
        let (args, kwargs) = arguments.pack()?;
        let parts = [
            memory.as_ptr(),
            key.as_ptr(),
            args.as_ptr(),
            kwargs.as_ptr(),
        ];
        let entered = call_with(&self.hooks.enter, &parts)?;
        if self.hooks.give.is_some() {
            return Ok(entered);
        }
        // SAFETY: what was entered is alive; a tuple that `enter` returns has one part. The interpreter vouches for the
        // arguments.
        unsafe {
            if ffi::PyTuple_CheckExact(entered.as_ptr()) != 0 {
                return Ok(Obj::from_borrowed(ffi::PyTuple_GET_ITEM(
                    entered.as_ptr(),
                    0,
                )));
            }
            let result = arguments.call(self.function.as_ptr());
            if entered.as_ptr() == ffi::Py_None() {
                return result;
            }
            self.land(&entered, result, &args, &kwargs)
        }
    }

    /// What the disk has for a call, unless somebody who leads has to ask for it. While traces are recorded, they tell
    /// it all.
    fn read_below(&self, memory: &Obj, call: &Call<'_>) -> Result<Answer, Raised> {
        let Some(reader) = &self.reader else {
            return Ok(Answer::Unknown);
        };
        // The names of methods' calls begin with the instance.
        if self.instances.get().is_some() || trace::is_recording() {
            return Ok(Answer::Unknown);
        }
        // SAFETY: the thread is attached.
        let py = unsafe { Python::assume_attached() };
        let found = reader.get().answer(py, memory_of(memory), call);
        found.map_err(|error| {
            error.restore(py);
            Raised
        })
    }

    /// Ends the flight that this call led.
    #[inline(never)]
    fn land(
        &self,
        lead: &Obj,
        result: Result<Obj, Raised>,
        args: &Obj,
        kwargs: &Obj,
    ) -> Result<Obj, Raised> {
        if let Ok(value) = result {
            let parts = [
                lead.as_ptr(),
                value.as_ptr(),
                args.as_ptr(),
                kwargs.as_ptr(),
            ];
            return call_with(&self.hooks.succeed, &parts);
        }
        // SAFETY: the thread is attached.
        let py = unsafe { Python::assume_attached() };
        let error = PyErr::fetch(py);
        let landed = call_with(&self.hooks.fail, &[lead.as_ptr(), error.value(py).as_ptr()]);
        if landed.is_ok() {
            error.restore(py);
        }
        Err(Raised)
    }

    /// Finds the memory and the form of a call, and does something with them; `None` if the call is not memoized.
    #[inline(always)]
    fn locate<R>(
        &self,
        arguments: Arguments,
        then: impl FnOnce(&Obj, &Call<'_>) -> Result<R, Raised>,
    ) -> Result<Option<R>, Raised> {
        match self.instances.get() {
            None => self.shaped(&self.shape, &self.memory, arguments, then),
            Some(instances) => {
                let Some(memory) = instances.memory_for(arguments)? else {
                    return Ok(None);
                };
                self.shaped(&instances.shape, &memory, arguments.without_first(), then)
            }
        }
    }

    #[inline(always)]
    fn shaped<R>(
        &self,
        shape: &Option<Shape>,
        memory: &Obj,
        arguments: Arguments,
        then: impl FnOnce(&Obj, &Call<'_>) -> Result<R, Raised>,
    ) -> Result<Option<R>, Raised> {
        if let (Some(shape), None) = (shape, &self.hooks.key) {
            if shape.is_plain(arguments) {
                return self
                    .hashed(memory, arguments.parts(), ptr::null_mut(), then)
                    .map(Some);
            }
            // SAFETY: the interpreter keeps the arguments alive during the call.
            let Some(form) = (unsafe { shape.arrange(arguments)? }) else {
                return Ok(None);
            };
            let names = form.names.as_ref().map_or(ptr::null_mut(), Obj::as_ptr);
            return self.hashed(memory, &form.parts, names, then).map(Some);
        }
        let Some(key) = &self.hooks.key else {
            return self
                .hashed(memory, arguments.parts(), arguments.names, then)
                .map(Some);
        };
        // SAFETY: as above.
        let key = unsafe { arguments.call(key.as_ptr())? };
        self.hashed(memory, &[key.as_ptr()], ptr::null_mut(), then)
            .map(Some)
    }

    #[inline(always)]
    fn hashed<R>(
        &self,
        memory: &Obj,
        parts: &[*mut ffi::PyObject],
        names: *mut ffi::PyObject,
        then: impl FnOnce(&Obj, &Call<'_>) -> Result<R, Raised>,
    ) -> Result<R, Raised> {
        // SAFETY: the interpreter, or the caller, keeps the parts alive.
        match unsafe { Call::typed(parts, names) } {
            Ok(call) => then(memory, &call),
            Err(Raised) => {
                let (parts, _owned) = self.frozen(parts)?;
                // SAFETY: the frozen ones are owned here.
                then(memory, &unsafe { Call::typed(&parts, names)? })
            }
        }
    }

    /// Arguments with the unhashable ones replaced by their content. An exception that says something else stays.
    #[cold]
    fn frozen(&self, parts: &[*mut ffi::PyObject]) -> Result<(Parts, Vec<Obj>), Raised> {
        take_refusal()?;
        let (mut hashable, mut owned) = (Parts::new(), Vec::new());
        for part in parts {
            // SAFETY: the caller keeps the parts alive.
            if unsafe { ffi::PyObject_Hash(*part) } != -1 {
                hashable.push(*part);
                continue;
            }
            take_refusal()?;
            let frozen = call_with(&self.hooks.freeze, &[*part])?;
            hashable.push(frozen.as_ptr());
            owned.push(frozen);
        }
        Ok((hashable, owned))
    }
}

impl Instances {
    /// The memory of the instance that a method is called on.
    #[inline(always)]
    fn memory_for(&self, arguments: Arguments) -> Result<Option<Obj>, Raised> {
        if arguments.positional() == 0 {
            return Ok(None);
        }
        // SAFETY: there is a first argument. A class has a dictionary that must not be written to; `attach` knows.
        unsafe {
            let instance = *arguments.args;
            if ffi::PyType_Check(instance) == 0
                && let Some(memory) = self.memory_in(instance)
            {
                return Ok(Some(memory));
            }
            let memory = call_with(&self.attach, &[instance])?;
            Ok((memory.as_ptr() != ffi::Py_None()).then_some(memory))
        }
    }

    /// The memory in the instance's own dictionary.
    unsafe fn memory_in(&self, instance: *mut ffi::PyObject) -> Option<Obj> {
        // SAFETY: the instance is alive, and the other two calls return references of our own.
        unsafe {
            let Ok(attributes) =
                Obj::from_owned(ffi::PyObject_GenericGetDict(instance, ptr::null_mut()))
            else {
                ffi::PyErr_Clear();
                return None;
            };
            let (attributes, attribute) = (attributes.as_ptr(), self.attribute.as_ptr());
            let mut found = ptr::null_mut();
            if ffi::compat::PyDict_GetItemRef(attributes, attribute, &mut found) != 1 {
                ffi::PyErr_Clear();
                return None;
            }
            let py = Python::assume_attached();
            let found = Obj::from_owned(found).ok()?;
            let memory = found.as_py().bind(py).cast::<Memory>().ok()?;
            memory.get().belongs_to(py, instance).then(|| found.clone())
        }
    }
}

fn memory_of(object: &Obj) -> &Memory {
    // SAFETY: the thread is attached, and memos hold nothing else there: the constructor and `memory_in` checked it,
    // and `attach` is ours.
    unsafe {
        object
            .as_py()
            .bind(Python::assume_attached())
            .cast_unchecked::<Memory>()
            .get()
    }
}

#[inline(never)]
fn make_key(call: &Call<'_>, missed: Option<Missed>) -> Result<Obj, Raised> {
    // SAFETY: the thread is attached.
    let py = unsafe { Python::assume_attached() };
    match Bound::new(py, PyKey(call.to_key(), missed)) {
        Ok(key) => Ok(Obj::from_bound(key.as_any())),
        Err(error) => {
            error.restore(py);
            Err(Raised)
        }
    }
}

/// Clears the exception of a hash that there is none of: a `TypeError`, or the `ValueError` of a `memoryview`. Any
/// other stays; a `ValueError` of the user's comes again where the content is looked at.
fn take_refusal() -> Result<(), Raised> {
    // SAFETY: the thread is attached, and an exception is set.
    unsafe {
        if ffi::PyErr_ExceptionMatches(ffi::PyExc_TypeError) == 0
            && ffi::PyErr_ExceptionMatches(ffi::PyExc_ValueError) == 0
        {
            return Err(Raised);
        }
        ffi::PyErr_Clear();
    }
    Ok(())
}

/// `memo.locate(*args, **kwargs)`: the memory and the key of a call, or `None` if it is not memoized.
struct Locate;

impl Way<State> for Locate {
    unsafe fn run(state: &State, arguments: Arguments) -> Result<Obj, Raised> {
        let located = state.locate(arguments, |memory, call| {
            let key = make_key(call, None)?;
            // SAFETY: the thread is attached; the tuple takes over both references.
            unsafe {
                let pair = Obj::from_owned(ffi::PyTuple_New(2))?;
                ffi::PyTuple_SET_ITEM(pair.as_ptr(), 0, memory.clone().into_ptr());
                ffi::PyTuple_SET_ITEM(pair.as_ptr(), 1, key.into_ptr());
                Ok(pair)
            }
        })?;
        // SAFETY: `None` is always alive.
        Ok(located.unwrap_or_else(|| unsafe { Obj::from_borrowed(ffi::Py_None()) }))
    }
}

/// The type `memo`. The package gives it the methods that are not part of a call. Its name is in functools, because
/// pydantic, for one, takes what is in a class for a field unless the module of its type is that one.
pub(crate) fn make_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let methods = vec![
        wrapper::with_arguments::<State, Locate>(c"locate", c"The memory and the key of a call."),
        wrapper::with_arguments::<State, Untraced>(
            c"untraced",
            c"The call as it is when nothing is recorded.",
        ),
    ];
    let kind = wrapper::make_type::<State>(py, c"functools.memo", 0, None, methods)?;
    Ok(TYPE.get_or_init(|| kind).clone_ref(py))
}

/// A parameter as Python passes it: name, defaults (none or one), by position only, ignored.
type Described = (Py<PyAny>, Vec<Py<PyAny>>, bool, bool);

/// Makes a memo.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the package calls it in one place, by keyword"
)]
#[pyo3(signature = (*, function, memory, parameters, positional, rest, keywords, key, freeze, enter, succeed, fail, copy, give, bind, reader))]
pub(crate) fn make_memo(
    py: Python<'_>,
    function: Py<PyAny>,
    memory: Py<Memory>,
    parameters: Option<Vec<Described>>,
    positional: usize,
    rest: Option<bool>,
    keywords: Option<bool>,
    key: Option<Py<PyAny>>,
    freeze: Py<PyAny>,
    enter: Py<PyAny>,
    succeed: Py<PyAny>,
    fail: Py<PyAny>,
    copy: Option<Py<PyAny>>,
    give: Option<Py<PyAny>>,
    bind: Py<PyAny>,
    reader: Option<Py<DiskReader>>,
) -> PyResult<Py<PyAny>> {
    let own = |object: &Py<PyAny>| Obj::from_bound(object.bind(py));
    let extra = |ignored: Option<bool>| ignored.map(|ignored| Extra { ignored });
    let described = |(name, defaults, unnamed, ignored): &Described| Parameter {
        name: own(name),
        default: defaults.first().map(own),
        unnamed: *unnamed,
        ignored: *ignored,
    };
    let shape = parameters.map(|parameters| {
        let parameters = parameters.iter().map(described).collect();
        Shape::new(parameters, positional, extra(rest), extra(keywords))
    });
    let state = State {
        function: own(&function),
        memory: Obj::from_bound(memory.bind(py).as_any()),
        shape,
        hooks: Hooks {
            key: key.as_ref().map(own),
            freeze: own(&freeze),
            enter: own(&enter),
            succeed: own(&succeed),
            fail: own(&fail),
            copy: copy.as_ref().map(own),
            give: give.as_ref().map(own),
            bind: own(&bind),
        },
        reader,
        instances: OnceLock::new(),
    };
    let kind = TYPE.get().expect("the module makes the type").as_ptr();
    let vectorcall = wrapper::vectorcall::<State, Untraced>;
    // SAFETY: the type is the one for this state.
    unsafe {
        Bound::from_owned_ptr_or_err(py, wrapper::allocate(kind.cast(), vectorcall, state))
            .map(Bound::unbind)
    }
}

/// Gives every instance a memory of its own, under an attribute; the first parameter is the instance.
#[pyfunction]
pub(crate) fn keep_in_instances(
    memo: &Bound<'_, PyAny>,
    attribute: &Bound<'_, PyAny>,
    attach: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let is_memo = TYPE
        .get()
        .is_some_and(|kind| memo.get_type().as_ptr() == kind.as_ptr());
    if !is_memo {
        return Err(PyTypeError::new_err(
            "instances keep memories of memos only",
        ));
    }
    // SAFETY: it is a memo.
    let state: &State = unsafe { state(memo.as_ptr()) };
    let shape = state.shape.as_ref().map(Shape::without_first);
    let instances = Instances {
        attribute: Obj::from_bound(attribute),
        attach: Obj::from_bound(attach),
        shape,
    };
    // A function that is an attribute of two classes keeps its first arrangement, which serves both.
    drop(state.instances.set(instances));
    Ok(())
}
