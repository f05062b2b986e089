//! What happens to stores when the process forks.
//!
//! A child must not use, nor even close, a database connection that it inherited, and a lock that another thread held
//! at the fork is held for ever in the child. Invariants: while the process forks, no thread is inside a store; and
//! every store knows by comparing two numbers that it was opened before a fork, and opens itself anew.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::os;

/// How often this process, or the ones it was forked from, came to be by a fork.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// Read by whoever is inside a store, written by whoever forks.
static GATE: RwLock<()> = RwLock::new(());
/// The locks of keys that threads of this process hold, which a child must not keep alive.
static LEADS: Mutex<Vec<i32>> = Mutex::new(Vec::new());
static REGISTERED: Once = Once::new();

thread_local! {
    /// How often this thread entered and did not leave yet.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Which process this is, among those that forked from one another.
pub(super) fn generation() -> u64 {
    // Relaxed: it changes only in a process that has one thread then.
    FORKS.load(Ordering::Relaxed)
}

/// A thread's stay inside a store.
pub(super) struct Inside {
    /// The first entry of a thread has the gate: asking for it again would wait for a fork that waits for this thread.
    _gate: Option<RwLockReadGuard<'static, ()>>,
}

/// Enters a store; no fork happens until the guard is dropped. Not to be held while user code runs.
pub(super) fn enter() -> Inside {
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    let enter = || GATE.read().unwrap_or_else(PoisonError::into_inner);
    Inside {
        _gate: (depth == 0).then(enter),
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Has forks watched from now on.
pub(super) fn watch() {
    REGISTERED.call_once(|| os::at_fork(prepare, parent, child));
}

extern "C" fn prepare() {
    let guard = GATE.write().unwrap_or_else(PoisonError::into_inner);
    let _ = FORKING.try_with(|forking| forking.replace(Some(guard)));
}

extern "C" fn parent() {
    let _ = FORKING.try_with(RefCell::take);
}

extern "C" fn child() {
    // Relaxed: see `generation`.
    FORKS.fetch_add(1, Ordering::Relaxed);
    for descriptor in leads().drain(..) {
        os::close(descriptor);
    }
    parent();
}

fn leads() -> std::sync::MutexGuard<'static, Vec<i32>> {
    LEADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open file that children of this process do not keep open.
#[derive(Debug)]
pub(super) struct OwnFile {
    file: ManuallyDrop<File>,
    generation: u64,
}

impl OwnFile {
    /// To be called inside a store.
    pub(super) fn new(file: File) -> Self {
        leads().push(file.as_raw_fd());
        Self {
            file: ManuallyDrop::new(file),
            generation: generation(),
        }
    }
}

impl std::ops::Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let _inside = enter();
        if self.generation == generation() {
            let descriptor = self.file.as_raw_fd();
            leads().retain(|other| *other != descriptor);
            os::close(descriptor);
        }
    }
}
