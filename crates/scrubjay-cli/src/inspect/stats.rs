//! `scrubjay stats`: how full the store is, and what each function has in it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use scrubjay::disk::{Head, Store};
use serde_json::json;

use crate::args::{Global, Selection};
use crate::failure::Result;
use crate::{output, store};

const BAR: usize = 24;

/// What one function has in the store.
#[derive(Debug, Default)]
pub struct Share {
    pub entries: u64,
    pub fresh: u64,
    pub bytes: u64,
    /// What it would take to load all of its entries again.
    pub cost: Duration,
}

/// The shares by function.
pub fn shares(store: &Store) -> Result<BTreeMap<String, Share>> {
    let everything = Selection {
        function: None,
        tag: None,
        older: None,
    };
    let now = SystemTime::now();
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for head in everything.of(store) {
        shares
            .entry(head.function.name.clone())
            .or_default()
            .add(&head, now);
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
}

pub fn stats(global: &Global) -> Result<ExitCode> {
    let store = store::open(global)?;
    let shares = shares(&store)?;
    let total = store.stats()?;
    if global.json {
        let functions: BTreeMap<_, _> = shares
            .iter()
            .map(|(name, share)| (name, to_json(share)))
            .collect();
        output::json(&json!({
            "entries": total.entries,
            "bytes": total.used_bytes,
            "capacity_bytes": total.capacity_bytes,
            "functions": functions,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&store::directory(global)?.display().to_string())?;
    output::line(&tier_line(
        total.entries,
        total.used_bytes,
        total.capacity_bytes,
    ))?;
    output::line("")?;
    output::print_table(&table(&shares))?;
    Ok(ExitCode::SUCCESS)
}

/// The disk tier and how full it is.
pub fn tier_line(entries: u64, bytes: u64, capacity: u64) -> String {
    let share = bytes as f64 / capacity.max(1) as f64;
    let (used, most) = (output::bytes(bytes), output::bytes(capacity));
    format!(
        "disk  {}  {used} of {most} ({:.1} %), {entries} entries",
        output::bar(share, BAR),
        share * 100.0
    )
}

/// The functions, the largest first.
pub fn table(shares: &BTreeMap<String, Share>) -> comfy_table::Table {
    let mut table = output::table(
        &["FUNCTION", "ENTRIES", "FRESH", "SIZE", "", "COST TO LOAD"],
        &[1, 2, 3, 5],
    );
    let largest = shares
        .values()
        .map(|share| share.bytes)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut rows: Vec<_> = shares.iter().collect();
    rows.sort_by_key(|(_, share)| std::cmp::Reverse(share.bytes));
    for (name, share) in rows {
        table.add_row([
            name.clone(),
            share.entries.to_string(),
            share.fresh.to_string(),
            output::bytes(share.bytes),
            output::bar(share.bytes as f64 / largest as f64, BAR),
            output::duration(share.cost),
        ]);
    }
    table
}

fn to_json(share: &Share) -> serde_json::Value {
    json!({
        "entries": share.entries,
        "fresh": share.fresh,
        "bytes": share.bytes,
        "load_cost_seconds": share.cost.as_secs_f64(),
    })
}
