//! Locks, threads and thread-locals: std's, or a model checker's under `--cfg shuttle`.
//!
//! The only module that names either, so every protocol of the crate can be explored without a change.
//! A lock here is never poisoned: no user code runs under one but a key's `Eq`, and that runs before
//! anything is changed.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::{Mutex as RawMutex, MutexGuard, atomic},
    thread,
    thread_local,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{Mutex as RawMutex, MutexGuard, atomic},
    thread, thread_local,
};

use std::sync::PoisonError;

/// A mutex that a panic does not poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps its content on cache lines of its own, so that two threads' writes do not meet.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct OwnLine<T>(pub(crate) T);
