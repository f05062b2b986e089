//! The system's allocator, which counts the bytes that live in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, and counts of the bytes that live in it.
pub struct CountedHeap {
    requested: AtomicI64,
    usable: AtomicI64,
    peak: AtomicI64,
}

impl CountedHeap {
    pub const fn new() -> Self {
        Self {
            requested: AtomicI64::new(0),
            usable: AtomicI64::new(0),
            peak: AtomicI64::new(0),
        }
    }

    fn count(&self, requested: i64, usable: i64) {
        // Relaxed: counts publish nothing.
        let before = self.requested.fetch_add(requested, Ordering::Relaxed);
        self.usable.fetch_add(usable, Ordering::Relaxed);
        self.peak.fetch_max(before + requested, Ordering::Relaxed);
    }

    /// What lives in the heap now.
    pub fn now(&self) -> Bytes {
        // Relaxed: read when nobody else allocates.
        Bytes {
            requested: self.requested.load(Ordering::Relaxed),
            usable: self.usable.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
        }
    }
}

fn usable_size(block: *mut u8) -> i64 {
    // SAFETY: the callers pass a block that the system's allocator, which is malloc, returned and that is not freed.
    unsafe { libc::malloc_usable_size(block.cast()) as i64 }
}

// SAFETY: every call is handed on to the system's allocator as it is, and its answer handed back.
unsafe impl GlobalAlloc for CountedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            self.count(layout.size() as i64, usable_size(block));
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            self.count(layout.size() as i64, usable_size(block));
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.count(-(layout.size() as i64), -usable_size(block));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let before = usable_size(block);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(block, layout, size) };
        if !moved.is_null() {
            self.count(
                size as i64 - layout.size() as i64,
                usable_size(moved) - before,
            );
        }
        moved
    }
}

/// Bytes that live in the heap.
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// What was asked for.
    pub requested: i64,
    /// What malloc gave for it.
    pub usable: i64,
    /// The most that was requested at any time.
    pub peak: i64,
}
