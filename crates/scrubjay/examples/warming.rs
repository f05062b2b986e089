//! A warm start: the entries of one process are there in the next.
//!
//! Run it: `cargo run -p scrubjay --example warming`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};

use scrubjay::Cache;

/// Counts the steps from `n` to 1: halve what is even, triple what is odd and add one.
fn steps(n: u64) -> u64 {
    let next = |n: &u64| {
        if n.is_multiple_of(2) {
            n / 2
        } else {
            3 * n + 1
        }
    };
    std::iter::successors(Some(n), |n| (*n > 1).then(|| next(n))).count() as u64 - 1
}

fn ask(cache: &Cache<u64, u64>) -> u64 {
    (1..=200)
        .map(|n| cache.get_or_insert_with(&n, || steps(n)))
        .sum()
}

/// Saves, "restarts", loads, and asks again.
pub fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("scrubjay-warming-{}", std::process::id()));

    let before: Cache<u64, u64> = Cache::new();
    let sum = ask(&before);
    let saved = before.save(BufWriter::new(File::create(&path)?))?;
    println!(
        "saved {saved} entries in {} bytes",
        fs::metadata(&path)?.len()
    );
    drop(before);

    let after: Cache<u64, u64> = Cache::new();
    let loaded = after.load(BufReader::new(File::open(&path)?))?;
    fs::remove_file(&path)?;
    assert_eq!((loaded, ask(&after)), (200, sum));
    let stats = after.stats();
    println!(
        "after the restart: {} hits, {} loads",
        stats.hits, stats.loads
    );
    assert_eq!(stats.loads, 0);

    // Pairs from anywhere else can warm a cache too; what it has already, it keeps.
    assert_eq!(after.warm((196..=205).map(|n| (n, steps(n)))), 5);
    assert_eq!(after.len(), 205);
    Ok(())
}
