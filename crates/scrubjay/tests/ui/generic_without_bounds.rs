use scrubjay::memoize;

#[memoize]
fn same<T: Clone>(value: T) -> T {
    value
}

fn main() {}
