//! What a cache says about itself: its counters as a table, and a listener that is told who leaves and why.
//!
//! The clock is moved by hand, so nothing here waits.
//! Run it: `cargo run -p scrubjay --example monitoring`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::mpsc::channel;
use std::time::Duration;

use scrubjay::{Cache, Error, ManualClock, RemovalCause};

/// Lets entries leave for four different reasons.
pub fn main() -> Result<(), Error> {
    let (sender, removals) = channel();
    let clock = ManualClock::new();
    let cache: Cache<u64, String> = Cache::builder()
        .name("squares")
        .capacity(100)
        .weigher(|_: &u64, text: &String| text.len() as u64)
        .time_to_live(Duration::from_secs(60))
        .on_removal(move |key: &u64, _: &String, cause| sender.send((*key, cause)).unwrap_or(()))
        .clock(clock.clone())
        .build()?;

    for n in (0..40).chain(30..40) {
        cache.get_or_insert_with(&n, || {
            // The time of a load is taken from the cache's clock; here every load "takes" 2 ms.
            clock.advance(Duration::from_millis(2));
            format!("{}", n * n)
        });
    }
    cache.invalidate(&39);
    cache.insert(38, "replaced".into());
    clock.advance(Duration::from_secs(60));

    println!("{} has {} entries\n", cache.name(), cache.len());
    let stats = cache.stats();
    println!("{stats}\n");
    // What other capacities would bring, as far as is known, and whether the cache pays.
    println!("{}\n", cache.advice());
    let told: Vec<(u64, RemovalCause)> = removals.try_iter().collect();
    for cause in [
        RemovalCause::Evicted,
        RemovalCause::Explicit,
        RemovalCause::Replaced,
        RemovalCause::Expired,
    ] {
        let keys: Vec<u64> = told
            .iter()
            .filter(|(_, why)| *why == cause)
            .map(|(key, _)| *key)
            .collect();
        println!("{cause:<9} {keys:?}");
        assert!(!keys.is_empty());
    }
    assert_eq!(told.len() as u64, stats.removals());
    assert_eq!(stats.mean_load_time, Duration::from_millis(2));
    Ok(())
}
