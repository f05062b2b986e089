//! One cache for all threads: a clone is a handle, and what one thread loaded the others hit.
//!
//! Run it: `cargo run -p scrubjay --example shared_between_threads`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::thread;

use scrubjay::Cache;

/// Counts the primes below `limit` by trial division.
fn primes_below(limit: u32) -> usize {
    let is_prime = |n: &u32| {
        (2..*n)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    (2..limit).filter(is_prime).count()
}

/// Lets eight threads ask the same hundred questions.
pub fn main() {
    let cache: Cache<u32, usize> = Cache::new();

    thread::scope(|scope| {
        for thread in 0..8_u32 {
            let cache = cache.clone();
            scope.spawn(move || {
                for step in 0..100 {
                    // Each begins somewhere else, so that they meet on the way.
                    let limit = 100 * (1 + (step + 13 * thread) % 100);
                    cache.get_or_insert_with(&limit, || primes_below(limit));
                }
            });
        }
    });

    let stats = cache.stats();
    println!("{stats}");
    assert_eq!(cache.get(&10_000), Some(1229));
    assert_eq!((stats.loads, stats.entries), (100, 100));
    // Every other call was a hit, or a wait for the thread that was loading.
    assert_eq!(stats.hits + stats.waits, 700);
}
