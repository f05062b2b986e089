//! The last section: what all caches of the demo did, one row for each.

use std::io;
use std::time::Duration;

use scrubjay::Stats;

use super::report::{Page, Table, bytes, number, percent, time};

/// What one cache did.
struct Row {
    name: &'static str,
    stats: Stats,
    saved: Duration,
}

#[derive(Default)]
pub struct Totals {
    rows: Vec<Row>,
}

impl Totals {
    /// Notes a cache. `saved` is the time that its hits and waits did not spend loading.
    pub fn note(&mut self, name: &'static str, stats: Stats, saved: Duration) {
        self.rows.push(Row { name, stats, saved });
    }

    pub fn show(&self, page: &mut Page) -> io::Result<()> {
        page.heading("Summary")?;
        page.text("The caches of whole answers. The bytes are what their entries weigh; an error weighs 1.")?;
        let mut table = Table::new(
            "cache | calls | loads | hits | waits | hit ratio | failed | evicted | time saved | bytes",
        );
        for Row { name, stats, saved } in &self.rows {
            table.row([
                (*name).to_owned(),
                number(stats.hits + stats.misses),
                number(stats.loads),
                number(stats.hits),
                number(stats.waits),
                percent(stats.hit_ratio()),
                number(stats.load_failures),
                number(stats.evicted),
                time(*saved),
                bytes(stats.weight),
            ]);
        }
        let sum =
            |field: fn(&Stats) -> u64| self.rows.iter().map(|row| field(&row.stats)).sum::<u64>();
        let (hits, misses) = (sum(|stats| stats.hits), sum(|stats| stats.misses));
        table.total([
            "all".to_owned(),
            number(hits + misses),
            number(sum(|stats| stats.loads)),
            number(hits),
            number(sum(|stats| stats.waits)),
            percent(ratio(hits, hits + misses)),
            number(sum(|stats| stats.load_failures)),
            number(sum(|stats| stats.evicted)),
            time(self.rows.iter().map(|row| row.saved).sum()),
            bytes(sum(|stats| stats.weight)),
        ]);
        page.table(&table)
    }
}

/// A part of a whole, or `None` of nothing.
#[allow(clippy::cast_precision_loss, reason = "a ratio for people to read")]
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
