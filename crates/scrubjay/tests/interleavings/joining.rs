//! Joining a flight: one load, whose value everyone gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use scrubjay::{Action, Cache};
use shuttle::thread;

use super::{CREWS, Caller, Key, Keyed, explore};

fn assert_loaded_once(cache: &Keyed, callers: [Caller; 3]) {
    let loads = Arc::new(AtomicUsize::new(0));
    let threads = callers.map(|caller| {
        let (cache, loads) = (cache.clone(), loads.clone());
        thread::spawn(move || {
            let value = caller.get(&cache, &Key(1), || {
                thread::yield_now();
                loads.fetch_add(1, Ordering::SeqCst);
                7
            });
            assert_eq!(
                cache.get(&Key(1)),
                Some(value),
                "stored before anybody was woken"
            );
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    cache.assert_consistent();
}

#[test]
fn callers_share_one_load() {
    for [first, second] in CREWS {
        explore(move || assert_loaded_once(&Cache::new(), [first, second, first]));
    }
}

#[test]
fn a_cache_of_no_capacity_never_loads_twice_at_once() {
    explore(|| {
        let cache: Keyed = Cache::builder().capacity(0).build().unwrap();
        let loading = Arc::new(AtomicUsize::new(0));
        let threads = [Caller::Blocking, Caller::Future, Caller::Blocking].map(|caller| {
            let (cache, loading) = (cache.clone(), loading.clone());
            thread::spawn(move || {
                caller.get(&cache, &Key(1), || {
                    assert_eq!(loading.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    loading.fetch_sub(1, Ordering::SeqCst);
                    7
                })
            })
        });
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 7);
        }
        cache.assert_consistent();
    });
}

#[test]
fn a_waiter_that_gives_up_takes_nothing_from_the_others() {
    explore(|| {
        let cache: Keyed = Cache::new();
        let leader = cache.clone();
        let leader = thread::spawn(move || {
            Caller::Blocking.get(&leader, &Key(1), || {
                thread::yield_now();
                7
            })
        });
        let fickle = cache.clone();
        let fickle = thread::spawn(move || {
            let key = Key(1);
            let mut future = Box::pin(fickle.get_or_insert_async(&key, || async { 7 }));
            let _ = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            thread::yield_now();
        });
        assert_eq!(Caller::Future.get(&cache, &Key(1), || 7), 7);
        leader.join().unwrap();
        fickle.join().unwrap();
        assert_eq!(cache.get(&Key(1)), Some(7));
    });
}

#[test]
fn entry_calls_of_one_key_come_one_after_the_other() {
    explore(|| {
        let cache: Keyed = Cache::new();
        let threads = [1, 2, 3].map(|_| {
            let cache = cache.clone();
            thread::spawn(move || {
                cache.entry(&Key(1), |count| {
                    let count = count.copied().unwrap_or(0);
                    thread::yield_now();
                    Action::Replace(count + 1)
                })
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(cache.get(&Key(1)), Some(3));
    });
}
