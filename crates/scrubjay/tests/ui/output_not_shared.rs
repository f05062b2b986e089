use std::rc::Rc;

use scrubjay::memoize;

#[memoize]
fn make(n: u32) -> Rc<u32> {
    Rc::new(n)
}

fn main() {}
