//! Handing over: a leader that fails wakes its waiters, and exactly one of them leads next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use scrubjay::Cache;
use shuttle::thread;

use super::{CREWS, Caller, Key, Keyed, explore, fail, survives};

/// A loader that fails so many times and then brings 7; never runs twice at once.
#[derive(Default)]
struct Loader {
    running: AtomicUsize,
    runs: AtomicUsize,
}

impl Loader {
    fn load(&self, failures: usize) -> u32 {
        assert_eq!(
            self.running.fetch_add(1, Ordering::SeqCst),
            0,
            "one at a time"
        );
        thread::yield_now();
        self.running.fetch_sub(1, Ordering::SeqCst);
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        if run < failures { fail() } else { 7 }
    }
}

fn assert_handed_over(callers: [Caller; 3], failures: usize) {
    let cache: Keyed = Cache::new();
    let loader = Arc::new(Loader::default());
    let threads = callers.map(|caller| {
        let (cache, loader) = (cache.clone(), loader.clone());
        thread::spawn(move || survives(|| caller.get(&cache, &Key(1), || loader.load(failures))))
    });
    let ends = threads.map(|thread| thread.join().unwrap());
    let survivors: Vec<u32> = ends.into_iter().flatten().collect();
    assert_eq!(survivors, vec![7; 3 - failures]);
    let runs = loader.runs.load(Ordering::SeqCst);
    assert_eq!(runs, if failures == 3 { 3 } else { failures + 1 });
    assert_eq!(Caller::Blocking.get(&cache, &Key(1), || 7), 7);
    cache.assert_consistent();
}

#[test]
fn a_waiter_takes_over_from_a_leader_that_panics() {
    for [first, second] in CREWS {
        explore(move || assert_handed_over([first, second, first], 1));
    }
}

#[test]
fn leaders_fail_one_after_the_other() {
    for [first, second] in CREWS {
        explore(move || assert_handed_over([first, second, second], 2));
        explore(move || assert_handed_over([second, first, second], 3));
    }
}

#[test]
fn a_waiter_takes_over_from_a_future_that_is_dropped() {
    for [first, second] in CREWS {
        explore(move || {
            let cache: Keyed = Cache::new();
            let dropped = cache.clone();
            let dropped = thread::spawn(move || {
                let key = Key(1);
                let mut future = Box::pin(dropped.get_or_insert_async(&key, std::future::pending));
                // It leads, waits, or finds what the others loaded.
                let _ = future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()));
                thread::yield_now();
            });
            let threads = [first, second].map(|caller| {
                let cache = cache.clone();
                thread::spawn(move || caller.get(&cache, &Key(1), || 7))
            });
            for thread in threads {
                assert_eq!(thread.join().unwrap(), 7);
            }
            dropped.join().unwrap();
            cache.assert_consistent();
        });
    }
}

#[test]
fn an_error_is_shared_or_tried_in_turn() {
    explore(|| {
        let cache: Keyed = Cache::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1, 2].map(|number| {
            let (cache, runs) = (cache.clone(), runs.clone());
            thread::spawn(move || {
                let load = || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    Err::<u32, u32>(number)
                };
                match number {
                    0 | 1 => cache.try_get_or_insert_with(&Key(1), load),
                    _ => cache.try_get_or_insert_in_turn(&Key(1), load),
                }
            })
        });
        let ends = threads.map(|thread| thread.join().unwrap());
        assert!(ends[..2].iter().all(|end| matches!(end, Err(0 | 1))));
        assert_eq!(ends[2], Err(2), "nobody else's error");
        assert!(runs.load(Ordering::SeqCst) >= 2);
        cache.assert_consistent();
    });
}
