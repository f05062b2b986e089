//! A value that one writer at a time replaces as a whole while any number of readers look on.
//!
//! Invariant: what a reader was shown lives for as long as its pin.

#![allow(
    unsafe_code,
    reason = "lock-free readers: a hit takes no lock; see docs/benchmarks.md for what that brings"
)]

use std::marker::PhantomData;
use std::sync::RwLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use seize::{Guard, LocalGuard, reclaim};

pub(super) struct Published<T> {
    value: AtomicPtr<T>,
    /// It shows `&T` to every thread and drops `T` on any, as `RwLock<T>` does.
    owns: PhantomData<RwLock<T>>,
}

impl<T> Published<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value: AtomicPtr::new(Box::into_raw(Box::new(value))),
            owns: PhantomData,
        }
    }

    #[inline]
    pub(super) fn get<'g>(&self, guard: &'g LocalGuard<'_>) -> &'g T {
        // Acquire: pairs with the Release swap in `replace`, so the value is seen whole.
        let value = guard.protect(&self.value, Ordering::Acquire);
        // SAFETY: it is never null, and a value is retired only after another took its place, so this one lives
        // at least as long as the guard that protected its load.
        unsafe { &*value }
    }

    /// Shows `value` from now on. Only one caller at a time, which the shard's lock sees to.
    pub(super) fn replace(&self, value: T, guard: &LocalGuard<'_>) {
        let value = Box::into_raw(Box::new(value));
        // Release: pairs with the Acquire load in `get`.
        let old = self.value.swap(value, Ordering::Release);
        // SAFETY: `old` came from `Box::into_raw` and was unlinked just now, by the swap that returned it.
        unsafe { guard.defer_retire(old, reclaim::boxed) };
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self`: nobody else has a reference, and the value is never null.
        unsafe { &mut **self.value.get_mut() }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: no reader is left, and the last value was never retired.
        drop(unsafe { Box::from_raw(*self.value.get_mut()) });
    }
}
