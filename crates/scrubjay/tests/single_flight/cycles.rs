//! Callers that would wait for themselves are told, and nobody hangs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use scrubjay::{Action, Cache};

use crate::crew::{
    Caller, for_each_crew, gate, message_of, named, nobody_loads, panic_of, until_waiting,
};
use crate::watchdog::watched;

#[test]
fn a_load_that_asks_for_its_own_key_is_refused() {
    for_each_crew(|outer, inner| {
        let cache = named("own");
        let message = panic_of(|| outer.get(&cache, 1, || inner.get(&cache, 1, nobody_loads)));
        assert!(message.contains("own(1) → own(1)"), "{message}");
        assert_eq!(outer.get(&cache, 1, || 7), 7);
        cache.assert_consistent();
    });
}

#[test]
fn a_detour_to_the_own_key_is_refused() {
    for_each_crew(|outer, inner| {
        let cache = named("f");
        let message = panic_of(|| {
            outer.get(&cache, 1, || {
                inner.get(&cache, 2, || {
                    outer.get(&cache, 3, || inner.get(&cache, 1, nobody_loads))
                })
            })
        });
        assert!(message.contains("f(1) → f(2) → f(3) → f(1)"), "{message}");
        assert_eq!((cache.len(), outer.get(&cache, 1, || 7)), (0, 7));
    });
}

#[test]
fn an_entry_call_that_asks_for_its_own_key_is_refused() {
    watched(|| {
        let cache = named("e");
        let message = panic_of(|| {
            cache.entry(&1, |_| {
                Action::Replace(cache.get_or_insert_with(&1, nobody_loads))
            })
        });
        assert!(message.contains("e(1) → e(1)"), "{message}");
        let message = panic_of(|| {
            cache.entry(&1, |_| {
                cache
                    .entry(&1, |_| Action::Keep)
                    .map_or(Action::Keep, Action::Replace)
            })
        });
        assert!(message.contains("e(1) → e(1)"), "{message}");
    });
}

/// Each of the callers leads its own key and then asks for the next one's. Returns what became of them.
fn ring(members: &[(&Cache<u32, u32>, u32, Caller)]) -> Vec<Result<u32, String>> {
    let all_lead = Barrier::new(members.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..members.len())
            .map(|number| {
                let (cache, key, caller) = members[number];
                let (next_cache, next_key, next_caller) = members[(number + 1) % members.len()];
                let all_lead = &all_lead;
                scope.spawn(move || {
                    caller.get(cache, key, || {
                        all_lead.wait();
                        next_caller.get(next_cache, next_key, || 100)
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|panic| message_of(&*panic)))
            .collect()
    })
}

fn assert_ring_was_broken(ended: &[Result<u32, String>], names: &[&str]) {
    let errors: Vec<&String> = ended.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(!errors.is_empty(), "somebody is told");
    for error in errors {
        assert!(error.contains("wait for itself for ever"), "{error}");
        for name in names {
            assert!(error.contains(name), "{name} is named: {error}");
        }
    }
}

#[test]
fn two_threads_that_need_each_other_are_told() {
    for_each_crew(|first, second| {
        for _ in 0..50 {
            let cache = named("f");
            let ended = ring(&[(&cache, 1, first), (&cache, 2, second)]);
            assert_ring_was_broken(&ended, &["f(1)", "f(2)"]);
            assert_eq!(first.get(&cache, 3, || 3), 3);
            cache.clear();
            assert_eq!(
                (first.get(&cache, 1, || 1), second.get(&cache, 2, || 2)),
                (1, 2)
            );
            cache.assert_consistent();
        }
    });
}

#[test]
fn three_threads_in_a_ring_are_told() {
    for_each_crew(|first, second| {
        for _ in 0..50 {
            let cache = named("f");
            let ended = ring(&[(&cache, 1, first), (&cache, 2, second), (&cache, 3, first)]);
            assert_ring_was_broken(&ended, &["f(1)", "f(2)", "f(3)"]);
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_ring_through_two_caches_is_told() {
    for_each_crew(|first, second| {
        for _ in 0..50 {
            let (left, right) = (named("left"), named("right"));
            let ended = ring(&[(&left, 1, first), (&right, 1, second)]);
            assert_ring_was_broken(&ended, &["left(1)", "right(1)"]);
            left.assert_consistent();
            right.assert_consistent();
        }
    });
}

#[test]
fn a_ring_through_a_thread_of_the_loaders_own_is_told_if_it_inherits() {
    for_each_crew(|outer, inner| {
        let cache = named("f");
        let message = panic_of(|| {
            outer.get(&cache, 1, || {
                let ask = scrubjay::inherit(|| inner.get(&cache, 1, nobody_loads));
                thread::scope(|scope| match scope.spawn(ask).join() {
                    Ok(value) => value,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
            })
        });
        assert!(message.contains("→ f(1)"), "{message}");
    });
}

#[test]
fn a_weigher_that_asks_for_the_key_it_weighs_is_refused() {
    watched(|| {
        let handle: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let inside = handle.clone();
        let cache: Cache<u32, u32> = Cache::builder()
            .name("f")
            .weigher(move |key, value| {
                let cache = inside.lock().unwrap().clone().unwrap();
                u64::from(cache.get_or_insert_with(key, || *value))
            })
            .build()
            .unwrap();
        *handle.lock().unwrap() = Some(cache.clone());
        let message = panic_of(|| cache.get_or_insert_with(&1, || 7));
        assert!(message.contains("f → f"), "{message}");
        handle.lock().unwrap().take();
    });
}

#[test]
fn a_listener_that_needs_a_waiters_load_does_not_hang() {
    watched(|| {
        let handle: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let inside = handle.clone();
        let cache: Cache<u32, u32> = Cache::builder()
            .on_removal(move |key, _, _| {
                let cache = inside.lock().unwrap().clone().unwrap();
                if *key == 1 && cache.stats().waits > 0 {
                    cache.get_or_insert_with(&2, || 100);
                }
            })
            .build()
            .unwrap();
        *handle.lock().unwrap() = Some(cache.clone());
        cache.insert(1, 0);
        let (gate, passage) = gate();
        let passage = Mutex::new(Some(passage));
        thread::scope(|scope| {
            // Replacing the entry tells the listener, before the other `entry` call of key 1 is woken.
            scope.spawn(|| {
                cache.entry(&1, |_| match passage.lock().unwrap().take() {
                    Some(passage) => Action::Replace(passage.pass(1)),
                    None => Action::Keep,
                })
            });
            gate.wait_for_load();
            scope.spawn(|| {
                cache.get_or_insert_with(&2, || cache.entry(&1, |_| Action::Keep).unwrap_or(0))
            });
            until_waiting(&cache, 1);
            gate.open();
        });
        handle.lock().unwrap().take();
    });
}

#[test]
fn many_threads_in_random_rings_never_hang() {
    for_each_crew(|first, second| {
        let cache = named("f");
        let together = Barrier::new(8);
        thread::scope(|scope| {
            for number in 0..8_u32 {
                let (cache, together) = (&cache, &together);
                scope.spawn(move || {
                    together.wait();
                    for round in 0..200_u32 {
                        let start = (number + round) % 5;
                        let callers = [first, second];
                        // Errors are expected: every key needs the next one of a ring of five.
                        let _ = quietly(|| around(cache, callers, start, 5));
                        cache.invalidate(&start);
                    }
                });
            }
        });
        cache.clear();
        assert_eq!(first.get(&cache, 1, || 1), 1);
        cache.assert_consistent();
    });
}

/// Key n needs key n + 1, modulo five, and is itself the last of `steps`.
fn around(cache: &Cache<u32, u32>, callers: [Caller; 2], key: u32, steps: u32) -> u32 {
    callers[(steps % 2) as usize].get(cache, key, || match steps {
        0 => 0,
        _ => around(cache, callers, (key + 1) % 5, steps - 1) + 1,
    })
}

/// Runs `work`, whose panics are part of the plan.
fn quietly<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
}
