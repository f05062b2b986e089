//! Section: capacities that are too small for what is asked for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use scrubjay::{Cache, Stats};

use super::Failure;
use super::analysis::nearest;
use super::input::Input;
use super::report::{Page, Table, bytes, number, percent, time};
use super::totals::Totals;

/// How many of the most frequent words every word is compared with.
const KNOWN: usize = 12;

/// Asks the same questions of smaller and smaller caches.
pub fn show(
    page: &mut Page,
    input: &Input,
    most_words: usize,
    totals: &mut Totals,
) -> Result<(), Failure> {
    let (text, known) = words(input, most_words);
    page.heading("A capacity that is too small")?;
    page.text(format!(
        "For each of the first {} words of the files, in the order of the text: which of the {} most frequent words \
         is nearest, by the same edit distance, letter by letter? An entry weighs its bytes.",
        number(text.len() as u64),
        known.len()
    ))?;
    let mut table = Table::new(
        "capacity | bytes | calls | loads | hits | hit ratio | evicted | most held | time | time saved",
    );
    let all = read(&text, &known, u64::MAX)?;
    for part in [100, 75, 50, 25, 10] {
        let capacity = all.stats.weight * part / 100;
        page.progress(&format!("a capacity of {part} %"))?;
        let reading = read(&text, &known, capacity)?;
        let stats = reading.stats;
        table.row([
            format!("{part} %"),
            bytes(capacity),
            number(stats.hits + stats.misses),
            number(stats.loads),
            number(stats.hits),
            percent(stats.hit_ratio()),
            number(stats.evicted),
            bytes(reading.most_held),
            time(reading.took),
            time(stats.time_saved()),
        ]);
        if part == 25 {
            totals.note("capacity 25 %", stats, stats.time_saved());
        }
    }
    page.table(&table)?;
    page.text("The weight was asked for after every call, and it was never above the capacity.")?;
    Ok(())
}

/// The first words of the files, and the most frequent ones of them.
fn words(input: &Input, most: usize) -> (Vec<&str>, Vec<&str>) {
    let lines = input.pairs.iter().flat_map(|pair| pair.new.iter());
    let parts = lines.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric()));
    let text: Vec<&str> = parts.filter(|word| word.len() > 1).take(most).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in &text {
        *counts.entry(word).or_default() += 1;
    }
    let mut known: Vec<(&str, usize)> = counts.into_iter().collect();
    known.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
    (
        text,
        known
            .into_iter()
            .map(|(word, _)| word)
            .take(KNOWN)
            .collect(),
    )
}

struct Reading {
    stats: Stats,
    most_held: u64,
    took: Duration,
}

fn read(text: &[&str], known: &[&str], capacity: u64) -> Result<Reading, Failure> {
    let cache: Cache<String, String> = Cache::builder()
        .capacity(capacity)
        .weigher(|word: &String, nearest: &String| (word.len() + nearest.len()) as u64)
        .build()?;
    let (mut most_held, began) = (0, Instant::now());
    for word in text {
        cache.get_or_insert_with(*word, || {
            nearest(word, known).unwrap_or_default().to_owned()
        });
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
