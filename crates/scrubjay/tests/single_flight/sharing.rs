//! One load, and what its waiters get.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use scrubjay::{Action, Cache};

use crate::crew::{for_each_crew, gate, nobody_loads, until_waiting};
use crate::watchdog::until;

#[test]
fn callers_of_one_key_share_one_load() {
    for_each_crew(|first, second| {
        let cache: Cache<u32, u32> = Cache::new();
        let loads = AtomicUsize::new(0);
        let together = Barrier::new(16);
        thread::scope(|scope| {
            for number in 0..16 {
                let (cache, loads, together) = (&cache, &loads, &together);
                let caller = if number % 2 == 0 { first } else { second };
                scope.spawn(move || {
                    together.wait();
                    let value = caller.get(cache, 1, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        // All others wait for this load, unless they come when it is over.
                        until(|| cache.stats().waits > 0);
                        7
                    });
                    assert_eq!(value, 7);
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert_eq!((cache.stats().loads, cache.get(&1)), (1, Some(7)));
        cache.assert_consistent();
    });
}

#[test]
fn every_waiter_gets_the_leaders_value() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(leader.get(&cache, 1, || passage.pass(7)), 7));
            gate.wait_for_load();
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 7));
            }
            until_waiting(&cache, 8);
            gate.open();
        });
        assert_eq!((cache.stats().loads, cache.stats().waits), (1, 8));
    });
}

#[test]
fn different_keys_load_at_the_same_time() {
    for_each_crew(|first, second| {
        let cache: Cache<u32, u32> = Cache::new();
        let both_load = Barrier::new(2);
        thread::scope(|scope| {
            for (key, caller) in [(1, first), (2, second)] {
                let (cache, both_load) = (&cache, &both_load);
                scope.spawn(move || {
                    caller.get(cache, key, || {
                        both_load.wait();
                        key
                    })
                });
            }
        });
        assert_eq!(cache.len(), 2);
    });
}

#[test]
fn a_cache_of_no_capacity_still_shares_loads() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder().capacity(0).build().unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(7)));
            gate.wait_for_load();
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 7));
            }
            until_waiting(&cache, 4);
            gate.open();
        });
        assert_eq!((cache.stats().loads, cache.len()), (1, 0));
        assert_eq!(leader.get(&cache, 1, || 8), 8);
        cache.assert_consistent();
    });
}

#[test]
fn a_load_outlives_all_other_handles_of_its_cache() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let (for_leader, for_waiter) = (cache.clone(), cache.clone());
        let leading = thread::spawn(move || leader.get(&for_leader, 1, || passage.pass(7)));
        gate.wait_for_load();
        let waiting = thread::spawn(move || waiter.get(&for_waiter, 1, nobody_loads));
        until_waiting(&cache, 1);
        drop(cache);
        gate.open();
        assert_eq!((leading.join().unwrap(), waiting.join().unwrap()), (7, 7));
    });
}

#[test]
fn a_loader_may_use_the_cache_for_other_keys() {
    for_each_crew(|outer, inner| {
        let cache: Cache<u32, u32> = Cache::new();
        let sum = outer.get(&cache, 1, || {
            cache.insert(5, 50);
            cache.invalidate(&6);
            let got = inner.get(&cache, 2, || inner.get(&cache, 3, || 3) + 2);
            got + cache.get(&5).unwrap()
        });
        assert_eq!((sum, cache.len()), (55, 4));
        cache.assert_consistent();
    });
}

#[test]
fn an_entry_call_is_waited_for_like_a_load() {
    for_each_crew(|_, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let passage = Mutex::new(Some(passage));
        thread::scope(|scope| {
            scope.spawn(|| {
                cache.entry(&1, |_| match passage.lock().unwrap().take() {
                    Some(passage) => Action::Replace(passage.pass(7)),
                    None => unreachable!("nothing comes between"),
                })
            });
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 7));
            until_waiting(&cache, 1);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(7));
    });
}
