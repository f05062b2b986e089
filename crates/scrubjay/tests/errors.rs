//! Failed loads: whom they concern, how long they are remembered, and what stands in for them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::sync::atomic::{AtomicU32, Ordering};

use fixtures::{Loading, cache, secs, timed, until};
use scrubjay::{Cache, RemovalCause};

/// Begins a load of key 1 that fails with `error`.
fn failing(cache: &Cache<u32, u32>, error: &'static str) -> Loading<Result<u32, &'static str>> {
    let cache = cache.clone();
    Loading::begin(move |hold| {
        cache.try_get_or_insert_with(&1, || {
            hold();
            Err(error)
        })
    })
}

#[test]
fn an_error_is_not_stored() {
    let cache: Cache<u32, u32> = Cache::new();
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err("down")),
        Err("down")
    );
    assert_eq!((cache.get(&1), cache.len(), cache.weight()), (None, 0, 0));
    assert_eq!(cache.try_get_or_insert_with(&1, || Ok::<_, &str>(1)), Ok(1));
    assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Ok(1));
    cache.assert_consistent();
}

#[test]
fn waiters_of_a_failed_load_share_its_error() {
    let cache: Cache<u32, u32> = Cache::new();
    let load = failing(&cache, "down");
    let other = cache.clone();
    let waits = std::thread::spawn(move || {
        other.try_get_or_insert_with(&1, || -> Result<u32, &str> { unreachable!() })
    });
    until(|| cache.stats().waits == 1);
    assert_eq!(load.end(), Err("down"));
    assert_eq!(waits.join().unwrap(), Err("down"));
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (1, 1));
}

#[test]
fn waiters_try_in_turn_where_errors_are_not_shared() {
    let cache: Cache<u32, u32> = cache(|builder| builder.share_errors(false));
    let load = failing(&cache, "down");
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let cache = cache.clone();
            std::thread::spawn(move || cache.try_get_or_insert_with(&1, || Ok::<_, &str>(7)))
        })
        .collect();
    until(|| cache.stats().waits == 4);
    assert_eq!(load.end(), Err("down"));
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Ok(7));
    }
    assert_eq!(cache.stats().loads, 2, "one failed, one did not");
}

#[test]
fn a_waiter_with_another_error_type_tries_itself() {
    let cache: Cache<u32, u32> = Cache::new();
    let load = failing(&cache, "down");
    let other = cache.clone();
    let waits =
        std::thread::spawn(move || other.try_get_or_insert_with(&1, || Err::<u32, u64>(404)));
    until(|| cache.stats().waits == 1);
    assert_eq!(load.end(), Err("down"));
    assert_eq!(waits.join().unwrap(), Err(404));
}

#[test]
fn a_waiter_that_cannot_fail_loads_after_a_failed_load() {
    let cache: Cache<u32, u32> = Cache::new();
    let load = failing(&cache, "down");
    let waits = fixtures::waiter(&cache, 1, 7);
    assert_eq!(load.end(), Err("down"));
    assert_eq!(waits.join().unwrap(), 7);
    assert_eq!(cache.get(&1), Some(7));
}

#[test]
fn an_error_that_cannot_be_cloned_goes_to_its_own_caller_only() {
    #[derive(Debug, PartialEq)]
    struct Unique(u32);
    let cache: Cache<u32, u32> = Cache::new();
    for n in 0..3 {
        let load = || Err(Unique(n));
        assert_eq!(cache.try_get_or_insert_in_turn(&1, load), Err(Unique(n)));
    }
    assert_eq!(
        cache.try_get_or_insert_in_turn(&1, || Ok::<_, Unique>(5)),
        Ok(5)
    );
}

#[test]
fn a_remembered_failure_answers_until_exactly_the_end_of_its_life() {
    let (cache, clock) = timed(|builder| builder.error_time_to_live(secs(5)));
    let tries = AtomicU32::new(0);
    let load = || {
        tries.fetch_add(1, Ordering::Relaxed);
        Err::<u32, _>("down")
    };
    assert_eq!(cache.try_get_or_insert_with(&1, load), Err("down"));
    clock.advance(secs(5) - std::time::Duration::from_nanos(1));
    assert_eq!(cache.try_get_or_insert_with(&1, load), Err("down"));
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    clock.advance(std::time::Duration::from_nanos(1));
    assert_eq!(cache.try_get_or_insert_with(&1, load), Err("down"));
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    cache.assert_consistent();
}

#[test]
fn a_remembered_failure_is_seen_only_by_calls_of_its_error_type() {
    let (cache, _clock) = timed(|builder| builder.error_time_to_live(secs(5)));
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err::<u32, _>("down")),
        Err("down")
    );
    assert_eq!(
        (cache.get(&1), cache.peek(&1), cache.contains_key(&1)),
        (None, None, false)
    );
    assert_eq!(
        (cache.len(), cache.iter().count(), cache.weight()),
        (0, 0, 1)
    );
    assert!(!cache.invalidate(&2));
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err::<u32, u64>(404)),
        Err(404)
    );
    assert_eq!(cache.get_or_insert_with(&1, || 7), 7);
    assert_eq!(cache.get(&1), Some(7));
    cache.assert_consistent();
}

#[test]
fn a_remembered_failure_gives_way_to_an_insertion_and_to_an_invalidation() {
    let (cache, _clock) = timed(|builder| builder.error_time_to_live(secs(5)));
    let fail = || cache.try_get_or_insert_with(&1, || Err::<u32, _>("down"));
    assert_eq!(fail(), Err("down"));
    cache.insert(1, 10);
    assert_eq!(fail(), Ok(10));
    cache.remove(&1);
    assert_eq!(fail(), Err("down"));
    assert!(!cache.invalidate(&1), "there was no value");
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Ok::<_, &str>(11)),
        Ok(11)
    );
    cache.assert_consistent();
}

#[test]
fn remembered_failures_are_bounded_by_the_capacity_and_never_told_to_the_listener() {
    let removals = fixtures::Removals::<u32, u32>::new();
    let (cache, _clock) = timed(|builder| {
        builder
            .capacity(5)
            .error_time_to_live(secs(5))
            .on_removal(removals.listener())
    });
    for key in 0..100 {
        let failed = cache.try_get_or_insert_with(&key, || Err::<u32, _>("down"));
        assert_eq!(failed, Err("down"));
        assert!(cache.weight() <= 5);
        cache.assert_consistent();
    }
    cache.clear();
    assert_eq!(removals.take(), []);
}

#[test]
fn a_failure_whose_load_began_before_an_invalidation_is_not_remembered() {
    let (cache, _clock) = timed(|builder| builder.error_time_to_live(secs(5)));
    let load = failing(&cache, "down");
    cache.invalidate(&1);
    assert_eq!(load.end(), Err("down"));
    assert_eq!(cache.weight(), 0);
    assert_eq!(cache.try_get_or_insert_with(&1, || Ok::<_, &str>(1)), Ok(1));
}

#[test]
fn an_expired_value_stands_in_for_a_failed_load_until_exactly_the_end_of_its_window() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)).stale_if_error(secs(30)));
    cache.insert(1, 10);
    clock.advance(secs(10));
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Ok(10));
    assert_eq!((cache.get(&1), cache.len()), (None, 0), "still expired");
    assert_eq!(cache.stats().stale_served, 1);
    clock.advance(secs(30) - std::time::Duration::from_nanos(1));
    assert_eq!(cache.try_get_or_insert_with(&1, || Err("down")), Ok(10));
    clock.advance(std::time::Duration::from_nanos(1));
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err("down")),
        Err("down")
    );
    assert_eq!(cache.weight(), 0);
    cache.assert_consistent();
}

#[test]
fn a_stand_in_gives_way_to_a_load_that_succeeds() {
    let removals = fixtures::Removals::new();
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .stale_if_error(secs(30))
            .on_removal(removals.listener())
    });
    cache.insert(1, 10);
    clock.advance(secs(10));
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Ok::<_, &str>(11)),
        Ok(11)
    );
    assert_eq!((cache.get(&1), cache.len()), (Some(11), 1));
    assert_eq!(removals.take(), [(1, 10, RemovalCause::Expired)]);
    cache.assert_consistent();
}

#[test]
fn waiters_of_a_failed_load_share_its_stand_in() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)).stale_if_error(secs(30)));
    cache.insert(1, 10);
    clock.advance(secs(10));
    let load = failing(&cache, "down");
    let waits = fixtures::waiter(&cache, 1, 99);
    assert_eq!(load.end(), Ok(10));
    assert_eq!(waits.join().unwrap(), 10);
}

#[test]
fn an_invalidated_value_never_stands_in() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)).stale_if_error(secs(30)));
    cache.insert(1, 10);
    clock.advance(secs(10));
    let load = failing(&cache, "down");
    cache.invalidate(&1);
    assert_eq!(load.end(), Err("down"));
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err("down")),
        Err("down")
    );
}

#[test]
fn the_stale_windows_differ_and_each_keeps_to_its_own_end() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .stale_while_refresh(secs(5))
            .stale_if_error(secs(20))
    });
    cache.insert(1, 10);
    clock.advance(secs(15));
    let load = failing(&cache, "down");
    let waits = fixtures::waiter(&cache, 1, 99);
    assert_eq!(load.end(), Ok(10));
    assert_eq!(waits.join().unwrap(), 10);
    clock.advance(secs(15));
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err("down")),
        Err("down")
    );
}

#[test]
fn a_panic_of_a_loader_goes_to_its_caller_and_the_next_waiter_loads() {
    let cache: Cache<u32, u32> = Cache::new();
    let other = cache.clone();
    let load = Loading::begin(move |hold| {
        fixtures::panic_of(|| {
            other.get_or_insert_with(&1, || {
                hold();
                panic!("the loader fell over")
            })
        })
    });
    let waits = fixtures::waiter(&cache, 1, 7);
    assert_eq!(load.end(), "the loader fell over");
    assert_eq!(waits.join().unwrap(), 7);
    assert_eq!(cache.get(&1), Some(7));
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (2, 1));
    cache.assert_consistent();
}

#[test]
fn a_load_that_asks_for_its_own_key_panics_with_the_cycle_and_the_cache_goes_on() {
    let cache: Cache<u32, u32> =
        cache(|builder| builder.name("f").describe_keys(|key: &u32| key.to_string()));
    let message = fixtures::panic_of(|| {
        cache.get_or_insert_with(&1, || {
            cache.get_or_insert_with(&2, || cache.get_or_insert_with(&1, || 3))
        })
    });
    assert!(message.contains("f(1) → f(2) → f(1)"), "{message}");
    assert_eq!(cache.get_or_insert_with(&1, || 4), 4);
    cache.assert_consistent();
}

#[test]
fn a_caller_whose_patience_ends_takes_over() {
    let (cache, clock) = timed(|builder| builder.load_timeout(secs(5)));
    let slow = fixtures::loading(&cache, 1, 10);
    let waits = fixtures::waiter(&cache, 1, 20);
    // The waiter may set its alarm only after it was counted, so time goes on until it took over.
    until(|| {
        clock.advance(secs(5));
        waits.is_finished()
    });
    assert_eq!(waits.join().unwrap(), 20);
    assert_eq!(slow.end(), 10);
    assert_eq!(cache.get(&1), Some(20));
    cache.assert_consistent();
}
