use scrubjay::memoize;

#[memoize]
extern "C" fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
