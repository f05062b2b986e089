//! `scrubjay stats`: how full the store is, what each function has in it, and what that saved.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use scrubjay::disk::{Head, Store, StoreStats, Usage};
use serde_json::json;

use crate::args::{Global, Selection};
use crate::failure::Result;
use crate::{output, store};

const BAR: usize = 24;

/// What one function has in the store, and what was asked of it.
#[derive(Debug, Default)]
pub struct Share {
    entries: u64,
    fresh: u64,
    bytes: u64,
    /// What it would take to load all of its entries again.
    cost: Duration,
    usage: Usage,
}

/// The shares by function, those included that have no entries any more.
pub fn shares(store: &Store, usage: &[Usage]) -> Result<BTreeMap<String, Share>> {
    let now = SystemTime::now();
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for head in Selection::everything().of(store)? {
        let share = shares.entry(head.function.name.clone()).or_default();
        share.add(&head, now);
    }
    for usage in usage {
        let share = shares.entry(usage.function.clone()).or_default();
        share.usage = usage.clone();
    }
    Ok(shares)
}

impl Share {
    fn add(&mut self, head: &Head, now: SystemTime) {
        self.entries += 1;
        self.fresh += u64::from(head.is_fresh(now));
        self.bytes += head.stored_bytes;
        self.cost += head.load_cost;
    }

    /// The time that was saved in memory and by the store.
    fn saved(&self) -> Duration {
        self.usage.memory_time_saved + self.usage.time_saved
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "entries": self.entries,
            "fresh": self.fresh,
            "bytes": self.bytes,
            "load_cost_seconds": self.cost.as_secs_f64(),
            "memory_hits": self.usage.memory_hits,
            "hits": self.usage.hits,
            "waits": self.usage.waits,
            "loads": self.usage.loads,
            "hit_ratio": hit_ratio(&self.usage),
            "memory_time_saved_seconds": self.usage.memory_time_saved.as_secs_f64(),
            "time_saved_seconds": self.usage.time_saved.as_secs_f64(),
            "time_loading_seconds": self.usage.time_loading.as_secs_f64(),
        })
    }
}

/// The share of answers for which nothing ran; `None` if nobody asked.
fn hit_ratio(usage: &Usage) -> Option<f64> {
    let answered = usage.memory_hits + usage.hits + usage.waits;
    let asked = asked(usage);
    (asked > 0).then(|| answered as f64 / asked as f64)
}

/// All answers that were given.
fn asked(usage: &Usage) -> u64 {
    usage.memory_hits + usage.hits + usage.waits + usage.loads
}

/// Where answers came from: its name, what stands for it in a bar, and how many did.
type Source = (&'static str, char, fn(&Usage) -> u64);

/// In the order in which a call asks.
const SOURCES: [Source; 4] = [
    ("memory", '█', |usage| usage.memory_hits),
    ("disk", '▓', |usage| usage.hits),
    ("waited", '▒', |usage| usage.waits),
    ("computed", '░', |usage| usage.loads),
];

/// A bar of all answers, divided by where they came from.
fn divided_bar(usage: &Usage, width: usize) -> String {
    let asked = asked(usage);
    let (mut bar, mut sum) = (String::new(), 0);
    for (_, fill, count) in SOURCES.iter().filter(|_| asked > 0) {
        let cells = |answers: u64| (answers as f64 / asked as f64 * width as f64).round() as usize;
        let before = cells(sum);
        sum += count(usage);
        bar.extend(std::iter::repeat_n(fill, cells(sum) - before));
    }
    bar
}

/// All functions together.
fn sum(usage: &[Usage]) -> Usage {
    let mut sum = Usage::default();
    for one in usage {
        sum.memory_hits += one.memory_hits;
        sum.memory_time_saved += one.memory_time_saved;
        sum.hits += one.hits;
        sum.waits += one.waits;
        sum.loads += one.loads;
        sum.time_saved += one.time_saved;
        sum.time_loading += one.time_loading;
    }
    sum
}

pub fn stats(global: &Global) -> Result<ExitCode> {
    let store = store::open(global)?;
    let total = store.stats()?;
    let shares = shares(&store, &total.usage)?;
    if global.json {
        output::json(&to_json(&total, &shares))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&store.dir().display().to_string())?;
    output::print(&tier(&total))?;
    output::line("")?;
    output::print(&output::lines_of(&table(&shares)))?;
    Ok(ExitCode::SUCCESS)
}

fn to_json(total: &StoreStats, shares: &BTreeMap<String, Share>) -> serde_json::Value {
    let sum = sum(&total.usage);
    let functions = shares.iter().map(|(name, share)| (name, share.to_json()));
    json!({
        "entries": total.entries,
        "bytes": total.used_bytes,
        "log_bytes": total.log_bytes,
        "capacity_bytes": total.capacity_bytes,
        "memory_hits": sum.memory_hits,
        "hits": sum.hits,
        "waits": sum.waits,
        "loads": sum.loads,
        "hit_ratio": hit_ratio(&sum),
        "memory_time_saved_seconds": sum.memory_time_saved.as_secs_f64(),
        "time_saved_seconds": sum.time_saved.as_secs_f64(),
        "time_loading_seconds": sum.time_loading.as_secs_f64(),
        "functions": functions.collect::<BTreeMap<_, _>>(),
    })
}

/// How full the store is, where answers came from, and what that saved.
pub fn tier(total: &StoreStats) -> Vec<String> {
    let share = total.used_bytes as f64 / total.capacity_bytes.max(1) as f64;
    let used = output::bytes(total.used_bytes);
    let most = output::bytes(total.capacity_bytes);
    let what = format!(
        "{used} of {most}, {}",
        output::counted(total.entries, "entry", "entries")
    );
    let mut lines = vec![labelled_bar("store", share, &what)];
    let sum = sum(&total.usage);
    let asked = asked(&sum);
    if asked == 0 {
        return lines;
    }
    for (name, _, count) in SOURCES {
        let count = count(&sum);
        let answers = output::counted(count, "answer", "answers");
        lines.push(labelled_bar(name, count as f64 / asked as f64, &answers));
    }
    let (saved, spent) = (sum.memory_time_saved + sum.time_saved, sum.time_loading);
    let share = saved.as_secs_f64() / (saved + spent).as_secs_f64().max(f64::MIN_POSITIVE);
    let (saved, spent) = (output::duration(saved), output::duration(spent));
    let what = format!("{saved} saved, {spent} spent on loads");
    lines.push(labelled_bar("time", share, &what));
    lines
}

fn labelled_bar(label: &str, share: f64, what: &str) -> String {
    let percent = share * 100.0;
    format!(
        "{label:<8}  {}  {percent:>5.1} %  {what}",
        output::bar(share, BAR)
    )
}

/// The functions, those that saved most first, each with a bar of where its answers came from.
pub fn table(shares: &BTreeMap<String, Share>) -> comfy_table::Table {
    let headings = [
        "FUNCTION",
        "ENTRIES",
        "FRESH",
        "SIZE",
        "MEMORY",
        "DISK",
        "WAITED",
        "COMPUTED",
        "█ ▓ ▒ ░",
        "RATIO",
        "SAVED",
        "COST TO LOAD",
    ];
    let mut table = output::table(&headings, &[1, 2, 3, 4, 5, 6, 7, 9, 10, 11]);
    let mut rows: Vec<_> = shares.iter().collect();
    rows.sort_by_key(|(_, share)| std::cmp::Reverse((share.saved(), share.bytes)));
    for (name, share) in rows {
        let usage = &share.usage;
        let ratio = hit_ratio(usage)
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
        table.add_row([
            output::printable(name),
            share.entries.to_string(),
            share.fresh.to_string(),
            output::bytes(share.bytes),
            usage.memory_hits.to_string(),
            usage.hits.to_string(),
            usage.waits.to_string(),
            usage.loads.to_string(),
            divided_bar(usage, BAR / 2),
            ratio,
            output::duration(share.saved()),
            output::duration(share.cost),
        ]);
    }
    table
}
