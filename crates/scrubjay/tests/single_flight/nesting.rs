//! What looks like a cycle and is none: trees, diamonds, depth.

use std::sync::Barrier;
use std::thread;

use scrubjay::Cache;

use crate::crew::{Caller, for_each_crew, named, panic_of};
use crate::watchdog::watched;

fn fib(cache: &Cache<u32, u32>, caller: Caller, n: u32) -> u32 {
    caller.get(cache, n, || match n {
        0 | 1 => n,
        _ => fib(cache, caller, n - 1).wrapping_add(fib(cache, caller, n - 2)),
    })
}

#[test]
fn threads_that_load_overlapping_trees_share_them() {
    for_each_crew(|first, second| {
        for _ in 0..20 {
            let cache = named("fib");
            let together = Barrier::new(4);
            thread::scope(|scope| {
                for (n, caller) in [(40, first), (39, second), (40, second), (30, first)] {
                    let (cache, together) = (&cache, &together);
                    scope.spawn(move || {
                        together.wait();
                        fib(cache, caller, n)
                    });
                }
            });
            assert_eq!(
                (cache.get(&40), cache.stats().loads),
                (Some(102_334_155), 41)
            );
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_diamond_is_no_cycle() {
    for_each_crew(|left, right| {
        for _ in 0..50 {
            let cache = named("f");
            let both_lead = Barrier::new(2);
            thread::scope(|scope| {
                for (key, caller) in [(1, left), (2, right)] {
                    let (cache, both_lead) = (&cache, &both_lead);
                    scope.spawn(move || {
                        caller.get(cache, key, || {
                            both_lead.wait();
                            caller.get(cache, 3, || caller.get(cache, 4, || 4))
                        })
                    });
                }
            });
            assert_eq!((cache.len(), cache.stats().loads), (4, 4));
        }
    });
}

#[test]
fn loads_may_nest_ten_thousand_deep() {
    for_each_crew(|outer, _| {
        fn down(cache: &Cache<u32, u32>, caller: Caller, n: u32) -> u32 {
            caller.get(cache, n, || {
                if n == 0 {
                    0
                } else {
                    down(cache, caller, n - 1) + 1
                }
            })
        }
        let cache = named("down");
        assert_eq!(down(&cache, outer, 10_000), 10_000);
        assert_eq!(cache.len(), 10_001);
        cache.assert_consistent();
    });
}

#[test]
fn a_cycle_ten_thousand_long_is_named_in_short() {
    watched(|| {
        fn down(cache: &Cache<u32, u32>, n: u32) -> u32 {
            cache.get_or_insert_with(&n, || down(cache, if n == 0 { 10_000 } else { n - 1 }))
        }
        let cache = named("down");
        let message = panic_of(|| down(&cache, 10_000));
        assert!(message.contains("down(10000) → down(9999)"), "{message}");
        assert!(
            message.contains("more …") && message.len() < 1000,
            "{message}"
        );
    });
}
