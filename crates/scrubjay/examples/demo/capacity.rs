//! Section: capacities that are too small for what is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scrubjay::{Cache, Stats};

use super::analysis::{Comparison, Pair, compare};
use super::input::Input;
use super::report::{Page, Table, bytes, counted, number, percent, time};
use super::totals::Totals;
use super::{Failure, memory};

/// The lines of a block, and the most blocks that are asked for.
const LINES: usize = 24;
const MOST_BLOCKS: usize = 300;
const PASSES: usize = 3;

type Blocks = Cache<String, Arc<Comparison>>;

/// Asks the same questions of smaller and smaller caches.
pub fn show(page: &mut Page, input: &Input, totals: &mut Totals) -> Result<(), Failure> {
    let files = blocks(input);
    let distinct: usize = files.iter().map(Vec::len).sum();
    page.heading("A capacity that is too small")?;
    page.text(format!(
        "The files in {} of {LINES} lines, each compared with its older self. A reader goes through every file, then \
         once more over the blocks that changed, and all of it {PASSES} times. An entry weighs its bytes.",
        counted(distinct as u64, "block")
    ))?;
    page.blank()?;
    let mut table = Table::new([
        "capacity",
        "bytes",
        "calls",
        "loads",
        "hits",
        "hit ratio",
        "evicted",
        "most held",
        "time",
    ]);
    let all = read(&files, u64::MAX)?;
    for percent_of_all in [100, 75, 50, 25, 10] {
        let capacity = all.stats.weight * percent_of_all / 100;
        page.progress(&format!("capacity of {percent_of_all} %"))?;
        let held = memory::held();
        let reading = read(&files, capacity)?;
        let Reading {
            stats,
            most_held,
            took,
        } = &reading;
        table.row([
            format!("{percent_of_all} %"),
            bytes(capacity),
            number(stats.hits + stats.misses),
            number(stats.loads),
            number(stats.hits),
            percent(stats.hit_ratio()),
            number(stats.evicted),
            bytes(*most_held),
            time(*took),
        ]);
        if percent_of_all == 25 {
            totals.note(
                "capacity 25 %",
                *stats,
                stats.time_saved(),
                memory::held().saturating_sub(held),
            );
        }
    }
    page.table(&table)?;
    page.text("The weight was asked for after every call, and it was never above the capacity.")?;
    Ok(())
}

/// The blocks of every file; a block is one part of both versions.
fn blocks(input: &Input) -> Vec<Vec<Pair>> {
    let mut left = MOST_BLOCKS;
    let mut files = Vec::new();
    for pair in &input.pairs {
        let starts = (0..pair.old.len()).step_by(LINES).take(left);
        let block = |start: usize| {
            let mut block = pair.window(start, LINES);
            block.name = format!("{} line {start}", pair.name);
            block
        };
        let blocks: Vec<Pair> = starts.map(block).collect();
        left -= blocks.len();
        files.push(blocks);
    }
    files
}

struct Reading {
    stats: Stats,
    most_held: u64,
    took: Duration,
}

fn read(files: &[Vec<Pair>], capacity: u64) -> Result<Reading, Failure> {
    let cache: Blocks = Cache::builder()
        .capacity(capacity)
        .weigher(|_: &String, comparison: &Arc<Comparison>| comparison.bytes())
        .build()?;
    let (mut most_held, began) = (0, Instant::now());
    for file in (0..PASSES).flat_map(|_| files) {
        let changed = file.iter().filter(|block| block.old != block.new);
        for block in file.iter().chain(changed) {
            cache.get_or_insert_with(block.name.as_str(), || Arc::new(compare(block)));
            most_held = cache.weight().max(most_held);
        }
    }
    if most_held > capacity {
        return Err(format!("the cache held {most_held} bytes, {capacity} are allowed").into());
    }
    Ok(Reading {
        stats: cache.stats(),
        most_held,
        took: began.elapsed(),
    })
}
