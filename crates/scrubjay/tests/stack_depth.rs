//! How much stack a level of recursion takes through a memoized function; to be run with `--release`.
//!
//! The promise is 512 bytes more than without the attribute. A debug build keeps every temporary, so it is only
//! printed there.
#![cfg(feature = "macros")]
#![allow(clippy::print_stdout, reason = "the figures are what is asked for")]

use std::hint::black_box;

use scrubjay::memoize;

const DEPTHS: [u64; 2] = [10, 1_010];

/// The place on the stack of the caller's callee.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    black_box(&raw const here).addr()
}

fn plain(n: u64) -> (u64, usize) {
    if n == 0 {
        return (0, stack_pointer());
    }
    let (sum, place) = black_box(plain(black_box(n - 1)));
    (sum + n, place)
}

#[memoize]
fn memoized(n: u64) -> (u64, usize) {
    if n == 0 {
        return (0, stack_pointer());
    }
    let (sum, place) = black_box(memoized(black_box(n - 1)));
    (sum + n, place)
}

#[memoize]
fn fallible(n: u64) -> Result<(u64, usize), String> {
    if n == 0 {
        return Ok((0, stack_pointer()));
    }
    let (sum, place) = black_box(fallible(black_box(n - 1)))?;
    Ok((sum + n, place))
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Walker(String);

impl Walker {
    #[memoize]
    fn walk(&self, path: &str) -> (u64, usize) {
        if path.is_empty() {
            return (0, stack_pointer());
        }
        let (sum, place) = black_box(self.walk(black_box(&path[1..])));
        (sum + 1, place)
    }
}

/// The bytes of stack that one level takes.
fn per_level(recur: impl Fn(u64) -> (u64, usize)) -> usize {
    let ends = DEPTHS.map(|depth| {
        let (_, place) = recur(depth);
        stack_pointer().abs_diff(place)
    });
    ends[0].abs_diff(ends[1]) / (DEPTHS[1] - DEPTHS[0]) as usize
}

fn measure(name: &str, with: usize, without: usize) {
    let more = with.saturating_sub(without);
    println!("{name}: {with} bytes a level, {more} more than the plain function's {without}");
    assert!(
        cfg!(debug_assertions) || more <= 512,
        "{name} takes {more} bytes more a level"
    );
}

fn in_a_big_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let thread = thread.spawn(work).expect("a thread can be started");
    thread.join().expect("the measurement holds");
}

#[test]
fn a_level_of_recursion_takes_at_most_512_bytes_more() {
    in_a_big_stack(|| {
        let without = per_level(plain);
        let cleared = |clear: fn()| move || clear();
        measure(
            "fn(u64)",
            per_level(|n| {
                cleared(memoized::clear)();
                memoized(n)
            }),
            without,
        );
        measure(
            "fn(u64) -> Result",
            per_level(|n| {
                cleared(fallible::clear)();
                fallible(n).expect("it does not fail")
            }),
            without,
        );
        measure(
            "method(&self, &str)",
            per_level(|n| {
                Walker::walk_cache().clear();
                Walker(String::new()).walk(&"x".repeat(n as usize))
            }),
            without,
        );
    });
}
