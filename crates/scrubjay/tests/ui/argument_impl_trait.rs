use scrubjay::memoize;

#[memoize]
fn shown(value: impl std::fmt::Display) -> String {
    value.to_string()
}

fn main() {}
