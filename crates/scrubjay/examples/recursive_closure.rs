//! A closure that calls itself, memoized: the first parameter is the memoized closure.
//!
//! Run it: `cargo run -p scrubjay --example recursive_closure`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use scrubjay::{memoize, memoize_recursive};

/// Counts ways to pay an amount, and paths through a grid with walls that is only known here.
pub fn main() {
    let coins = [1_u32, 2, 5, 10, 20, 50, 100, 200];
    let ways = memoize_recursive(|ways, (amount, kinds): (u32, usize)| -> u64 {
        match (amount, kinds) {
            (0, _) => 1,
            (_, 0) => 0,
            _ => {
                let coin = coins[kinds - 1];
                let with = if amount >= coin {
                    ways((amount - coin, kinds))
                } else {
                    0
                };
                ways((amount, kinds - 1)) + with
            }
        }
    });
    println!("ways to pay 2.00: {}", ways((200, coins.len())));
    assert_eq!(ways((200, coins.len())), 73_682);

    let grid = ["..#.....", "....#...", ".#......", "...#..#.", "........"];
    let open = |row: usize, column: usize| grid[row].as_bytes()[column] == b'.';
    let paths = memoize_recursive(|paths, (row, column): (usize, usize)| -> u64 {
        match (row, column) {
            _ if !open(row, column) => 0,
            (0, 0) => 1,
            (0, column) => paths((0, column - 1)),
            (row, 0) => paths((row - 1, 0)),
            (row, column) => paths((row - 1, column)) + paths((row, column - 1)),
        }
    });
    println!("paths through the grid: {}", paths((4, 7)));
    assert_eq!(paths((4, 7)), 21);

    // A closure that does not call itself needs no extra parameter.
    let cube = memoize(|n: u64| n * n * n);
    assert_eq!((cube(9), cube(9)), (729, 729));
}
