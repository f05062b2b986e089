//! Single-flight as callers see it: one load per key, whatever the loads do and whoever asks.
//!
//! Every protocol is run by crews of blocking callers, of callers that block on futures, and of both. Nothing
//! sleeps: threads are lined up by channels, barriers, the counters of the cache and a clock that is set.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod crew;
mod cycles;
#[path = "../fixtures/executor.rs"]
#[allow(dead_code, reason = "only its `block_on` is needed here")]
mod executor;
mod failing_leaders;
mod nesting;
mod overtaking;
mod refreshes;
mod sharing;
mod slow_leaders;
#[path = "../fixtures/watchdog.rs"]
mod watchdog;
