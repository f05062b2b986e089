use scrubjay::memoize;

struct Unique;

#[memoize]
fn make(n: u32) -> Unique {
    let _ = n;
    Unique
}

fn main() {}
