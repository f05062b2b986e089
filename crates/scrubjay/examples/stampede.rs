//! A hundred threads want the same thing at the same moment, and it is computed once.
//!
//! Run it: `cargo run -p scrubjay --example stampede`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use scrubjay::Cache;

const THREADS: usize = 100;

/// Counts the primes below `limit` by trial division.
fn primes_below(limit: u32) -> usize {
    let is_prime = |n: &u32| {
        (2..*n)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    (2..limit).filter(is_prime).count()
}

/// Lines up the threads and lets them go.
pub fn main() {
    let cache: Cache<u32, usize> = Cache::new();
    let start = Barrier::new(THREADS);
    let began = Instant::now();

    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                let primes = cache.get_or_insert_with(&100_000, || primes_below(100_000));
                assert_eq!(primes, 9592);
            });
        }
    });

    let stats = cache.stats();
    println!(
        "{THREADS} threads: {} load, {} waits, {} hits",
        stats.loads, stats.waits, stats.hits
    );
    println!(
        "all of it took {:?}, the load {:?}",
        began.elapsed(),
        stats.mean_load_time
    );
    assert_eq!(stats.loads, 1);
    assert_eq!(stats.waits + stats.hits, THREADS as u64 - 1);
}
