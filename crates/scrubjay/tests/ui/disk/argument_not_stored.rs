use scrubjay::memoize;

#[derive(Clone, PartialEq, Eq, Hash)]
struct User(u32);

#[memoize(disk = "users")]
fn pages(user: User) -> u32 {
    user.0
}

#[memoize(disk = "users")]
fn page(user: User, number: u32) -> u32 {
    user.0 + number
}

fn main() {}
