use scrubjay::memoize;

#[memoize(code = "on")]
fn twice(n: u32) -> u32 {
    n + n
}

#[memoize(version = 1, code = "off")]
fn half(n: u32) -> u32 {
    n / 2
}

#[memoize(redis = "redis://localhost")]
fn cube(n: u32) -> u32 {
    n * n * n
}

fn main() {}
