use scrubjay::memoize;

#[memoize(errors = "5s")]
fn plain(n: u32) -> u32 {
    n
}

#[memoize(errors = "5s")]
fn read(n: u32) -> std::io::Result<u32> {
    Ok(n)
}

#[memoize(none = "5s")]
fn answer(n: u32) -> Result<u32, u32> {
    Ok(n)
}

#[memoize(none = "5s", errors = "5s")]
fn both(n: u32) -> Result<u32, u32> {
    Ok(n)
}

fn main() {}
