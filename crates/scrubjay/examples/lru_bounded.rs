//! Keeps a fixed number of entries; the least recently used leaves first.
//!
//! Run it: `cargo run -p scrubjay --example lru_bounded`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use scrubjay::{Cache, Error, Policy};

/// Shows who stays, step by step.
pub fn main() -> Result<(), Error> {
    // Without `policy` the cache is adaptive, which suits most uses better; `Lru` is for exact order.
    let cache: Cache<char, u32> = Cache::builder().capacity(3).policy(Policy::Lru).build()?;

    for letter in "abcadabe".chars() {
        let code = cache.get_or_insert_with(&letter, || u32::from(letter));
        assert_eq!(code, u32::from(letter));
        let mut held: Vec<char> = cache.iter().map(|(letter, _)| letter).collect();
        held.sort_unstable();
        println!("{letter}  →  {}", held.iter().collect::<String>());
        assert!(cache.len() <= 3);
    }

    let stats = cache.stats();
    println!("{stats}");
    // a, b, c, d and e were loaded, and b once more after d had pushed it out.
    assert_eq!((stats.loads, stats.hits, stats.evicted), (6, 2, 3));
    assert!(!cache.contains_key(&'c') && !cache.contains_key(&'d'));
    Ok(())
}
