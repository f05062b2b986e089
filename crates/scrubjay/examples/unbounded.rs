//! Remembers every answer of a function, for as long as the process lives.
//!
//! Run it: `cargo run -p scrubjay --example unbounded`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use scrubjay::memoize;

/// The number of steps from `n` to 1: halve what is even, triple what is odd and add one.
#[memoize]
fn steps(n: u64) -> u32 {
    match n {
        1 => 0,
        even if even % 2 == 0 => 1 + steps(even / 2),
        odd => 1 + steps(3 * odd + 1),
    }
}

/// Asks for many numbers whose paths to 1 run together.
pub fn main() {
    let longest = (1..30_000).max_by_key(|n| steps(*n)).unwrap_or(1);
    println!(
        "the longest path below 30000 starts at {longest}: {} steps",
        steps(longest)
    );
    assert_eq!((longest, steps(longest)), (26_623, 307));

    let stats = steps::stats();
    println!("{stats}");
    // Every number that any path passed was loaded once, and all of them are still there.
    assert_eq!(stats.loads, stats.entries);

    steps::clear();
    assert!(steps::cache().is_empty());
}
