use scrubjay::memoize;

#[memoize]
unsafe extern "C" fn sum(n: u32, ...) -> u32 {
    n
}

fn main() {}
