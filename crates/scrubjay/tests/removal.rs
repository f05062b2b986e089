//! Removals: the listener is told of each exactly once, after the fact, with the right cause.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use fixtures::{Removals, cache, loading, secs, timed};
use scrubjay::RemovalCause::{Evicted, Expired, Explicit, Replaced};
use scrubjay::{Action, Cache, EntryOptions, Policy, RemovalCause};

#[test]
fn every_way_to_leave_has_its_cause() {
    let removals = Removals::new();
    let (cache, clock) = timed(|builder| {
        builder
            .capacity(2)
            .policy(Policy::Fifo)
            .time_to_live(secs(10))
            .on_removal(removals.listener())
    });
    cache.insert(1, 10);
    cache.insert(1, 11);
    assert_eq!(removals.take(), [(1, 10, Replaced)]);
    cache.insert(2, 20);
    cache.insert(3, 30);
    assert_eq!(removals.take(), [(1, 11, Evicted)]);
    cache.set_capacity(1);
    assert_eq!(removals.take(), [(2, 20, Evicted)]);
    clock.advance(secs(10));
    assert!(cache.is_empty());
    assert_eq!(removals.take(), [(3, 30, Expired)]);
    cache.insert(4, 40);
    cache.remove(&4);
    assert_eq!(removals.take(), [(4, 40, Explicit)]);
    cache.insert(4, 41);
    cache.invalidate(&4);
    assert_eq!(removals.take(), [(4, 41, Explicit)]);
    cache.insert(4, 42);
    cache.invalidate_if(|_, _| true);
    assert_eq!(removals.take(), [(4, 42, Explicit)]);
    cache.insert_with(4, 43, EntryOptions::new().tag("t"));
    cache.invalidate_tag("t");
    assert_eq!(removals.take(), [(4, 43, Explicit)]);
    cache.insert(4, 44);
    cache.clear();
    assert_eq!(removals.take(), [(4, 44, Explicit)]);
    assert_eq!(cache.stats().removals(), 9);
}

#[test]
fn an_entry_call_that_removes_is_a_removal_that_somebody_asked_for() {
    let removals = Removals::new();
    let cache: Cache<u32, u32> = cache(|builder| builder.on_removal(removals.listener()));
    cache.insert(1, 10);
    cache.entry(&1, |_| Action::Remove);
    assert_eq!(removals.take(), [(1, 10, Explicit)]);
    cache.entry(&1, |_| Action::Replace(11));
    cache.entry(&1, |_| Action::Replace(12));
    assert_eq!(removals.take(), [(1, 11, Replaced)]);
    assert_eq!((cache.stats().explicit, cache.stats().replaced), (1, 1));
}

#[test]
fn a_load_that_replaces_an_expired_value_reports_that_it_was_expired() {
    let removals = Removals::new();
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .on_removal(removals.listener())
    });
    cache.insert(1, 10);
    clock.advance(secs(10));
    cache.get_or_insert_with(&1, || 11);
    assert_eq!(removals.take(), [(1, 10, Expired)]);
    clock.advance(secs(10));
    cache.insert(1, 12);
    assert_eq!(removals.take(), [(1, 11, Expired)]);
    clock.advance(secs(10));
    cache.remove(&1);
    assert_eq!(removals.take(), [(1, 12, Expired)]);
    cache.insert(1, 13);
    clock.advance(secs(10));
    cache.clear();
    assert_eq!(removals.take(), [(1, 13, Expired)]);
}

#[test]
fn an_entry_that_was_expired_when_its_room_was_needed_is_reported_as_expired() {
    let removals = Removals::new();
    let (cache, clock) = timed(|builder| {
        builder
            .capacity(1)
            .time_to_live(secs(10))
            .on_removal(removals.listener())
    });
    cache.insert(1, 10);
    clock.advance(secs(10));
    cache.insert(2, 20);
    assert_eq!(removals.take(), [(1, 10, Expired)]);
}

#[test]
fn a_value_that_never_came_in_is_not_removed() {
    let removals = Removals::new();
    let cache: Cache<u32, u32> = cache(|builder| {
        builder
            .capacity(10)
            .weigher(|_, value| u64::from(*value))
            .store_if(|key, _| *key != 7)
            .on_removal(removals.listener())
    });
    cache.insert(1, 11);
    cache.insert(7, 1);
    cache.insert_with(2, 2, EntryOptions::new().time_to_live(secs(0)));
    cache.get_or_insert_with(&3, || 12);
    let load = loading(&cache, 4, 4);
    cache.clear();
    load.end();
    assert_eq!(removals.take(), []);
    assert_eq!(cache.stats().removals(), 0);
}

#[test]
fn each_of_many_entries_is_told_once() {
    let removals = Removals::new();
    let cache = cache(|builder| builder.capacity(64).on_removal(removals.listener()));
    for value in 0..5000u32 {
        cache.insert(value * 7919 % 200, value);
        if value % 50 == 0 {
            cache.remove(&(value % 200));
        }
    }
    let mut values: Vec<u32> = removals.take().iter().map(|removal| removal.1).collect();
    values.extend(cache.iter().map(|(_, value)| value));
    values.sort_unstable();
    assert_eq!(values, (0..5000).collect::<Vec<_>>());
}

#[test]
fn the_listener_finds_the_removal_done_and_may_use_the_cache() {
    let handle = Arc::new(Mutex::new(None::<Cache<u32, u32>>));
    let seen = Arc::new(AtomicU32::new(0));
    let (inner, told) = (handle.clone(), seen.clone());
    let cache = cache(|builder| {
        builder
            .capacity(2)
            .on_removal(move |key: &u32, _: &u32, _| {
                let cache = inner.lock().unwrap().clone();
                let Some(cache) = cache else { return };
                assert!(!cache.contains_key(key));
                assert!(cache.weight() <= cache.capacity());
                assert_eq!(cache.get_or_insert_with(&1000, || 1), 1);
                told.fetch_add(1, Ordering::SeqCst);
            })
    });
    *handle.lock().unwrap() = Some(cache.clone());
    cache.insert(1, 10);
    cache.remove(&1);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(cache.get(&1000), Some(1));
    assert_eq!(cache.stats().listener_panics, 0, "what it asserts holds");
    cache.assert_consistent();
    *handle.lock().unwrap() = None;
}

#[test]
fn a_panic_of_the_listener_is_counted_and_harms_nobody() {
    let cache: Cache<u32, u32> = cache(|builder| {
        builder
            .capacity(1)
            .on_removal(|_, _, _| panic!("the listener fell over"))
    });
    for n in 0..10 {
        cache.insert(n, n);
        assert_eq!(cache.get(&n), Some(n));
        cache.assert_consistent();
    }
    assert_eq!(cache.remove(&9), Some(9));
    assert_eq!(
        (cache.stats().listener_panics, cache.stats().removals()),
        (10, 10)
    );
}

#[test]
fn causes_are_shown_as_words() {
    let words = [
        Evicted,
        Expired,
        Explicit,
        Replaced,
        RemovalCause::Collected,
    ]
    .map(|cause| format!("{cause:>10}"));
    let expected = ["evicted", "expired", "explicit", "replaced", "collected"];
    assert_eq!(words, expected.map(|word| format!("{word:>10}")));
}
