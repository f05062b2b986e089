//! Weak values: an entry lasts only while somebody else owns its value.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::sync::Arc;

use fixtures::cache;
use scrubjay::{Action, Cache};

fn weak() -> Cache<u32, Arc<str>> {
    cache(scrubjay::Builder::weak_values)
}

#[test]
fn the_cache_does_not_keep_a_value_alive() {
    let cache = weak();
    let owner: Arc<str> = Arc::from("text");
    cache.insert(1, owner.clone());
    assert_eq!(cache.get(&1), Some(owner.clone()));
    assert_eq!(Arc::strong_count(&owner), 1);
    drop(owner);
    assert_eq!(
        (cache.get(&1), cache.peek(&1), cache.contains_key(&1)),
        (None, None, false)
    );
    assert_eq!(cache.iter().count(), 0);
    cache.assert_consistent();
}

#[test]
fn a_collected_value_is_loaded_again() {
    let cache = weak();
    let first = cache.get_or_insert_with(&1, || Arc::from("first"));
    assert_eq!(cache.get_or_insert_with(&1, || unreachable!()), first);
    drop(first);
    let second = cache.get_or_insert_with(&1, || Arc::from("second"));
    assert_eq!(&*second, "second");
    assert_eq!(cache.get(&1), Some(second));
    assert_eq!(
        (cache.len(), cache.stats().collected, cache.stats().loads),
        (1, 1, 2)
    );
    cache.assert_consistent();
}

/// The builder says so: a collected entry counts until a lookup, an insertion of its key or the policy meets it.
#[test]
fn a_collected_entry_is_not_counted_after_a_lookup_met_it() {
    let cache = weak();
    cache.insert(1, Arc::from("text"));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.len(), 0);
}

#[test]
fn invalidating_a_collected_entry_says_that_no_value_was_there() {
    let cache = weak();
    cache.insert(1, Arc::from("text"));
    assert!(!cache.invalidate(&1));
    cache.assert_consistent();
}

#[test]
fn removing_a_collected_entry_returns_nothing() {
    let cache = weak();
    cache.insert(1, Arc::from("text"));
    assert_eq!(cache.remove(&1), None);
    assert_eq!((cache.len(), cache.stats().collected), (0, 1));
    cache.assert_consistent();
}

#[test]
fn the_listener_is_told_of_values_that_are_left_and_of_no_collected_one() {
    let removals = fixtures::Removals::new();
    let cache: Cache<u32, Arc<str>> =
        cache(|builder| builder.weak_values().on_removal(removals.listener()));
    let owner: Arc<str> = Arc::from("kept");
    cache.insert(1, owner.clone());
    cache.insert(2, Arc::from("gone"));
    cache.clear();
    let told: Vec<u32> = removals.take().iter().map(|removal| removal.0).collect();
    assert_eq!(told, [1]);
    assert_eq!((cache.stats().explicit, cache.stats().collected), (1, 1));
}

#[test]
fn entry_sees_nothing_of_a_collected_value() {
    let cache = weak();
    cache.insert(1, Arc::from("text"));
    let owner: Arc<str> = Arc::from("new");
    let now = cache.entry(&1, |value| {
        assert!(value.is_none());
        Action::Replace(owner.clone())
    });
    assert_eq!(
        (now.as_deref(), cache.get(&1).as_deref()),
        (Some("new"), Some("new"))
    );
}

#[test]
fn weak_values_are_bounded_like_others() {
    let cache: Cache<u32, Arc<str>> = cache(|builder| builder.weak_values().capacity(5));
    for n in 0..100 {
        cache.insert(n, Arc::from("gone at once"));
        assert!(cache.weight() <= 5);
        cache.assert_consistent();
    }
}

#[test]
fn waiters_of_a_weakly_held_load_are_answered_although_its_caller_drops_it() {
    let cache = weak();
    let load = fixtures::loading(&cache, 1, Arc::from("text"));
    let waits = fixtures::waiter(&cache, 1, Arc::from("own"));
    drop(load.end());
    assert_eq!(&*waits.join().unwrap(), "text");
}
