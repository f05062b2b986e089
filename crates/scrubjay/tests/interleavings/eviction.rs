//! Evictions: the bound holds after every call, what left is not seen again, and the accounts agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scrubjay::{Cache, EntryOptions, Policy, RemovalCause};
use shuttle::thread;

use super::{Key, Keyed, explore};

const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Lru, Policy::Fifo];

#[test]
fn concurrent_insertions_keep_the_bound() {
    for policy in POLICIES {
        explore(move || {
            let cache: Cache<u32, u32> =
                Cache::builder().capacity(2).policy(policy).build().unwrap();
            let threads = [0, 10, 20].map(|base| {
                let cache = cache.clone();
                thread::spawn(move || {
                    for key in [base, base + 1, 99] {
                        cache.insert(key, key);
                        assert!(cache.weight() <= 2);
                        cache.get(&99);
                    }
                })
            });
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(cache.len(), 2);
            cache.assert_consistent();
        });
    }
}

#[test]
fn every_entry_leaves_once() {
    explore(|| {
        let removed = Arc::new(AtomicUsize::new(0));
        let count = removed.clone();
        let cache: Keyed = Cache::builder()
            .capacity(3)
            .weigher(|_, weight| u64::from(*weight))
            .on_removal(move |_, _, cause| {
                assert_ne!(cause, RemovalCause::Expired);
                count.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        let writer = cache.clone();
        let writer = thread::spawn(move || {
            for (key, weight) in [(1, 1), (2, 2), (1, 3), (3, 1)] {
                writer.insert(Key(key), weight);
            }
        });
        let loader = cache.clone();
        let loader = thread::spawn(move || loader.get_or_insert_with(&Key(4), || 2));
        for key in [1, 2, 3] {
            cache.invalidate(&Key(key));
        }
        writer.join().unwrap();
        loader.join().unwrap();
        cache.clear();
        assert_eq!(removed.load(Ordering::SeqCst), 5);
        assert_eq!((cache.len(), cache.weight()), (0, 0));
        cache.assert_consistent();
    });
}

#[test]
fn a_smaller_capacity_holds_at_once() {
    explore(|| {
        let cache: Cache<u32, u32> = Cache::builder().capacity(4).build().unwrap();
        let writer = cache.clone();
        let writer = thread::spawn(move || {
            for key in 0..4 {
                writer.insert(key, key);
            }
        });
        cache.set_capacity(1);
        assert!(cache.weight() <= 1);
        writer.join().unwrap();
        assert_eq!(cache.len(), 1);
        cache.assert_consistent();
    });
}

/// An entry on its way out has left the accounts, where tags are looked up, but not yet its table.
#[test]
fn an_entry_that_is_being_evicted_does_not_outlive_its_tag() {
    explore(|| {
        let cache: Cache<u32, u32> = Cache::builder().capacity(1).build().unwrap();
        cache.insert_with(1, 1, EntryOptions::new().tag("tag"));
        let writer = cache.clone();
        let writer = thread::spawn(move || writer.insert(2, 2));
        cache.invalidate_tag("tag");
        assert_eq!(cache.get(&1), None);
        writer.join().unwrap();
        cache.assert_consistent();
    });
}

#[test]
fn a_replaced_entry_is_evicted_by_nobody() {
    explore(|| {
        let cache: Keyed = Cache::builder().capacity(2).build().unwrap();
        let threads = [1, 2].map(|value| {
            let cache = cache.clone();
            thread::spawn(move || {
                cache.insert(Key(1), value);
                cache.insert(Key(value + 1), value);
                cache.remove(&Key(value + 1))
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(cache.len() <= 2);
        cache.assert_consistent();
    });
}
