use scrubjay::memoize;

#[derive(Clone)]
struct Page(u32);

#[memoize(disk = "pages")]
fn page(number: u32) -> Page {
    Page(number)
}

#[memoize(disk = "pages")]
fn perhaps(number: u32) -> Result<Page, String> {
    Ok(Page(number))
}

fn main() {}
