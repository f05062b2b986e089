//! The parameters of a memoized function, by which its calls are brought into one form.
//!
//! `f(1)`, `f(x=1)` and `f(1, y=2)`, where 2 is the default of `y`, are one computation and have one key: the arguments
//! in the order of the parameters, defaults filled in, ignored ones left out. A call that the function would refuse has
//! no form; it is passed on, so that the function itself raises.

#![allow(unsafe_code, reason = "reads arguments where the caller put them")]

use crate::object::{Obj, Raised};
use crate::wrapper::Arguments;
use pyo3::ffi;
use smallvec::SmallVec;

/// Arguments in the order of their parameters, borrowed from the call and from the shape.
pub(crate) type Parts = SmallVec<[*mut ffi::PyObject; 8]>;

/// The parameters of a function.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    parameters: Vec<Parameter>,
    /// How many may be passed by position.
    positional: usize,
    /// Whether there is `*args`, and whether it is ignored.
    rest: Option<Extra>,
    /// Whether there is `**kwargs`, and whether it is ignored.
    keywords: Option<Extra>,
    /// Every call with all arguments by position is its own form.
    plain: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Obj,
    pub(crate) default: Option<Obj>,
    /// It may be passed by position only.
    pub(crate) unnamed: bool,
    pub(crate) ignored: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) ignored: bool,
}

/// A call in its one form.
pub(crate) struct Form {
    pub(crate) parts: Parts,
    /// The names of the extra keywords, in alphabetical order.
    pub(crate) names: Option<Obj>,
}

impl Shape {
    pub(crate) fn new(
        parameters: Vec<Parameter>,
        positional: usize,
        rest: Option<Extra>,
        keywords: Option<Extra>,
    ) -> Self {
        let plain = parameters.iter().all(|parameter| !parameter.ignored)
            && positional == parameters.len()
            && rest.is_none();
        Self {
            parameters,
            positional,
            rest,
            keywords,
            plain,
        }
    }

    /// The same parameters but for the first, which is the instance of a method.
    pub(crate) fn without_first(&self) -> Self {
        let parameters = self.parameters[1..].to_vec();
        Self::new(parameters, self.positional - 1, self.rest, self.keywords)
    }

    /// Whether the arguments are in their one form as they are: every parameter by position, nothing else.
    #[inline(always)]
    pub(crate) fn is_plain(&self, arguments: Arguments) -> bool {
        self.plain && arguments.names.is_null() && arguments.positional() == self.parameters.len()
    }

    /// Brings a call into its form; `None` if the function would refuse it.
    ///
    /// # Safety
    /// The arguments are alive for as long as the form is used.
    pub(crate) unsafe fn arrange(&self, arguments: Arguments) -> Result<Option<Form>, Raised> {
        let given = arguments.positional();
        let named = given.min(self.positional);
        if given > named && self.rest.is_none() {
            return Ok(None);
        }
        // SAFETY: the caller vouches for the arguments; keywords' values follow the positional ones.
        let passed = |position: usize| unsafe { *arguments.args.add(position) };
        let mut places: SmallVec<[*mut ffi::PyObject; 8]> =
            SmallVec::from_elem(std::ptr::null_mut(), self.parameters.len());
        for (position, place) in places.iter_mut().enumerate().take(named) {
            *place = passed(position);
        }
        let mut extras: Vec<(Obj, *mut ffi::PyObject)> = Vec::new();
        for (position, name) in names_of(arguments).enumerate() {
            let value = passed(given + position);
            match self.position_of(&name) {
                Some(parameter) if places[parameter].is_null() => places[parameter] = value,
                Some(_) => return Ok(None),
                None if self.keywords.is_some() => extras.push((name, value)),
                None => return Ok(None),
            }
        }
        let mut parts = Parts::new();
        for (parameter, place) in self.parameters.iter().zip(places) {
            match (place.is_null(), &parameter.default) {
                (true, None) => return Ok(None),
                _ if parameter.ignored => {}
                (true, Some(default)) => parts.push(default.as_ptr()),
                (false, _) => parts.push(place),
            }
        }
        if self.rest.is_some_and(|rest| !rest.ignored) {
            parts.extend((named..given).map(passed));
        }
        let kept = self.keywords.is_some_and(|keywords| !keywords.ignored);
        let names = if kept {
            append_sorted(extras, &mut parts)?
        } else {
            None
        };
        Ok(Some(Form { parts, names }))
    }

    /// Names at call sites are interned, as those of parameters are: mostly, identity decides.
    fn position_of(&self, name: &Obj) -> Option<usize> {
        let named = || {
            self.parameters
                .iter()
                .enumerate()
                .filter(|(_, parameter)| !parameter.unnamed)
        };
        let found = named().find(|(_, parameter)| parameter.name.as_ptr() == name.as_ptr());
        let found = found.or_else(|| {
            // SAFETY: both are strings.
            named().find(|(_, parameter)| unsafe {
                ffi::PyUnicode_Compare(parameter.name.as_ptr(), name.as_ptr()) == 0
            })
        });
        found.map(|(position, _)| position)
    }

    /// Every object that the shape holds, for the collector.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Obj> {
        self.parameters
            .iter()
            .flat_map(|parameter| std::iter::once(&parameter.name).chain(&parameter.default))
    }
}

fn names_of(arguments: Arguments) -> impl Iterator<Item = Obj> {
    // SAFETY: `names` is null or a tuple of strings that lives as long as the call.
    unsafe {
        let names = arguments.names;
        let count = if names.is_null() {
            0
        } else {
            ffi::PyTuple_GET_SIZE(names)
        };
        (0..count).map(move |position| Obj::from_borrowed(ffi::PyTuple_GET_ITEM(names, position)))
    }
}

/// Appends extra keywords in alphabetical order, so that the order of a call does not matter; returns their names.
fn append_sorted(
    mut extras: Vec<(Obj, *mut ffi::PyObject)>,
    parts: &mut Parts,
) -> Result<Option<Obj>, Raised> {
    if extras.is_empty() {
        return Ok(None);
    }
    // SAFETY: names are strings; the tuple takes over a reference to each.
    unsafe {
        extras.sort_by(|(a, _), (b, _)| ffi::PyUnicode_Compare(a.as_ptr(), b.as_ptr()).cmp(&0));
        let names = Obj::from_owned(ffi::PyTuple_New(extras.len() as ffi::Py_ssize_t))?;
        for (position, (name, value)) in extras.into_iter().enumerate() {
            ffi::PyTuple_SET_ITEM(names.as_ptr(), position as ffi::Py_ssize_t, name.into_ptr());
            parts.push(value);
        }
        Ok(Some(names))
    }
}
