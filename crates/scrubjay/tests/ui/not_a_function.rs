use scrubjay::memoize;

#[memoize]
struct Table;

trait Shape {
    #[memoize(in_trait)]
    fn area(&self) -> u32;
}

fn main() {}
