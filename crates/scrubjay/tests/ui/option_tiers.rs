use scrubjay::memoize;

#[memoize(disk = "pages")]
fn square<T: Clone>(n: T) -> T {
    n
}

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
