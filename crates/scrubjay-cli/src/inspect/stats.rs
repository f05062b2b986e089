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

    fn to_json(&self) -> serde_json::Value {
        json!({
            "entries": self.entries,
            "fresh": self.fresh,
            "bytes": self.bytes,
            "load_cost_seconds": self.cost.as_secs_f64(),
            "hits": self.usage.hits,
            "waits": self.usage.waits,
            "loads": self.usage.loads,
            "hit_ratio": hit_ratio(&self.usage),
            "time_saved_seconds": self.usage.time_saved.as_secs_f64(),
            "time_loading_seconds": self.usage.time_loading.as_secs_f64(),
        })
    }
}

/// The share of answers for which nothing ran; `None` if nobody asked.
fn hit_ratio(usage: &Usage) -> Option<f64> {
    let answered = usage.hits + usage.waits;
    let asked = answered + usage.loads;
    (asked > 0).then(|| answered as f64 / asked as f64)
}

/// All functions together.
fn sum(usage: &[Usage]) -> Usage {
    let mut sum = Usage::default();
    for one in usage {
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
    print_tier(&total)?;
    output::line("")?;
    output::print_table(&table(&shares))?;
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
        "hits": sum.hits,
        "waits": sum.waits,
        "loads": sum.loads,
        "hit_ratio": hit_ratio(&sum),
        "time_saved_seconds": sum.time_saved.as_secs_f64(),
        "time_loading_seconds": sum.time_loading.as_secs_f64(),
        "functions": functions.collect::<BTreeMap<_, _>>(),
    })
}

/// The disk tier: how full it is, how often it had the answer, and what that saved.
pub fn print_tier(total: &StoreStats) -> Result<()> {
    let share = total.used_bytes as f64 / total.capacity_bytes.max(1) as f64;
    let used = output::bytes(total.used_bytes);
    let most = output::bytes(total.capacity_bytes);
    let what = format!(
        "{used} of {most}, {}",
        output::counted(total.entries, "entry", "entries")
    );
    output::line(&labelled_bar("disk", share, &what))?;
    let sum = sum(&total.usage);
    let Some(ratio) = hit_ratio(&sum) else {
        return Ok(());
    };
    let hits = output::counted(sum.hits, "hit", "hits");
    let waits = output::counted(sum.waits, "wait", "waits");
    let loads = output::counted(sum.loads, "load", "loads");
    output::line(&labelled_bar(
        "hits",
        ratio,
        &format!("{hits}, {waits}, {loads}"),
    ))?;
    let (saved, spent) = (sum.time_saved, sum.time_loading);
    let share = saved.as_secs_f64() / (saved + spent).as_secs_f64().max(f64::MIN_POSITIVE);
    let (saved, spent) = (output::duration(saved), output::duration(spent));
    output::line(&labelled_bar(
        "time",
        share,
        &format!("{saved} saved, {spent} spent on loads"),
    ))?;
    Ok(())
}

fn labelled_bar(label: &str, share: f64, what: &str) -> String {
    let percent = share * 100.0;
    format!(
        "{label}  {}  {percent:>5.1} %  {what}",
        output::bar(share, BAR)
    )
}

/// The functions, those that saved most first.
pub fn table(shares: &BTreeMap<String, Share>) -> comfy_table::Table {
    let headings = [
        "FUNCTION",
        "ENTRIES",
        "FRESH",
        "SIZE",
        "HITS",
        "WAITS",
        "LOADS",
        "RATIO",
        "SAVED",
        "",
        "COST TO LOAD",
    ];
    let mut table = output::table(&headings, &[1, 2, 3, 4, 5, 6, 7, 8, 10]);
    let mut rows: Vec<_> = shares.iter().collect();
    rows.sort_by_key(|(_, share)| std::cmp::Reverse((share.usage.time_saved, share.bytes)));
    let most = rows
        .first()
        .map_or(0.0, |(_, share)| share.usage.time_saved.as_secs_f64());
    for (name, share) in rows {
        let usage = &share.usage;
        let ratio = hit_ratio(usage)
            .map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
        let saved = usage.time_saved.as_secs_f64() / most.max(f64::MIN_POSITIVE);
        table.add_row([
            name.clone(),
            share.entries.to_string(),
            share.fresh.to_string(),
            output::bytes(share.bytes),
            usage.hits.to_string(),
            usage.waits.to_string(),
            usage.loads.to_string(),
            ratio,
            output::duration(usage.time_saved),
            output::bar(saved, BAR / 2),
            output::duration(share.cost),
        ]);
    }
    table
}
