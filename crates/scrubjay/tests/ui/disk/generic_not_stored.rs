use scrubjay::memoize;

#[memoize(disk = "same")]
fn same<T: Clone + Send + Sync + std::hash::Hash + Eq + 'static>(value: T) -> T {
    value
}

fn main() {}
