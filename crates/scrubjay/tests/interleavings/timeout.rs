//! Time-outs: a waiter takes over from a slow leader, whose value is then not stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use scrubjay::{Cache, ManualClock};
use shuttle::thread;

use super::{CREWS, Key, Keyed, explore};

fn impatient() -> (Keyed, ManualClock) {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .load_timeout(Duration::from_secs(10))
        .clock(clock.clone())
        .build()
        .unwrap();
    (cache, clock)
}

#[test]
fn the_load_that_began_last_is_the_one_that_stays() {
    for [first, second] in CREWS {
        explore(move || {
            let (cache, clock) = impatient();
            let begun = Arc::new(AtomicU32::new(0));
            let threads = [first, second].map(|caller| {
                let (cache, begun) = (cache.clone(), begun.clone());
                thread::spawn(move || {
                    caller.get(&cache, &Key(1), || {
                        let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                        thread::yield_now();
                        number
                    })
                })
            });
            for _ in 0..3 {
                clock.advance(Duration::from_secs(5));
                thread::yield_now();
            }
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(cache.get(&Key(1)), Some(begun.load(Ordering::SeqCst)));
            cache.assert_consistent();
        });
    }
}

#[test]
fn a_leader_that_does_not_end_is_taken_over() {
    for [slow, patient] in CREWS {
        explore(move || {
            let (cache, clock) = impatient();
            let (loading, done) = (
                Arc::new(AtomicBool::new(false)),
                Arc::new(AtomicBool::new(false)),
            );
            let leader = {
                let (cache, loading, done) = (cache.clone(), loading.clone(), done.clone());
                thread::spawn(move || {
                    slow.get(&cache, &Key(1), || {
                        loading.store(true, Ordering::SeqCst);
                        spin_until(&done);
                        1
                    })
                })
            };
            spin_until(&loading);
            let waiters = [patient, patient].map(|caller| {
                let cache = cache.clone();
                thread::spawn(move || caller.get(&cache, &Key(1), || 2))
            });
            let ticking = Arc::new(AtomicBool::new(true));
            let ticker = {
                let ticking = ticking.clone();
                thread::spawn(move || {
                    while ticking.load(Ordering::SeqCst) {
                        clock.advance(Duration::from_secs(10));
                        thread::yield_now();
                    }
                })
            };
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), 2);
            }
            ticking.store(false, Ordering::SeqCst);
            ticker.join().unwrap();
            done.store(true, Ordering::SeqCst);
            assert_eq!(leader.join().unwrap(), 1);
            assert_eq!(cache.get(&Key(1)), Some(2));
            cache.assert_consistent();
        });
    }
}

/// The clock moves once, so a waiter of the load that took over has no reason to take over from it.
#[test]
fn callers_who_lose_patience_together_share_one_new_load() {
    for [first, second] in CREWS {
        explore(move || {
            let (cache, clock) = impatient();
            let begun = Arc::new(AtomicU32::new(0));
            let threads = [first, second, second].map(|caller| {
                let (cache, begun) = (cache.clone(), begun.clone());
                thread::spawn(move || {
                    caller.get(&cache, &Key(1), || {
                        let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                        for _ in 0..10 {
                            thread::yield_now();
                        }
                        number
                    })
                })
            });
            clock.advance(Duration::from_secs(10));
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(begun.load(Ordering::SeqCst) <= 2);
            cache.assert_consistent();
        });
    }
}

fn spin_until(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        thread::yield_now();
    }
}
