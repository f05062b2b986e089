//! Loads that began before something newer was said about their key.

use std::thread;

use scrubjay::Cache;

use crate::crew::{for_each_crew, gate, nobody_loads, panic_of, until_waiting};

pub(crate) type Say = fn(&Cache<u32, u32>);

/// Everything that says that what key 1 holds, or will hold, is no longer true.
pub(crate) const SAYINGS: [(&str, Say); 5] = [
    ("invalidate", |cache| {
        cache.invalidate(&1);
    }),
    ("remove", |cache| {
        cache.remove(&1);
    }),
    ("invalidate_if", |cache| {
        cache.invalidate_if(|_, _| false);
    }),
    ("invalidate_tag", |cache| {
        cache.invalidate_tag("odd");
    }),
    ("clear", |cache| cache.clear()),
];

fn tagged() -> Cache<u32, u32> {
    Cache::builder()
        .tag_with(|_, value| [if value % 2 == 0 { "even" } else { "odd" }])
        .build()
        .unwrap()
}

#[test]
fn a_value_whose_load_began_before_its_invalidation_is_not_stored() {
    for_each_crew(|leader, waiter| {
        for (name, say) in SAYINGS {
            let cache = tagged();
            let (gate, passage) = gate();
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(leader.get(&cache, 1, || passage.pass(1)), 1));
                gate.wait_for_load();
                scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 1));
                until_waiting(&cache, 1);
                say(&cache);
                gate.open();
            });
            assert_eq!((cache.get(&1), cache.len()), (None, 0), "{name}");
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_caller_after_the_invalidation_gets_a_load_that_began_after_it() {
    for_each_crew(|leader, waiter| {
        for (name, say) in SAYINGS {
            let cache = tagged();
            let (gate, passage) = gate();
            thread::scope(|scope| {
                scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
                gate.wait_for_load();
                say(&cache);
                let later = scope.spawn(|| waiter.get(&cache, 1, || 3));
                if name == "invalidate_tag" {
                    // Whether the load in progress brings the tag is not known until it ends.
                    until_waiting(&cache, 1);
                    gate.open();
                    assert_eq!(later.join().unwrap(), 3, "{name}");
                } else {
                    assert_eq!(later.join().unwrap(), 3, "{name}");
                    gate.open();
                }
            });
            assert_eq!(cache.get(&1), Some(3), "{name}");
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_tag_that_the_value_does_not_carry_concerns_nobody() {
    for_each_crew(|leader, waiter| {
        let cache = tagged();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            cache.invalidate_tag("even");
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 1));
            until_waiting(&cache, 1);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(1));
    });
}

#[test]
fn waiters_from_before_and_after_a_tag_was_invalidated_are_told_apart() {
    for_each_crew(|leader, waiter| {
        let cache = tagged();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let before = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            cache.invalidate_tag("even");
            let between = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 2);
            cache.invalidate_tag("odd");
            let after = scope.spawn(|| waiter.get(&cache, 1, || 3));
            until_waiting(&cache, 3);
            cache.invalidate_tag("even");
            gate.open();
            assert_eq!((before.join().unwrap(), between.join().unwrap()), (1, 1));
            assert_eq!(after.join().unwrap(), 3);
        });
        assert_eq!(cache.get(&1), Some(3));
    });
}

#[test]
fn a_value_that_is_not_stored_is_fenced_all_the_same() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder()
            .tag_with(|_, _| ["odd"])
            .store_if(|_, _| false)
            .build()
            .unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            cache.invalidate_tag("odd");
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, || 3), 3));
            until_waiting(&cache, 1);
            gate.open();
        });
    });
}

#[test]
fn a_slow_load_does_not_overwrite_a_newer_insertion() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            let slow = scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            cache.insert(1, 9);
            assert_eq!(waiter.get(&cache, 1, nobody_loads), 9);
            gate.open();
            assert_eq!((slow.join().unwrap(), waiting.join().unwrap()), (1, 1));
        });
        assert_eq!((cache.get(&1), cache.len()), (Some(9), 1));
        cache.assert_consistent();
    });
}

#[test]
fn an_overtaken_load_that_fails_has_its_waiters_ask_again() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| {
                panic_of(|| {
                    leader.get(&cache, 1, || {
                        passage.pass(());
                        panic!("the loader's own")
                    })
                })
            });
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            cache.insert(1, 9);
            gate.open();
            assert_eq!(waiting.join().unwrap(), 9);
        });
    });
}
