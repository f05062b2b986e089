//! Nobody sees a value that was freed, and every value is dropped exactly once.
//!
//! Values carry a word that their `Drop` destroys, and count how many of them live. Small enough for valgrind,
//! which also sees what the word does not: `make memcheck`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/watchdog.rs"]
mod watchdog;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use random::Random;
use scrubjay::{Action, Cache, Policy};
use watchdog::watched;

const SOUND: u64 = 0x5C2B_7A11;
const THREADS: u64 = 4;
const ROUNDS: u64 = 1_500;
const KEYS: u32 = 8;

/// Knows whether it was dropped.
struct Canary {
    word: Box<AtomicU64>,
    number: u64,
    live: Arc<AtomicIsize>,
}

impl Canary {
    fn new(number: u64, live: &Arc<AtomicIsize>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        Self {
            word: Box::new(AtomicU64::new(SOUND ^ number)),
            number,
            live: live.clone(),
        }
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(
            self.word.load(Ordering::SeqCst),
            SOUND ^ self.number,
            "used after its drop"
        );
    }
}

impl Clone for Canary {
    fn clone(&self) -> Self {
        self.check();
        Self::new(self.number, &self.live)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let word = self.word.swap(0, Ordering::SeqCst);
        assert_eq!(word, SOUND ^ self.number, "dropped twice");
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PartialEq for Canary {
    fn eq(&self, other: &Self) -> bool {
        self.check();
        other.check();
        self.number == other.number
    }
}

impl Eq for Canary {}

impl Hash for Canary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.check();
        self.number.hash(state);
    }
}

type Canaries = Cache<Canary, Canary>;

fn once(cache: &Canaries, live: &Arc<AtomicIsize>, random: &mut Random) {
    let number = u64::from(random.below(KEYS));
    let key = Canary::new(number, live);
    let value = |random: &mut Random| Canary::new(random.number(), live);
    match random.below(16) {
        0..=3 => {
            // The value stays as it is for as long as it is looked at, whatever happens to its entry.
            cache.with(&key, |value| {
                value.check();
                match random.below(4) {
                    0 => drop(cache.remove(&key)),
                    1 => cache.insert(key.clone(), Canary::new(0, live)),
                    2 => cache.clear(),
                    _ => thread::yield_now(),
                }
                value.check();
            });
        }
        4..=6 => cache.get(&key).iter().for_each(Canary::check),
        7..=9 => cache.insert(key, value(random)),
        10 => cache.remove(&key).iter().for_each(Canary::check),
        11 => cache.get_or_insert_with(&key, || value(random)).check(),
        12 => {
            let replaced = cache.entry(&key, |old| {
                old.inspect(|old| old.check());
                Action::Replace(value(random))
            });
            replaced.iter().for_each(Canary::check);
        }
        13 => {
            cache.invalidate_if(|key, value| {
                value.check();
                key.number == number
            });
        }
        14 => cache.for_each(|key, value| {
            key.check();
            value.check();
        }),
        _ if random.below(8) == 0 => cache.clear(),
        // Another key, so that the tables grow and are rebuilt.
        _ => cache.insert(
            Canary::new(u64::from(random.below(1_000)), live),
            value(random),
        ),
    }
}

fn stress(build: impl Fn(&Arc<AtomicIsize>) -> Canaries) {
    stress_from(0, build);
}

fn stress_from(first_seed: u64, build: impl Fn(&Arc<AtomicIsize>) -> Canaries) {
    let live = Arc::new(AtomicIsize::new(0));
    let cache = build(&live);
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (cache, live) = (cache.clone(), &live);
            scope.spawn(move || {
                let mut random = Random::new(first_seed + seed);
                for _ in 0..ROUNDS {
                    once(&cache, live, &mut random);
                }
            });
        }
    });
    cache.assert_consistent();
    cache.for_each(|_, value| value.check());
    drop(cache);
    assert_eq!(
        live.load(Ordering::SeqCst),
        0,
        "every key and value was dropped once"
    );
}

#[test]
fn nothing_is_used_after_its_drop_or_left_over() {
    watched(|| stress(|_| Cache::new()));
}

#[test]
fn nothing_that_was_evicted_is_used_or_left_over() {
    for policy in [Policy::Adaptive, Policy::Lru, Policy::Fifo] {
        watched(move || stress(|_| Cache::builder().capacity(5).policy(policy).build().unwrap()));
    }
}

#[test]
fn what_is_not_stored_is_dropped_too() {
    watched(|| stress(|_| Cache::builder().capacity(0).build().unwrap()));
    watched(|| {
        stress(|_| {
            let test = |_: &Canary, value: &Canary| value.number.is_multiple_of(2);
            Cache::builder().capacity(5).store_if(test).build().unwrap()
        });
    });
}

#[test]
fn a_listener_sees_sound_values() {
    watched(|| {
        stress(|_| {
            let listener = |key: &Canary, value: &Canary, _| {
                key.check();
                value.check();
            };
            Cache::builder()
                .capacity(5)
                .on_removal(listener)
                .build()
                .unwrap()
        });
    });
}

/// Other caches and other orders of events for `STRESS_SECONDS` (600): `make stress`, under a memory checker.
#[test]
#[ignore = "takes ten minutes"]
fn nothing_is_used_after_its_drop_however_long_it_goes_on() {
    let seconds = std::env::var("STRESS_SECONDS").map_or(600, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random::new(0x5EED);
    let mut round = 0;
    while Instant::now() < end {
        let policy = [Policy::Adaptive, Policy::Lru, Policy::Fifo][round as usize % 3];
        // Up to some hundreds, so that tables grow and policies have something to choose from.
        let capacity = 1 << random.below(10);
        let is_weighed = random.below(2) == 0;
        let is_timed = random.below(3) == 0;
        stress_from(round * THREADS, |_| {
            let mut options = Cache::builder().policy(policy).capacity(capacity);
            if is_weighed {
                options = options.weigher(|_, value: &Canary| value.number % 4);
            }
            if is_timed {
                options = options.time_to_live(Duration::from_micros(50));
            }
            options.build().unwrap()
        });
        round += 1;
    }
    assert!(round > 0, "there was time for a cache");
}

#[test]
fn a_thread_that_ends_leaves_nothing_behind() {
    watched(|| {
        let live = Arc::new(AtomicIsize::new(0));
        let cache: Canaries = Cache::builder().capacity(3).build().unwrap();
        for round in 0..50 {
            thread::scope(|scope| {
                let (cache, live) = (&cache, &live);
                scope.spawn(move || {
                    for number in 0..20 {
                        cache.insert(Canary::new(number, live), Canary::new(round, live));
                    }
                });
            });
        }
        drop(cache);
        assert_eq!(live.load(Ordering::SeqCst), 0);
    });
}
