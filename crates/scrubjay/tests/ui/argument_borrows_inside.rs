use std::borrow::Cow;

use scrubjay::memoize;

#[memoize]
fn length(text: Option<&str>, other: Cow<'_, str>) -> usize {
    text.map_or(0, str::len) + other.len()
}

#[memoize(ignore(text), key = text.len())]
fn both<'a>(text: Option<&'a str>) -> usize {
    text.map_or(0, str::len)
}

fn main() {}
