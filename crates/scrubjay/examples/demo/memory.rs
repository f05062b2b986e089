//! How many bytes the program holds, counted where they are allocated.
//!
//! The numbers in the `bytes` columns are differences of this, so they are what a cache takes with all of its
//! tables, and not what its entries would take by themselves.

#![allow(
    unsafe_code,
    reason = "counting bytes needs an allocator, and an allocator is unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static HELD: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came; the counter changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: a number, which publishes nothing else.
        HELD.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller got `memory` from `alloc`, and so from the system, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Returns the number of bytes that are allocated now.
pub fn held() -> u64 {
    HELD.load(Ordering::Relaxed)
}
