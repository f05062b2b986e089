//! Leaders that panic, or whose load fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use scrubjay::Cache;

use crate::crew::{for_each_crew, gate, panic_of, until_waiting};

#[test]
fn a_waiter_takes_over_from_a_leader_that_panics() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let loads = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let message = panic_of(|| {
                    leader.get(&cache, 1, || {
                        passage.pass(());
                        panic!("the loader's own")
                    })
                });
                assert_eq!(message, "the loader's own");
            });
            gate.wait_for_load();
            for _ in 0..4 {
                scope.spawn(|| {
                    let value = waiter.get(&cache, 1, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        7
                    });
                    assert_eq!(value, 7);
                });
            }
            until_waiting(&cache, 4);
            gate.open();
        });
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.load_failures), (2, 1));
    });
}

#[test]
fn three_hundred_leaders_fail_one_after_the_other() {
    for_each_crew(|first, second| {
        let cache: Cache<u32, u32> = Cache::new();
        let (loading, attempts) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let together = Barrier::new(301);
        thread::scope(|scope| {
            for number in 0..301 {
                let (cache, loading, attempts) = (&cache, &loading, &attempts);
                let together = &together;
                let caller = if number % 2 == 0 { first } else { second };
                scope.spawn(move || {
                    together.wait();
                    let load = || {
                        assert_eq!(loading.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
                        loading.fetch_sub(1, Ordering::SeqCst);
                        std::panic::resume_unwind(Box::new(attempt))
                    };
                    // `resume_unwind`, because 1204 backtraces tell nobody anything.
                    let failed = catch_unwind(AssertUnwindSafe(|| caller.get(cache, 1, load)));
                    assert!(failed.is_err(), "each caller runs its own loader");
                });
            }
        });
        assert_eq!(attempts.load(Ordering::SeqCst), 301);
        assert_eq!(cache.stats().load_failures, 301);
        assert_eq!(first.get(&cache, 1, || 7), 7);
        cache.assert_consistent();
    });
}

#[test]
fn waiters_share_the_leaders_error() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| {
                let failed = leader.try_get(&cache, 1, || passage.pass(Err("down")));
                assert_eq!(failed, Err("down"));
            });
            gate.wait_for_load();
            for _ in 0..4 {
                scope.spawn(|| {
                    let failed = waiter.try_get(&cache, 1, || -> Result<u32, &str> {
                        panic!("the error is shared")
                    });
                    assert_eq!(failed, Err("down"));
                });
            }
            until_waiting(&cache, 4);
            gate.open();
        });
        assert_eq!(cache.stats().load_failures, 1);
        assert_eq!(leader.try_get(&cache, 1, || Ok::<_, &str>(7)), Ok(7));
    });
}

/// A leader fails while four waiters wait with loaders of their own; returns how many loads failed.
fn failures_in_turn(
    cache: &Cache<u32, u32>,
    lead: impl FnOnce(&dyn Fn()) + Send,
    wait: impl Fn() + Sync,
) -> u64 {
    let (gate, passage) = gate();
    thread::scope(|scope| {
        scope.spawn(|| {
            let passage = Mutex::new(Some(passage));
            lead(&|| passage.lock().unwrap().take().unwrap().pass(()));
        });
        gate.wait_for_load();
        for _ in 0..4 {
            scope.spawn(&wait);
        }
        until_waiting(cache, 4);
        gate.open();
    });
    cache.stats().load_failures
}

#[test]
fn without_shared_errors_each_caller_tries_in_turn() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder().share_errors(false).build().unwrap();
        let count = AtomicUsize::new(1);
        let failures = failures_in_turn(
            &cache,
            |pass| {
                let failed = leader.try_get(&cache, 1, || {
                    pass();
                    Err(0)
                });
                assert_eq!(failed, Err(0));
            },
            || {
                let mut own = None;
                let failed = waiter.try_get(&cache, 1, || {
                    own = Some(count.fetch_add(1, Ordering::SeqCst));
                    Err(own.unwrap())
                });
                assert_eq!(
                    failed,
                    Err(own.unwrap()),
                    "everyone gets the error of the own load"
                );
            },
        );
        assert_eq!(failures, 5);
    });
}

#[test]
fn callers_in_turn_never_see_the_error_of_another() {
    for_each_crew(|leader, waiter| {
        /// Neither `Clone` nor `Send` nor `Sync`.
        struct Local(#[allow(dead_code, reason = "only its type matters")] *const u8);
        let cache: Cache<u32, u32> = Cache::new();
        let failures = failures_in_turn(
            &cache,
            |pass| {
                let failed = leader.try_in_turn(&cache, 1, || {
                    pass();
                    Err(Local(std::ptr::null()))
                });
                assert!(failed.is_err());
            },
            || {
                let own = waiter.try_in_turn(&cache, 1, || Err(Local(std::ptr::null())));
                assert!(own.is_err());
            },
        );
        assert_eq!(failures, 5);
    });
}

#[test]
fn a_waiter_in_turn_does_not_share_an_error_that_others_share() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let failures = failures_in_turn(
            &cache,
            |pass| {
                let failed = leader.try_get(&cache, 1, || {
                    pass();
                    Err("down")
                });
                assert_eq!(failed, Err("down"));
            },
            || assert_eq!(waiter.try_in_turn(&cache, 1, || Err("own")), Err("own")),
        );
        assert_eq!(failures, 5);
    });
}

#[test]
fn a_waiter_with_another_error_type_tries_itself() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| {
                let failed = leader.try_get(&cache, 1, || passage.pass(Err("text")));
                assert_eq!(failed, Err("text"));
            });
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.try_get(&cache, 1, || Err(404)), Err(404)));
            scope.spawn(|| {
                let shared = waiter.try_get(&cache, 1, || Err("own"));
                assert!(matches!(shared, Err("text" | "own")));
            });
            until_waiting(&cache, 2);
            gate.open();
        });
        // A caller that cannot fail at all shares values with those that can.
        assert_eq!(waiter.get(&cache, 1, || 7), 7);
        assert_eq!(leader.try_get(&cache, 1, || Err("down")), Ok(7));
    });
}

#[test]
fn a_caller_that_cannot_fail_takes_over_from_one_that_did() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.try_get(&cache, 1, || passage.pass(Err("down"))));
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, || 7), 7));
            until_waiting(&cache, 1);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(7));
    });
}
