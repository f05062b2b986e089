//! Failures: not stored by default, remembered for a while if asked, and stood in for by a stale value.
//!
//! The clock is moved by hand, so nothing here waits.
//! Run it: `cargo run -p scrubjay --example error_caching`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::LazyLock;
use std::time::Duration;

use scrubjay::{Cache, ManualClock, memoize};

static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

/// An `Ok` is remembered, an `Err` is not.
#[memoize]
fn parse(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// Here an `Err` is an answer too, for five seconds.
#[memoize(errors = "5s", clock = CLOCK.clone())]
fn parse_once(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// Counts the loads behind each kind of answer.
pub fn main() -> Result<(), scrubjay::Error> {
    for _ in 0..3 {
        println!("{:?}  {:?}", parse("12"), parse("twelve"));
        assert_eq!(parse_once("twelve"), parse("twelve"));
    }
    // "12" was loaded once, "twelve" at each of its six calls.
    assert_eq!((parse::stats().loads, parse::stats().load_failures), (7, 6));
    assert_eq!(parse_once::stats().loads, 1);
    CLOCK.advance(Duration::from_secs(5));
    assert!(parse_once("twelve").is_err());
    assert_eq!(parse_once::stats().loads, 2);

    let rates: Cache<String, f64> = Cache::builder()
        .time_to_live(Duration::from_secs(60))
        .stale_if_error(Duration::from_secs(3600))
        .clock(CLOCK.clone())
        .build()?;
    rates.insert("EUR".into(), 1.08);
    CLOCK.advance(Duration::from_secs(60));
    let served = rates.try_get_or_insert_with("EUR", || Err("the bank is closed"));
    println!("expired, and the load failed: {served:?}");
    assert_eq!((served, rates.stats().stale_served), (Ok(1.08), 1));
    Ok(())
}
