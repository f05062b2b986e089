//! Advice: what other capacities would bring, and whether the cache pays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::time::Duration;

use fixtures::{Random, cache, timed};
use scrubjay::{Cache, Policy, Worth};

/// Keys of which few are frequent, with a scan of keys that never return between.
fn zipf_and_scans(lookups: u32) -> impl Iterator<Item = u32> {
    let mut random = Random::new(3);
    (0..lookups).map(move |n| match n % 10_000 {
        // The n-th key is about as frequent as 1/n says: equal shares for every doubling.
        0..9_000 => {
            let doubling = random.below(15);
            (1 << doubling) + random.below(1 << doubling)
        }
        _ => 1_000_000 + n,
    })
}

fn run(capacity: u64, keys: impl Iterator<Item = u32>) -> Cache<u32, u32> {
    let cache = cache(|builder| builder.capacity(capacity));
    for key in keys {
        cache.get_or_insert_with(&key, || key);
    }
    cache.assert_consistent();
    cache
}

#[test]
fn estimates_are_near_what_other_capacities_hit() {
    let advice = run(1000, zipf_and_scans(300_000)).advice();
    assert_eq!(advice.estimates.len(), 5);
    let mut error = 0.0;
    for estimate in &advice.estimates {
        let other = run(estimate.capacity, zipf_and_scans(300_000));
        let truth = other.stats().hit_ratio().unwrap();
        error += (estimate.hit_ratio - truth).abs();
    }
    assert!(error / 5.0 < 0.03, "mean error {}", error / 5.0);
}

#[test]
fn a_capacity_that_holds_all_keys_is_sufficient() {
    // Twice the capacity holds all keys, and a sample of them with a margin for its noise.
    let cache = run(300, (0..200_000).map(|n| n * 7 % 500));
    let advice = cache.advice();
    let sufficient = advice.sufficient_capacity().unwrap();
    assert!((450..=620).contains(&sufficient), "{sufficient}");
    assert!(advice.estimates[2].hit_ratio > 0.95);
}

#[test]
fn nothing_is_estimated_that_is_not_known() {
    let unbounded = cache(|builder| builder);
    let exact = cache(|builder| builder.capacity(10).policy(Policy::Lru));
    let young = cache(|builder| builder.capacity(10));
    for n in 0..1000_u32 {
        unbounded.get_or_insert_with(&(n % 50), || n);
        exact.get_or_insert_with(&(n % 50), || n);
    }
    young.get_or_insert_with(&1, || 1);
    for cache in [unbounded, exact, young] {
        let advice = cache.advice();
        assert!(advice.estimates.is_empty());
        assert_eq!(advice.sufficient_capacity(), None);
        assert!(advice.to_string().contains("\nCapacity: "));
    }
}

#[test]
fn a_cache_of_slow_loads_pays() {
    let (cache, clock) = timed(|builder| builder.capacity(100));
    for n in 0..1000_u32 {
        cache.get_or_insert_with(&(n % 50), || {
            clock.advance(Duration::from_millis(3));
            n
        });
    }
    let advice = cache.advice();
    assert_eq!(advice.load_time, Some(Duration::from_millis(3)));
    assert_eq!(advice.hit_ratio(), Some(0.95));
    assert_eq!(advice.worth(), Worth::Pays);
    assert!(advice.to_string().ends_with("each hit saves 3.0ms."));
}

#[test]
fn a_cache_of_loads_that_take_no_time_does_not_pay() {
    let (cache, _clock) = timed(|builder| builder.capacity(100));
    for n in 0..1000_u32 {
        cache.get_or_insert_with(&(n % 50), || n);
    }
    let advice = cache.advice();
    assert_eq!(advice.worth(), Worth::DoesNotPay);
    assert!(
        advice
            .to_string()
            .ends_with("leave this function unmemoized.")
    );
}

#[test]
fn a_cache_that_never_hits_does_not_pay_however_slow_its_loads() {
    let (cache, clock) = timed(|builder| builder.capacity(100));
    for n in 0..1000_u32 {
        cache.get_or_insert_with(&n, || {
            clock.advance(Duration::from_secs(1));
            n
        });
    }
    assert_eq!(cache.advice().worth(), Worth::DoesNotPay);
}

#[test]
fn asking_for_advice_counts_nothing() {
    let cache = run(100, (0..1000).map(|n| n % 70));
    let before = cache.stats();
    let _ = cache.advice();
    assert_eq!(cache.stats(), before);
}
