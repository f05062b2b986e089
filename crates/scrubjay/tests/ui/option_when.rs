use scrubjay::memoize;

#[memoize(when = n)]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
