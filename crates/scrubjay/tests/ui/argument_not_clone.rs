use scrubjay::memoize;

#[derive(Hash, PartialEq, Eq)]
struct Unique;

#[memoize]
fn look(unique: Unique) -> u32 {
    let _ = unique;
    1
}

fn main() {}
