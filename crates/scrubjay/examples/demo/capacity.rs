//! Section: capacities that are too small for what is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scrubjay::Stats;

use super::Failure;
use super::analysis::{Pair, compare, comparisons};
use super::input::Input;
use super::report::{Page, Table, bytes, counted, number, percent, time};
use super::totals::Totals;

/// The lines of a block.
const LINES: usize = 24;

/// Asks the same questions of smaller and smaller caches.
pub fn show(
    page: &mut Page,
    input: &Input,
    most_blocks: usize,
    totals: &mut Totals,
) -> Result<(), Failure> {
    let files = blocks(input, most_blocks);
    let distinct: usize = files.iter().map(Vec::len).sum();
    page.heading("A capacity that is too small")?;
    page.text(format!(
        "The files in {} of {LINES} lines, each compared with its older self. A reader goes through the files, and \
         after each one back through all changed blocks so far. An entry weighs its bytes.",
        counted(distinct as u64, "block")
    ))?;
    let mut table = Table::new(
        "capacity | bytes | calls | loads | hits | hit ratio | evicted | most held | time",
    );
    let all = read(&files, u64::MAX)?;
    for percent_of_all in [100, 75, 50, 25, 10] {
        let capacity = all.stats.weight * percent_of_all / 100;
        page.progress(&format!("capacity of {percent_of_all} %"))?;
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
            totals.note("capacity 25 %", *stats, stats.time_saved());
        }
    }
    page.table(&table)?;
    page.text("The weight was asked for after every call, and it was never above the capacity.")?;
    Ok(())
}

/// The blocks of every file; a block is one part of both versions.
fn blocks(input: &Input, mut left: usize) -> Vec<Vec<Pair>> {
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

/// The blocks of each file, and after each file the blocks that changed in the files so far, the last first.
fn requests(files: &[Vec<Pair>]) -> Vec<&Pair> {
    let (mut requests, mut changed) = (Vec::new(), Vec::new());
    for file in files {
        requests.extend(file);
        changed.extend(file.iter().filter(|block| block.old != block.new));
        requests.extend(changed.iter().rev());
    }
    requests
}

struct Reading {
    stats: Stats,
    most_held: u64,
    took: Duration,
}

fn read(files: &[Vec<Pair>], capacity: u64) -> Result<Reading, Failure> {
    let cache = comparisons().capacity(capacity).build()?;
    let (mut most_held, began) = (0, Instant::now());
    for block in requests(files) {
        cache.get_or_insert_with(block.name.as_str(), || Arc::new(compare(block)));
        most_held = cache.weight().max(most_held);
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
