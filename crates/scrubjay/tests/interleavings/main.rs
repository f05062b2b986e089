//! The protocols of the engine under shuttle, a model checker that tries many interleavings of their threads.
//!
//! Run by `make interleavings`. Each protocol is a closure that shuttle runs some thousand times: under random
//! schedules, and under schedules with few preemptions at the worst moments (Burckhardt, Kothari, Musuvathi and
//! Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).
//! A thread that waits for nobody fails as a deadlock. A failure prints its schedule and how to replay it.

#![cfg(shuttle)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod cycles;
mod eviction;
mod fencing;
mod handover;
mod joining;
mod refresh;
mod timeout;

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use scrubjay::Cache;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner};

const RANDOM_SCHEDULES: usize = 2_000;
const SCHEDULES_PER_DEPTH: usize = 1_000;
const DEPTHS: [usize; 2] = [2, 4];

/// A key of which all have one hash, so that the shards play no part and schedules can be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(u32);

impl Hash for Key {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

type Keyed = Cache<Key, u32>;

/// Runs a protocol under many schedules, or under the one in the variable `REPLAY`.
fn explore(protocol: impl Fn() + Send + Sync + 'static) {
    let protocol = Arc::new(protocol);
    let run = || {
        if let Ok(schedule) = std::env::var("REPLAY") {
            let once = protocol.clone();
            Runner::new(ReplayScheduler::new_from_encoded(&schedule), config()).run(move || once());
            return;
        }
        let random = protocol.clone();
        Runner::new(RandomScheduler::new(RANDOM_SCHEDULES), config()).run(move || random());
        for depth in DEPTHS {
            let pct = protocol.clone();
            let scheduler = PctScheduler::new(depth, SCHEDULES_PER_DEPTH);
            Runner::new(scheduler, config()).run(move || pct());
        }
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let command =
            "RUSTFLAGS=\"--cfg shuttle\" cargo test --release -p scrubjay --no-default-features";
        eprintln!(
            "to replay: REPLAY=<the schedule above> {command} --test interleavings -- --exact {name}"
        );
        resume_unwind(panic);
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config
}

/// How a caller waits.
#[derive(Debug, Clone, Copy)]
enum Caller {
    Blocking,
    Future,
}

impl Caller {
    fn get<K>(self, cache: &Cache<K, u32>, key: &K, load: impl FnOnce() -> u32) -> u32
    where
        K: Hash + Eq + Clone + 'static,
    {
        match self {
            Self::Blocking => cache.get_or_insert_with(key, load),
            Self::Future => {
                shuttle::future::block_on(cache.get_or_insert_async(key, || async { load() }))
            }
        }
    }
}

const CREWS: [[Caller; 2]; 3] = [
    [Caller::Blocking, Caller::Blocking],
    [Caller::Future, Caller::Future],
    [Caller::Blocking, Caller::Future],
];

/// Panics without the hook, which shuttle would take for the failure of the test.
fn fail() -> u32 {
    resume_unwind(Box::new("the loader's own"))
}

/// Whether `work` returned.
fn survives<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
