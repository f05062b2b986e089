//! Lookups: they answer what was stored for an equal key, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::path::{Path, PathBuf};

use equivalent::Equivalent;
use fixtures::{cache, secs, timed};
use scrubjay::{Cache, Policy};

#[test]
fn a_hit_returns_what_was_stored_for_an_equal_key() {
    let cache = Cache::new();
    for n in 0..1000u32 {
        cache.insert(n, n * 7);
    }
    assert!((0..1000).all(|n| cache.get(&n) == Some(n * 7)));
    assert_eq!(cache.get(&1000), None);
    cache.assert_consistent();
}

#[test]
fn keys_of_one_hash_are_told_apart() {
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Same(u32);
    impl std::hash::Hash for Same {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            0.hash(state);
        }
    }
    let cache = Cache::new();
    for n in 0..100 {
        cache.insert(Same(n), n);
    }
    cache.remove(&Same(50));
    assert!((0..100).all(|n| cache.get(&Same(n)) == (n != 50).then_some(n)));
    cache.assert_consistent();
}

#[test]
fn a_key_is_found_by_any_borrowed_form() {
    let strings: Cache<String, u32> = Cache::new();
    strings.insert("ann".to_owned(), 1);
    assert_eq!(strings.get("ann"), Some(1));
    assert_eq!(strings.get(&"ann".to_owned()), Some(1));
    let lists: Cache<Vec<u8>, u32> = Cache::new();
    assert_eq!(lists.get_or_insert_with([1, 2].as_slice(), || 2), 2);
    assert_eq!(lists.remove([1, 2].as_slice()), Some(2));
    let paths: Cache<PathBuf, u32> = Cache::new();
    paths.insert(PathBuf::from("/a/b"), 3);
    assert!(paths.contains_key(Path::new("/a/b")));
}

#[test]
fn a_key_is_found_by_an_equivalent_of_the_users_own() {
    #[derive(Hash)]
    struct Pair<'a>(&'a str, u32);
    impl Equivalent<(String, u32)> for Pair<'_> {
        fn equivalent(&self, key: &(String, u32)) -> bool {
            self.0 == key.0 && self.1 == key.1
        }
    }
    let cache: Cache<(String, u32), u32> = Cache::new();
    cache.insert(("page".to_owned(), 2), 5);
    assert_eq!(cache.get(&Pair("page", 2)), Some(5));
    assert_eq!(cache.peek(&Pair("page", 3)), None);
    assert!(cache.invalidate(&Pair("page", 2)));
}

#[test]
fn with_shows_the_value_without_cloning_it() {
    struct NotClone(u32);
    let cache: Cache<u32, NotClone> = Cache::new();
    cache.insert(1, NotClone(10));
    assert_eq!(cache.with(&1, |value| value.0), Some(10));
    assert_eq!(cache.with(&2, |value| value.0), None);
}

#[test]
fn a_value_that_is_being_looked_at_stays_although_it_is_removed() {
    let cache: Cache<u32, String> = Cache::new();
    cache.insert(1, "text".to_owned());
    let seen = cache.with(&1, |text| {
        cache.clear();
        for n in 0..100 {
            cache.insert(n, "other".to_owned());
        }
        text.clone()
    });
    assert_eq!(seen.as_deref(), Some("text"));
    cache.assert_consistent();
}

#[test]
fn a_panic_while_looking_at_a_value_leaves_the_cache_usable() {
    let cache: Cache<u32, u32> = Cache::new();
    cache.insert(1, 10);
    let message = fixtures::panic_of(|| cache.with(&1, |_| -> u32 { panic!("not this one") }));
    assert_eq!(message, "not this one");
    cache.insert(1, 11);
    assert_eq!(cache.get(&1), Some(11));
    cache.assert_consistent();
}

#[test]
fn peek_and_contains_key_neither_count_nor_prolong_nor_mark() {
    let (cache, clock) = timed(|builder| {
        builder
            .time_to_idle(secs(10))
            .capacity(2)
            .policy(Policy::Lru)
    });
    cache.insert(1, 10);
    cache.insert(2, 20);
    assert_eq!(cache.peek(&1), Some(10));
    assert!(cache.contains_key(&1));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (0, 0));
    cache.insert(3, 30);
    assert_eq!(cache.peek(&1), None, "1 is still the least recently used");
    clock.advance(secs(5));
    assert_eq!(cache.peek(&2), Some(20));
    clock.advance(secs(5));
    assert!(!cache.contains_key(&2), "2 was idle all the time");
}

#[test]
fn iteration_sees_every_fresh_entry_once() {
    let (cache, clock) = timed(|builder| builder.time_to_live(secs(10)));
    cache.insert(0, 0);
    clock.advance(secs(5));
    for n in 1..50u32 {
        cache.insert(n, n);
    }
    clock.advance(secs(5));
    let mut keys: Vec<u32> = cache.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..50).collect::<Vec<_>>());
    let mut visited = 0;
    cache.for_each(|key, value| visited += u32::from(key == value));
    assert_eq!(visited, 49);
}

#[test]
fn the_cache_may_be_changed_during_iteration() {
    let cache: Cache<u32, u32> = Cache::new();
    for n in 0..100 {
        cache.insert(n, n);
    }
    for (key, _) in cache.iter() {
        cache.remove(&key);
        cache.insert(key + 1000, key);
    }
    assert_eq!(cache.len(), 100);
    cache.for_each(|key, _| {
        cache.invalidate(key);
    });
    assert!(cache.is_empty());
    cache.assert_consistent();
}

#[test]
fn clones_of_a_cache_are_one_cache() {
    let cache: Cache<u32, u32> = cache(|builder| builder.capacity(2));
    let other = cache.clone();
    other.insert(1, 10);
    assert_eq!(cache.get(&1), Some(10));
    cache.set_capacity(5);
    assert_eq!(other.capacity(), 5);
}

#[test]
fn caches_share_nothing() {
    let (first, second) = (Cache::new(), Cache::new());
    first.insert(1, 10);
    second.insert(1, 20);
    first.clear();
    assert_eq!((first.get(&1), second.get(&1)), (None, Some(20)));
}
