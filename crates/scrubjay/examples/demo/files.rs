//! Section: whole files, which no plain recursion ends on, and then the same questions once more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scrubjay::Cache;

use super::Failure;
use super::analysis::{Comparison, compare, comparisons};
use super::input::Input;
use super::report::{Page, Table, bytes, number, percent, short, time};
use super::totals::{Totals, ratio};

/// Compares every pair, one row for each, and then asks for all of them again.
pub fn show(page: &mut Page, input: &Input, totals: &mut Totals) -> Result<(), Failure> {
    page.heading("Whole files, one thread")?;
    page.text(
        "The same recursion through a Cache of its own for each comparison, over all lines. The bytes are what that \
         cache held, tables included, as counted by this program's allocator.",
    )?;
    let comparisons = comparisons().build()?;
    let first = first_pass(page, input, &comparisons)?;
    let began = Instant::now();
    for pair in &input.pairs {
        comparisons.get_or_insert_with(pair.name.as_str(), || Arc::new(compare(pair)));
    }
    let second = began.elapsed();
    page.text(format!(
        "The finished comparisons were kept too, in a second cache. All {} of them once more: {} instead of {}.",
        input.pairs.len(),
        time(second),
        time(first)
    ))?;
    let stats = comparisons.stats();
    totals.note("whole files", stats, stats.time_saved());
    Ok(())
}

fn first_pass(
    page: &mut Page,
    input: &Input,
    comparisons: &Cache<String, Arc<Comparison>>,
) -> Result<Duration, Failure> {
    let mut table =
        Table::new("file | lines | distance | calls | loads | hits | hit ratio | time | bytes");
    let (mut calls, mut loads, mut hits, mut took) = (0, 0, 0, Duration::ZERO);
    for pair in &input.pairs {
        page.progress(&pair.name)?;
        let began = Instant::now();
        let found = comparisons.get_or_insert_with(pair.name.as_str(), || Arc::new(compare(pair)));
        let (inner, loading) = (found.inner, began.elapsed());
        (calls, loads, hits) = (
            calls + inner.hits + inner.misses,
            loads + inner.loads,
            hits + inner.hits,
        );
        took += loading;
        table.row([
            short(&pair.name, 44),
            format!("{}+{}", pair.old.len(), pair.new.len()),
            number(u64::from(found.distance)),
            number(inner.hits + inner.misses),
            number(inner.loads),
            number(inner.hits),
            percent(inner.hit_ratio()),
            time(loading),
            bytes(found.held),
        ]);
    }
    table.total([
        "all".to_owned(),
        String::new(),
        String::new(),
        number(calls),
        number(loads),
        number(hits),
        percent(ratio(hits, calls)),
        time(took),
        String::new(),
    ]);
    page.table(&table)?;
    Ok(took)
}
