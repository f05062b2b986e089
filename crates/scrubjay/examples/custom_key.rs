//! Arguments that cannot be hashed, such as floats and maps: a key made from them.
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
    let mut sum = 0.0;
    for (column, (number, sign)) in first.iter().zip([1.0, -1.0].iter().cycle()).enumerate() {
        sum += sign * number * determinant(&without(column));
    }
    sum
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
    let row = |i| (0..8).map(|j| f64::from((i * j + i + j) % 7)).collect();
    let matrix: Matrix = (0_i32..8).map(row).collect();
    let found = determinant(&matrix);
    println!("determinant: {found}\n{}", determinant::stats());
    assert!(determinant::stats().loads <= 256);

    let basket = HashMap::from([("tea".to_owned(), 3), ("nuts".to_owned(), 4)]);
    let same = basket.clone().into_iter().collect();
    assert_eq!((total(&basket), total(&same)), (7, 7));
    assert_eq!((total::stats().loads, total::stats().hits), (1, 1));
}
