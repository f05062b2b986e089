use scrubjay::memoize;

#[memoize(ttl = "5m", ttl = "6m", capacity = 1, capacity = 2)]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
