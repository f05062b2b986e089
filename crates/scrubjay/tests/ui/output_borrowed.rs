use scrubjay::memoize;

#[memoize]
fn first(text: &str) -> &str {
    &text[..1]
}

#[memoize]
fn longest<'a>(list: &'a [String]) -> Option<&'a String> {
    list.iter().max_by_key(|text| text.len())
}

fn main() {}
