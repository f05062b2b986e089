//! Forgets an answer when its time is over: the same rule for a function and for a cache.
//!
//! The clock is moved by hand, so nothing here waits.
//! Run it: `cargo run -p scrubjay --example time_to_live`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use scrubjay::{Cache, Error, ManualClock, memoize};

static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);
static READINGS: AtomicU32 = AtomicU32::new(0);

/// A reading that is good for five minutes. Without `clock` it is the system's time that passes.
#[memoize(ttl = "5m", clock = CLOCK.clone())]
fn temperature(room: u32) -> u32 {
    // Relaxed: a number, which publishes nothing else.
    20 + room + READINGS.fetch_add(1, Ordering::Relaxed)
}

/// Asks before, at and after the end of a life.
pub fn main() -> Result<(), Error> {
    let first = temperature(1);
    CLOCK.advance(Duration::from_secs(299));
    println!("after 4:59 min: {} (remembered)", temperature(1));
    assert_eq!(temperature(1), first);
    CLOCK.advance(Duration::from_secs(1));
    println!("after 5:00 min: {} (read again)", temperature(1));
    assert_eq!(temperature(1), first + 1);

    let sessions: Cache<&str, u32> = Cache::builder()
        .time_to_idle(Duration::from_secs(60))
        .clock(CLOCK.clone())
        .build()?;
    sessions.insert("ann", 7);
    for _ in 0..3 {
        CLOCK.advance(Duration::from_secs(59));
        assert_eq!(sessions.get("ann"), Some(7));
    }
    CLOCK.advance(Duration::from_secs(60));
    println!("idle for a minute: {:?}", sessions.get("ann"));
    assert_eq!((sessions.get("ann"), sessions.len()), (None, 0));
    Ok(())
}
