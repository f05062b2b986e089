//! What the demo's processes do.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use scrubjay::Cache;
use scrubjay::disk::{Digest, Function, KeyEncoder, NewRecord, Store};

use super::Failure;
use super::analysis::{Pair, compare};
use super::input::{Bounds, Input, Origin};

/// The recursion goes as deep as two files have lines.
const STACK: usize = 64 << 20;

const BOUNDS: Bounds = Bounds {
    files: 8,
    versions: 4,
    lines: 1_000,
    cells: 4_000_000,
    words: 0,
};

/// Comparisons that are shown: those that take longest.
const SHOWN: usize = 12;

/// What one process did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Done {
    /// Comparisons asked for.
    pub asked: u64,
    /// Comparisons made by this process itself.
    pub loads: u64,
    /// All distances together, so that processes can be compared.
    pub sum: u64,
    pub time: Duration,
}

impl Done {
    /// Reads what [`compare_all`] printed.
    pub fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            asked: next()?,
            loads: next()?,
            sum: next()?,
            time: Duration::from_micros(next()?),
        })
    }
}

/// A comparison is named by the texts: a name like `now` stands for another text tomorrow.
fn name(pair: &Pair) -> String {
    let mut hasher = DefaultHasher::new();
    (&pair.old, &pair.new).hash(&mut hasher);
    format!("{} {:016x}", pair.name, hasher.finish())
}

/// Asks for every comparison of files of at most so many lines through a cache with a folder below it, beginning with
/// number `first`, and prints what was done.
pub fn compare_all(folder: &Path, first: &str, lines: &str) -> Result<(), Failure> {
    let first: usize = first.parse()?;
    let bounds = Bounds {
        lines: lines.parse()?,
        ..BOUNDS
    };
    let mut pairs = Input::find(Origin::Any, None, bounds).pairs;
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.cells()));
    pairs.truncate(SHOWN);
    let store = Store::open(folder)?;
    let function = Function::new("compare", "1");
    let cache: Cache<String, (u32, String)> = Cache::builder().disk(store, function).build()?;
    let work = move || ask(&cache, &pairs, first);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work)?;
    let done = thread.join().map_err(|_| "a comparison panicked")?;
    let micros = done.time.as_micros();
    writeln!(
        io::stdout(),
        "{} {} {} {micros}",
        done.asked,
        done.loads,
        done.sum
    )?;
    Ok(())
}

fn ask(cache: &Cache<String, (u32, String)>, pairs: &[Pair], first: usize) -> Done {
    let mut done = Done::default();
    let began = Instant::now();
    for number in 0..pairs.len() {
        let pair = &pairs[(first + number) % pairs.len()];
        let (distance, script) = cache.get_or_insert_with(&name(pair), || {
            done.loads += 1;
            let found = compare(pair);
            (found.distance, found.script)
        });
        done.asked += 1;
        done.sum += u64::from(distance) + script.len() as u64;
    }
    done.time = began.elapsed();
    done
}

/// The key and the value of entry `number`.
pub fn entry(number: u64) -> (Digest, Vec<u8>) {
    let digest = KeyEncoder::new("demo").u64(number).finish();
    (digest, number.to_le_bytes().repeat(128))
}

/// Writes one entry after the other and says of each when it is committed.
pub fn write_for_ever(folder: &Path) -> Result<(), Failure> {
    let store = Store::builder().write_through(true).open(folder)?;
    let mut out = io::stdout().lock();
    for number in 0.. {
        let (digest, value) = entry(number);
        store.put(NewRecord::new(digest, Function::new("demo", "")), &value)?;
        out.write_all(&number.to_le_bytes())?;
        out.flush()?;
    }
    Ok(())
}
