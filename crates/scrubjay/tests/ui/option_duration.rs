use scrubjay::memoize;

#[memoize(ttl = "5 minutes", idle = 60, errors = "", timeout = "1.5s")]
fn square(n: u32) -> Result<u32, u32> {
    Ok(n * n)
}

#[memoize(ttl = 60 * 5)]
fn cube(n: u32) -> u32 {
    n * n * n
}

fn main() {}
