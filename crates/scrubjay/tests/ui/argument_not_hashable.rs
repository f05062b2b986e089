use scrubjay::memoize;

#[derive(Clone)]
struct Opaque;

#[memoize]
fn look(opaque: &Opaque) -> u32 {
    let _ = opaque;
    1
}

fn main() {}
