//! Section: the same recursion without and with memoization, on the same few lines of a real file.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Failure;
use super::analysis::{Pair, distance, plain};
use super::input::Input;
use super::report::{Page, Table, number, time};

/// The plain recursion multiplies its calls with every line, so few rows say enough.
const ROWS_SHOWN: usize = 5;
const MOST_LINES: usize = 40;

/// One way to answer, with its price.
struct Run {
    distance: u32,
    calls: u64,
    took: Duration,
}

/// Adds line after line until the plain recursion takes longer than `patience`.
pub fn show(page: &mut Page, input: &Input, patience: Duration) -> Result<(), Failure> {
    let pair = liveliest(input);
    let start = pair.first_difference();
    page.heading("Without and with memoization")?;
    page.text(format!(
        "The edit distance between two versions of a file: the fewest lines to add, drop or change. The recursion \
         asks up to three times for the rest of both texts. The second function differs from the first one by \
         #[memoize]. Both get the same lines of {} from line {} on.",
        pair.name,
        start + 1
    ))?;
    let mut table = Table::new(
        "lines | distance | calls without | time | calls with | loads | hits | time | time saved",
    );
    let most = pair.old.len().min(pair.new.len()) - start;
    for lines in 4..=most.clamp(4, MOST_LINES) {
        page.progress(&format!("{lines} lines without memoization"))?;
        let took = add_row(&mut table, &pair.window(start, lines))?;
        if took > patience {
            break;
        }
    }
    table.keep_last(ROWS_SHOWN);
    page.table(&table)?;
    Ok(())
}

fn add_row(table: &mut Table, window: &Pair) -> Result<Duration, Failure> {
    let without = without(window);
    distance::clear();
    let before = distance::stats();
    let with = with(window);
    let after = distance::stats();
    if with.distance != without.distance {
        return Err("the memoized recursion gave another answer".into());
    }
    table.row([
        format!("{}+{}", window.old.len(), window.new.len()),
        number(u64::from(with.distance)),
        number(without.calls),
        time(without.took),
        number(with.calls),
        number(after.loads - before.loads),
        number(after.hits - before.hits),
        time(with.took),
        without
            .took
            .checked_sub(with.took)
            .map_or("-".to_owned(), time),
    ]);
    Ok(without.took)
}

fn without(window: &Pair) -> Run {
    let (calls, began) = (Cell::new(0), Instant::now());
    let distance = plain(window, 0, 0, &calls);
    Run {
        distance,
        calls: calls.get(),
        took: began.elapsed(),
    }
}

fn with(window: &Pair) -> Run {
    let lookups = || distance::stats().hits + distance::stats().misses;
    let (before, began) = (lookups(), Instant::now());
    let distance = distance(window, 0, 0);
    let took = began.elapsed();
    Run {
        distance,
        calls: lookups() - before,
        took,
    }
}

/// The pair with the most new lines behind its first difference, and enough old ones to compare them with.
fn liveliest(input: &Input) -> &Pair {
    let news = |pair: &&Pair| {
        let window = pair.window(pair.first_difference(), 12);
        let news = window
            .new
            .iter()
            .filter(|line| !window.old.contains(line))
            .count();
        news.min(window.old.len())
    };
    input
        .pairs
        .iter()
        .max_by_key(news)
        .unwrap_or(&input.pairs[0])
}
