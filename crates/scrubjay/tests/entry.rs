//! Entry calls: a look and a change of one key as one step.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::sync::Barrier;

use fixtures::{Loading, cache, loading, secs, timed, until};
use scrubjay::{Action, Cache};

#[test]
fn keep_replace_and_remove_do_so_and_return_what_is_in_place() {
    let cache: Cache<u32, u32> = Cache::new();
    assert_eq!(cache.entry(&1, |_| Action::Keep), None);
    assert_eq!(cache.entry(&1, |_| Action::Remove), None);
    assert_eq!(cache.entry(&1, |_| Action::Replace(10)), Some(10));
    assert_eq!(
        cache.entry(&1, |value| Action::Replace(value.unwrap() + 1)),
        Some(11)
    );
    assert_eq!(cache.entry(&1, |_| Action::Keep), Some(11));
    assert_eq!((cache.get(&1), cache.len()), (Some(11), 1));
    assert_eq!(cache.entry(&1, |_| Action::Remove), None);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    cache.assert_consistent();
}

#[test]
fn threads_that_count_in_one_entry_lose_nothing() {
    let cache: Cache<u32, u32> = Cache::new();
    let (threads, rounds) = (8, 500);
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                for _ in 0..rounds {
                    cache.entry(&1, |n| Action::Replace(n.map_or(1, |n| n + 1)));
                }
            });
        }
    });
    assert_eq!(
        cache.get(&1),
        Some(u32::try_from(threads * rounds).unwrap())
    );
    cache.assert_consistent();
}

#[test]
fn a_value_that_is_not_admitted_is_not_in_place() {
    let heavy: Cache<u32, u64> = cache(|builder| builder.capacity(10).weigher(|_, value| *value));
    heavy.insert(1, 5);
    assert_eq!(heavy.entry(&1, |_| Action::Replace(11)), None);
    assert_eq!(heavy.get(&1), None);
    let nothing: Cache<u32, u32> = cache(|builder| builder.capacity(0));
    assert_eq!(nothing.entry(&1, |_| Action::Replace(1)), None);
    let even: Cache<u32, u32> = cache(|builder| builder.store_if(|_, value| value % 2 == 0));
    assert_eq!(even.entry(&1, |_| Action::Replace(1)), None);
    assert_eq!(even.entry(&1, |_| Action::Replace(2)), Some(2));
}

#[test]
fn an_expired_value_is_not_shown() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)).stale_if_error(secs(60)));
    cache.insert(1, 10);
    clock.advance(secs(10));
    let now = cache.entry(&1, |value| {
        assert_eq!(value, None);
        Action::Keep
    });
    assert_eq!(now, None);
    assert_eq!(cache.entry(&1, |_| Action::Replace(11)), Some(11));
    clock.advance(secs(9));
    assert_eq!(
        cache.get(&1),
        Some(11),
        "a replaced value has a life of its own"
    );
}

#[test]
fn an_entry_call_waits_for_a_load_and_sees_what_it_brought() {
    let cache: Cache<u32, u32> = Cache::new();
    let load = loading(&cache, 1, 10);
    let handle = cache.clone();
    let waits = std::thread::spawn(move || {
        handle.entry(&1, |value| Action::Replace(value.copied().unwrap_or(0) + 1))
    });
    until(|| cache.stats().waits == 1);
    assert_eq!(load.end(), 10);
    assert_eq!(waits.join().unwrap(), Some(11));
}

#[test]
fn a_load_waits_for_an_entry_call_and_shares_what_it_stored() {
    let cache: Cache<u32, u32> = Cache::new();
    let handle = cache.clone();
    let entry = Loading::begin(move |hold| {
        handle.entry(&1, |_| {
            hold();
            Action::Replace(10)
        })
    });
    let waits = fixtures::waiter(&cache, 1, 99);
    assert_eq!(entry.end(), Some(10));
    assert_eq!(waits.join().unwrap(), 10);
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn a_load_that_waited_for_an_entry_call_that_removed_loads_itself() {
    let cache: Cache<u32, u32> = Cache::new();
    let handle = cache.clone();
    let entry = Loading::begin(move |hold| {
        handle.entry(&1, |_| {
            hold();
            Action::Remove
        })
    });
    let waits = fixtures::waiter(&cache, 1, 7);
    assert_eq!(entry.end(), None);
    assert_eq!(waits.join().unwrap(), 7);
}

#[test]
fn a_decision_that_was_overtaken_is_made_again_with_what_is_there_then() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 10);
    let mut seen = Vec::new();
    let now = cache.entry(&1, |value| {
        seen.push(value.copied());
        match seen.len() {
            1 => cache.insert(1, 20),
            2 => cache.clear(),
            _ => {}
        }
        Action::Replace(value.copied().unwrap_or(0) + 1)
    });
    assert_eq!(seen, [Some(10), Some(20), None]);
    assert_eq!((now, cache.get(&1)), (Some(1), Some(1)));
    cache.assert_consistent();
}

#[test]
fn a_panic_of_the_decision_changes_nothing() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 10);
    let message = fixtures::panic_of(|| cache.entry(&1, |_| panic!("undecided")));
    assert_eq!(message, "undecided");
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.entry(&1, |_| Action::Replace(11)), Some(11));
    cache.assert_consistent();
}

#[test]
fn an_entry_call_inside_an_entry_call_of_the_same_key_panics_with_the_cycle() {
    let cache: Cache<u32, u32> = cache(|builder| builder.name("counts"));
    let message = fixtures::panic_of(|| {
        cache.entry(&1, |_| {
            cache.entry(&1, |_| Action::Keep);
            Action::Keep
        })
    });
    assert!(message.contains("counts → counts"), "{message}");
    let nested = cache.entry(&1, |_| {
        Action::Replace(cache.entry(&2, |_| Action::Replace(5)).unwrap())
    });
    assert_eq!(
        (nested, cache.get(&2)),
        (Some(5), Some(5)),
        "other keys are fine"
    );
    cache.assert_consistent();
}
