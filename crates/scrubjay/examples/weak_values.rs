//! Weak values: the cache finds what is in use somewhere, and keeps nothing alive by itself.
//!
//! Run it: `cargo run -p scrubjay --example weak_values`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::Arc;

use scrubjay::{Cache, Error};

/// Interns texts: equal texts in use are one allocation.
fn intern(pool: &Cache<String, Arc<str>>, text: &str) -> Arc<str> {
    pool.get_or_insert_with(text, || Arc::from(text))
}

/// Drops the last owner and looks again.
pub fn main() -> Result<(), Error> {
    let pool: Cache<String, Arc<str>> = Cache::builder().weak_values().build()?;

    let first = intern(&pool, "a long text");
    let second = intern(&pool, "a long text");
    println!("one allocation for both: {}", Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(Arc::strong_count(&first), 2);

    drop(first);
    assert!(pool.contains_key("a long text"));
    drop(second);
    println!("after its last owner: {:?}", pool.get("a long text"));
    assert_eq!(pool.get("a long text"), None);

    let again = intern(&pool, "a long text");
    println!("loaded anew: {again:?}");
    assert_eq!(pool.stats().loads, 2);
    Ok(())
}
