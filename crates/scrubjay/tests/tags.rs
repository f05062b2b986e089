//! Tags: labels by which entries are invalidated together.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use fixtures::{Removals, cache, loading, secs, timed, until};
use scrubjay::{Cache, EntryOptions, RemovalCause};

#[test]
fn a_tag_finds_exactly_the_entries_that_carry_it() {
    let cache = cache(|builder| {
        builder.tag_with(|key: &u32, _: &u32| {
            [format!("parity:{}", key % 2), format!("third:{}", key % 3)]
        })
    });
    for key in 0..12 {
        cache.insert(key, key);
    }
    assert_eq!(cache.invalidate_tag("parity:0"), 6);
    assert!((0..12).all(|key| cache.contains_key(&key) == (key % 2 == 1)));
    assert_eq!(cache.invalidate_tag("third:0"), 2);
    assert_eq!(cache.invalidate_tag("third:0"), 0);
    assert_eq!(cache.invalidate_tag("third"), 0);
    assert_eq!(cache.len(), 4);
    cache.assert_consistent();
}

#[test]
fn a_replaced_value_takes_its_tags_with_it() {
    let cache = cache(|builder| builder.tag_with(|_: &u32, team: &&str| [*team]));
    cache.insert(1, "red");
    cache.insert(1, "blue");
    assert_eq!(cache.invalidate_tag("red"), 0);
    assert_eq!(cache.get(&1), Some("blue"));
    assert_eq!(cache.invalidate_tag("blue"), 1);
    cache.assert_consistent();
}

#[test]
fn a_tag_given_twice_is_one_tag() {
    let cache = Cache::new();
    cache.insert_with(1, 1, EntryOptions::new().tag("a").tag("a").tag("b").tag(""));
    cache.assert_consistent();
    assert_eq!(cache.invalidate_tag(""), 1);
    assert_eq!(cache.invalidate_tag("a"), 0);
    cache.assert_consistent();
}

#[test]
fn the_listener_is_told_that_a_tagged_entry_was_removed_explicitly() {
    let removals = Removals::new();
    let cache = cache(|builder| builder.on_removal(removals.listener()));
    cache.insert_with(1, 10, EntryOptions::new().tag("a"));
    cache.insert_with(2, 20, EntryOptions::new().tag("b"));
    cache.invalidate_tag("a");
    assert_eq!(removals.take(), [(1, 10, RemovalCause::Explicit)]);
}

#[test]
fn a_load_whose_value_does_not_carry_the_tag_is_stored() {
    let cache: Cache<u32, u32> =
        cache(|builder| builder.tag_with(|_, value: &u32| [format!("value:{value}")]));
    let load = loading(&cache, 1, 10);
    cache.invalidate_tag("value:11");
    assert_eq!(load.end(), 10);
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn a_caller_who_comes_after_the_invalidation_does_not_share_a_load_that_has_the_tag() {
    let cache: Cache<u32, u32> = cache(|builder| builder.tag_with(|_, _| ["t"]));
    let load = loading(&cache, 1, 10);
    let before = fixtures::waiter(&cache, 1, 98);
    cache.invalidate_tag("t");
    let after = fixtures::waiter(&cache, 1, 11);
    assert_eq!(load.end(), 10);
    assert_eq!((before.join().unwrap(), after.join().unwrap()), (10, 11));
    assert_eq!(cache.get(&1), Some(11));
}

/// What is not stored has tags all the same.
#[test]
fn a_caller_who_comes_after_the_invalidation_does_not_share_a_value_that_is_not_stored_either() {
    let cache: Cache<u32, u32> =
        cache(|builder| builder.tag_with(|_, _| ["t"]).store_if(|_, _| false));
    let load = loading(&cache, 1, 10);
    cache.invalidate_tag("t");
    let after = fixtures::waiter(&cache, 1, 11);
    assert_eq!(load.end(), 10);
    assert_eq!(after.join().unwrap(), 11);
}

#[test]
fn a_caller_who_comes_after_the_invalidation_does_not_share_a_value_that_lives_for_no_time() {
    let (cache, _clock) = timed(|builder| {
        builder
            .tag_with(|_: &u32, _: &u32| ["t"])
            .expire_with(|_, _| Some(secs(0)))
    });
    let load = loading(&cache, 1, 10);
    cache.invalidate_tag("t");
    let after = fixtures::waiter(&cache, 1, 11);
    assert_eq!(load.end(), 10);
    assert_eq!(after.join().unwrap(), 11);
}

#[test]
fn a_stale_entry_is_invalidated_by_its_tag_and_never_stands_in_again() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .stale_if_error(secs(60))
            .tag_with(|_: &u32, _: &u32| ["t"])
    });
    cache.insert(1, 10);
    clock.advance(secs(10));
    assert_eq!(cache.invalidate_tag("t"), 0, "it was expired");
    assert_eq!(
        cache.try_get_or_insert_with(&1, || Err("down")),
        Err("down")
    );
    cache.assert_consistent();
}

#[test]
fn a_stale_value_is_not_served_to_a_caller_who_comes_after_the_tag_was_invalidated() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .stale_while_refresh(secs(60))
            .tag_with(|_: &u32, _: &u32| ["t"])
    });
    cache.insert(1, 10);
    clock.advance(secs(10));
    let refresh = loading(&cache, 1, 11);
    cache.invalidate_tag("t");
    let handle = cache.clone();
    let after = std::thread::spawn(move || handle.get_or_insert_with(&1, || 12));
    until(|| cache.stats().waits == 1);
    assert_eq!(refresh.end(), 11);
    assert_eq!(after.join().unwrap(), 12);
}

#[test]
fn evicted_and_expired_entries_leave_their_tags() {
    let (cache, clock) = timed(|builder| {
        builder
            .capacity(10)
            .time_to_live(secs(10))
            .tag_with(|_: &u32, _: &u32| ["t"])
    });
    for key in 0..100 {
        cache.insert(key, key);
    }
    cache.assert_consistent();
    assert_eq!(cache.invalidate_tag("t"), 10);
    cache.insert(1, 1);
    clock.advance(secs(10));
    assert_eq!((cache.len(), cache.invalidate_tag("t")), (0, 0));
    cache.assert_consistent();
}
