//! How much memory an entry takes, and how long the longest insertion: `u64` keys and values, one thread.
//!
//! The first table fills a cache of capacity n with n entries, and then inserts 2 n more. A figure is the bytes that
//! the cache holds, divided by the entries that are resident, with all that the cache keeps: tables, lists, sketches,
//! queues, garbage not freed yet. "Requested" counts what was asked of the allocator, "usable" what the allocator gave,
//! "peak" is the most that was requested at once until the cache was full, per entry then resident. A bare map does not
//! evict.
//!
//! The second table grows a cache to 5,000,000 entries and times every insertion, by the clock on the wall and by the
//! processor time of the thread, which leaves out what others did meanwhile. "Longest" is the longest of a run, 99.99 %
//! the duration that only 1 in 10,000 exceeds; each figure is the median over the runs.
//!
//! Every figure is taken in a process of its own. Output: Markdown. Usage: `memory [RUNS [CACHE]]`.

mod heap;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use heap::CountedHeap;
use scrubjay_bench::peer::{ConcurrentMap, CountedTinyUfo, Foldhash, LockedMap, Peer};
use scrubjay_bench::progress::Progress;
use scrubjay_bench::rounds::median;
use scrubjay_bench::table::Table;

#[global_allocator]
static HEAP: CountedHeap = CountedHeap::new();

type Subject = Box<dyn Peer<u64, u64>>;

/// A cache under test.
struct Candidate {
    name: &'static str,
    bounded: Option<fn(usize) -> Subject>,
    unbounded: Option<fn() -> Subject>,
}

const CANDIDATES: &[Candidate] = &[
    Candidate {
        name: "scrubjay",
        bounded: Some(|capacity| {
            let builder = scrubjay::Cache::builder().capacity(capacity as u64);
            Box::new(builder.build().expect("the options go together"))
        }),
        unbounded: Some(|| Box::new(scrubjay::Cache::new())),
    },
    Candidate {
        name: "quick_cache",
        bounded: Some(|capacity| Box::new(quick_cache::sync::Cache::new(capacity))),
        // It has no unbounded cache; this one's weight cannot be reached.
        unbounded: Some(|| {
            Box::new(quick_cache::sync::Cache::with_weighter(
                1_000,
                u64::MAX,
                quick_cache::UnitWeighter,
            ))
        }),
    },
    Candidate {
        name: "moka",
        bounded: Some(|capacity| Box::new(moka::sync::Cache::new(capacity as u64))),
        unbounded: Some(|| Box::new(moka::sync::Cache::builder().build())),
    },
    Candidate {
        name: "mini-moka",
        bounded: Some(|capacity| Box::new(mini_moka::sync::Cache::new(capacity as u64))),
        unbounded: Some(|| Box::new(mini_moka::sync::Cache::builder().build())),
    },
    Candidate {
        name: "foyer",
        bounded: Some(|capacity| {
            let cache: foyer::Cache<u64, u64> = foyer::CacheBuilder::new(capacity).build();
            Box::new(cache)
        }),
        unbounded: None,
    },
    Candidate {
        name: "TinyUFO",
        bounded: Some(|capacity| Box::new(CountedTinyUfo::new(capacity))),
        unbounded: None,
    },
    Candidate {
        name: "`Mutex<lru>`",
        bounded: Some(|capacity| {
            let capacity = capacity.try_into().expect("capacities are not zero");
            let cache = lru::LruCache::with_hasher(capacity, Foldhash::default());
            Box::new(Mutex::new(cache))
        }),
        unbounded: Some(|| {
            let cache = lru::LruCache::unbounded_with_hasher(Foldhash::default());
            Box::new(Mutex::new(cache))
        }),
    },
    Candidate {
        name: "papaya's map",
        bounded: None,
        unbounded: Some(|| Box::new(ConcurrentMap::default())),
    },
    Candidate {
        name: "`RwLock<hashbrown>`",
        bounded: None,
        unbounded: Some(|| Box::new(LockedMap::default())),
    },
];

impl Candidate {
    fn make(&self, capacity: Option<usize>) -> Option<Subject> {
        match capacity {
            Some(capacity) => self.bounded.map(|make| make(capacity)),
            None => self.unbounded.map(|make| make()),
        }
    }
}

/// Settles a cache and returns how many entries it holds. What moka defers takes several calls.
fn residents(cache: &dyn Peer<u64, u64>) -> f64 {
    for _ in 0..100 {
        cache.settle();
    }
    cache.resident().expect("all of them tell") as f64
}

/// Bytes per entry of one cache: requested, usable and peak when full, requested and usable after 2 n more.
fn weigh(candidate: &Candidate, n: usize) -> Vec<f64> {
    let before = HEAP.now();
    let capacity = candidate.bounded.map(|_| n);
    let cache = candidate
        .make(capacity)
        .expect("it is bounded or unbounded");
    (0..n as u64).for_each(|key| cache.insert(key, key));
    let entries = residents(&*cache);
    let full = HEAP.now();
    let mut figures = vec![
        (full.requested - before.requested) as f64 / entries,
        (full.usable - before.usable) as f64 / entries,
        (full.peak - before.requested) as f64 / entries,
    ];
    if capacity.is_some() {
        let more = n as u64..3 * n as u64;
        more.for_each(|key| cache.insert(key, key));
        let entries = residents(&*cache);
        let churned = HEAP.now();
        figures.push((churned.requested - before.requested) as f64 / entries);
        figures.push((churned.usable - before.usable) as f64 / entries);
        figures.push(entries);
    }
    figures
}

/// What a thread's clock of processor time says.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a place to write to, and every Linux has this clock.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the clock of the thread answers");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const GROWN: usize = 5_000_000;

/// Milliseconds of insertions while a cache grows: longest and 99.99 % by the wall, longest by processor time.
fn grow(candidate: &Candidate, capacity: Option<usize>) -> Vec<f64> {
    let Some(cache) = candidate.make(capacity) else {
        return Vec::new();
    };
    let mut durations = Vec::with_capacity(GROWN);
    let (mut longest_busy, mut busy) = (Duration::ZERO, processor_time());
    for key in 0..GROWN as u64 {
        let start = Instant::now();
        cache.insert(key, key);
        durations.push(start.elapsed());
        let busy_now = processor_time();
        longest_busy = longest_busy.max(busy_now - busy);
        busy = busy_now;
    }
    // Dropping millions of entries takes long and is not measured; the process ends soon.
    std::mem::forget(cache);
    durations.sort_unstable();
    let rank = GROWN - 1 - GROWN / 10_000;
    [durations[GROWN - 1], durations[rank], longest_busy]
        .map(|duration| duration.as_secs_f64() * 1e3)
        .to_vec()
}

/// One figure's job, as it is handed to a process of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Job {
    Weigh(usize),
    GrowBounded,
    GrowUnbounded,
}

impl Job {
    fn name(self) -> String {
        match self {
            Self::Weigh(n) => n.to_string(),
            Self::GrowBounded => "grow-bounded".to_owned(),
            Self::GrowUnbounded => "grow-unbounded".to_owned(),
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "grow-bounded" => Some(Self::GrowBounded),
            "grow-unbounded" => Some(Self::GrowUnbounded),
            number => number.parse().ok().map(Self::Weigh),
        }
    }

    fn run(self, candidate: &Candidate) -> Vec<f64> {
        match self {
            Self::Weigh(n) => weigh(candidate, n),
            Self::GrowBounded => grow(candidate, Some(GROWN)),
            Self::GrowUnbounded => grow(candidate, None),
        }
    }

    fn run_apart(self, candidate: &Candidate) -> Result<Vec<f64>, Box<dyn Error>> {
        let output = Command::new(std::env::current_exe()?)
            .args(["--apart", &self.name(), candidate.name])
            .output()?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}, {}: {complaint}", candidate.name, self.name()).into());
        }
        let figures = String::from_utf8(output.stdout)?;
        Ok(figures
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?)
    }
}

/// The process of one figure: prints its numbers.
fn run_here(job: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let job = Job::named(job).ok_or(USAGE)?;
    let candidate = CANDIDATES.iter().find(|candidate| candidate.name == name);
    for figure in job.run(candidate.ok_or(USAGE)?) {
        println!("{figure}");
    }
    Ok(())
}

/// A figure as text; a dash where there is none.
fn cell(figure: Option<&f64>, digits: usize) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.digits$}"))
}

fn print_entries(candidates: &[&Candidate], progress: &Progress) -> Result<(), Box<dyn Error>> {
    for n in [100_000, 1_000_000] {
        println!("\n### Bytes per entry, {n} entries\n");
        let mut table = Table::new(&[
            "",
            "requested",
            "usable",
            "peak",
            "requested after 2 n more",
            "usable after 2 n more",
            "resident then",
        ]);
        for candidate in candidates {
            let figures = Job::Weigh(n).run_apart(candidate)?;
            let mut cells = vec![candidate.name.to_owned()];
            cells.extend((0..5).map(|place| cell(figures.get(place), 1)));
            cells.push(cell(figures.get(5), 0));
            table.row(&cells);
            progress.step(candidate.name);
        }
        table.print();
    }
    Ok(())
}

fn print_pauses(
    candidates: &[&Candidate],
    runs: usize,
    progress: &Progress,
) -> Result<(), Box<dyn Error>> {
    for (job, title) in [
        (Job::GrowUnbounded, "an unbounded cache"),
        (Job::GrowBounded, "a cache of capacity 5000000"),
    ] {
        println!("\n### Longest insertion while {title} grows to 5000000 entries\n");
        let mut figures = vec![Vec::new(); candidates.len()];
        for _ in 0..runs {
            for (candidate, figures) in candidates.iter().zip(&mut figures) {
                figures.push(job.run_apart(candidate)?);
                progress.step(candidate.name);
            }
        }
        let mut table = Table::new(&[
            "",
            "longest, ms",
            "99.99 %, ms",
            "longest, processor time, ms",
        ]);
        for (candidate, figures) in candidates.iter().zip(figures) {
            if figures.iter().all(|run| !run.is_empty()) {
                let mut cells = vec![candidate.name.to_owned()];
                cells.extend((0..3).map(|place| {
                    let median = median(figures.iter().map(|run| run[place]));
                    cell(Some(&median), 3)
                }));
                table.row(&cells);
            }
        }
        table.print();
    }
    Ok(())
}

const USAGE: &str =
    "usage: memory [RUNS [CACHE]]   e.g. `memory 3 lru`: only caches named like that";

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (runs, name) = match args[..] {
        ["--apart", job, name] => return run_here(job, name),
        [] => (3, ""),
        [runs] => (runs.parse().map_err(|_| USAGE)?, ""),
        [runs, name] => (runs.parse().map_err(|_| USAGE)?, name),
        _ => return Err(USAGE.into()),
    };
    let candidates = CANDIDATES
        .iter()
        .filter(|candidate| candidate.name.contains(name));
    let candidates: Vec<&Candidate> = candidates.collect();
    let progress = Progress::of(candidates.len() * 2 * (1 + runs));
    print_entries(&candidates, &progress)?;
    print_pauses(&candidates, runs, &progress)
}
