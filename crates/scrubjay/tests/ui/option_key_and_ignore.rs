use scrubjay::memoize;

#[memoize(key = n, ignore(verbose))]
fn square(n: u32, verbose: bool) -> u32 {
    let _ = verbose;
    n * n
}

fn main() {}
