//! Tags: entries that depend on one thing leave together when it changes.
//!
//! Run it: `cargo run -p scrubjay --example invalidate_by_tag`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use scrubjay::{Cache, EntryOptions, Error, memoize};

/// The tags name what the answer was made from.
#[memoize(tags = [format!("user:{user}"), format!("year:{year}")])]
fn report(user: u32, year: u32) -> String {
    format!("user {user} in {year}")
}

/// Invalidates by user, by year, by predicate and all.
pub fn main() -> Result<(), Error> {
    for user in 1..=3 {
        for year in 2020..=2024 {
            report(user, year);
        }
    }
    println!("reports: {}", report::cache().len());
    assert_eq!(report::cache().len(), 15);

    assert_eq!(report::invalidate_tag("user:2"), 5);
    assert_eq!(report::invalidate_tag("year:2020"), 2);
    println!("without user 2 and without 2020: {}", report::cache().len());
    assert_eq!(report::cache().len(), 8);

    // `/blog/1` belongs to `blog`.
    let section = |path: &&'static str, _: &u32| path.split('/').nth(1);
    let pages: Cache<&str, u32> = Cache::builder().tag_with(section).build()?;
    pages.insert("/blog/1", 1);
    pages.insert("/shop/1", 2);
    pages.insert_with("/blog/2", 3, EntryOptions::new().tag("pinned"));
    assert_eq!(pages.invalidate_tag("pinned"), 1);
    assert_eq!(pages.invalidate_tag("blog"), 1);
    println!("left: {:?}", pages.iter().collect::<Vec<_>>());
    assert_eq!(pages.invalidate_if(|_, number| *number == 2), 1);
    assert!(pages.is_empty());
    Ok(())
}
