//! Capacity: one number for the whole cache, kept after every call.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use fixtures::{Random, Removals, cache};
use scrubjay::{Cache, EntryOptions, Policy, RemovalCause};

const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Lru, Policy::Fifo];

#[test]
fn the_capacity_holds_after_every_insertion() {
    for policy in POLICIES {
        for capacity in [1, 2, 7, 100] {
            let cache = cache(|builder| builder.capacity(capacity).policy(policy));
            for n in 0..1000u64 {
                cache.insert(n, n);
                assert_eq!(cache.len() as u64, capacity.min(n + 1));
                assert_eq!(cache.get(&n), Some(n), "a newcomer comes in");
            }
            cache.assert_consistent();
        }
    }
}

#[test]
fn the_capacity_by_weight_holds_after_every_call() {
    for policy in POLICIES {
        let cache = cache(|builder| {
            builder
                .capacity(100)
                .policy(policy)
                .weigher(|_: &u32, weight: &u64| *weight)
        });
        let mut random = Random::new(7);
        for _ in 0..2000 {
            let (key, weight) = (random.below(50), u64::from(random.below(120)));
            if random.below(2) == 0 {
                cache.insert(key, weight);
            } else {
                cache.get_or_insert_with(&key, || weight);
            }
            let sum: u64 = cache.iter().map(|(_, weight)| weight).sum();
            assert_eq!(cache.weight(), sum);
            assert!(sum <= 100);
            cache.assert_consistent();
        }
    }
}

#[test]
fn an_entry_heavier_than_the_capacity_is_not_admitted_and_evicts_nothing() {
    for policy in POLICIES {
        let removals = Removals::new();
        let cache = cache(|builder| {
            builder
                .capacity(10)
                .policy(policy)
                .weigher(|_: &u32, weight: &u64| *weight)
                .on_removal(removals.listener())
        });
        cache.insert(1, 4);
        cache.insert(2, 6);
        cache.insert(3, 11);
        assert_eq!(cache.get_or_insert_with(&4, || 1000), 1000);
        assert_eq!((cache.len(), cache.weight()), (2, 10));
        assert_eq!((cache.get(&3), cache.get(&4)), (None, None));
        assert_eq!(removals.take(), []);
        cache.assert_consistent();
    }
}

#[test]
fn a_value_too_heavy_for_its_own_key_ends_the_old_one_and_evicts_nobody_else() {
    let removals = Removals::new();
    let cache = cache(|builder| {
        builder
            .capacity(10)
            .weigher(|_: &u32, weight: &u64| *weight)
            .on_removal(removals.listener())
    });
    cache.insert(1, 4);
    cache.insert(2, 6);
    cache.insert(1, 11);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(6)));
    assert_eq!(removals.take(), [(1, 4, RemovalCause::Replaced)]);
    cache.assert_consistent();
}

#[test]
fn an_entry_as_heavy_as_the_capacity_is_admitted() {
    let cache: Cache<u32, u64> = cache(|builder| builder.capacity(10).weigher(|_, weight| *weight));
    cache.insert(1, 1);
    cache.insert(2, 10);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(10)));
    cache.assert_consistent();
}

#[test]
fn replacing_a_value_makes_room_before_anybody_is_evicted() {
    let cache: Cache<u32, u64> = cache(|builder| builder.capacity(10).weigher(|_, weight| *weight));
    cache.insert(1, 5);
    cache.insert(2, 5);
    cache.insert(2, 4);
    cache.insert(2, 5);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(5), Some(5)));
    assert_eq!(cache.stats().evicted, 0);
}

#[test]
fn a_cache_of_capacity_zero_stores_nothing_and_answers_all_the_same() {
    for policy in POLICIES {
        let cache: Cache<u32, u32> = cache(|builder| builder.capacity(0).policy(policy));
        cache.insert(1, 10);
        cache.insert_with(1, 10, EntryOptions::new().weight(0));
        assert_eq!(cache.get_or_insert_with(&1, || 11), 11);
        assert_eq!(cache.try_get_or_insert_with(&1, || Ok::<_, ()>(12)), Ok(12));
        assert_eq!((cache.len(), cache.weight()), (0, 0));
        cache.assert_consistent();
    }
}

#[test]
fn weightless_entries_are_never_evicted() {
    for policy in POLICIES {
        let cache: Cache<u32, u32> = cache(|builder| builder.capacity(2).policy(policy));
        cache.insert_with(0, 0, EntryOptions::new().weight(0));
        for n in 1..100 {
            cache.insert(n, n);
        }
        assert_eq!(
            (cache.get(&0), cache.len(), cache.weight()),
            (Some(0), 3, 2)
        );
        cache.assert_consistent();
    }
}

#[test]
fn a_smaller_capacity_evicts_before_the_call_returns_and_a_larger_one_makes_room() {
    for policy in POLICIES {
        let removals = Removals::new();
        let cache = cache(|builder| builder.policy(policy).on_removal(removals.listener()));
        for n in 0..100u32 {
            cache.insert(n, n);
        }
        cache.set_capacity(10);
        assert_eq!((cache.len(), cache.capacity()), (10, 10));
        assert_eq!(removals.take().len(), 90);
        cache.set_capacity(20);
        for n in 200..220 {
            cache.insert(n, n);
        }
        assert_eq!(cache.len(), 20);
        cache.set_capacity(0);
        assert!(cache.is_empty());
        cache.insert(1, 1);
        assert!(cache.is_empty());
        cache.assert_consistent();
    }
}

#[test]
fn lru_evicts_the_least_recently_used() {
    let cache = cache(|builder| builder.capacity(3).policy(Policy::Lru));
    for key in [1, 2, 3] {
        cache.insert(key, key);
    }
    cache.get(&1);
    cache.get_or_insert_with(&2, || unreachable!());
    cache.insert(4, 4);
    assert!(!cache.contains_key(&3));
    cache.insert(1, 11);
    cache.insert(5, 5);
    assert!(!cache.contains_key(&2));
    assert!([1, 4, 5].iter().all(|key| cache.contains_key(key)));
}

#[test]
fn fifo_evicts_the_first_that_was_stored_whatever_was_hit() {
    let cache = cache(|builder| builder.capacity(3).policy(Policy::Fifo));
    for key in [1, 2, 3] {
        cache.insert(key, key);
    }
    cache.get(&1);
    cache.insert(4, 4);
    assert!(!cache.contains_key(&1) && cache.contains_key(&2));
}

#[test]
fn adaptive_keeps_what_is_used_through_a_scan() {
    let cache = cache(|builder| builder.capacity(100));
    for _ in 0..3 {
        for key in 0..50u32 {
            cache.get_or_insert_with(&key, || key);
        }
    }
    for key in 1000..3000 {
        cache.get_or_insert_with(&key, || key);
        if key % 10 == 0 {
            cache.get(&(key / 10 % 50));
        }
    }
    let kept = (0..50).filter(|key| cache.contains_key(key)).count();
    assert!(kept >= 45, "{kept} of 50 used keys are left after a scan");
}

#[test]
fn an_expired_entry_gives_way_before_a_fresh_one() {
    let (cache, clock) = fixtures::timed(|builder| builder.capacity(2).policy(Policy::Lru));
    cache.insert(1, 10);
    cache.insert_with(2, 20, EntryOptions::new().time_to_live(fixtures::secs(5)));
    clock.advance(fixtures::secs(5));
    cache.insert(3, 30);
    assert_eq!((cache.get(&1), cache.get(&3)), (Some(10), Some(30)));
}

#[test]
fn expired_entries_give_way_before_fresh_ones_when_the_capacity_is_lowered() {
    let (cache, clock) = fixtures::timed(|builder| builder.capacity(20));
    for key in 0..10 {
        cache.insert(key, key);
        let short = EntryOptions::new().time_to_live(fixtures::secs(5));
        cache.insert_with(100 + key, key, short);
    }
    clock.advance(fixtures::secs(5));
    cache.set_capacity(10);
    assert!((0..10).all(|key| cache.contains_key(&key)));
}

#[test]
fn a_cache_that_was_unbounded_knows_who_came_first_when_it_is_bounded() {
    let cache = cache(|builder| builder.policy(Policy::Fifo));
    for key in [1, 2, 3] {
        cache.insert(key, key);
    }
    cache.remove(&1);
    cache.insert(4, 4);
    cache.set_capacity(2);
    assert!(!cache.contains_key(&2) && cache.contains_key(&3) && cache.contains_key(&4));
}

#[test]
fn a_cache_that_was_unbounded_knows_who_was_used_last_when_it_is_bounded() {
    let cache = cache(|builder| builder.policy(Policy::Lru));
    for key in [1, 2, 3] {
        cache.insert(key, key);
    }
    cache.get(&1);
    cache.set_capacity(2);
    assert!(cache.contains_key(&1) && !cache.contains_key(&2) && cache.contains_key(&3));
}

#[test]
fn a_cache_that_is_unbounded_again_and_then_bounded_keeps_its_order() {
    for policy in [Policy::Lru, Policy::Fifo] {
        let cache: Cache<u32, u32> = cache(|builder| builder.policy(policy).capacity(3));
        for key in 0..4 {
            cache.insert(key, key);
        }
        cache.set_capacity(u64::MAX);
        for key in 4..10 {
            cache.insert(key, key);
        }
        assert_eq!(cache.len(), 9);
        cache.set_capacity(2);
        assert!(cache.contains_key(&8) && cache.contains_key(&9));
        cache.assert_consistent();
    }
}
