//! Locks, threads and thread-locals: std's, or a model checker's under `--cfg shuttle`.
//!
//! The only module that names either, so every protocol of the crate can be explored without a change.
//! A lock here is never poisoned: no user code runs under one but a key's `Eq`, and that runs before
//! anything is changed.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::{Mutex as RawMutex, MutexGuard, atomic},
    thread, thread_local,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{Mutex as RawMutex, MutexGuard, atomic},
    thread, thread_local,
};

// Counters are std's even under a model checker: no protocol depends on them.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, TryLockError};

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

    /// `None` if somebody holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Keeps its content on cache lines of its own, so that two threads' writes do not meet.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct OwnLine<T>(pub(crate) T);

/// One `T` for every thread, on lines of its own.
///
/// Threads are named by small dense numbers that no two live threads share (seize's). So only one thread at a
/// time writes a given `T`, and what it counts there needs no read-modify-write; any thread may read.
#[derive(Debug)]
pub(crate) struct PerThread<T> {
    /// The places of the first threads, reached by one comparison.
    first: Places<T>,
    /// Block `b` has `2^b` places for the threads after these, and is made when the first of them comes.
    blocks: Box<[OnceLock<Places<T>>]>,
}

type Places<T> = Box<[OwnLine<T>]>;

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        Self {
            first: places(FIRST_THREADS),
            blocks: (0..BLOCKS).map(|_| OnceLock::new()).collect(),
        }
    }
}

const FIRST_THREADS: usize = 8;
/// Enough for more threads than a machine has: 2^22 at a time.
const BLOCKS: usize = 22;

fn places<T: Default>(count: usize) -> Places<T> {
    (0..count).map(|_| OwnLine::default()).collect()
}

impl<T: Default> PerThread<T> {
    #[inline]
    pub(crate) fn of(&self, thread: usize) -> &T {
        match self.first.get(thread) {
            Some(place) => &place.0,
            None => self.of_later(thread - FIRST_THREADS),
        }
    }

    #[cold]
    fn of_later(&self, thread: usize) -> &T {
        let block = (thread + 1).ilog2() as usize;
        let places = self.blocks[block].get_or_init(|| places(1 << block));
        &places[thread + 1 - (1 << block)].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let later = self.blocks.iter().filter_map(OnceLock::get).flatten();
        self.first.iter().chain(later).map(|place| &place.0)
    }
}

/// Adds to a counter that only this thread writes; readers see some recent value.
#[inline]
pub(crate) fn add(counter: &AtomicU64, amount: u64) -> u64 {
    // Relaxed, and no read-modify-write: there is one writer, and nothing is published with the count.
    let sum = counter.load(Ordering::Relaxed).wrapping_add(amount);
    counter.store(sum, Ordering::Relaxed);
    sum
}
