//! The disk tier beside Python's diskcache: its `FanoutCache` with 16 shards, in a process of its own.
//!
//! Both sides take turns within each round; a ratio is the median of the rounds' ratios. The keys are numbers, the
//! values bytes that do not compress; what is read was written just before and is in the system's page cache. Every
//! answer is checked within the time taken. diskcache's figures contain Python, as its users' do.
//!
//! Output: Markdown. Usage: `PYTHON=… disk [ROUNDS [ROW]]`, where the interpreter has diskcache 5.6.3.

mod apart;
mod cost;
mod folder;
mod ours;
mod peer;

use std::error::Error;
use std::process::ExitCode;

use apart::{Share, Side};
use cost::Cost;
use folder::{Folder, bytes_in};
use ours::Put;
use peer::Peer;
use scrubjay_bench::progress::Progress;
use scrubjay_bench::rounds::median;
use scrubjay_bench::table::Table;

const KIB: u64 = 1 << 10;
/// Entries of 1 KiB in a warm folder; it is larger than what a connection keeps in memory.
const ENTRIES: u64 = 30_000;
const LARGE_ENTRIES: u64 = 2_000;
/// Entries that a round writes.
const WRITES: u64 = 10_000;

type Pair = Result<(Cost, Cost), Box<dyn Error>>;

/// What is needed to measure.
struct Lab {
    peer: Peer,
    /// Warm folders: of 1 KiB, of 32 KiB, ours and the peer's.
    small: [Folder; 2],
    large: [Folder; 2],
    /// What the peer's writes took in this round, for all rows that compare with them.
    peer_put: Option<Cost>,
}

const SMALL: Share = Share {
    first: 0,
    count: ENTRIES,
    size: KIB,
};
const LARGE: Share = Share {
    first: 0,
    count: LARGE_ENTRIES,
    size: 32 * KIB,
};
const WRITTEN: Share = Share {
    first: 0,
    count: WRITES,
    size: KIB,
};

impl Share {
    fn numbers(self) -> [u64; 3] {
        [self.first, self.count, self.size]
    }
}

impl Lab {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut lab = Self {
            peer: Peer::start()?,
            small: [Folder::new(), Folder::new()],
            large: [Folder::new(), Folder::new()],
            peer_put: None,
        };
        for (folders, share) in [(&lab.small, SMALL), (&lab.large, LARGE)] {
            ours::put(folders[0].path(), share, Put::Load, false)?;
            lab.peer.ask("put", folders[1].path(), &share.numbers());
        }
        Ok(lab)
    }

    fn get(&mut self) -> Pair {
        let theirs = self.peer.ask("get", self.small[1].path(), &SMALL.numbers());
        Ok((ours::get(self.small[0].path(), SMALL)?, theirs))
    }

    fn get_large(&mut self) -> Pair {
        let theirs = self.peer.ask("get", self.large[1].path(), &LARGE.numbers());
        Ok((ours::get(self.large[0].path(), LARGE)?, theirs))
    }

    fn put(&mut self, how: Put, write_through: bool) -> Pair {
        let (mine, other) = (Folder::new(), Folder::new());
        let peer = &mut self.peer;
        let theirs = *self
            .peer_put
            .get_or_insert_with(|| peer.ask("put", other.path(), &WRITTEN.numbers()));
        let ours = ours::put(mine.path(), WRITTEN, how, write_through)?;
        Ok((ours, theirs))
    }

    fn two_writers(&mut self) -> Pair {
        let together = |side| -> Result<Cost, Box<dyn Error>> {
            let folder = Folder::new();
            let (took, busy, failed) = apart::write_together(side, 2, folder.path(), WRITTEN)?;
            assert_eq!(failed, 0, "both writers end well");
            let wall = took.as_nanos() as f64 / (2 * WRITES) as f64;
            Ok(Cost { wall, busy })
        };
        Ok((together(Side::Ours)?, together(Side::Peer)?))
    }

    fn open(&mut self) -> Pair {
        let theirs = self.peer.ask("open", self.small[1].path(), &[5]);
        Ok((ours::open(self.small[0].path(), 50)?, theirs))
    }
}

/// A row that is measured in rounds.
struct Row {
    name: &'static str,
    asked: &'static str,
    measure: fn(&mut Lab) -> Pair,
}

const ROWS: &[Row] = &[
    Row {
        name: "get 1 KiB, through `Cache` with the memory off",
        asked: "1.9, 4",
        measure: Lab::get,
    },
    Row {
        name: "get 32 KiB, the same",
        asked: "2, 4",
        measure: Lab::get_large,
    },
    Row {
        name: "put, write-back and drained: loads",
        asked: "8, 15",
        measure: |lab| lab.put(Put::Load, false),
    },
    Row {
        name: "put, write-back and drained: insertions",
        asked: "8, 15",
        measure: |lab| lab.put(Put::Insert, false),
    },
    Row {
        name: "put, write-back and drained: the store alone",
        asked: "8, 15",
        measure: |lab| lab.put(Put::Store, false),
    },
    Row {
        name: "put, write-through: insertions",
        asked: "3, 4",
        measure: |lab| lab.put(Put::Insert, true),
    },
    Row {
        name: "put, write-through: the store alone",
        asked: "3, 4",
        measure: |lab| lab.put(Put::Store, true),
    },
    Row {
        name: "two writing processes, insertions, for each of all",
        asked: "4, 8",
        measure: Lab::two_writers,
    },
    Row {
        name: "open a folder that is there",
        asked: "50, 150",
        measure: Lab::open,
    },
];

fn print_rounds(lab: &mut Lab, rows: &[&Row], rounds: usize) -> Result<(), Box<dyn Error>> {
    let progress = Progress::of(rows.len() * (rounds + 1));
    let mut figures = vec![Vec::new(); rows.len()];
    // The first round only warms up.
    for round in 0..=rounds {
        lab.peer_put = None;
        for (row, figures) in rows.iter().zip(&mut figures) {
            let pair = (row.measure)(lab)?;
            if round > 0 {
                figures.push(pair);
            }
            progress.step(row.name);
        }
    }
    println!("\n### Operations, microseconds\n");
    let mut table = Table::new(&[
        "",
        "scrubjay",
        "diskcache",
        "times faster",
        "asked, wished",
        "processor time: scrubjay",
        "diskcache",
        "times less",
    ]);
    for (row, figures) in rows.iter().zip(figures) {
        let mut cells = vec![row.name.to_owned()];
        cells.extend(compared(&figures, |cost| cost.wall));
        cells.push(row.asked.to_owned());
        cells.extend(compared(&figures, |cost| cost.busy));
        table.row(&cells);
    }
    table.print();
    Ok(())
}

/// Ours and the peer's in microseconds, and how many times more the peer's is.
fn compared(figures: &[(Cost, Cost)], clock: impl Fn(&Cost) -> f64) -> [String; 3] {
    let ours = median(figures.iter().map(|pair| clock(&pair.0)));
    let theirs = median(figures.iter().map(|pair| clock(&pair.1)));
    let ratio = median(figures.iter().map(|pair| clock(&pair.1) / clock(&pair.0)));
    [
        format!("{:.2}", ours / 1e3),
        format!("{:.2}", theirs / 1e3),
        format!("{ratio:.1}"),
    ]
}

/// Rows without a peer's time: sizes, and the same with and without a folder.
fn print_others(lab: &mut Lab, rounds: usize) -> Result<(), Box<dyn Error>> {
    println!("\n### The rest\n");
    let mut table = Table::new(&["", "scrubjay", "diskcache", "asked, wished"]);
    let payload = (ENTRIES * KIB) as f64;
    let on_disk = |folder: &Folder| format!("{:.3}", bytes_in(folder.path()) as f64 / payload);
    table.row(&[
        "bytes on disk for each byte of 1 KiB entries".to_owned(),
        on_disk(&lab.small[0]),
        on_disk(&lab.small[1]),
        "1.35, 1.15".to_owned(),
    ]);
    let share = Share {
        count: 10,
        ..WRITTEN
    };
    let mut newcomers = Vec::new();
    for side in [Side::Ours, Side::Peer] {
        let folder = Folder::new();
        let (took, _, failed) = apart::write_together(side, 32, folder.path(), share)?;
        newcomers.push(format!("{failed} in {} ms", took.as_millis()));
    }
    newcomers.insert(
        0,
        "of 32 processes that open one new folder and write 10, failed".to_owned(),
    );
    newcomers.push("0".to_owned());
    table.row(&newcomers);
    let hits = 1_000_000;
    let folder = Folder::new();
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        with.push(ours::hit_in_memory(Some(folder.path()), hits)?.busy);
        without.push(ours::hit_in_memory(None, hits)?.busy);
        ratios.push(with[with.len() - 1] / without[without.len() - 1]);
    }
    let (with, without) = (median(with.into_iter()), median(without.into_iter()));
    let ratio = median(ratios.into_iter());
    table.row(&[
        format!("a hit in memory with a folder below, {with:.1} ns; without, {without:.1} ns"),
        format!("{ratio:.2}"),
        "–".to_owned(),
        "1".to_owned(),
    ]);
    let restart = (0..rounds)
        .map(|_| Ok(ours::restart(lab.small[0].path(), 10_000)?.wall))
        .collect::<Result<Vec<f64>, Box<dyn Error>>>()?;
    let faster = ours::recompute(1_000)?.wall / median(restart.into_iter());
    table.row(&[
        "restart: 10,000 first hits, times faster than 1 ms each".to_owned(),
        format!("{faster:.0}"),
        "–".to_owned(),
        "20".to_owned(),
    ]);
    for capacity in [8_u64 << 20, 64 << 20] {
        let folder = Folder::new();
        let sizes = ours::fill(folder.path(), capacity)?;
        table.row(&[
            format!(
                "size ÷ capacity of {} MiB, writing 8 times that: worst of {} looks, at rest",
                capacity >> 20,
                sizes.looks
            ),
            format!("{:.3}, {:.3}", sizes.worst, sizes.at_rest),
            "–".to_owned(),
            "1.10, 1.05".to_owned(),
        ]);
    }
    table.print();
    Ok(())
}

const USAGE: &str =
    "usage: PYTHON=INTERPRETER disk [ROUNDS [ROW]]   e.g. `disk 9 get`: only rows named like that";

fn measure() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "writer") {
        return apart::write(&args[1..]);
    }
    let (rounds, name) = match args.as_slice() {
        [] => (9, ""),
        [rounds] => (rounds.parse().map_err(|_| USAGE)?, ""),
        [rounds, name] => (rounds.parse().map_err(|_| USAGE)?, name.as_str()),
        _ => return Err(USAGE.into()),
    };
    println!("\ndiskcache {}.", peer::version()?);
    let mut lab = Lab::new()?;
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.name.contains(name)).collect();
    print_rounds(&mut lab, &rows, rounds)?;
    if name.is_empty() || rows.is_empty() {
        print_others(&mut lab, rounds)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
