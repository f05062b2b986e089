use scrubjay::memoize;

#[memoize(disk = "pages")]
fn square(n: u32) -> u32 {
    n * n
}

#[memoize(redis = "redis://localhost")]
fn cube(n: u32) -> u32 {
    n * n * n
}

fn main() {}
