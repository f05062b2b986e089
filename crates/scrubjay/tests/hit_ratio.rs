//! What the adaptive policy keeps: hits of small workloads, each of which defeats some simpler policy.

mod fixtures;

use fixtures::{Random, cache};
use scrubjay::{Cache, EntryOptions, Policy};

/// Looks the keys up, storing those that are not there; returns the share that hit.
fn hit_ratio(cache: &Cache<u32, u32>, keys: impl Iterator<Item = u32>) -> f64 {
    let (mut hits, mut lookups) = (0, 0);
    for key in keys {
        lookups += 1;
        match cache.get(&key) {
            Some(_) => hits += 1,
            None => cache.insert(key, key),
        }
    }
    cache.assert_consistent();
    f64::from(hits) / f64::from(lookups)
}

fn adaptive(capacity: u64) -> Cache<u32, u32> {
    cache(|builder| builder.capacity(capacity))
}

fn lru(capacity: u64) -> Cache<u32, u32> {
    cache(|builder| builder.capacity(capacity).policy(Policy::Lru))
}

/// Keys of which the first few are frequent: each doubling of the number has an equal share.
fn frequent(seed: u64, lookups: u32) -> impl Iterator<Item = u32> {
    let mut random = Random::new(seed);
    (0..lookups).map(move |_| {
        let doubling = random.below(14);
        (1 << doubling) + random.below(1 << doubling)
    })
}

/// Keys that are looked up a few times soon after each other, and then never again.
fn recent(lookups: u32) -> impl Iterator<Item = u32> {
    let mut random = Random::new(5);
    (0..lookups).map(move |n| {
        let back = 1 << random.below(9);
        10_000_000 + (n / 3 + 600) - random.below(back)
    })
}

#[test]
fn a_loop_larger_than_the_cache_still_hits() {
    for capacity in [100, 1000] {
        let keys = || (0..capacity * 100).map(|n| n % (capacity * 3 / 2));
        let ratio = hit_ratio(&adaptive(u64::from(capacity)), keys());
        assert!(ratio > 0.4, "{ratio:.3} of a loop that two thirds of fit");
        assert!(hit_ratio(&lru(u64::from(capacity)), keys()) < 0.01);
    }
}

#[test]
fn a_scan_does_not_push_out_what_is_used() {
    let cache = adaptive(1000);
    hit_ratio(&cache, (0..20_000).map(|n| n % 800));
    hit_ratio(&cache, 1_000_000..1_010_000);
    let kept = hit_ratio(&cache, 0..800);
    assert!(kept > 0.9, "{kept:.3} of what was used is left");
}

#[test]
fn frequent_keys_are_kept_among_many_rare_ones() {
    let ratio = hit_ratio(&adaptive(500), frequent(1, 200_000));
    let lru = hit_ratio(&lru(500), frequent(1, 200_000));
    assert!(ratio > lru + 0.03, "{ratio:.3} against {lru:.3} of LRU");
}

#[test]
fn recent_keys_are_kept_where_recency_is_all() {
    let ratio = hit_ratio(&adaptive(500), recent(200_000));
    let lru = hit_ratio(&lru(500), recent(200_000));
    assert!(ratio > lru - 0.02, "{ratio:.3} against {lru:.3} of LRU");
}

#[test]
fn a_workload_that_turns_from_frequency_to_recency_is_followed() {
    let cache = adaptive(500);
    hit_ratio(&cache, frequent(1, 200_000));
    let first = hit_ratio(&cache, recent(100_000));
    hit_ratio(&cache, recent(1_000_000).skip(100_000));
    let last = hit_ratio(&cache, recent(1_100_000).skip(1_000_000));
    assert!(last > first + 0.05, "{last:.3} after {first:.3} at first");
}

#[test]
fn a_replaced_entry_keeps_its_place() {
    let cache = adaptive(100);
    hit_ratio(&cache, (0..1000).map(|n| n % 50));
    for key in 0..50 {
        cache.insert(key, key);
    }
    hit_ratio(&cache, 1000..3000);
    let kept = hit_ratio(&cache, 0..50);
    assert!(kept > 0.7, "{kept:.3} of what was used is left");
}

#[test]
fn entries_of_many_weights_find_their_places() {
    let hits_of = |cache: Cache<u32, u32>| {
        let mut random = Random::new(9);
        let mut hits = 0;
        for key in frequent(2, 100_000) {
            if cache.get(&key).is_some() {
                hits += 1;
            } else {
                let most = if random.below(1000) == 0 {
                    100_000
                } else {
                    200
                };
                let weight = u64::from(random.below(most));
                cache.insert_with(key, key, EntryOptions::new().weight(weight));
            }
            assert!(cache.weight() <= 100_000);
        }
        cache.assert_consistent();
        hits
    };
    let (hits, lru) = (hits_of(adaptive(100_000)), hits_of(lru(100_000)));
    assert!(hits > lru, "{hits} of 100000 against {lru} of LRU");
}

#[test]
fn a_changed_capacity_is_used() {
    let cache = adaptive(100);
    let small = hit_ratio(&cache, frequent(1, 100_000));
    cache.set_capacity(2000);
    hit_ratio(&cache, frequent(2, 20_000));
    let large = hit_ratio(&cache, frequent(3, 100_000));
    cache.set_capacity(100);
    let again = hit_ratio(&cache, frequent(4, 100_000));
    assert!(large > small + 0.2, "{large:.3} against {small:.3}");
    assert!(
        (again - small).abs() < 0.05,
        "{again:.3} against {small:.3}"
    );
}

#[test]
fn capacities_of_any_size_work() {
    for capacity in [1, 2, 3, 50, u64::MAX - 1] {
        let cache = adaptive(capacity);
        hit_ratio(&cache, frequent(1, 20_000));
        cache.set_capacity(7);
        hit_ratio(&cache, frequent(1, 20_000));
        let heavy = EntryOptions::new().weight(u64::MAX / 3);
        cache.set_capacity(u64::MAX - 1);
        for key in 0..10 {
            cache.insert_with(key, key, heavy.clone());
            cache.assert_consistent();
        }
    }
}
