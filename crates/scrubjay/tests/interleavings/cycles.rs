//! Cycles: loads that need each other are told, in whatever order they come to wait, and nobody hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scrubjay::Cache;
use shuttle::thread;

use super::{CREWS, Caller, Key, Keyed, explore};

fn named() -> Keyed {
    Cache::builder()
        .name("f")
        .describe_keys(|key: &Key| key.0.to_string())
        .build()
        .unwrap()
}

/// Member n leads key n and then needs key n + 1; returns how many were told of a cycle.
fn ring(callers: &[Caller]) -> usize {
    let cache = named();
    let count = u32::try_from(callers.len()).unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..count)
        .zip(callers.iter().copied())
        .map(|(key, caller)| {
            let (cache, loads) = (cache.clone(), loads.clone());
            thread::spawn(move || {
                super::survives(|| {
                    caller.get(&cache, &Key(key), || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        caller.get(&cache, &Key((key + 1) % count), || 100)
                    })
                })
            })
        })
        .collect();
    let ends: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    cache.assert_consistent();
    assert_eq!(callers[0].get(&cache, &Key(50), || 50), 50);
    ends.iter().filter(|end| end.is_none()).count()
}

#[test]
fn two_loads_that_need_each_other_end() {
    for crew in CREWS {
        explore(move || assert!(ring(&crew) <= 2));
    }
}

#[test]
fn three_loads_in_a_ring_end() {
    for [first, second] in CREWS {
        explore(move || assert!(ring(&[first, second, second]) <= 3));
    }
}

/// Every load needs the two below it: many shared parts, and no cycle.
fn tree(cache: &Keyed, caller: Caller, n: u32) -> u32 {
    caller.get(cache, &Key(n), || match n {
        0 | 1 => n,
        _ => tree(cache, caller, n - 1) + tree(cache, caller, n - 2),
    })
}

#[test]
fn overlapping_trees_are_no_cycle() {
    for [first, second] in CREWS {
        explore(move || {
            let cache = named();
            let threads = [(first, 5), (second, 4), (second, 5)].map(|(caller, n)| {
                let cache = cache.clone();
                thread::spawn(move || tree(&cache, caller, n))
            });
            assert_eq!(threads.map(|thread| thread.join().unwrap()), [5, 3, 5]);
            assert_eq!(cache.len(), 6);
            cache.assert_consistent();
        });
    }
}
