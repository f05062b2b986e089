//! A function run through a cache: what `#[memoize]` expands to, and `memoize` for closures.
