//! Invalidation by key, by predicate and of everything; loads in progress are overtaken.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use fixtures::{Loading, Removals, cache, loading, waiter};
use scrubjay::{Cache, RemovalCause};

type Invalidation = (&'static str, fn(&Cache<u32, u32>));

/// Every way to say that the value of key 1 is no longer true.
const INVALIDATIONS: [Invalidation; 6] = [
    ("remove", |cache| {
        cache.remove(&1);
    }),
    ("invalidate", |cache| {
        cache.invalidate(&1);
    }),
    ("invalidate_if", |cache| {
        cache.invalidate_if(|key, _| *key == 1);
    }),
    ("invalidate_tag", |cache| {
        cache.invalidate_tag("key:1");
    }),
    ("clear", Cache::clear),
    ("insert and remove", |cache| {
        cache.insert(1, 99);
        cache.remove(&1);
    }),
];

fn tagged() -> Cache<u32, u32> {
    cache(|builder| builder.tag_with(|key, _| [format!("key:{key}")]))
}

#[test]
fn a_value_whose_load_began_before_its_invalidation_is_not_stored() {
    for (name, invalidate) in INVALIDATIONS {
        let cache = tagged();
        let load = loading(&cache, 1, 10);
        invalidate(&cache);
        assert_eq!(load.end(), 10, "{name}");
        assert_eq!(
            (cache.get(&1), cache.len(), cache.weight()),
            (None, 0, 0),
            "{name}"
        );
        cache.assert_consistent();
    }
}

#[test]
fn a_caller_who_comes_after_the_invalidation_loads_anew_and_is_not_overwritten() {
    for (name, invalidate) in INVALIDATIONS {
        let cache = tagged();
        let old = loading(&cache, 1, 10);
        invalidate(&cache);
        let handle = cache.clone();
        let new = std::thread::spawn(move || handle.get_or_insert_with(&1, || 11));
        if name == "invalidate_tag" {
            // Whether the load that goes on has the tag is known when it ends; the caller waits for that.
            fixtures::until(|| cache.stats().waits == 1);
            assert_eq!(old.end(), 10);
            assert_eq!(new.join().unwrap(), 11, "{name}");
        } else {
            assert_eq!(new.join().unwrap(), 11, "{name}");
            assert_eq!(old.end(), 10);
        }
        assert_eq!(cache.get(&1), Some(11), "{name}");
        cache.assert_consistent();
    }
}

#[test]
fn waiters_who_came_before_the_invalidation_get_the_value_they_waited_for() {
    for (name, invalidate) in INVALIDATIONS {
        let cache = tagged();
        let load = loading(&cache, 1, 10);
        let waits = waiter(&cache, 1, 99);
        invalidate(&cache);
        assert_eq!(load.end(), 10);
        assert_eq!(waits.join().unwrap(), 10, "{name}");
        assert_eq!(cache.get(&1), None, "{name}");
    }
}

#[test]
fn a_fallible_load_is_fenced_too() {
    for (name, invalidate) in INVALIDATIONS {
        let cache = tagged();
        let handle = cache.clone();
        let load = Loading::begin(move |hold| {
            handle.try_get_or_insert_with(&1, || {
                hold();
                Ok::<_, String>(10)
            })
        });
        invalidate(&cache);
        assert_eq!(load.end(), Ok(10));
        assert_eq!(cache.get(&1), None, "{name}");
    }
}

#[test]
fn an_invalidation_by_the_loader_itself_is_kept() {
    for (name, invalidate) in INVALIDATIONS {
        let cache = tagged();
        let loaded = cache.get_or_insert_with(&1, || {
            invalidate(&cache);
            10
        });
        assert_eq!((loaded, cache.get(&1)), (10, None), "{name}");
        cache.assert_consistent();
    }
}

#[test]
fn an_invalidation_of_another_key_leaves_a_load_alone() {
    let cache = tagged();
    let load = loading(&cache, 1, 10);
    cache.remove(&2);
    cache.invalidate(&2);
    cache.insert(2, 20);
    cache.invalidate_tag("key:2");
    assert_eq!(load.end(), 10);
    assert_eq!(cache.get(&1), Some(10));
}

#[test]
fn a_load_that_begins_after_an_invalidation_is_stored() {
    for (name, invalidate) in INVALIDATIONS {
        let cache = tagged();
        invalidate(&cache);
        let load = loading(&cache, 1, 10);
        assert_eq!(load.end(), 10);
        assert_eq!(cache.get(&1), Some(10), "{name}");
    }
}

#[test]
fn each_invalidation_says_what_it_discarded() {
    let cache = tagged();
    for key in 0..10 {
        cache.insert(key, key * 10);
    }
    assert!(cache.invalidate(&0));
    assert!(!cache.invalidate(&0));
    assert_eq!(cache.remove(&2), Some(20));
    assert_eq!(cache.remove(&2), None);
    assert_eq!(cache.invalidate_if(|key, value| *key > 6 && *value < 90), 2);
    assert_eq!(cache.invalidate_tag("key:9"), 1);
    assert_eq!(cache.invalidate_tag("none"), 0);
    let mut left: Vec<u32> = cache.iter().map(|(key, _)| key).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 3, 4, 5, 6]);
    cache.assert_consistent();
}

#[test]
fn clear_empties_a_cache_that_can_be_filled_again() {
    let removals = Removals::new();
    let cache = cache(|builder| builder.capacity(100).on_removal(removals.listener()));
    for round in 0..3 {
        for key in 0..100u32 {
            cache.insert(key, round);
        }
        assert_eq!((cache.len(), cache.weight()), (100, 100));
        cache.clear();
        assert_eq!(
            (cache.len(), cache.weight(), cache.iter().count()),
            (0, 0, 0)
        );
        let told = removals.take();
        assert_eq!(told.len(), 100);
        assert!(
            told.iter()
                .all(|removal| removal.2 == RemovalCause::Explicit)
        );
        cache.assert_consistent();
    }
}

#[test]
fn a_predicate_may_use_the_cache_and_a_panic_of_it_loses_nothing_else() {
    let cache = tagged();
    for key in 0..10 {
        cache.insert(key, key);
    }
    let removed = cache.invalidate_if(|key, _| {
        cache.insert(key + 100, 1);
        cache.get(&(key % 2)).is_some() && *key < 10 && key % 2 == 1
    });
    assert!(removed >= 1);
    cache.assert_consistent();
    fixtures::panic_of(|| cache.invalidate_if(|_, _| panic!("no answer")));
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
    cache.assert_consistent();
}
