//! Expiration: at exactly the end of its life an entry is gone from every method, without a maintenance call.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::time::Duration;

use fixtures::{loading, secs, timed};
use scrubjay::{Cache, EntryOptions};

#[test]
fn an_entry_is_expired_at_exactly_its_time_to_live() {
    let life = secs(10);
    let (cache, clock) = timed(|builder| builder.time_to_live(life));
    cache.insert(1, 10);
    clock.advance(life - Duration::from_nanos(1));
    assert_eq!((cache.get(&1), cache.len()), (Some(10), 1));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.get(&1), None);
}

/// Each look at the cache is the first one after the entry expired, so none relies on another's clean-up.
#[test]
fn an_expired_entry_is_in_no_answer_of_any_method() {
    fn expired() -> Cache<u32, u32> {
        let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
        cache.insert(1, 10);
        clock.advance(secs(10));
        cache
    }
    assert_eq!(expired().get(&1), None);
    assert_eq!(expired().with(&1, |value| *value), None);
    assert_eq!(expired().peek(&1), None);
    assert!(!expired().contains_key(&1));
    assert_eq!(expired().len(), 0);
    assert!(expired().is_empty());
    assert_eq!(expired().weight(), 0);
    assert_eq!(expired().iter().count(), 0);
    expired().for_each(|_, _| unreachable!());
    assert_eq!(expired().remove(&1), None);
    assert!(!expired().invalidate(&1));
    assert_eq!(expired().invalidate_if(|_, _| true), 0);
    assert_eq!(expired().stats().entries, 0);
    assert_eq!(expired().get_or_insert_with(&1, || 11), 11);
    assert_eq!(
        expired().try_get_or_insert_with(&1, || Err("none")),
        Err("none")
    );
    let seen = expired().entry(&1, |value| {
        assert_eq!(value, None);
        scrubjay::Action::Keep
    });
    assert_eq!(seen, None);
}

#[test]
fn an_expired_tagged_entry_is_not_counted_by_invalidate_tag() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    cache.insert_with(1, 10, EntryOptions::new().tag("t"));
    clock.advance(secs(10));
    assert_eq!(cache.invalidate_tag("t"), 0);
    cache.assert_consistent();
}

#[test]
fn a_new_value_has_a_new_life() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    cache.insert(1, 10);
    clock.advance(secs(9));
    cache.insert(1, 11);
    clock.advance(secs(9));
    assert_eq!(cache.get(&1), Some(11));
    clock.advance(secs(1));
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
}

#[test]
fn a_life_begins_when_the_load_ends() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    let slow = loading(&cache, 1, 10);
    clock.advance(secs(100));
    assert_eq!(slow.end(), 10);
    clock.advance(secs(9));
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn hits_do_not_prolong_a_time_to_live() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    cache.insert(1, 10);
    for _ in 0..9 {
        clock.advance(secs(1));
        assert_eq!(cache.get(&1), Some(10));
    }
    clock.advance(secs(1));
    assert_eq!(cache.get(&1), None);
}

#[test]
fn hits_prolong_a_time_to_idle_and_looks_do_not() {
    let (cache, clock) = timed(|builder| builder.time_to_idle(secs(10)));
    for key in 1..=4 {
        cache.insert(key, key);
    }
    clock.advance(secs(9));
    cache.get(&1);
    cache.with(&2, |_| ());
    cache.get_or_insert_with(&3, || unreachable!());
    assert!(cache.contains_key(&4) && cache.peek(&4).is_some() && cache.iter().count() == 4);
    clock.advance(secs(1));
    assert_eq!(cache.len(), 3);
    assert_eq!(cache.get(&4), None);
    clock.advance(secs(9));
    assert!(cache.is_empty());
    cache.assert_consistent();
}

#[test]
fn the_shorter_of_two_lives_counts() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)).time_to_idle(secs(4)));
    cache.insert(1, 10);
    cache.insert(2, 20);
    for _ in 0..3 {
        clock.advance(secs(3));
        assert_eq!(cache.get(&1), Some(10));
    }
    assert_eq!(cache.get(&2), None, "idle");
    clock.advance(secs(1));
    assert_eq!(cache.get(&1), None, "old");
}

#[test]
fn expire_with_gives_single_entries_a_life_and_none_leaves_them_the_caches() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_live(secs(10))
            .expire_with(|key: &u64, _: &u32| (*key > 0).then(|| secs(*key)))
    });
    for key in [0, 3, 20] {
        cache.insert(key, 1);
    }
    clock.advance(secs(3));
    assert_eq!((cache.get(&3), cache.len()), (None, 2));
    clock.advance(secs(7));
    assert_eq!((cache.get(&0), cache.len()), (None, 1));
    clock.advance(secs(10));
    assert!(cache.is_empty());
}

#[test]
fn a_loaded_value_with_a_life_of_zero_is_handed_out_and_forgotten() {
    let (cache, _clock) =
        timed(|builder| builder.expire_with(|_: &u32, _: &u32| Some(Duration::ZERO)));
    assert_eq!(cache.get_or_insert_with(&1, || 10), 10);
    assert_eq!((cache.get(&1), cache.len()), (None, 0));
    assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
}

#[test]
fn jitter_spreads_lives_and_never_lengthens_one() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(100)).jitter(0.5));
    for n in 0..1000u32 {
        cache.insert(n, n);
    }
    clock.advance(secs(50) - Duration::from_nanos(1));
    assert_eq!(cache.len(), 1000, "nothing before half of the life");
    clock.advance(secs(25));
    let left = cache.len();
    assert!((400..600).contains(&left), "{left} left at three quarters");
    clock.advance(secs(25) + Duration::from_nanos(1));
    assert_eq!(cache.len(), 0, "nothing after the life");
}

#[test]
fn an_entry_without_a_life_stays_beside_those_with_one() {
    let (cache, clock) = timed(|builder| builder);
    cache.insert(1, 10);
    cache.insert_with(2, 20, EntryOptions::new().time_to_live(secs(1)));
    clock.advance(secs(1_000_000));
    assert_eq!(
        (cache.get(&1), cache.get(&2), cache.len()),
        (Some(10), None, 1)
    );
}

#[test]
fn expired_entries_are_freed_by_writes_without_anybody_asking_for_them() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    for n in 0..100u32 {
        cache.insert(n, n);
    }
    clock.advance(secs(10));
    for _ in 0..10 {
        cache.insert(1000, 0);
    }
    assert_eq!(cache.stats().expired, 100);
    cache.assert_consistent();
}
