use scrubjay::memoize;

trait Shape {
    fn area(&self) -> u32;
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Square(u32);

impl Shape for Square {
    #[memoize]
    fn area(&self) -> u32 {
        self.0 * self.0
    }
}

fn main() {}
