//! Single-flight as callers see it: one load per key, whatever the loads do and whoever asks.
//!
//! Every protocol is run by crews of blocking callers, of callers that block on futures, and of both. Nothing
//! sleeps: threads are lined up by channels, barriers, the counters of the cache and a clock that is set.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

#[path = "fixtures/executor.rs"]
#[allow(dead_code, reason = "only its `block_on` is needed here")]
mod executor;
#[path = "fixtures/watchdog.rs"]
mod watchdog;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use scrubjay::{Action, Cache, ManualClock};
use watchdog::{until, watched};

/// How a caller waits.
#[derive(Clone, Copy)]
enum Caller {
    Blocking,
    Future,
}

use Caller::{Blocking, Future};

const CREWS: [[Caller; 2]; 4] = [
    [Blocking, Blocking],
    [Future, Future],
    [Blocking, Future],
    [Future, Blocking],
];

impl Caller {
    fn get(self, cache: &Cache<u32, u32>, key: u32, load: impl FnOnce() -> u32) -> u32 {
        match self {
            Blocking => cache.get_or_insert_with(&key, load),
            Future => executor::block_on(cache.get_or_insert_async(&key, || async { load() })),
        }
    }

    fn try_get<E: Clone + Send + Sync + 'static>(
        self,
        cache: &Cache<u32, u32>,
        key: u32,
        load: impl FnOnce() -> Result<u32, E>,
    ) -> Result<u32, E> {
        match self {
            Blocking => cache.try_get_or_insert_with(&key, load),
            Future => executor::block_on(cache.try_get_or_insert_async(&key, || async { load() })),
        }
    }

    fn try_in_turn<E>(
        self,
        cache: &Cache<u32, u32>,
        key: u32,
        load: impl FnOnce() -> Result<u32, E>,
    ) -> Result<u32, E> {
        match self {
            Blocking => cache.try_get_or_insert_in_turn(&key, load),
            Future => {
                executor::block_on(cache.try_get_or_insert_async_in_turn(&key, || async { load() }))
            }
        }
    }
}

/// Runs a protocol once for each crew: the leader's kind and the waiters'.
fn for_each_crew(protocol: impl Fn(Caller, Caller) + Send + 'static) {
    watched(move || {
        for [leader, waiter] in CREWS {
            protocol(leader, waiter);
        }
    });
}

/// Holds a load up until the test lets it go.
struct Gate {
    begun: Receiver<()>,
    go: Sender<()>,
}

/// The side of the gate that a loader passes.
struct Passage {
    begun: Sender<()>,
    go: Receiver<()>,
}

fn gate() -> (Gate, Passage) {
    let (to_test, begun) = mpsc::channel();
    let (go, from_test) = mpsc::channel();
    let passage = Passage {
        begun: to_test,
        go: from_test,
    };
    (Gate { begun, go }, passage)
}

impl Passage {
    fn pass<T>(self, value: T) -> T {
        self.begun.send(()).unwrap();
        self.go.recv().unwrap();
        value
    }
}

impl Gate {
    fn wait_for_load(&self) {
        self.begun.recv().unwrap();
    }

    fn open(&self) {
        self.go.send(()).unwrap();
    }
}

fn until_waiting(cache: &Cache<u32, u32>, callers: u64) {
    until(|| cache.stats().waits >= callers);
}

fn named(name: &str) -> Cache<u32, u32> {
    Cache::builder()
        .name(name)
        .describe_keys(|key: &u32| key.to_string())
        .build()
        .unwrap()
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    match panic.downcast_ref::<String>() {
        Some(message) => message.clone(),
        None => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
    }
}

/// The message of the panic that `work` must end in.
fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else {
        panic!("expected a panic");
    };
    message_of(&*panic)
}

fn nobody_loads() -> u32 {
    panic!("this loader must not run")
}

// One load.

#[test]
fn callers_of_one_key_share_one_load() {
    for_each_crew(|first, second| {
        let cache: Cache<u32, u32> = Cache::new();
        let loads = AtomicUsize::new(0);
        let together = Barrier::new(16);
        thread::scope(|scope| {
            for number in 0..16 {
                let (cache, loads, together) = (&cache, &loads, &together);
                let caller = if number % 2 == 0 { first } else { second };
                scope.spawn(move || {
                    together.wait();
                    let value = caller.get(cache, 1, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        // All others wait for this load, unless they come when it is over.
                        until(|| cache.stats().waits > 0);
                        7
                    });
                    assert_eq!(value, 7);
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert_eq!((cache.stats().loads, cache.get(&1)), (1, Some(7)));
        cache.assert_consistent();
    });
}

#[test]
fn every_waiter_gets_the_leaders_value() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(leader.get(&cache, 1, || passage.pass(7)), 7));
            gate.wait_for_load();
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 7));
            }
            until_waiting(&cache, 8);
            gate.open();
        });
        assert_eq!((cache.stats().loads, cache.stats().waits), (1, 8));
    });
}

#[test]
fn different_keys_load_at_the_same_time() {
    for_each_crew(|first, second| {
        let cache: Cache<u32, u32> = Cache::new();
        let both_load = Barrier::new(2);
        thread::scope(|scope| {
            for (key, caller) in [(1, first), (2, second)] {
                let (cache, both_load) = (&cache, &both_load);
                scope.spawn(move || {
                    caller.get(cache, key, || {
                        both_load.wait();
                        key
                    })
                });
            }
        });
        assert_eq!(cache.len(), 2);
    });
}

#[test]
fn a_cache_of_no_capacity_still_shares_loads() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder().capacity(0).build().unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(7)));
            gate.wait_for_load();
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 7));
            }
            until_waiting(&cache, 4);
            gate.open();
        });
        assert_eq!((cache.stats().loads, cache.len()), (1, 0));
        assert_eq!(leader.get(&cache, 1, || 8), 8);
        cache.assert_consistent();
    });
}

#[test]
fn a_load_outlives_all_other_handles_of_its_cache() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let (for_leader, for_waiter) = (cache.clone(), cache.clone());
        let leading = thread::spawn(move || leader.get(&for_leader, 1, || passage.pass(7)));
        gate.wait_for_load();
        let waiting = thread::spawn(move || waiter.get(&for_waiter, 1, nobody_loads));
        until_waiting(&cache, 1);
        drop(cache);
        gate.open();
        assert_eq!((leading.join().unwrap(), waiting.join().unwrap()), (7, 7));
    });
}

#[test]
fn a_loader_may_use_the_cache_for_other_keys() {
    for_each_crew(|outer, inner| {
        let cache: Cache<u32, u32> = Cache::new();
        let sum = outer.get(&cache, 1, || {
            cache.insert(5, 50);
            cache.invalidate(&6);
            let got = inner.get(&cache, 2, || inner.get(&cache, 3, || 3) + 2);
            got + cache.get(&5).unwrap()
        });
        assert_eq!((sum, cache.len()), (55, 4));
        cache.assert_consistent();
    });
}

#[test]
fn an_entry_call_is_waited_for_like_a_load() {
    for_each_crew(|_, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let passage = Mutex::new(Some(passage));
        thread::scope(|scope| {
            scope.spawn(|| {
                cache.entry(&1, |_| match passage.lock().unwrap().take() {
                    Some(passage) => Action::Replace(passage.pass(7)),
                    None => unreachable!("nothing comes between"),
                })
            });
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 7));
            until_waiting(&cache, 1);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(7));
    });
}

// Leaders that fail.

#[test]
fn a_waiter_takes_over_from_a_leader_that_panics() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        let loads = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let message = panic_of(|| {
                    leader.get(&cache, 1, || {
                        passage.pass(());
                        panic!("the loader's own")
                    })
                });
                assert_eq!(message, "the loader's own");
            });
            gate.wait_for_load();
            for _ in 0..4 {
                scope.spawn(|| {
                    let value = waiter.get(&cache, 1, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        7
                    });
                    assert_eq!(value, 7);
                });
            }
            until_waiting(&cache, 4);
            gate.open();
        });
        let stats = cache.stats();
        assert_eq!((stats.loads, stats.load_failures), (2, 1));
    });
}

#[test]
fn three_hundred_leaders_fail_one_after_the_other() {
    for_each_crew(|first, second| {
        let cache: Cache<u32, u32> = Cache::new();
        let (loading, attempts) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let together = Barrier::new(301);
        thread::scope(|scope| {
            for number in 0..301 {
                let (cache, loading, attempts) = (&cache, &loading, &attempts);
                let together = &together;
                let caller = if number % 2 == 0 { first } else { second };
                scope.spawn(move || {
                    together.wait();
                    let load = || {
                        assert_eq!(loading.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
                        loading.fetch_sub(1, Ordering::SeqCst);
                        std::panic::resume_unwind(Box::new(attempt))
                    };
                    // `resume_unwind`, because 1204 backtraces tell nobody anything.
                    let failed = catch_unwind(AssertUnwindSafe(|| caller.get(cache, 1, load)));
                    assert!(failed.is_err(), "each caller runs its own loader");
                });
            }
        });
        assert_eq!(attempts.load(Ordering::SeqCst), 301);
        assert_eq!(cache.stats().load_failures, 301);
        assert_eq!(first.get(&cache, 1, || 7), 7);
        cache.assert_consistent();
    });
}

#[test]
fn waiters_share_the_leaders_error() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| {
                let failed = leader.try_get(&cache, 1, || passage.pass(Err("down")));
                assert_eq!(failed, Err("down"));
            });
            gate.wait_for_load();
            for _ in 0..4 {
                scope.spawn(|| {
                    let failed = waiter.try_get(&cache, 1, || -> Result<u32, &str> {
                        panic!("the error is shared")
                    });
                    assert_eq!(failed, Err("down"));
                });
            }
            until_waiting(&cache, 4);
            gate.open();
        });
        assert_eq!(cache.stats().load_failures, 1);
        assert_eq!(leader.try_get(&cache, 1, || Ok::<_, &str>(7)), Ok(7));
    });
}

/// A leader fails while four waiters wait with loaders of their own; returns how many loads failed.
fn failures_in_turn(
    cache: &Cache<u32, u32>,
    lead: impl FnOnce(&dyn Fn()) + Send,
    wait: impl Fn() + Sync,
) -> u64 {
    let (gate, passage) = gate();
    thread::scope(|scope| {
        scope.spawn(|| {
            let passage = Mutex::new(Some(passage));
            lead(&|| passage.lock().unwrap().take().unwrap().pass(()));
        });
        gate.wait_for_load();
        for _ in 0..4 {
            scope.spawn(&wait);
        }
        until_waiting(cache, 4);
        gate.open();
    });
    cache.stats().load_failures
}

#[test]
fn without_shared_errors_each_caller_tries_in_turn() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder().share_errors(false).build().unwrap();
        let count = AtomicUsize::new(1);
        let failures = failures_in_turn(
            &cache,
            |pass| {
                let failed = leader.try_get(&cache, 1, || {
                    pass();
                    Err(0)
                });
                assert_eq!(failed, Err(0));
            },
            || {
                let mut own = None;
                let failed = waiter.try_get(&cache, 1, || {
                    own = Some(count.fetch_add(1, Ordering::SeqCst));
                    Err(own.unwrap())
                });
                assert_eq!(
                    failed,
                    Err(own.unwrap()),
                    "everyone gets the error of the own load"
                );
            },
        );
        assert_eq!(failures, 5);
    });
}

#[test]
fn callers_in_turn_never_see_the_error_of_another() {
    for_each_crew(|leader, waiter| {
        /// Neither `Clone` nor `Send` nor `Sync`.
        struct Local(#[allow(dead_code, reason = "only its type matters")] *const u8);
        let cache: Cache<u32, u32> = Cache::new();
        let failures = failures_in_turn(
            &cache,
            |pass| {
                let failed = leader.try_in_turn(&cache, 1, || {
                    pass();
                    Err(Local(std::ptr::null()))
                });
                assert!(failed.is_err());
            },
            || {
                let own = waiter.try_in_turn(&cache, 1, || Err(Local(std::ptr::null())));
                assert!(own.is_err());
            },
        );
        assert_eq!(failures, 5);
    });
}

#[test]
fn a_waiter_in_turn_does_not_share_an_error_that_others_share() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let failures = failures_in_turn(
            &cache,
            |pass| {
                let failed = leader.try_get(&cache, 1, || {
                    pass();
                    Err("down")
                });
                assert_eq!(failed, Err("down"));
            },
            || assert_eq!(waiter.try_in_turn(&cache, 1, || Err("own")), Err("own")),
        );
        assert_eq!(failures, 5);
    });
}

#[test]
fn a_waiter_with_another_error_type_tries_itself() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| {
                let failed = leader.try_get(&cache, 1, || passage.pass(Err("text")));
                assert_eq!(failed, Err("text"));
            });
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.try_get(&cache, 1, || Err(404)), Err(404)));
            scope.spawn(|| {
                let shared = waiter.try_get(&cache, 1, || Err("own"));
                assert!(matches!(shared, Err("text" | "own")));
            });
            until_waiting(&cache, 2);
            gate.open();
        });
        // A caller that cannot fail at all shares values with those that can.
        assert_eq!(waiter.get(&cache, 1, || 7), 7);
        assert_eq!(leader.try_get(&cache, 1, || Err("down")), Ok(7));
    });
}

#[test]
fn a_caller_that_cannot_fail_takes_over_from_one_that_did() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.try_get(&cache, 1, || passage.pass(Err("down"))));
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, || 7), 7));
            until_waiting(&cache, 1);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(7));
    });
}

// Leaders that are slow.

fn impatient(clock: &ManualClock) -> Cache<u32, u32> {
    Cache::builder()
        .load_timeout(Duration::from_secs(10))
        .clock(clock.clone())
        .build()
        .unwrap()
}

#[test]
fn a_waiter_takes_over_when_its_time_is_over() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        thread::scope(|scope| {
            let slow = scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, || 2));
            until_waiting(&cache, 1);
            until(|| {
                clock.advance(Duration::from_secs(10));
                waiting.is_finished()
            });
            assert_eq!((waiting.join().unwrap(), cache.get(&1)), (2, Some(2)));
            gate.open();
            assert_eq!(slow.join().unwrap(), 1);
        });
        assert_eq!(cache.get(&1), Some(2), "the slow load is not stored");
        cache.assert_consistent();
    });
}

#[test]
fn waiters_whose_time_is_over_together_share_one_new_load() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        let loads = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        waiter.get(&cache, 1, || {
                            loads.fetch_add(1, Ordering::SeqCst);
                            2
                        })
                    })
                })
                .collect();
            until_waiting(&cache, 8);
            until(|| {
                clock.advance(Duration::from_secs(10));
                waiting.iter().all(thread::ScopedJoinHandle::is_finished)
            });
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), 2);
            }
            gate.open();
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_load_within_its_time_is_not_taken_over() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache = impatient(&clock);
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 1));
            until_waiting(&cache, 1);
            clock.advance(Duration::from_nanos(9_999_999_999));
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(1));
    });
}

#[test]
fn the_systems_clock_ends_a_wait_too() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder()
            .load_timeout(Duration::from_millis(1))
            .build()
            .unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            assert_eq!(waiter.get(&cache, 1, || 2), 2);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(2));
    });
}

/// A clock that wakes sleepers long before their time, as its contract allows.
#[derive(Debug)]
struct Hasty(ManualClock);

impl scrubjay::Clock for Hasty {
    fn now(&self) -> scrubjay::Timestamp {
        self.0.now()
    }

    fn wake_at(&self, deadline: scrubjay::Timestamp, waker: std::task::Waker) {
        let half = deadline.saturating_since(self.now()) / 2;
        self.0.wake_at(self.now().saturating_add(half), waker);
    }
}

#[test]
fn a_waiter_that_is_woken_early_waits_on() {
    for_each_crew(|leader, waiter| {
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .load_timeout(Duration::from_secs(1 << 20))
            .clock(Hasty(clock.clone()))
            .build()
            .unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, || 2));
            until_waiting(&cache, 1);
            until(|| {
                clock.advance(Duration::from_secs(1 << 10));
                waiting.is_finished()
            });
            assert_eq!(waiting.join().unwrap(), 2);
            gate.open();
        });
    });
}

// Cycles.

#[test]
fn a_load_that_asks_for_its_own_key_is_refused() {
    for_each_crew(|outer, inner| {
        let cache = named("own");
        let message = panic_of(|| outer.get(&cache, 1, || inner.get(&cache, 1, nobody_loads)));
        assert!(message.contains("own(1) → own(1)"), "{message}");
        assert_eq!(outer.get(&cache, 1, || 7), 7);
        cache.assert_consistent();
    });
}

#[test]
fn a_detour_to_the_own_key_is_refused() {
    for_each_crew(|outer, inner| {
        let cache = named("f");
        let message = panic_of(|| {
            outer.get(&cache, 1, || {
                inner.get(&cache, 2, || {
                    outer.get(&cache, 3, || inner.get(&cache, 1, nobody_loads))
                })
            })
        });
        assert!(message.contains("f(1) → f(2) → f(3) → f(1)"), "{message}");
        assert_eq!((cache.len(), outer.get(&cache, 1, || 7)), (0, 7));
    });
}

#[test]
fn an_entry_call_that_asks_for_its_own_key_is_refused() {
    watched(|| {
        let cache = named("e");
        let message = panic_of(|| {
            cache.entry(&1, |_| {
                Action::Replace(cache.get_or_insert_with(&1, nobody_loads))
            })
        });
        assert!(message.contains("e(1) → e(1)"), "{message}");
        let message = panic_of(|| {
            cache.entry(&1, |_| {
                cache
                    .entry(&1, |_| Action::Keep)
                    .map_or(Action::Keep, Action::Replace)
            })
        });
        assert!(message.contains("e(1) → e(1)"), "{message}");
    });
}

/// Each of the callers leads its own key and then asks for the next one's. Returns what became of them.
fn ring(members: &[(&Cache<u32, u32>, u32, Caller)]) -> Vec<Result<u32, String>> {
    let all_lead = Barrier::new(members.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..members.len())
            .map(|number| {
                let (cache, key, caller) = members[number];
                let (next_cache, next_key, next_caller) = members[(number + 1) % members.len()];
                let all_lead = &all_lead;
                scope.spawn(move || {
                    caller.get(cache, key, || {
                        all_lead.wait();
                        next_caller.get(next_cache, next_key, || 100)
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|panic| message_of(&*panic)))
            .collect()
    })
}

fn assert_ring_was_broken(ended: &[Result<u32, String>], names: &[&str]) {
    let errors: Vec<&String> = ended.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(!errors.is_empty(), "somebody is told");
    for error in errors {
        assert!(error.contains("wait for itself for ever"), "{error}");
        for name in names {
            assert!(error.contains(name), "{name} is named: {error}");
        }
    }
}

#[test]
fn two_threads_that_need_each_other_are_told() {
    for_each_crew(|first, second| {
        for _ in 0..50 {
            let cache = named("f");
            let ended = ring(&[(&cache, 1, first), (&cache, 2, second)]);
            assert_ring_was_broken(&ended, &["f(1)", "f(2)"]);
            assert_eq!(first.get(&cache, 3, || 3), 3);
            cache.clear();
            assert_eq!(
                (first.get(&cache, 1, || 1), second.get(&cache, 2, || 2)),
                (1, 2)
            );
            cache.assert_consistent();
        }
    });
}

#[test]
fn three_threads_in_a_ring_are_told() {
    for_each_crew(|first, second| {
        for _ in 0..50 {
            let cache = named("f");
            let ended = ring(&[(&cache, 1, first), (&cache, 2, second), (&cache, 3, first)]);
            assert_ring_was_broken(&ended, &["f(1)", "f(2)", "f(3)"]);
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_ring_through_two_caches_is_told() {
    for_each_crew(|first, second| {
        for _ in 0..50 {
            let (left, right) = (named("left"), named("right"));
            let ended = ring(&[(&left, 1, first), (&right, 1, second)]);
            assert_ring_was_broken(&ended, &["left(1)", "right(1)"]);
            left.assert_consistent();
            right.assert_consistent();
        }
    });
}

#[test]
fn a_ring_through_a_thread_of_the_loaders_own_is_told_if_it_inherits() {
    for_each_crew(|outer, inner| {
        let cache = named("f");
        let message = panic_of(|| {
            outer.get(&cache, 1, || {
                let ask = scrubjay::inherit(|| inner.get(&cache, 1, nobody_loads));
                thread::scope(|scope| match scope.spawn(ask).join() {
                    Ok(value) => value,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
            })
        });
        assert!(message.contains("→ f(1)"), "{message}");
    });
}

#[test]
fn a_weigher_that_asks_for_the_key_it_weighs_is_refused() {
    watched(|| {
        let handle: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let inside = handle.clone();
        let cache: Cache<u32, u32> = Cache::builder()
            .name("f")
            .weigher(move |key, value| {
                let cache = inside.lock().unwrap().clone().unwrap();
                u64::from(cache.get_or_insert_with(key, || *value))
            })
            .build()
            .unwrap();
        *handle.lock().unwrap() = Some(cache.clone());
        let message = panic_of(|| cache.get_or_insert_with(&1, || 7));
        assert!(message.contains("f → f"), "{message}");
        handle.lock().unwrap().take();
    });
}

#[test]
fn a_listener_that_needs_a_waiters_load_does_not_hang() {
    watched(|| {
        let handle: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let inside = handle.clone();
        let cache: Cache<u32, u32> = Cache::builder()
            .on_removal(move |key, _, _| {
                let cache = inside.lock().unwrap().clone().unwrap();
                if *key == 1 && cache.stats().waits > 0 {
                    cache.get_or_insert_with(&2, || 100);
                }
            })
            .build()
            .unwrap();
        *handle.lock().unwrap() = Some(cache.clone());
        cache.insert(1, 0);
        let (gate, passage) = gate();
        let passage = Mutex::new(Some(passage));
        thread::scope(|scope| {
            // Replacing the entry tells the listener, before the other `entry` call of key 1 is woken.
            scope.spawn(|| {
                cache.entry(&1, |_| match passage.lock().unwrap().take() {
                    Some(passage) => Action::Replace(passage.pass(1)),
                    None => Action::Keep,
                })
            });
            gate.wait_for_load();
            scope.spawn(|| {
                cache.get_or_insert_with(&2, || cache.entry(&1, |_| Action::Keep).unwrap_or(0))
            });
            until_waiting(&cache, 1);
            gate.open();
        });
        handle.lock().unwrap().take();
    });
}

#[test]
fn many_threads_in_random_rings_never_hang() {
    for_each_crew(|first, second| {
        let cache = named("f");
        let together = Barrier::new(8);
        thread::scope(|scope| {
            for number in 0..8_u32 {
                let (cache, together) = (&cache, &together);
                scope.spawn(move || {
                    together.wait();
                    for round in 0..200_u32 {
                        let start = (number + round) % 5;
                        let callers = [first, second];
                        // Errors are expected: every key needs the next one of a ring of five.
                        let _ = quietly(|| around(cache, callers, start, 5));
                        cache.invalidate(&start);
                    }
                });
            }
        });
        cache.clear();
        assert_eq!(first.get(&cache, 1, || 1), 1);
        cache.assert_consistent();
    });
}

/// Key n needs key n + 1, modulo five, and is itself the last of `steps`.
fn around(cache: &Cache<u32, u32>, callers: [Caller; 2], key: u32, steps: u32) -> u32 {
    callers[(steps % 2) as usize].get(cache, key, || match steps {
        0 => 0,
        _ => around(cache, callers, (key + 1) % 5, steps - 1) + 1,
    })
}

/// Runs `work`, whose panics are part of the plan.
fn quietly<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
}

// What is no cycle.

fn fib(cache: &Cache<u32, u32>, caller: Caller, n: u32) -> u32 {
    caller.get(cache, n, || match n {
        0 | 1 => n,
        _ => fib(cache, caller, n - 1).wrapping_add(fib(cache, caller, n - 2)),
    })
}

#[test]
fn threads_that_load_overlapping_trees_share_them() {
    for_each_crew(|first, second| {
        for _ in 0..20 {
            let cache = named("fib");
            let together = Barrier::new(4);
            thread::scope(|scope| {
                for (n, caller) in [(40, first), (39, second), (40, second), (30, first)] {
                    let (cache, together) = (&cache, &together);
                    scope.spawn(move || {
                        together.wait();
                        fib(cache, caller, n)
                    });
                }
            });
            assert_eq!(
                (cache.get(&40), cache.stats().loads),
                (Some(102_334_155), 41)
            );
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_diamond_is_no_cycle() {
    for_each_crew(|left, right| {
        for _ in 0..50 {
            let cache = named("f");
            let both_lead = Barrier::new(2);
            thread::scope(|scope| {
                for (key, caller) in [(1, left), (2, right)] {
                    let (cache, both_lead) = (&cache, &both_lead);
                    scope.spawn(move || {
                        caller.get(cache, key, || {
                            both_lead.wait();
                            caller.get(cache, 3, || caller.get(cache, 4, || 4))
                        })
                    });
                }
            });
            assert_eq!((cache.len(), cache.stats().loads), (4, 4));
        }
    });
}

#[test]
fn loads_may_nest_ten_thousand_deep() {
    for_each_crew(|outer, _| {
        fn down(cache: &Cache<u32, u32>, caller: Caller, n: u32) -> u32 {
            caller.get(cache, n, || {
                if n == 0 {
                    0
                } else {
                    down(cache, caller, n - 1) + 1
                }
            })
        }
        let cache = named("down");
        assert_eq!(down(&cache, outer, 10_000), 10_000);
        assert_eq!(cache.len(), 10_001);
        cache.assert_consistent();
    });
}

#[test]
fn a_cycle_ten_thousand_long_is_named_in_short() {
    watched(|| {
        fn down(cache: &Cache<u32, u32>, n: u32) -> u32 {
            cache.get_or_insert_with(&n, || down(cache, if n == 0 { 10_000 } else { n - 1 }))
        }
        let cache = named("down");
        let message = panic_of(|| down(&cache, 10_000));
        assert!(message.contains("down(10000) → down(9999)"), "{message}");
        assert!(
            message.contains("more …") && message.len() < 1000,
            "{message}"
        );
    });
}

// Overtaking.

type Say = fn(&Cache<u32, u32>);

/// Everything that says that what key 1 holds, or will hold, is no longer true.
const SAYINGS: [(&str, Say); 5] = [
    ("invalidate", |cache| {
        cache.invalidate(&1);
    }),
    ("remove", |cache| {
        cache.remove(&1);
    }),
    ("invalidate_if", |cache| {
        cache.invalidate_if(|_, _| false);
    }),
    ("invalidate_tag", |cache| {
        cache.invalidate_tag("odd");
    }),
    ("clear", |cache| cache.clear()),
];

fn tagged() -> Cache<u32, u32> {
    Cache::builder()
        .tag_with(|_, value| [if value % 2 == 0 { "even" } else { "odd" }])
        .build()
        .unwrap()
}

#[test]
fn a_value_whose_load_began_before_its_invalidation_is_not_stored() {
    for_each_crew(|leader, waiter| {
        for (name, say) in SAYINGS {
            let cache = tagged();
            let (gate, passage) = gate();
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(leader.get(&cache, 1, || passage.pass(1)), 1));
                gate.wait_for_load();
                scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 1));
                until_waiting(&cache, 1);
                say(&cache);
                gate.open();
            });
            assert_eq!((cache.get(&1), cache.len()), (None, 0), "{name}");
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_caller_after_the_invalidation_gets_a_load_that_began_after_it() {
    for_each_crew(|leader, waiter| {
        for (name, say) in SAYINGS {
            let cache = tagged();
            let (gate, passage) = gate();
            thread::scope(|scope| {
                scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
                gate.wait_for_load();
                say(&cache);
                let later = scope.spawn(|| waiter.get(&cache, 1, || 3));
                if name == "invalidate_tag" {
                    // Whether the load in progress brings the tag is not known until it ends.
                    until_waiting(&cache, 1);
                    gate.open();
                    assert_eq!(later.join().unwrap(), 3, "{name}");
                } else {
                    assert_eq!(later.join().unwrap(), 3, "{name}");
                    gate.open();
                }
            });
            assert_eq!(cache.get(&1), Some(3), "{name}");
            cache.assert_consistent();
        }
    });
}

#[test]
fn a_tag_that_the_value_does_not_carry_concerns_nobody() {
    for_each_crew(|leader, waiter| {
        let cache = tagged();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            cache.invalidate_tag("even");
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, nobody_loads), 1));
            until_waiting(&cache, 1);
            gate.open();
        });
        assert_eq!(cache.get(&1), Some(1));
    });
}

#[test]
fn waiters_from_before_and_after_a_tag_was_invalidated_are_told_apart() {
    for_each_crew(|leader, waiter| {
        let cache = tagged();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let before = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            cache.invalidate_tag("even");
            let between = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 2);
            cache.invalidate_tag("odd");
            let after = scope.spawn(|| waiter.get(&cache, 1, || 3));
            until_waiting(&cache, 3);
            cache.invalidate_tag("even");
            gate.open();
            assert_eq!((before.join().unwrap(), between.join().unwrap()), (1, 1));
            assert_eq!(after.join().unwrap(), 3);
        });
        assert_eq!(cache.get(&1), Some(3));
    });
}

#[test]
fn a_value_that_is_not_stored_is_fenced_all_the_same() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::builder()
            .tag_with(|_, _| ["odd"])
            .store_if(|_, _| false)
            .build()
            .unwrap();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            cache.invalidate_tag("odd");
            scope.spawn(|| assert_eq!(waiter.get(&cache, 1, || 3), 3));
            until_waiting(&cache, 1);
            gate.open();
        });
    });
}

#[test]
fn a_slow_load_does_not_overwrite_a_newer_insertion() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            let slow = scope.spawn(|| leader.get(&cache, 1, || passage.pass(1)));
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            cache.insert(1, 9);
            assert_eq!(waiter.get(&cache, 1, nobody_loads), 9);
            gate.open();
            assert_eq!((slow.join().unwrap(), waiting.join().unwrap()), (1, 1));
        });
        assert_eq!((cache.get(&1), cache.len()), (Some(9), 1));
        cache.assert_consistent();
    });
}

#[test]
fn an_overtaken_load_that_fails_has_its_waiters_ask_again() {
    for_each_crew(|leader, waiter| {
        let cache: Cache<u32, u32> = Cache::new();
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| {
                panic_of(|| {
                    leader.get(&cache, 1, || {
                        passage.pass(());
                        panic!("the loader's own")
                    })
                })
            });
            gate.wait_for_load();
            let waiting = scope.spawn(|| waiter.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            cache.insert(1, 9);
            gate.open();
            assert_eq!(waiting.join().unwrap(), 9);
        });
    });
}

// Refreshes.

struct Refreshed {
    cache: Cache<u32, u32>,
    clock: ManualClock,
    begun: Receiver<u32>,
    answers: Sender<Option<u32>>,
}

/// A cache with a background loader that says when it begins and waits for its answer; `None` panics.
fn refreshed(
    build: impl FnOnce(scrubjay::Builder<u32, u32>) -> scrubjay::Builder<u32, u32>,
) -> Refreshed {
    let clock = ManualClock::new();
    let (to_test, begun) = mpsc::channel();
    let (answers, from_test) = mpsc::channel();
    let from_test = Mutex::new(from_test);
    let builder = Cache::builder()
        .refresh_with(move |key| {
            to_test.send(*key).unwrap();
            match from_test
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .recv()
            {
                Ok(Some(value)) => value,
                _ => std::panic::resume_unwind(Box::new("the refresher's own")),
            }
        })
        .clock(clock.clone());
    let cache = build(builder).build().unwrap();
    Refreshed {
        cache,
        clock,
        begun,
        answers,
    }
}

fn refreshed_after_ten() -> Refreshed {
    refreshed(|builder| builder.refresh_after(Duration::from_secs(10)))
}

#[test]
fn one_caller_begins_a_background_refresh_and_nobody_waits() {
    for_each_crew(|first, second| {
        let Refreshed {
            cache,
            clock,
            begun,
            answers,
        } = refreshed_after_ten();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        for caller in [first, second, first, second] {
            assert_eq!(caller.get(&cache, 1, nobody_loads), 1);
        }
        assert_eq!(begun.recv(), Ok(1));
        assert_eq!(second.get(&cache, 1, nobody_loads), 1);
        answers.send(Some(2)).unwrap();
        until(|| cache.get(&1) == Some(2));
        assert!(begun.try_recv().is_err(), "one refresh for all");
        until(|| cache.stats().loads == 1);
        assert_eq!(cache.stats().waits, 0);
        cache.assert_consistent();
    });
}

#[test]
fn a_refresh_that_was_overtaken_is_not_stored() {
    for_each_crew(|caller, _| {
        for (name, say) in SAYINGS {
            let Refreshed {
                cache,
                clock,
                begun,
                answers,
            } = refreshed(|builder| {
                builder
                    .refresh_after(Duration::from_secs(10))
                    .tag_with(|_, _| ["odd"])
            });
            cache.insert(1, 1);
            clock.advance(Duration::from_secs(10));
            caller.get(&cache, 1, nobody_loads);
            begun.recv().unwrap();
            say(&cache);
            answers.send(Some(3)).unwrap();
            until(|| cache.stats().loads == 1);
            // A second refresh ends after the first has settled, because they share a thread.
            cache.insert(2, 2);
            clock.advance(Duration::from_secs(10));
            caller.get(&cache, 2, nobody_loads);
            begun.recv().unwrap();
            assert_ne!(cache.get(&1), Some(3), "{name}");
            answers.send(Some(4)).unwrap();
            until(|| cache.get(&2) == Some(4));
        }
    });
}

#[test]
fn a_refresher_that_panics_leaves_the_entry_and_is_asked_again() {
    for_each_crew(|caller, _| {
        let Refreshed {
            cache,
            clock,
            begun,
            answers,
        } = refreshed_after_ten();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        for failures in 1..=3 {
            assert_eq!(caller.get(&cache, 1, nobody_loads), 1);
            begun.recv().unwrap();
            answers.send(None).unwrap();
            until(|| cache.stats().load_failures == failures);
        }
        until(|| {
            caller.get(&cache, 1, nobody_loads);
            begun.try_recv().is_ok()
        });
        answers.send(Some(2)).unwrap();
        until(|| cache.get(&1) == Some(2));
    });
}

#[test]
fn a_stale_value_is_served_while_one_caller_refreshes_it() {
    for_each_crew(|leader, other| {
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .time_to_live(Duration::from_secs(10))
            .stale_while_refresh(Duration::from_secs(10))
            .clock(clock.clone())
            .build()
            .unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(10));
        let (gate, passage) = gate();
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(leader.get(&cache, 1, || passage.pass(2)), 2));
            gate.wait_for_load();
            for _ in 0..4 {
                assert_eq!(other.get(&cache, 1, nobody_loads), 1);
            }
            assert_eq!(
                (cache.get(&1), cache.len()),
                (None, 0),
                "stale is not fresh"
            );
            // Past the window there is nothing to serve, so whoever asks waits.
            clock.advance(Duration::from_secs(10));
            let waiting = scope.spawn(|| other.get(&cache, 1, nobody_loads));
            until_waiting(&cache, 1);
            gate.open();
            assert_eq!(waiting.join().unwrap(), 2);
        });
        assert_eq!(cache.stats().stale_served, 4);
        cache.assert_consistent();
    });
}

#[test]
fn a_refresh_that_needs_one_in_the_queue_behind_it_does_not_hang() {
    watched(|| {
        let handle: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
        let (begun, in_first) = mpsc::channel();
        let (go, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let inside = handle.clone();
        let clock = ManualClock::new();
        let cache: Cache<u32, u32> = Cache::builder()
            .time_to_live(Duration::from_secs(20))
            .refresh_after(Duration::from_secs(10))
            .refresh_with(move |key| {
                if *key == 2 {
                    return 20;
                }
                begun.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
                let cache = inside.lock().unwrap().clone().unwrap();
                cache.get_or_insert_with(&2, || 20) + 1
            })
            .clock(clock.clone())
            .build()
            .unwrap();
        *handle.lock().unwrap() = Some(cache.clone());
        cache.insert(1, 1);
        cache.insert(2, 2);
        clock.advance(Duration::from_secs(10));
        assert_eq!(cache.get_or_insert_with(&1, nobody_loads), 1);
        in_first.recv().unwrap();
        assert_eq!(
            cache.get_or_insert_with(&2, nobody_loads),
            2,
            "queued behind the first"
        );
        clock.advance(Duration::from_secs(10));
        go.send(()).unwrap();
        until(|| cache.get(&1) == Some(21));
        assert_eq!(cache.get_or_insert_with(&2, || 20), 20);
        handle.lock().unwrap().take();
    });
}
