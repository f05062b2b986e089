use scrubjay::memoize;

#[memoize(ttl = "0s", stale_if_error = "1m", refresh = "0ms")]
fn square(n: u32) -> u32 {
    n * n
}

#[memoize(stale_while_refresh = "1m", jitter = 1.5)]
fn cube(n: u32) -> u32 {
    n * n * n
}

#[memoize(ttl = "1m", refresh = "60s", jitter = -1)]
fn fourth(n: u32) -> u32 {
    n * n * n * n
}

fn main() {}
