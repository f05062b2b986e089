use scrubjay::memoize;

#[memoize(capcity = 10, max_size = 10, time_to_live = "5m", nonsense)]
fn square(n: u32) -> u32 {
    n * n
}

fn main() {}
