use scrubjay::memoize;

#[memoize(capacity = 1, policy = LRU)]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
