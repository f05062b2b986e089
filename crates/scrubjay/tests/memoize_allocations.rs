//! A hit of a memoized function clones no argument and allocates nothing.
//!
//! In a binary of its own, because it replaces the allocator to count.
#![cfg(feature = "macros")]
#![allow(unsafe_code, reason = "an allocator cannot be written without it")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use scrubjay::memoize;

struct Counting;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises that this function asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; and every pointer came from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates while `work` runs.
fn allocations(work: impl Fn()) -> usize {
    work();
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[memoize]
fn text(text: &str, path: &std::path::Path, items: &[String], x: f64) -> Arc<str> {
    format!("{text} {path:?} {items:?} {x}").into()
}

#[memoize]
fn owned(items: Vec<String>, tag: String) -> Option<Arc<str>> {
    Some(format!("{items:?} {tag}").into())
}

#[memoize]
fn generic<T: AsRef<str> + Clone + std::hash::Hash + Eq + Send + Sync + 'static>(
    value: &T,
) -> usize {
    value.as_ref().len()
}

#[memoize(key = (text.trim(), items.len()))]
fn by_key(text: &str, items: &[String]) -> usize {
    text.len() + items.len()
}

#[memoize]
async fn later(text: &str) -> usize {
    text.len()
}

#[test]
fn a_hit_by_reference_allocates_nothing() {
    let items = ["a".to_owned(), "b".to_owned()];
    assert_eq!(
        allocations(|| drop(text("abc", "/x".as_ref(), &items, 0.5))),
        0
    );
    assert_eq!(allocations(|| assert_eq!(generic(&items[0]), 1)), 0);
    assert_eq!(allocations(|| assert_eq!(by_key(" a", &items), 4)), 0);
}

#[test]
fn a_hit_by_value_clones_no_argument() {
    let args = || (vec!["a".to_owned()], "tag".to_owned());
    let made = allocations(|| drop(args()));
    let called = allocations(|| {
        let (items, tag) = args();
        owned(items, tag).unwrap();
    });
    assert_eq!(called, made);
}

#[test]
fn an_async_hit_allocates_nothing() {
    let hit = || {
        let mut future = pin!(later("abc"));
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(3));
    };
    assert_eq!(allocations(hit), 0);
}
