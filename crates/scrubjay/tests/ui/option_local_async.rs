use scrubjay::memoize;

#[memoize(local)]
async fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
