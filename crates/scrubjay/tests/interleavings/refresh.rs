//! Refreshes in the background: one at a time per key, overtaken like any load, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use scrubjay::{Cache, ManualClock};
use shuttle::thread;

use super::{Key, Keyed, explore, fail};

struct Refreshed {
    cache: Keyed,
    refreshes: Arc<AtomicU32>,
}

/// Keys 1 and 2 hold their number and are due. Refresh number n brings 10 + n, or a panic if it is one of the
/// `failures`.
fn due(failures: u32) -> Refreshed {
    let clock = ManualClock::new();
    let refreshes = Arc::new(AtomicU32::new(0));
    let count = refreshes.clone();
    let cache: Keyed = Cache::builder()
        .refresh_after(Duration::from_secs(10))
        .refresh_with(move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            thread::yield_now();
            if number <= failures {
                fail()
            } else {
                10 + number
            }
        })
        .clock(clock.clone())
        .build()
        .unwrap();
    cache.insert(Key(1), 1);
    cache.insert(Key(2), 2);
    clock.advance(Duration::from_secs(10));
    Refreshed { cache, refreshes }
}

fn until_loads(cache: &Keyed, loads: u64) {
    while cache.stats().loads < loads {
        thread::yield_now();
    }
}

#[test]
fn callers_share_one_refresh_and_do_not_wait() {
    explore(|| {
        let Refreshed { cache, refreshes } = due(0);
        let threads = [1, 2].map(|_| {
            let cache = cache.clone();
            thread::spawn(move || cache.get_or_insert_with(&Key(1), || unreachable!()))
        });
        for thread in threads {
            assert!(matches!(thread.join().unwrap(), 1 | 11));
        }
        until_loads(&cache, 1);
        assert_eq!(refreshes.load(Ordering::SeqCst), 1);
        assert_eq!(cache.stats().waits, 0);
    });
}

#[test]
fn an_overtaken_refresh_is_not_stored() {
    explore(|| {
        let Refreshed { cache, .. } = due(0);
        let caller = cache.clone();
        let caller = thread::spawn(move || caller.get_or_insert_with(&Key(1), || 3));
        cache.insert(Key(1), 2);
        assert_eq!(cache.get(&Key(1)), Some(2));
        caller.join().unwrap();
        // The entry that was just inserted is not due, so only the first one's refresh can be in progress.
        for _ in 0..20 {
            assert_eq!(cache.get(&Key(1)), Some(2));
            thread::yield_now();
        }
    });
}

#[test]
fn a_refresh_that_panics_is_tried_again() {
    explore(|| {
        let Refreshed { cache, refreshes } = due(1);
        while cache.get_or_insert_with(&Key(1), || unreachable!()) == 1 {
            thread::yield_now();
        }
        assert_eq!(
            (cache.get(&Key(1)), refreshes.load(Ordering::SeqCst)),
            (Some(12), 2)
        );
        assert_eq!(cache.stats().load_failures, 1);
    });
}

#[test]
fn refreshes_of_several_keys_share_a_thread_that_ends_and_starts_again() {
    explore(|| {
        let Refreshed { cache, .. } = due(0);
        let threads = [1, 2].map(|key| {
            let cache = cache.clone();
            thread::spawn(move || {
                while cache.get_or_insert_with(&Key(key), || unreachable!()) < 10 {
                    thread::yield_now();
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        until_loads(&cache, 2);
        assert_eq!(cache.stats().loads, 2);
    });
}
