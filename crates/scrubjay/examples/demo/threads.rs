//! Section: ten threads that want the same comparison at the same moment.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::analysis::{Comparison, compare, comparisons};
use super::input::Input;
use super::report::{Page, Table, number, time};
use super::totals::Totals;
use super::{Failure, STACK};

const THREADS: usize = 10;

/// Lets all of them work, then lets them share, then asks again.
pub fn show(page: &mut Page, input: &Input, totals: &mut Totals) -> Result<(), Failure> {
    let pair = input.middle();
    page.heading("Ten threads, one computation")?;
    page.text(format!(
        "Ten threads start from one barrier and all want {} ({} and {} lines), on {} processors.",
        pair.name,
        pair.old.len(),
        pair.new.len(),
        thread::available_parallelism().map_or(1, usize::from)
    ))?;
    let mut table = Table::new(" | loads | waits | hits | time until all had it");
    page.progress("ten threads without a cache")?;
    let alone = race(|| Arc::new(compare(pair)))?;
    table.row([
        "each for itself".into(),
        number(THREADS as u64),
        "-".into(),
        "-".into(),
        time(alone),
    ]);

    let cache = comparisons().build()?;
    let mut before = cache.stats();
    for name in ["through one cache", "once more"] {
        let took =
            race(|| cache.get_or_insert_with(pair.name.as_str(), || Arc::new(compare(pair))))?;
        let after = cache.stats();
        let (loads, waits) = (after.loads - before.loads, after.waits - before.waits);
        table.row([
            name.into(),
            number(loads),
            number(waits),
            number(after.hits - before.hits),
            time(took),
        ]);
        before = after;
    }
    page.table(&table)?;
    let stats = cache.stats();
    totals.note("ten threads", stats, stats.time_saved());
    Ok(())
}

/// Runs `ask` on all threads at once; returns the time from the start to the last answer.
fn race(ask: impl Fn() -> Arc<Comparison> + Sync) -> Result<Duration, Failure> {
    let start = Barrier::new(THREADS + 1);
    let began = thread::scope(|scope| {
        for _ in 0..THREADS {
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || {
                    start.wait();
                    ask();
                })?;
        }
        let began = Instant::now();
        start.wait();
        Ok::<_, Failure>(began)
    })?;
    Ok(began.elapsed())
}
