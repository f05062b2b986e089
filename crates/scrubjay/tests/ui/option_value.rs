use scrubjay::memoize;

#[memoize(capacity, local = true, ignore = n, name = 5, ttl)]
fn square(n: u32) -> u32 {
    n * n
}

#[memoize(ignore(self.client))]
fn cube(n: u32) -> u32 {
    n * n * n
}

fn main() {}
