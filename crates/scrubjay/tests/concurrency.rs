//! Many threads at once: right answers, kept bounds, and every entry accounted for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixtures;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use fixtures::{Random, cache, secs, timed};
use scrubjay::{Action, Cache, EntryOptions, Policy};

const THREADS: u64 = 8;
const POLICIES: [Policy; 3] = [Policy::Adaptive, Policy::Lru, Policy::Fifo];

/// Runs `work` on all threads at once, each with random numbers of its own, while `observe` looks on again and
/// again until they are done.
fn hammer(work: impl Fn(u64, &mut Random) + Sync, observe: impl Fn() + Sync) {
    let start = Barrier::new(usize::try_from(THREADS).unwrap() + 1);
    let working = AtomicU64::new(THREADS);
    /// Counts down also if the thread panics, so that the observer ends.
    struct Done<'a>(&'a AtomicU64);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, work, working) = (&start, &work, &working);
            scope.spawn(move || {
                let _done = Done(working);
                start.wait();
                work(thread, &mut Random::new(thread));
            });
        }
        scope.spawn(|| {
            start.wait();
            while working.load(Ordering::SeqCst) > 0 {
                observe();
            }
        });
    });
}

/// A value says which key it is of.
fn value_of(key: u32, random: &mut Random) -> u64 {
    u64::from(key) << 32 | u64::from(random.below(u32::MAX))
}

fn is_of(value: u64, key: u32) -> bool {
    value >> 32 == u64::from(key)
}

#[test]
fn under_every_operation_answers_stay_right_and_bounds_are_kept() {
    for policy in POLICIES {
        let (cache, clock) = timed(|builder| {
            builder
                .policy(policy)
                .capacity(50)
                .time_to_live(secs(10))
                .weigher(|_: &u32, value: &u64| value % 5)
                .tag_with(|key, _| [format!("{}", key % 10)])
        });
        let work = |_, random: &mut Random| {
            for _ in 0..1500 {
                let key = random.below(60);
                let value = value_of(key, random);
                let got = match random.below(16) {
                    0..=3 => cache.get(&key),
                    4..=6 => Some(cache.get_or_insert_with(&key, || value)),
                    7 => cache
                        .try_get_or_insert_with(&key, || Ok::<_, ()>(value))
                        .ok(),
                    8 => cache.try_get_or_insert_with(&key, || Err(())).ok(),
                    9 | 10 => {
                        cache.insert(key, value);
                        None
                    }
                    11 => cache.entry(&key, |old| {
                        assert!(old.is_none_or(|old| is_of(*old, key)));
                        Action::Replace(value)
                    }),
                    12 => cache.remove(&key),
                    13 => {
                        cache.invalidate_tag("3");
                        None
                    }
                    14 if random.below(20) == 0 => {
                        cache.clear();
                        None
                    }
                    14 if random.below(20) == 0 => {
                        cache.invalidate_if(|key, _| *key > 50);
                        None
                    }
                    _ => {
                        clock.advance(secs(1));
                        None
                    }
                };
                assert!(
                    got.is_none_or(|got| is_of(got, key)),
                    "{got:?} is not of {key}"
                );
            }
        };
        hammer(work, || {
            assert!(cache.weight() <= 50);
            cache.for_each(|key, value| assert!(is_of(*value, *key)));
        });
        cache.assert_consistent();
        assert_eq!(cache.len(), cache.iter().count());
        cache.clear();
        cache.assert_consistent();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
}

#[test]
fn an_observer_never_sees_more_entries_than_the_capacity() {
    for policy in POLICIES {
        let cache: Cache<u32, u32> = cache(|builder| builder.policy(policy).capacity(100));
        let work = |_, random: &mut Random| {
            for _ in 0..3000 {
                let key = random.below(1000);
                cache.get_or_insert_with(&key, || key);
            }
        };
        hammer(work, || {
            assert!(cache.len() <= 100);
            assert!(cache.weight() <= 100);
            assert!(cache.stats().entries <= 100);
        });
        assert_eq!(cache.len(), 100, "and the room is used");
        cache.assert_consistent();
    }
}

#[test]
fn the_capacity_holds_while_it_is_changed() {
    let cache: Cache<u32, u32> = cache(|builder| builder.capacity(100));
    let work = |thread, random: &mut Random| {
        for n in 0..2000 {
            if thread == 0 {
                cache.set_capacity(u64::from(random.below(100)));
            } else {
                cache.insert(random.below(1000), n);
            }
        }
    };
    hammer(work, || assert!(cache.weight() <= 100));
    cache.assert_consistent();
    assert!(cache.weight() <= cache.capacity());
}

#[test]
fn every_value_that_came_in_is_told_once_when_it_leaves() {
    for policy in POLICIES {
        const WRITES: u32 = 2000;
        let told: Arc<Vec<AtomicU32>> = Arc::new(
            (0..u64::from(WRITES) * THREADS)
                .map(|_| AtomicU32::new(0))
                .collect(),
        );
        let log = told.clone();
        let (cache, clock) = timed(|builder| {
            builder
                .policy(policy)
                .capacity(64)
                .time_to_live(secs(50))
                .on_removal(move |_: &u32, value: &u64, _| {
                    log[usize::try_from(*value).unwrap()].fetch_add(1, Ordering::SeqCst);
                })
        });
        let work = |thread, random: &mut Random| {
            for write in 0..u64::from(WRITES) {
                let key = random.below(200);
                let value = thread * u64::from(WRITES) + write;
                if write % 2 == 0 {
                    cache.insert(key, value);
                } else {
                    cache.insert_with(key, value, EntryOptions::new().tag("odd"));
                }
                match random.below(40) {
                    0 => cache.clear(),
                    1 => {
                        cache.invalidate_tag("odd");
                    }
                    2 => {
                        cache.invalidate_if(|key, _| key % 3 == 0);
                    }
                    3..8 => {
                        cache.remove(&random.below(200));
                    }
                    8 => clock.advance(secs(1)),
                    _ => {}
                }
            }
        };
        hammer(work, || assert!(cache.len() <= 64));
        cache.assert_consistent();
        let left: Vec<u64> = cache.iter().map(|(_, value)| value).collect();
        for (value, times) in told.iter().enumerate() {
            let is_left = left.contains(&(value as u64));
            assert_eq!(
                times.load(Ordering::SeqCst),
                u32::from(!is_left),
                "value {value}"
            );
        }
        let removals = cache.stats().removals();
        assert_eq!(removals + cache.len() as u64, u64::from(WRITES) * THREADS);
        assert_eq!(cache.stats().listener_panics, 0);
    }
}

#[test]
fn callers_of_one_key_run_the_loader_once() {
    for round in 0..200u32 {
        let cache: Cache<u32, u32> = Cache::new();
        let loads = AtomicU32::new(0);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    let load = || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        round
                    };
                    assert_eq!(cache.get_or_insert_with(&1, load), round);
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn no_two_loads_of_a_key_run_at_once_if_nothing_overtakes_them() {
    let cache: Cache<u32, u32> = cache(|builder| builder.capacity(5));
    let busy: Vec<AtomicBool> = (0..20).map(|_| AtomicBool::new(false)).collect();
    let work = |_, random: &mut Random| {
        for n in 0..2000 {
            let key = random.below(20);
            let fails = random.below(3) == 0;
            let _ = cache.try_get_or_insert_with(&key, || {
                let busy = &busy[usize::try_from(key).unwrap()];
                assert!(!busy.swap(true, Ordering::SeqCst), "two loads of {key}");
                std::thread::yield_now();
                busy.store(false, Ordering::SeqCst);
                if fails { Err(()) } else { Ok(n) }
            });
        }
    };
    hammer(work, || assert!(cache.len() <= 5));
    cache.assert_consistent();
}

/// A counter is the truth; each writer moves it on and invalidates. Whoever asks afterwards must not get less.
#[test]
fn a_caller_never_gets_a_value_from_before_an_invalidation_that_had_returned() {
    let ways: [fn(&Cache<u32, u64>); 4] = [
        |cache| {
            cache.invalidate(&1);
        },
        |cache| {
            cache.invalidate_if(|_, _| true);
        },
        |cache| {
            cache.invalidate_tag("t");
        },
        Cache::clear,
    ];
    for invalidate in ways {
        let cache: Cache<u32, u64> = cache(|builder| builder.tag_with(|_, _| ["t"]));
        let (truth, invalidated) = (AtomicU64::new(0), AtomicU64::new(0));
        let work = |thread, _: &mut Random| {
            for _ in 0..500 {
                if thread < 2 {
                    let now = truth.fetch_add(1, Ordering::SeqCst) + 1;
                    invalidate(&cache);
                    invalidated.fetch_max(now, Ordering::SeqCst);
                } else {
                    let least = invalidated.load(Ordering::SeqCst);
                    let got = cache.get_or_insert_with(&1, || truth.load(Ordering::SeqCst));
                    assert!(got >= least, "{got} is from before {least}");
                }
            }
        };
        hammer(work, || {
            let least = invalidated.load(Ordering::SeqCst);
            assert!(cache.get(&1).is_none_or(|got| got >= least));
        });
        cache.assert_consistent();
    }
}

/// Keys of one hash share a run of slots, which every removal among them moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OneHash(u32);

impl std::hash::Hash for OneHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u32(0);
    }
}

#[test]
fn an_entry_that_stays_is_found_while_its_neighbours_leave() {
    const LEAVE: u32 = 512;
    const STAY: std::ops::Range<u32> = LEAVE..LEAVE + 64;
    for _ in 0..50 {
        let cache: Cache<OneHash, u32> = Cache::new();
        for key in 0..STAY.end {
            cache.insert(OneHash(key), key);
        }
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for key in 0..LEAVE {
                    cache.invalidate(&OneHash(key));
                }
                is_done.store(true, Ordering::SeqCst);
            });
            while !is_done.load(Ordering::SeqCst) {
                for key in STAY {
                    assert_eq!(cache.get(&OneHash(key)), Some(key));
                }
                let seen = cache.iter().filter(|(key, _)| STAY.contains(&key.0));
                assert_eq!(seen.count(), STAY.len(), "each is seen once");
            }
        });
        cache.assert_consistent();
    }
}
