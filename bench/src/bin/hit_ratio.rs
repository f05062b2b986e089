//! How often a bounded cache has the answer: recorded requests, one thread, each cache through its public crate.
//!
//! Every request is a look-up and, on a miss, an insertion. Capacities are 0.1 %, 1 % and 10 % of a trace's distinct
//! keys, rounded down; rows under 50 entries are left out. A cache that works off a queue later (moka, mini-moka) is
//! made to do so after at most 64 requests, and after fewer where it could exceed its capacity by more than 1 %
//! meanwhile. After every miss the cache must hold no more than its capacity: ours panics otherwise, a peer's excess is
//! reported below the table. `lru` and `Policy::Lru` are checked against an LRU of our own. Caches that seed their
//! hashers at random differ from run to run, by up to 0.01 on small rows.
//!
//! Output: Markdown. One row is one trace at one capacity, a figure is hits ÷ requests, "difference" is Scrubjay's
//! figure less that of the peer that does best on that row. Belady's optimum knows the future; nothing exceeds it.
//! Hit ratios say nothing about speed.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use scrubjay::Policy;
use scrubjay_bench::exact::{belady_hits, lru_hits};
use scrubjay_bench::peer::{CountedTinyUfo, Foldhash, Peer};
use scrubjay_bench::progress::Progress;
use scrubjay_bench::table::Table;
use scrubjay_bench::trace::Trace;

/// Makes a cache for so many entries.
type Make = fn(usize) -> Box<dyn Peer<u32, ()>>;

const OURS: &[(&str, Make)] = &[
    ("scrubjay", |capacity| ours(capacity, Policy::Adaptive)),
    ("scrubjay `Lru`", |capacity| ours(capacity, Policy::Lru)),
    ("scrubjay `Fifo`", |capacity| ours(capacity, Policy::Fifo)),
];

const PEERS: &[(&str, Make)] = &[
    ("quick_cache", quick_cache),
    ("foyer S3-FIFO", |capacity| {
        foyer(capacity, foyer::S3FifoConfig::default())
    }),
    ("foyer W-TinyLFU", |capacity| {
        foyer(capacity, foyer::LfuConfig::default())
    }),
    ("foyer LRU", |capacity| {
        foyer(capacity, foyer::LruConfig::default())
    }),
    ("foyer SIEVE", |capacity| {
        foyer(capacity, foyer::SieveConfig)
    }),
    ("foyer FIFO", |capacity| {
        foyer(capacity, foyer::FifoConfig::default())
    }),
    ("moka TinyLFU", |capacity| {
        moka(capacity, moka::policy::EvictionPolicy::tiny_lfu())
    }),
    ("moka LRU", |capacity| {
        moka(capacity, moka::policy::EvictionPolicy::lru())
    }),
    ("mini-moka", |capacity| {
        Box::new(mini_moka::sync::Cache::new(capacity as u64))
    }),
    ("TinyUFO", |capacity| {
        Box::new(CountedTinyUfo::new(capacity))
    }),
    ("lru", |capacity| {
        let capacity = capacity.try_into().expect("rows have 50 entries");
        let cache = lru::LruCache::with_hasher(capacity, Foldhash::default());
        Box::new(Mutex::new(cache))
    }),
    ("schnellru", |capacity| {
        let limit = schnellru::ByLength::new(capacity as u32);
        Box::new(Mutex::new(schnellru::LruMap::new(limit)))
    }),
];

fn ours(capacity: usize, policy: Policy) -> Box<dyn Peer<u32, ()>> {
    let builder = scrubjay::Cache::builder().capacity(capacity as u64);
    Box::new(
        builder
            .policy(policy)
            .build()
            .expect("the options go together"),
    )
}

/// One shard, so that its capacity is not divided beforehand.
fn quick_cache(capacity: usize) -> Box<dyn Peer<u32, ()>> {
    let mut options = quick_cache::OptionsBuilder::new();
    options.shards(1).estimated_items_capacity(capacity);
    options.weight_capacity(capacity as u64);
    Box::new(quick_cache::sync::Cache::with_options(
        options.build().expect("both capacities are given"),
        quick_cache::UnitWeighter,
        quick_cache::DefaultHashBuilder::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    ))
}

/// One shard, for the same reason.
fn foyer(capacity: usize, policy: impl Into<foyer::EvictionConfig>) -> Box<dyn Peer<u32, ()>> {
    let builder = foyer::CacheBuilder::new(capacity).with_shards(1);
    let cache: foyer::Cache<u32, ()> = builder.with_eviction_config(policy).build();
    Box::new(cache)
}

fn moka(capacity: usize, policy: moka::policy::EvictionPolicy) -> Box<dyn Peer<u32, ()>> {
    let builder = moka::sync::Cache::builder().max_capacity(capacity as u64);
    Box::new(builder.eviction_policy(policy).build())
}

/// What one cache did on one row.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    ratio: f64,
    /// The most entries it held above its capacity.
    excess: u64,
}

fn replay(requests: &[u32], capacity: usize, make: Make) -> Outcome {
    let cache = make(capacity);
    let until_settled = (capacity / 100).clamp(1, 64);
    let (mut hits, mut excess) = (0_u64, 0);
    for (now, key) in requests.iter().enumerate() {
        let hit = cache.get(key).is_some();
        if hit {
            hits += 1;
        } else {
            cache.insert(*key, ());
        }
        if now % until_settled == 0 {
            cache.settle();
        }
        if !hit {
            let resident = cache.resident().expect("all of them tell");
            excess = excess.max(resident.saturating_sub(capacity as u64));
        }
    }
    Outcome {
        ratio: hits as f64 / requests.len() as f64,
        excess,
    }
}

/// One trace at one capacity.
struct Row<'a> {
    trace: &'a Trace,
    capacity: usize,
    ours: Vec<Outcome>,
    peers: Vec<Outcome>,
    lru: f64,
    belady: f64,
}

impl<'a> Row<'a> {
    /// The rows of all traces, not run yet.
    fn of(traces: &'a [Trace]) -> Vec<Self> {
        let mut rows = Vec::new();
        for trace in traces {
            for capacity in [1000, 100, 10].map(|part| trace.distinct / part) {
                if capacity >= 50 {
                    rows.push(Self {
                        trace,
                        capacity,
                        ours: vec![Outcome::default(); OURS.len()],
                        peers: vec![Outcome::default(); PEERS.len()],
                        lru: 0.0,
                        belady: 0.0,
                    });
                }
            }
        }
        rows
    }

    fn title(&self) -> String {
        format!("{} @ {}", self.trace.name, self.capacity)
    }

    /// The peer that does best here: its place in `PEERS` and its ratio.
    fn best_peer(&self) -> (usize, f64) {
        let ratios = self.peers.iter().map(|outcome| outcome.ratio).enumerate();
        ratios
            .max_by(|one, other| one.1.total_cmp(&other.1))
            .expect("there are peers")
    }

    fn difference(&self) -> f64 {
        self.ours[0].ratio - self.best_peer().1
    }

    /// Every ratio by name, for the file of `--tsv`.
    fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let candidates = OURS.iter().chain(PEERS).map(|(name, _)| *name);
        let outcomes = self.ours.iter().chain(&self.peers);
        let ratios = outcomes.map(|outcome| outcome.ratio);
        let exact = [("exact LRU", self.lru), ("Belady", self.belady)];
        candidates.zip(ratios).chain(exact)
    }

    fn check(&self) {
        for ((name, _), outcome) in OURS.iter().zip(&self.ours) {
            assert_eq!(outcome.excess, 0, "{name} exceeded {}", self.title());
        }
        for (name, ratio) in self.named() {
            assert!(
                ratio <= self.belady,
                "{name} beat the optimum on {}",
                self.title()
            );
            if name == "lru" || name == "scrubjay `Lru`" {
                assert_eq!(ratio, self.lru, "not an LRU on {}", self.title());
            }
        }
    }
}

/// Runs all candidates on all rows, on as many threads as there are processors.
fn run(rows: &mut [Row]) {
    type Job<'a> = Box<dyn FnOnce() + Send + 'a>;
    let count = rows.len() * (OURS.len() + PEERS.len() + 1);
    let progress = &Progress::of(count);
    let mut jobs: VecDeque<Job> = VecDeque::with_capacity(count);
    for row in rows {
        let title = row.title();
        let Row {
            trace,
            capacity,
            ours,
            peers,
            lru,
            belady,
        } = row;
        let (trace, capacity) = (*trace, *capacity);
        for ((name, make), outcome) in OURS.iter().zip(ours).chain(PEERS.iter().zip(peers)) {
            let title = title.clone();
            jobs.push_back(Box::new(move || {
                *outcome = replay(&trace.requests, capacity, *make);
                progress.step(&format!("{title}, {name}"));
            }));
        }
        jobs.push_back(Box::new(move || {
            let requests = trace.requests.len() as f64;
            *lru = lru_hits(&trace.requests, capacity) as f64 / requests;
            *belady = belady_hits(&trace.requests, capacity) as f64 / requests;
            progress.step(&format!("{title}, exact"));
        }));
    }
    let jobs = &Mutex::new(jobs);
    let next = || jobs.lock().expect("jobs run outside the lock").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    job();
                }
            });
        }
    });
}

fn mean(rows: &[Row], figure: impl Fn(&Row) -> f64) -> f64 {
    rows.iter().map(figure).sum::<f64>() / rows.len() as f64
}

fn print(rows: &[Row]) {
    let mut head = vec![
        "trace @ capacity",
        "Belady",
        "scrubjay",
        "difference",
        "best peer",
    ];
    head.extend(PEERS.iter().map(|(name, _)| *name));
    head.extend(OURS[1..].iter().map(|(name, _)| *name));
    let mut table = Table::new(&head);
    let ratio = |ratio: f64| format!("{ratio:.4}");
    for row in rows {
        let (best, _) = row.best_peer();
        let mut cells = vec![row.title(), ratio(row.belady), ratio(row.ours[0].ratio)];
        cells.push(format!("{:+.4}", row.difference()));
        cells.push(PEERS[best].0.to_owned());
        cells.extend(row.peers.iter().map(|outcome| ratio(outcome.ratio)));
        cells.extend(row.ours[1..].iter().map(|outcome| ratio(outcome.ratio)));
        table.row(&cells);
    }
    let mut cells = vec![
        format!("**mean of {}**", rows.len()),
        ratio(mean(rows, |row| row.belady)),
        ratio(mean(rows, |row| row.ours[0].ratio)),
        format!("{:+.4}", mean(rows, |row| row.difference())),
        ratio(mean(rows, |row| row.best_peer().1)),
    ];
    cells.extend((0..PEERS.len()).map(|peer| ratio(mean(rows, |row| row.peers[peer].ratio))));
    cells.extend((1..OURS.len()).map(|own| ratio(mean(rows, |row| row.ours[own].ratio))));
    table.row(&cells);
    table.print();
    print_notes(rows);
}

fn print_notes(rows: &[Row]) {
    let worst = rows
        .iter()
        .min_by(|one, other| one.difference().total_cmp(&other.difference()));
    let worst = worst.expect("there are rows");
    println!(
        "\nThe mean of the best peers takes the best one of each row. Scrubjay's worst row is {}: {:+.4}.",
        worst.title(),
        worst.difference()
    );
    for (peer, (name, _)) in PEERS.iter().enumerate() {
        let exceeding = rows.iter().filter(|row| row.peers[peer].excess > 0);
        let exceeding: Vec<String> = exceeding
            .map(|row| format!("{} (+{})", row.title(), row.peers[peer].excess))
            .collect();
        if !exceeding.is_empty() {
            println!(
                "\n{name} held more than its capacity on {}.",
                exceeding.join(", ")
            );
        }
    }
}

fn tab_separated(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for (name, ratio) in row.named() {
            let (trace, capacity) = (&row.trace.name, row.capacity);
            writeln!(text, "{trace}\t{capacity}\t{name}\t{ratio}").expect("text takes any line");
        }
    }
    text
}

const USAGE: &str = "usage: hit_ratio [--tsv FILE] [FOLDER]
FOLDER has traces NAME.u32.zst (default: ../shared/traces beside the repository);
FILE gets every figure in full: trace, capacity, cache, ratio";

fn main() -> ExitCode {
    match replay_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn replay_all() -> Result<(), Box<dyn Error>> {
    let mut folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces"));
    let mut tsv = None;
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--tsv" {
            tsv = Some(args.next().ok_or(USAGE)?);
        } else if arg.as_encoded_bytes().starts_with(b"-") {
            return Err(USAGE.into());
        } else {
            folder = arg.into();
        }
    }
    let traces = Trace::read_folder(&folder)?;
    let mut rows = Row::of(&traces);
    if rows.is_empty() {
        return Err("no trace has 500 distinct keys, which the smallest row needs".into());
    }
    run(&mut rows);
    rows.iter().for_each(Row::check);
    if let Some(file) = tsv {
        std::fs::write(file, tab_separated(&rows))?;
    }
    print(&rows);
    Ok(())
}
