use scrubjay::memoize;

#[memoize(key = user.id)]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
