//! Rounds in which competitors take turns, and the table of their medians.
//!
//! The machines are noisy: so a ratio is the median of the ratios of each round, within which everybody met
//! nearly the same noise.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::table::Table;

/// One competitor.
pub struct Row {
    name: String,
    run: Box<dyn Fn(Round) -> f64>,
}

/// What a competitor is told about its turn.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub threads: usize,
    /// Counts the turns since the start, so that requests may differ from turn to turn.
    pub turn: usize,
}

/// A competitor whose turn returns nanoseconds per operation, all threads' operations counted.
pub fn row(name: impl Into<String>, run: impl Fn(Round) -> f64 + 'static) -> Row {
    Row {
        name: name.into(),
        run: Box::new(run),
    }
}

/// Competitors for one task; the first is Scrubjay.
pub struct Group {
    pub title: String,
    /// The numbers of threads to run with.
    pub threads: &'static [usize],
    pub rows: Vec<Row>,
}

impl Group {
    /// Lets everybody take turns for `rounds` rounds, after one that only warms up, and prints the medians.
    pub fn compete(&self, rounds: usize) {
        let mut turn = 0;
        // By row, by number of threads, by round.
        let mut figures = vec![vec![Vec::new(); self.threads.len()]; self.rows.len()];
        for round in 0..=rounds {
            for (position, threads) in self.threads.iter().enumerate() {
                for (row, figures) in self.rows.iter().zip(&mut figures) {
                    let figure = (row.run)(Round {
                        threads: *threads,
                        turn,
                    });
                    if round > 0 {
                        figures[position].push(figure);
                    }
                }
                turn += 1;
            }
        }
        println!("\n### {}\n", self.title);
        self.table(&figures).print();
    }

    fn table(&self, figures: &[Vec<Vec<f64>>]) -> Table {
        let mut head = vec![String::new()];
        for threads in self.threads {
            let threads = match threads {
                1 => "1 thread".to_owned(),
                more => format!("{more} threads"),
            };
            head.push(format!("ns, {threads}"));
            head.push("× ours".to_owned());
        }
        let scales = self.threads.len() > 1;
        if scales {
            head.push("scaling".to_owned());
        }
        let mut table = Table::new(&head);
        for (row, own) in self.rows.iter().zip(figures) {
            let mut cells = vec![row.name.clone()];
            for (own, ours) in own.iter().zip(&figures[0]) {
                cells.push(format!("{:.1}", median(own.iter().copied())));
                cells.push(format!("{:.2}", median_ratio(own, ours)));
            }
            if scales {
                cells.push(format!("{:.2}", median_ratio(&own[0], &own[own.len() - 1])));
            }
            table.row(&cells);
        }
        table
    }
}

fn median_ratio(one: &[f64], other: &[f64]) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| one / other))
}

/// The middle one, or the larger of the two in the middle.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs `work(thread)` on so many threads at once, and returns the time from the first start to the last end.
pub fn time_threads(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let (barrier, work) = (&Barrier::new(threads), &work);
    let timed = move |thread| {
        barrier.wait();
        let start = Instant::now();
        work(thread);
        (start, Instant::now())
    };
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || timed(thread)))
            .collect();
        let spans = workers.into_iter().map(|worker| worker.join());
        spans
            .map(|span| span.expect("a worker's answers were right"))
            .collect()
    });
    let start = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    end.zip(start)
        .map_or(Duration::ZERO, |(end, start)| end - start)
}
