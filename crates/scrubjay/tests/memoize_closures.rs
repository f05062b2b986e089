//! `memoize` and `memoize_recursive` for closures, and `Memo`.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod runs;

use std::cell::Cell;
use std::rc::Rc;
use std::thread;

use runs::Runs;
use scrubjay::{Cache, Memo, memoize, memoize_recursive};

#[test]
fn a_closure_runs_once_per_argument() {
    let runs = Cell::new(0);
    let square = memoize(|n: u64| {
        runs.set(runs.get() + 1);
        n * n
    });
    assert_eq!([square(3), square(3), square(4)], [9, 9, 16]);
    assert_eq!(runs.get(), 2);
}

#[test]
fn a_recursive_closure_is_linear() {
    let runs = Runs::new();
    let fib = memoize_recursive(|fib, n: u64| {
        runs.count();
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    });
    assert_eq!(fib(90), 2_880_067_194_370_816_120);
    assert_eq!(runs.so_far(), 91);
}

#[test]
fn clones_of_a_memoized_closure_share_their_results() {
    let runs = Runs::new();
    let square = memoize(|n: u64| {
        runs.count();
        n * n
    });
    let other = square.clone();
    assert_eq!((square(3), other(3)), (9, 9));
    assert_eq!(runs.so_far(), 1);
}

#[test]
fn threads_may_share_a_memoized_closure() {
    let runs = Runs::new();
    let square = memoize(|n: u64| {
        runs.count();
        n * n
    });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|n| assert_eq!(square(n), n * n)));
        }
    });
    assert_eq!(runs.so_far(), 50);
}

#[test]
fn a_closure_may_return_what_is_not_send() {
    let boxed = memoize(|n: u64| Rc::new(n));
    assert!(Rc::ptr_eq(&boxed(1), &boxed(1)));
}

#[test]
fn a_recursive_closure_that_needs_its_own_result_gets_a_panic() {
    let stuck = memoize_recursive(|stuck, n: u32| -> u32 { stuck(n) });
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stuck(1))).unwrap_err();
    assert!(
        panic
            .downcast_ref::<String>()
            .unwrap()
            .contains("would wait for itself")
    );
}

#[test]
fn a_memo_has_its_cache_at_hand() {
    let memo = Memo::with_cache(Cache::builder().capacity(1).build().unwrap(), |n: u64| {
        n + 1
    });
    assert_eq!((memo.call(1), memo.clone().call(1)), (2, 2));
    assert_eq!((memo.cache().len(), memo.cache().stats().hits), (1, 1));
}
