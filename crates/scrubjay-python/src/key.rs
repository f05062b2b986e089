//! What a call is known by: its arguments as they were passed, and their owned form in a table.
//!
//! Two calls are the same if they pass equal arguments in the same places, keywords in the same order. Equality is
//! decided in two steps: what identity and builtin types can tell is told at once; only the rest runs the user's
//! `__eq__`, and that is done on an owned key, outside every lock.

#![allow(unsafe_code, reason = "reads arguments where the caller put them")]

use crate::object::{Obj, Raised};
use crate::stack;
use pyo3::ffi;
use smallvec::SmallVec;
use std::ptr;

/// The arguments of a call, borrowed from its caller: positional ones, then those of keywords.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) parts: &'a [*mut ffi::PyObject],
    /// The tuple of the keywords' names, or null.
    pub(crate) names: *mut ffi::PyObject,
    pub(crate) hash: u64,
    kind: Kind,
}

/// How the parts of a key are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One positional `int` or `str`: equal to no other kind, as in functools.
    Lone,
    /// By value.
    Plain,
    /// By value and type.
    Typed,
}

/// The owned form of a call's arguments.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    parts: SmallVec<[Obj; 2]>,
    pub(crate) names: Option<Obj>,
    pub(crate) hash: u64,
    kind: Kind,
}

/// What can be said of two keys without running Python code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    Same,
    Different,
    /// Only the objects' own `__eq__` knows.
    Unknown,
}

impl<'a> Call<'a> {
    /// The arguments of a vectorcall. Runs `__hash__` of each argument once.
    ///
    /// # Safety
    /// `args` holds `count` positional arguments and one for each of `names`, all alive for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn new(
        args: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
        typed: bool,
    ) -> Result<Self, Raised> {
        if count == 1 && names.is_null() && !typed {
            // SAFETY: the caller vouches for one argument.
            let part = unsafe { *args };
            // SAFETY: `part` is alive.
            return unsafe {
                let kind = if is_int_or_str(part) {
                    Kind::Lone
                } else {
                    Kind::Plain
                };
                let hash = fold(hash_of(part)?);
                Ok(Self {
                    parts: std::slice::from_raw_parts(args, 1),
                    names,
                    hash,
                    kind,
                })
            };
        }
        // SAFETY: `names` is null or a tuple, and the caller vouches for the arguments.
        unsafe {
            let keywords = if names.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(names) as usize
            };
            let names = if keywords == 0 {
                ptr::null_mut()
            } else {
                names
            };
            let length = count + keywords;
            // An empty call may come without an array.
            let parts = if length == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(args, length)
            };
            let kind = if typed { Kind::Typed } else { Kind::Plain };
            Ok(Self {
                parts,
                names,
                hash: hash_all(parts, keywords)?,
                kind,
            })
        }
    }

    /// A single object, compared by value.
    ///
    /// # Safety
    /// The object is alive for `'a`.
    pub(crate) unsafe fn of_one(object: &'a *mut ffi::PyObject) -> Result<Self, Raised> {
        let parts = std::slice::from_ref(object);
        // SAFETY: the caller vouches for the object.
        let hash = fold(unsafe { hash_of(*object) }?);
        Ok(Self {
            parts,
            names: ptr::null_mut(),
            hash,
            kind: Kind::Plain,
        })
    }

    /// Arguments that are compared by value and type: the last ones belong to the names.
    ///
    /// # Safety
    /// Parts and names are alive for `'a`; `names` is null or a tuple of as many strings as belong to it.
    #[inline(always)]
    pub(crate) unsafe fn typed(
        parts: &'a [*mut ffi::PyObject],
        names: *mut ffi::PyObject,
    ) -> Result<Self, Raised> {
        // SAFETY: the caller vouches for the objects.
        unsafe {
            let keywords = if names.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(names) as usize
            };
            let hash = hash_all(parts, keywords)?;
            Ok(Self {
                parts,
                names,
                hash,
                kind: Kind::Typed,
            })
        }
    }

    pub(crate) fn to_key(self) -> Key {
        // SAFETY: the call keeps its arguments alive.
        let own = |part: &*mut ffi::PyObject| unsafe { Obj::from_borrowed(*part) };
        Key {
            parts: self.parts.iter().map(own).collect(),
            names: (!self.names.is_null()).then(|| own(&self.names)),
            hash: self.hash,
            kind: self.kind,
        }
    }

    /// Compares without running Python code.
    #[inline(always)]
    pub(crate) fn resembles(&self, key: &Key) -> Likeness {
        if self.hash != key.hash || self.kind != key.kind || self.parts.len() != key.parts.len() {
            return Likeness::Different;
        }
        if !names_equal(self.names, key.names()) {
            return Likeness::Different;
        }
        let mut unknown = false;
        for (part, stored) in self.parts.iter().zip(&key.parts) {
            match self.part_resembles(*part, stored.as_ptr()) {
                Likeness::Same => {}
                Likeness::Different => return Likeness::Different,
                Likeness::Unknown => unknown = true,
            }
        }
        if unknown {
            Likeness::Unknown
        } else {
            Likeness::Same
        }
    }

    #[inline(always)]
    fn part_resembles(&self, part: *mut ffi::PyObject, stored: *mut ffi::PyObject) -> Likeness {
        if part == stored {
            return Likeness::Same;
        }
        // SAFETY: both are alive, and comparing exact builtin types runs no Python code and raises nothing.
        unsafe {
            if self.kind == Kind::Typed && ffi::Py_TYPE(part) != ffi::Py_TYPE(stored) {
                return Likeness::Different;
            }
            if !is_atom(part) || !is_atom(stored) {
                return Likeness::Unknown;
            }
            // Bytes equal bytes only, and comparing them with text may warn, which runs Python code.
            if ffi::Py_TYPE(part) != ffi::Py_TYPE(stored)
                && (ffi::PyBytes_CheckExact(part) != 0 || ffi::PyBytes_CheckExact(stored) != 0)
            {
                return Likeness::Different;
            }
            match ffi::PyObject_RichCompareBool(part, stored, ffi::Py_EQ) {
                1 => Likeness::Same,
                _ => Likeness::Different,
            }
        }
    }

    /// Compares as Python does: by identity, then by `==`, which may run any code.
    pub(crate) fn equals(&self, key: &Key) -> Result<bool, Raised> {
        stack::check()?;
        for (part, stored) in self.parts.iter().zip(&key.parts) {
            // SAFETY: the call and the key keep them alive. The stored one is on the left, as in a dictionary.
            match unsafe { ffi::PyObject_RichCompareBool(stored.as_ptr(), *part, ffi::Py_EQ) } {
                1 => {}
                0 => return Ok(false),
                _ => return Err(Raised),
            }
        }
        Ok(true)
    }
}

impl Key {
    fn names(&self) -> *mut ffi::PyObject {
        self.names.as_ref().map_or(ptr::null_mut(), Obj::as_ptr)
    }

    /// The key as a call, for looking it up again.
    pub(crate) fn as_call(&self) -> Call<'_> {
        // SAFETY: `Obj` is a transparent pointer.
        let parts =
            unsafe { std::slice::from_raw_parts(self.parts.as_ptr().cast(), self.parts.len()) };
        Call {
            parts,
            names: self.names(),
            hash: self.hash,
            kind: self.kind,
        }
    }

    /// Every object that the key holds.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Obj> {
        self.parts.iter().chain(&self.names)
    }
}

/// The hash of an object, as Python's `hash`.
///
/// # Safety
/// `object` is alive.
#[inline(always)]
unsafe fn hash_of(object: *mut ffi::PyObject) -> Result<u64, Raised> {
    // SAFETY: the caller vouches for the object.
    match unsafe { ffi::PyObject_Hash(object) } {
        -1 => Err(Raised),
        hash => Ok(hash as u64),
    }
}

/// # Safety
/// The parts are alive.
#[inline(always)]
unsafe fn hash_all(parts: &[*mut ffi::PyObject], keywords: usize) -> Result<u64, Raised> {
    let mut hash = fold((parts.len() * 8 + keywords) as u64 ^ 0x9e37_79b9_7f4a_7c15);
    for part in parts {
        // SAFETY: the caller vouches for the parts.
        hash = fold(hash.rotate_left(5) ^ unsafe { hash_of(*part) }?);
    }
    Ok(hash)
}

/// Spreads the bits of Python's hashes, of which many differ in a few low bits only.
#[inline(always)]
fn fold(hash: u64) -> u64 {
    let wide = u128::from(hash ^ 0x243f_6a88_85a3_08d3) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    (wide as u64) ^ (wide >> 64) as u64
}

/// # Safety
/// `object` is alive.
#[inline(always)]
unsafe fn is_int_or_str(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller vouches for the object; the types are static.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        kind == &raw mut ffi::PyLong_Type || kind == &raw mut ffi::PyUnicode_Type
    }
}

/// Whether the object is exactly of a builtin type without parts: then comparing it with another one runs no Python
/// code.
///
/// # Safety
/// `object` is alive.
#[inline(always)]
unsafe fn is_atom(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller vouches for the object; the types are static.
    unsafe {
        if is_int_or_str(object) || object == ffi::Py_None() {
            return true;
        }
        let kind = ffi::Py_TYPE(object);
        kind == &raw mut ffi::PyFloat_Type
            || kind == &raw mut ffi::PyBool_Type
            || kind == &raw mut ffi::PyBytes_Type
            || kind == &raw mut ffi::PyType_Type
    }
}

/// Whether two tuples of names are equal; either may be null. Call sites own their tuples, so one site's is one object.
#[inline(always)]
fn names_equal(left: *mut ffi::PyObject, right: *mut ffi::PyObject) -> bool {
    left == right || (!left.is_null() && !right.is_null() && names_match(left, right))
}

#[cold]
fn names_match(left: *mut ffi::PyObject, right: *mut ffi::PyObject) -> bool {
    // SAFETY: both are tuples of strings: the interpreter makes no others.
    unsafe {
        let length = ffi::PyTuple_GET_SIZE(left);
        length == ffi::PyTuple_GET_SIZE(right)
            && (0..length).all(|position| {
                let (a, b) = (
                    ffi::PyTuple_GET_ITEM(left, position),
                    ffi::PyTuple_GET_ITEM(right, position),
                );
                a == b || ffi::PyUnicode_Compare(a, b) == 0
            })
    }
}
