use scrubjay::memoize;

struct Square(u32);

impl Square {
    #[memoize]
    fn area(side: u32) -> u32 {
        Square(side).0 * side
    }
}

fn main() {}
