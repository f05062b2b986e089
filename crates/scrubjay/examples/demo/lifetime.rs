//! Section: a time to live passes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scrubjay::ManualClock;

use super::Failure;
use super::analysis::{compare, comparisons};
use super::input::Input;
use super::report::{Page, Table, number, time};
use super::totals::Totals;

const LIFE: Duration = Duration::from_secs(60);

/// Asks right before and right at the end of an entry's life.
pub fn show(page: &mut Page, input: &Input, totals: &mut Totals) -> Result<(), Failure> {
    let pair = input.middle();
    page.heading("A time to live of 60 seconds")?;
    page.text(format!(
        "The cache takes its time from a ManualClock that the demo moves by hand, so a minute passes at once. The \
         last column is real time. Asked for: {}.",
        pair.name
    ))?;
    let clock = ManualClock::new();
    let cache = comparisons()
        .time_to_live(LIFE)
        .clock(clock.clone())
        .build()?;
    let mut table = Table::new("clock | entries before | answer | loads | expired | took").left(1);
    let (mut at, mut loading, mut saved) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let moment = Duration::from_nanos(1);
    for step in [Duration::ZERO, LIFE - moment, moment, LIFE / 2, LIFE] {
        clock.advance(step);
        at += step;
        let (entries, loads, began) = (cache.len(), cache.stats().loads, Instant::now());
        cache.get_or_insert_with(pair.name.as_str(), || Arc::new(compare(pair)));
        let (took, stats) = (began.elapsed(), cache.stats());
        let is_hit = stats.loads == loads;
        match is_hit {
            true => saved += loading.saturating_sub(took),
            false => loading = took,
        }
        table.row([
            format!("{:.9} s", at.as_secs_f64()),
            number(entries as u64),
            if is_hit { "hit" } else { "loaded" }.to_owned(),
            number(stats.loads),
            number(stats.expired),
            time(took),
        ]);
    }
    page.table(&table)?;
    totals.note("time to live", cache.stats(), saved);
    Ok(())
}
