//! Fences: a value whose load began before an invalidation or an insertion of its key outlives neither.
//!
//! Every loader reads a source. The source changes before the cache is told, so whoever asks after the cache was
//! told must get what the source is now, and nothing else may stay in the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use scrubjay::Cache;
use shuttle::thread;

use super::{CREWS, Caller, Key, Keyed, explore};

type Say = fn(&Keyed);

fn read(source: &AtomicU32) -> u32 {
    let value = source.load(Ordering::SeqCst);
    thread::yield_now();
    value
}

/// `before` may load at any time; `after` asks when the cache was told. Both loads read the source.
fn assert_fenced(before: Caller, after: Caller, say: Say) {
    let cache: Keyed = Cache::builder().tag_with(|_, _| ["tag"]).build().unwrap();
    let source = Arc::new(AtomicU32::new(1));
    let threads = [before, after].map(|caller| {
        let (cache, source) = (cache.clone(), source.clone());
        thread::spawn(move || caller.get(&cache, &Key(1), || read(&source)))
    });
    source.store(2, Ordering::SeqCst);
    say(&cache);
    assert_ne!(cache.get(&Key(1)), Some(1));
    assert_eq!(after.get(&cache, &Key(1), || read(&source)), 2);
    assert_eq!(cache.get(&Key(1)), Some(2));
    for thread in threads {
        assert!(matches!(thread.join().unwrap(), 1 | 2));
    }
    assert_eq!(cache.get(&Key(1)), Some(2));
    cache.assert_consistent();
}

fn explore_fence(say: Say) {
    for [before, after] in CREWS {
        explore(move || assert_fenced(before, after, say));
    }
}

#[test]
fn invalidating_a_key_fences_its_load() {
    explore_fence(|cache| {
        cache.invalidate(&Key(1));
    });
}

#[test]
fn removing_a_key_fences_its_load() {
    explore_fence(|cache| {
        cache.remove(&Key(1));
    });
}

#[test]
fn invalidating_by_predicate_fences_all_loads() {
    explore_fence(|cache| {
        cache.invalidate_if(|_, value| *value == 1);
    });
}

#[test]
fn invalidating_a_tag_fences_the_loads_that_bring_it() {
    explore_fence(|cache| {
        cache.invalidate_tag("tag");
    });
}

#[test]
fn clearing_fences_all_loads() {
    explore_fence(Cache::clear);
}

#[test]
fn an_insertion_fences_the_load_of_its_key() {
    for [before, _] in CREWS {
        explore(move || {
            let cache: Keyed = Cache::new();
            let threads = [before, before].map(|caller| {
                let cache = cache.clone();
                thread::spawn(move || {
                    caller.get(&cache, &Key(1), || {
                        thread::yield_now();
                        1
                    })
                })
            });
            cache.insert(Key(1), 2);
            assert_eq!(cache.get(&Key(1)), Some(2));
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(cache.get(&Key(1)), Some(2));
            cache.assert_consistent();
        });
    }
}

#[test]
fn the_last_of_two_invalidations_counts() {
    explore(|| {
        let cache: Keyed = Cache::builder().tag_with(|_, _| ["tag"]).build().unwrap();
        let source = Arc::new(AtomicU32::new(1));
        let tellers = [2, 3].map(|now| {
            let (cache, source) = (cache.clone(), source.clone());
            thread::spawn(move || {
                source.fetch_max(now, Ordering::SeqCst);
                cache.invalidate_tag("tag");
                assert!(Caller::Future.get(&cache, &Key(1), || read(&source)) >= now);
            })
        });
        Caller::Blocking.get(&cache, &Key(1), || read(&source));
        for teller in tellers {
            teller.join().unwrap();
        }
        assert_eq!(cache.get(&Key(1)), Some(3));
    });
}
