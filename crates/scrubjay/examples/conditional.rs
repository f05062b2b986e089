//! Memoizes only some calls, by what is asked (`when`) or by what comes back (`store_if`).
//!
//! Run it: `cargo run -p scrubjay --example conditional`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use scrubjay::{Cache, Error, memoize};

/// The first pages are asked for all the time; the others are rare and would only take room.
#[memoize(when = page < 3)]
fn listing(page: u32) -> String {
    (0..4)
        .map(|row| format!("row {} ", page * 4 + row))
        .collect()
}

/// Stores a search that found something, and asks again for one that did not.
fn find(cache: &Cache<String, Vec<usize>>, text: &str, word: &str) -> Vec<usize> {
    cache.get_or_insert_with(word, || {
        text.match_indices(word).map(|(at, _)| at).collect()
    })
}

/// Shows what was kept, by either rule.
pub fn main() -> Result<(), Error> {
    for page in [0, 1, 9, 9, 0, 9] {
        println!("page {page}: {}", listing(page));
    }
    assert_eq!(listing::cache().len(), 2);
    assert_eq!(listing::stats().hits, 1);

    let found: Cache<String, Vec<usize>> = Cache::builder()
        .store_if(|_, places: &Vec<usize>| !places.is_empty())
        .build()?;
    assert_eq!(find(&found, "to be or not", "be"), [3]);
    assert!(find(&found, "to be or not", "jay").is_empty());
    println!("stored: {:?}", found.iter().collect::<Vec<_>>());

    // The text has a jay now. Had "nothing found" been stored, it would not be seen.
    assert_eq!(find(&found, "to be or not a jay", "jay"), [15]);
    assert_eq!(found.len(), 2);
    Ok(())
}
