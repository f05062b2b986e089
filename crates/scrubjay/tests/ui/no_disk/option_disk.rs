use scrubjay::memoize;

#[memoize(disk = "pages")]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
