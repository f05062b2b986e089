use scrubjay::memoize;

#[memoize(ignore(client, self))]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
