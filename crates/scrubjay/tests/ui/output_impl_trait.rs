use scrubjay::memoize;

#[memoize]
fn numbers(n: u32) -> impl Iterator<Item = u32> {
    0..n
}

#[memoize]
fn later(n: u32) -> impl Future<Output = u32> {
    async move { n }
}

fn main() {}
