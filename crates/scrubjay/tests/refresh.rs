//! Refreshes: one reload at a time, everybody else is served, and a failed one takes nothing away.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use fixtures::{Event, loading, secs, timed, until};
use scrubjay::{Cache, ManualClock};

/// Entries are due after 10 s, stale after 60 s and gone after 90 s.
fn refreshing() -> (Cache<u32, u32>, ManualClock) {
    timed(|builder| {
        builder
            .refresh_after(secs(10))
            .time_to_live(secs(60))
            .stale_while_refresh(secs(30))
    })
}

#[test]
fn an_entry_is_not_refreshed_before_it_is_due() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(9));
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 10);
    clock.advance(secs(1));
    assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
    assert_eq!(cache.get(&1), Some(11));
}

#[test]
fn a_lookup_without_a_loader_serves_a_due_entry_and_starts_nothing() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(30));
    assert_eq!(
        (cache.get(&1), cache.len(), cache.stats().loads),
        (Some(10), 1, 0)
    );
}

#[test]
fn during_a_refresh_everybody_else_is_served_the_old_value() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(10));
    let refresh = loading(&cache, 1, 11);
    for _ in 0..3 {
        assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 10);
    }
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(refresh.end(), 11);
    assert_eq!(cache.get(&1), Some(11));
    assert_eq!(cache.stats().stale_served, 0, "a due entry is not stale");
    cache.assert_consistent();
}

#[test]
fn a_stale_entry_is_served_during_its_refresh_only_and_counted_nowhere() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(60));
    assert_eq!(
        (cache.get(&1), cache.len(), cache.iter().count()),
        (None, 0, 0)
    );
    let refresh = loading(&cache, 1, 11);
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 10);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    assert_eq!(cache.stats().stale_served, 1);
    assert_eq!(refresh.end(), 11);
    assert_eq!((cache.get(&1), cache.len()), (Some(11), 1));
    cache.assert_consistent();
}

#[test]
fn after_the_stale_window_callers_wait_for_the_load() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(90));
    let load = loading(&cache, 1, 11);
    let waits = fixtures::waiter(&cache, 1, 99);
    assert_eq!(load.end(), 11);
    assert_eq!(waits.join().unwrap(), 11);
}

/// A stale hit counts as a use; were it to prolong the idle time, an expired entry would be fresh again.
#[test]
fn an_entry_that_expired_by_idleness_does_not_come_back_when_it_is_served_stale() {
    let (cache, clock) =
        timed(|builder| builder.time_to_idle(secs(10)).stale_while_refresh(secs(60)));
    cache.insert(1, 10);
    clock.advance(secs(10));
    assert_eq!(cache.len(), 0);
    let refresh = loading(&cache, 1, 11);
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 10);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    refresh.end();
    cache.assert_consistent();
}

#[test]
fn a_refresh_that_panics_leaves_the_value_and_the_next_caller_tries_again() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(10));
    fixtures::panic_of(|| cache.get_or_insert_with(&1, || panic!("down")));
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
    cache.assert_consistent();
}

#[test]
fn a_refresh_that_fails_leaves_the_value_that_is_still_within_its_life() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(10));
    assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Ok(10));
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn an_invalidation_overtakes_a_refresh() {
    let (cache, clock) = refreshing();
    cache.insert(1, 10);
    clock.advance(secs(10));
    let refresh = loading(&cache, 1, 11);
    assert!(cache.invalidate(&1));
    assert_eq!(cache.get_or_insert_with(&1, || 12), 12);
    assert_eq!(refresh.end(), 11);
    assert_eq!(cache.get(&1), Some(12));
    cache.assert_consistent();
}

/// A cache whose refreshes run in the background; each waits for a message, which is its value.
fn in_background() -> (
    Cache<u32, u32>,
    ManualClock,
    mpsc::Sender<u32>,
    Arc<AtomicU32>,
) {
    let (values, next) = mpsc::channel();
    let next = std::sync::Mutex::new(next);
    let loads = Arc::new(AtomicU32::new(0));
    let count = loads.clone();
    let (cache, clock) = timed(|builder| {
        builder
            .refresh_after(secs(10))
            .time_to_live(secs(60))
            .stale_while_refresh(secs(30))
            .refresh_with(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                next.lock()
                    .unwrap()
                    .recv()
                    .expect("the test says what to load")
            })
    });
    (cache, clock, values, loads)
}

#[test]
fn with_a_loader_at_hand_nobody_waits_for_a_refresh() {
    let (cache, clock, values, loads) = in_background();
    cache.insert(1, 10);
    for age in [10, 50] {
        clock.advance(secs(age));
        let old = cache.get_or_insert_with(&1, || unreachable!());
        assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), old);
        values.send(old + 1).unwrap();
        until(|| cache.peek(&1) == Some(old + 1));
        clock.advance(secs(10));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 2);
}

#[test]
fn a_refresh_in_the_background_does_not_bring_back_what_was_invalidated() {
    let (cache, clock, values, loads) = in_background();
    cache.insert(1, 10);
    cache.insert(2, 20);
    clock.advance(secs(10));
    cache.get_or_insert_with(&1, || unreachable!());
    until(|| loads.load(Ordering::SeqCst) == 1);
    cache.clear();
    values.send(11).unwrap();
    // The refreshes run one after the other, so when the second one is stored the first one is over.
    cache.insert(2, 20);
    clock.advance(secs(10));
    cache.get_or_insert_with(&2, || unreachable!());
    values.send(21).unwrap();
    until(|| cache.peek(&2) == Some(21));
    assert_eq!(cache.get(&1), None);
}

#[test]
fn a_background_refresh_that_panics_is_counted_and_takes_nothing_away() {
    let (cache, clock, values, _) = in_background();
    cache.insert(1, 10);
    clock.advance(secs(10));
    drop(values);
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 10);
    until(|| cache.stats().load_failures == 1);
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn a_refresh_may_be_followed_by_the_end_of_the_cache() {
    let (begun, gate) = (Event::default(), Event::default());
    let (begins, end) = (begun.clone(), gate.clone());
    let (cache, clock) = timed(|builder| {
        builder
            .refresh_after(secs(10))
            .refresh_with(move |key: &u32| {
                begins.happens();
                end.wait();
                *key
            })
    });
    cache.insert(1, 10);
    clock.advance(secs(10));
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 10);
    begun.wait();
    drop(cache);
    gate.happens();
}
