//! The C stack: how far down a call may go.
//!
//! A level of recursion through a memoized function takes C stack besides Python's own. Interpreters before 3.14 count
//! levels and never look at the stack, so a raised recursion limit, or a thread with a small stack, would end the
//! process. Whoever is about to run the user's code asks here first, and raises `RecursionError` while there is room
//! left to.

#![allow(unsafe_code, reason = "asks the system where the stack ends")]

use crate::object::Raised;
use pyo3::ffi;
use std::cell::Cell;
use std::hint::black_box;
use std::ops::Range;

/// What must be left for a call: enough for the interpreter, the user's function and what they call in C. Of small
/// stacks, a quarter.
const RESERVE: usize = 64 << 10;

thread_local! {
    /// The addresses in which this thread's calls may not begin. Before it is known, all of them.
    static RESERVED: Cell<(usize, usize)> = const { Cell::new((0, usize::MAX)) };
}

/// Raises `RecursionError` if the stack is nearly used up.
#[inline(always)]
pub(crate) fn check() -> Result<(), Raised> {
    let here = here();
    let (start, end) = RESERVED.get();
    // A stack that is not the thread's own, as some coroutine libraries have, is not known here.
    if here >= end || here < start {
        return Ok(());
    }
    check_exactly(here)
}

/// About where the stack is now.
#[inline(always)]
fn here() -> usize {
    let local = 0_u8;
    black_box(&raw const local).addr()
}

#[cold]
#[inline(never)]
fn check_exactly(here: usize) -> Result<(), Raised> {
    if RESERVED.get().1 == usize::MAX {
        let stack = bounds().unwrap_or(0..0);
        let reserve = RESERVE.min(stack.len() / 4);
        RESERVED.set((stack.start, stack.start + reserve));
        return check();
    }
    debug_assert!(RESERVED.get().0 <= here);
    // SAFETY: callers are attached; the message is a C string.
    unsafe {
        ffi::PyErr_SetString(
            ffi::PyExc_RecursionError,
            c"maximum recursion depth exceeded while calling a cached function: this thread's C stack is nearly used up"
                .as_ptr(),
        );
    }
    Err(Raised)
}

/// The addresses of this thread's stack, guard pages left out.
#[cfg(target_os = "linux")]
fn bounds() -> Option<Range<usize>> {
    // SAFETY: the attributes are initialized by the first call, read by the next two, and destroyed once.
    unsafe {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let (mut start, mut size, mut guard) = (std::ptr::null_mut(), 0, 0);
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size) == 0
            && libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) == 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        told.then(|| start.addr() + guard..start.addr() + size)
    }
}

#[cfg(target_vendor = "apple")]
fn bounds() -> Option<Range<usize>> {
    // SAFETY: both ask about the thread that runs.
    unsafe {
        let end = libc::pthread_get_stackaddr_np(libc::pthread_self()).addr();
        let size = libc::pthread_get_stacksize_np(libc::pthread_self());
        Some(end.checked_sub(size)?..end)
    }
}

/// Not known: there, the interpreter's own count of levels is all there is.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn bounds() -> Option<Range<usize>> {
    None
}
