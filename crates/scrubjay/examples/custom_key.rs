//! Arguments that cannot be hashed, such as floating-point numbers and maps: a key made from them.
//!
//! Run it: `cargo run -p scrubjay --example custom_key`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::collections::HashMap;

use scrubjay::memoize;

type Matrix = Vec<Vec<f64>>;

/// The exact bits, row by row: `f64` is not `Eq`, its bits are.
fn bits(matrix: &Matrix) -> Vec<Vec<u64>> {
    let row = |row: &Vec<f64>| row.iter().map(|number| number.to_bits()).collect();
    matrix.iter().map(row).collect()
}

/// Expands along the first row: `n!` calls without memoization, `2^n` loads with it.
#[memoize(key = bits(matrix))]
fn determinant(matrix: &Matrix) -> f64 {
    let Some((first, rest)) = matrix.split_first() else {
        return 1.0;
    };
    let without = |column: usize| {
        let keep = |row: &Vec<f64>| [&row[..column], &row[column + 1..]].concat();
        rest.iter().map(keep).collect()
    };
    let signs = [1.0, -1.0].into_iter().cycle();
    let columns = first.iter().zip(signs).enumerate();
    columns
        .map(|(column, (number, sign))| sign * number * determinant(&without(column)))
        .sum()
}

/// Sorted pairs are equal for equal maps; the order of a `HashMap` is not.
fn sorted(prices: &HashMap<String, u32>) -> Vec<(String, u32)> {
    let mut pairs: Vec<_> = prices.clone().into_iter().collect();
    pairs.sort_unstable();
    pairs
}

#[memoize(key = sorted(prices))]
fn total(prices: &HashMap<String, u32>) -> u32 {
    prices.values().sum()
}

/// Asks with equal inputs that are not the same.
pub fn main() {
    let number = |row, column| f64::from((row * column + row + column) % 7);
    let matrix = (0_i32..8)
        .map(|row| (0..8).map(|column| number(row, column)).collect())
        .collect();
    println!(
        "determinant: {}\n{}",
        determinant(&matrix),
        determinant::stats()
    );
    assert_eq!(
        determinant(&matrix).to_bits(),
        determinant(&matrix.clone()).to_bits()
    );
    assert!(determinant::stats().loads <= 256);

    let basket = HashMap::from([("tea".to_owned(), 3), ("nuts".to_owned(), 4)]);
    let same = basket.clone().into_iter().collect();
    assert_eq!((total(&basket), total(&same)), (7, 7));
    assert_eq!((total::stats().loads, total::stats().hits), (1, 1));
}
