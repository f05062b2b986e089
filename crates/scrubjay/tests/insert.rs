//! Insertions: the newest value is the one that is there, and it weighs and lasts what was asked.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use fixtures::{cache, loading, secs, timed, waiter};
use scrubjay::{Cache, EntryOptions};

#[test]
fn the_last_insertion_wins() {
    let cache = Cache::new();
    for n in 0..100 {
        cache.insert("k", n);
        assert_eq!(
            (cache.get("k"), cache.len(), cache.weight()),
            (Some(n), 1, 1)
        );
        cache.assert_consistent();
    }
}

#[test]
fn an_insertion_is_not_overwritten_by_a_load_that_began_before() {
    let cache: Cache<u32, u32> = Cache::new();
    let slow = loading(&cache, 1, 10);
    cache.insert(1, 11);
    assert_eq!(cache.get(&1), Some(11));
    assert_eq!(slow.end(), 10, "the caller of the load gets what it loaded");
    assert_eq!(cache.get(&1), Some(11));
    cache.assert_consistent();
}

#[test]
fn waiters_of_an_overtaken_load_are_answered() {
    let cache: Cache<u32, u32> = Cache::new();
    let slow = loading(&cache, 1, 10);
    let waits = waiter(&cache, 1, 99);
    cache.insert(1, 11);
    assert_eq!(slow.end(), 10);
    let answer = waits.join().unwrap();
    assert!(
        answer == 10 || answer == 11,
        "not a load of its own: {answer}"
    );
    assert_eq!(cache.get(&1), Some(11));
}

#[test]
fn an_insertion_during_a_load_answers_later_callers_at_once() {
    let cache: Cache<u32, u32> = Cache::new();
    let slow = loading(&cache, 1, 10);
    cache.insert(1, 11);
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), 11);
    slow.end();
}

#[test]
fn an_insertion_by_the_loader_itself_is_kept() {
    let cache: Cache<u32, u32> = Cache::new();
    let loaded = cache.get_or_insert_with(&1, || {
        cache.insert(1, 11);
        10
    });
    assert_eq!((loaded, cache.get(&1)), (10, Some(11)));
    cache.assert_consistent();
}

#[test]
fn an_entrys_own_life_weight_and_tags_come_before_the_caches() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .weigher(|_: &u32, _: &u32| 5)
            .tag_with(|_, _| ["all"])
    });
    let own = EntryOptions::new()
        .time_to_live(secs(20))
        .weight(2)
        .tag("own");
    cache.insert_with(1, 10, own);
    cache.insert(2, 20);
    assert_eq!(cache.weight(), 7);
    clock.advance(secs(10));
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(10), None));
    assert_eq!(cache.invalidate_tag("all"), 1, "own tags are added");
    cache.assert_consistent();
}

#[test]
fn an_entrys_own_life_may_exceed_the_caches_but_not_its_idleness() {
    let (cache, clock) = timed(|builder| builder.time_to_idle(secs(3)));
    cache.insert_with(1, 10, EntryOptions::new().time_to_live(secs(20)));
    clock.advance(secs(3));
    assert_eq!(cache.get(&1), None);
}

#[test]
fn a_life_of_zero_stores_nothing_and_ends_the_old_value() {
    let cache = Cache::new();
    cache.insert(1, 10);
    cache.insert_with(1, 11, EntryOptions::new().time_to_live(secs(0)));
    assert_eq!((cache.get(&1), cache.len(), cache.weight()), (None, 0, 0));
    cache.assert_consistent();
}

#[test]
fn a_value_that_must_not_be_stored_ends_the_old_one() {
    let cache: Cache<u32, u32> = cache(|builder| builder.store_if(|_, value| value % 2 == 0));
    cache.insert(1, 10);
    cache.insert(1, 11);
    assert_eq!(cache.get(&1), None);
    cache.assert_consistent();
}

#[test]
fn a_refresh_whose_value_must_not_be_stored_ends_the_old_one_as_an_insertion_does() {
    let (cache, clock) = timed(|builder| {
        builder
            .refresh_after(secs(5))
            .store_if(|_: &u32, value: &u32| value.is_multiple_of(2))
    });
    cache.insert(1, 10);
    clock.advance(secs(5));
    assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
    assert_eq!(cache.get(&1), None, "10 is known to be no longer true");
    cache.assert_consistent();
}

#[test]
fn warming_stores_what_is_missing_and_pushes_nothing_out() {
    let cache = cache(|builder| builder.capacity(3));
    cache.insert(1, 10);
    let pairs = (0..10).map(|n| (n, n));
    assert_eq!(cache.warm(pairs), 2);
    assert_eq!((cache.get(&1), cache.len()), (Some(10), 3));
    assert_eq!(cache.stats().evicted, 0);
}

#[test]
fn warming_with_weights_pushes_nothing_out() {
    let cache = cache(|builder| builder.capacity(10).weigher(|_: &u32, value: &u64| *value));
    cache.insert(1, 8);
    cache.warm([(2, 5), (3, 2)]);
    assert_eq!(cache.get(&1), Some(8));
    assert_eq!(cache.stats().evicted, 0);
}

#[test]
fn warming_counts_only_what_it_stored() {
    let cache: Cache<u32, u32> = cache(|builder| builder.store_if(|key, _| key % 2 == 0));
    assert_eq!(cache.warm((0..10).map(|n| (n, n))), 5);
    assert_eq!(cache.len(), 5);
}
