//! Statistics: what is counted, and what is not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::time::Duration;

use fixtures::{cache, secs, timed};
use scrubjay::{Action, Cache};

#[test]
fn every_lookup_is_either_a_hit_or_a_miss() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.get(&1);
    cache.with(&1, |_| ());
    cache.get_or_insert_with(&1, || 10);
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 3));
    cache.get(&1);
    cache.with(&1, |_| ());
    cache.get_or_insert_with(&1, || unreachable!());
    let _ = cache.try_get_or_insert_with(&1, || Err(()));
    assert_eq!((cache.stats().hits, cache.stats().misses), (4, 3));
    assert_eq!(cache.stats().hit_ratio(), Some(4.0 / 7.0));
}

#[test]
fn what_is_not_a_lookup_counts_as_neither() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 10);
    assert!(cache.peek(&1).is_some() && cache.contains_key(&1) && cache.iter().count() == 1);
    cache.for_each(|_, _| ());
    cache.invalidate(&2);
    cache.remove(&1);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (0, 0, 0));
    assert_eq!(stats.hit_ratio(), None);
}

#[test]
fn an_entry_call_that_finds_a_value_is_not_a_miss() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 10);
    cache.entry(&1, |_| Action::Keep);
    cache.entry(&1, |_| Action::Replace(11));
    assert_eq!(cache.stats().misses, 0);
}

#[test]
fn a_waiter_is_a_miss_and_a_wait_and_no_load() {
    let cache: Cache<u32, u32> = Cache::new();
    let load = fixtures::loading(&cache, 1, 10);
    let waits = fixtures::waiter(&cache, 1, 99);
    load.end();
    waits.join().unwrap();
    let stats = cache.stats();
    assert_eq!(
        (stats.misses, stats.waits, stats.loads, stats.hits),
        (2, 1, 1, 0)
    );
}

#[test]
fn failed_loads_are_counted_among_all_loads() {
    let cache: Cache<u32, u32> = Cache::new();
    let _ = cache.try_get_or_insert_with(&1, || Err(()));
    fixtures::panic_of(|| cache.get_or_insert_with(&1, || panic!("down")));
    cache.get_or_insert_with(&1, || 10);
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (3, 2));
}

#[test]
fn load_time_is_measured_by_the_caches_clock() {
    let (cache, clock) = timed(|builder| builder);
    for key in 0..4u32 {
        cache.get_or_insert_with(&key, || {
            clock.advance(secs(u64::from(key)));
            key
        });
    }
    cache.get(&1);
    cache.get(&2);
    let stats = cache.stats();
    assert_eq!(stats.mean_load_time, Duration::from_millis(1500));
    assert_eq!((stats.load_time, stats.time_saved()), (secs(6), secs(3)));
}

#[test]
fn entries_and_weight_are_those_of_len_and_weight() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .weigher(|_: &u32, value: &u64| *value)
    });
    cache.insert(1, 5);
    clock.advance(secs(5));
    cache.insert(2, 7);
    assert_eq!((cache.stats().entries, cache.stats().weight), (2, 12));
    clock.advance(secs(5));
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.weight), (1, 7));
    assert_eq!(
        (stats.entries, stats.weight),
        (cache.len() as u64, cache.weight())
    );
}

/// The snapshot expires entries to count the others, and says in the same breath that it did.
#[test]
fn entries_that_a_snapshot_expires_are_in_it() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    cache.insert(1, 5);
    clock.advance(secs(10));
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.expired), (0, 1));
}

#[test]
fn counters_of_all_threads_are_summed() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 10);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1000).for_each(|_| assert_eq!(cache.get(&1), Some(10))));
        }
    });
    assert_eq!(cache.stats().hits, 8000);
}

#[test]
fn statistics_are_shown_as_a_table_of_every_number() {
    let cache: Cache<u32, u32> = cache(|builder| builder.capacity(1));
    cache.get_or_insert_with(&1, || 10);
    cache.get_or_insert_with(&2, || 20);
    cache.get(&2);
    let shown = cache.stats().to_string();
    for words in [
        "entries",
        "hit ratio",
        "33.3 %",
        "evicted",
        "mean load",
        "time saved",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
}
